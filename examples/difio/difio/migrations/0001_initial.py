"""The tables of models.py."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Bookmark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("line", models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Package",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name="Release",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.CharField(max_length=40)),
                ("number", models.PositiveIntegerField()),
                ("changes", models.TextField()),
                ("is_security", models.BooleanField(default=False)),
                ("released_on", models.DateField(null=True)),
                ("found_at", models.DateTimeField()),
                (
                    "package",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="releases", to="difio.package"),
                ),
            ],
            options={
                "ordering": ["package__name", "number"],
            },
        ),
        migrations.CreateModel(
            name="Usage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("application", models.CharField(max_length=80)),
                (
                    "installed",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="difio.release"),
                ),
                (
                    "package",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="usages", to="difio.package"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Advice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.TextField()),
                (
                    "release",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="difio.release"),
                ),
                (
                    "usage",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="advice", to="difio.usage"),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="release",
            constraint=models.UniqueConstraint(fields=("package", "version"), name="one_row_a_version"),
        ),
        migrations.AddConstraint(
            model_name="usage",
            constraint=models.UniqueConstraint(fields=("application", "package"), name="one_usage_a_package"),
        ),
        migrations.AddConstraint(
            model_name="advice",
            constraint=models.UniqueConstraint(fields=("usage", "release"), name="told_once"),
        ),
    ]
