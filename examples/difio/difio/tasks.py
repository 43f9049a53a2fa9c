"""The periodic tasks. Each may run twice, or late, or after a crash of itself, and leaves the same rows behind."""

from __future__ import annotations

import os
from pathlib import Path

from celery import shared_task
from celery.utils.log import get_task_logger
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from difio import index
from difio.models import Advice, Bookmark, Package, Release, Usage
from difio.report import write_weekly

log = get_task_logger(__name__)
PORTION = 8  # announcements that one refresh reads


@shared_task
def refresh_packages() -> int:
    """Read the next announcements of the index; return how many releases were new."""
    new = 0
    with transaction.atomic():
        bookmark, _ = Bookmark.objects.get_or_create(pk=1)
        announcements = index.read_announcements(settings.INDEX_DIR, bookmark.line, PORTION)
        uses = index.read_uses(settings.INDEX_DIR)
        for announcement in announcements:
            new += _insert(announcement, uses.get(announcement.package, []))
        bookmark.line += len(announcements)
        bookmark.save()
    log.info("refresh_packages: %d new releases, read up to line %d", new, bookmark.line)
    return new


def _insert(announcement: index.Announcement, applications: list[str]) -> int:
    package, _ = Package.objects.get_or_create(name=announcement.package)
    release, is_new = Release.objects.get_or_create(
        package=package,
        version=announcement.version,
        defaults={
            "number": package.releases.count() + 1,
            "changes": announcement.changes,
            "is_security": announcement.is_security,
            "found_at": timezone.now(),
        },
    )
    for application in applications:  # an application installs the first release that is known, and stays there
        Usage.objects.get_or_create(application=application, package=package, defaults={"installed": release})
    return int(is_new)


@shared_task
def search_dates() -> int:
    """Find the day of each release that lacks one; return how many were found."""
    undated = Release.objects.filter(released_on=None).select_related("package")
    dated = []
    for release in undated:
        release.released_on = index.find_date(settings.INDEX_DIR, release.package.name, release.version)
        if release.released_on:
            dated.append(release)
    Release.objects.bulk_update(dated, ["released_on"])
    log.info("search_dates: %d of %d dates found", len(dated), len(undated))
    return len(dated)


@shared_task
def advise_maintainers() -> int:
    """Tell each application once about each release that is newer than the one it has; return how many were told."""
    told = 0
    for usage in Usage.objects.select_related("package", "installed"):
        for release in usage.package.releases.filter(number__gt=usage.installed.number):
            kind = "security release" if release.is_security else "release"
            text = f"{kind} {release} (you have {usage.installed.version}): {release.changes}"
            told += Advice.objects.get_or_create(usage=usage, release=release, defaults={"text": text})[1]
    log.info("advise_maintainers: %d new, %d in all", told, Advice.objects.count())
    return told


@shared_task
def weekly_report() -> str:
    """Write the report of the present week, whole, over the one that is there; return its path."""
    now = timezone.now()
    year, week, _ = timezone.localtime(now).isocalendar()
    path = Path(settings.REPORTS_DIR, f"{year}-W{week:02}.txt")
    draft = path.with_suffix(f".{os.getpid()}")
    text = write_weekly(now)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    log.info("weekly_report: %s, %d lines", path.name, text.count("\n"))
    return str(path)
