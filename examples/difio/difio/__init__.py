"""Difio: tells maintainers which upstream releases of the packages they use are new, and what changed."""

from __future__ import annotations

from difio.celery import app as celery_app

__all__ = ["celery_app"]
