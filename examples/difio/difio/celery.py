"""The Celery application. No beat schedule: what is due when stands in cron/."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "difio.settings")

app = Celery("difio")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
