"""Packages, their releases, who uses them, and what their users were told."""

from __future__ import annotations

from django.db import models


class Package(models.Model):
    """Something upstream releases."""

    name = models.CharField(max_length=80, unique=True)

    def __str__(self) -> str:
        return self.name


class Release(models.Model):
    """One version of a package. number: 1 for the first one known, then 2, 3, ..."""

    package = models.ForeignKey(Package, models.CASCADE, related_name="releases")
    version = models.CharField(max_length=40)
    number = models.PositiveIntegerField()
    changes = models.TextField()
    is_security = models.BooleanField(default=False)
    released_on = models.DateField(null=True)  # None until search_dates has found it
    found_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["package", "version"], name="one_row_a_version")]
        ordering = ["package__name", "number"]

    def __str__(self) -> str:
        return f"{self.package.name} {self.version}"


class Usage(models.Model):
    """An application has one release of a package installed."""

    application = models.CharField(max_length=80)
    package = models.ForeignKey(Package, models.CASCADE, related_name="usages")
    installed = models.ForeignKey(Release, models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["application", "package"], name="one_usage_a_package")]


class Advice(models.Model):
    """What the maintainers of an application were told of a newer release."""

    usage = models.ForeignKey(Usage, models.CASCADE, related_name="advice")
    release = models.ForeignKey(Release, models.CASCADE, related_name="+")
    text = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["usage", "release"], name="told_once")]


class Bookmark(models.Model):
    """How far the announcements were read; there is one row at most."""

    line = models.PositiveIntegerField(default=0)
