"""The weekly report as text. Reads the database, writes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Count, F, Q
from django.utils import timezone

from difio.models import Package, Release, Usage

WEEK = timedelta(days=7)


def write_weekly(until: datetime) -> str:
    """Return the report for the seven days before `until`."""
    found = Release.objects.filter(found_at__gt=until - WEEK, found_at__lte=until).select_related("package")
    parts = [_heading(until), _counts(found.count()), _oldest_unpatched(), _per_package(found)]
    return "\n".join(parts)


def _heading(until: datetime) -> str:
    local = timezone.localtime(until)
    year, week, _ = local.isocalendar()
    title = f"Difio, week {week} of {year}, written {local:%Y-%m-%d}"
    return f"{title}\n{'=' * len(title)}\n"


def _counts(new: int) -> str:
    undated = Release.objects.filter(released_on=None).count()
    behind = _unpatched().values("id").distinct().count()
    return (
        f"{new} new releases this week; {Release.objects.count()} releases of {Package.objects.count()} packages known,"
        f" {undated} without a date.\n{behind} of {Usage.objects.count()} installed packages miss a security release.\n"
    )


def _unpatched():  # a QuerySet; Django's own stubs are not a dependency of an example
    newer = Q(package__releases__number__gt=F("installed__number"), package__releases__is_security=True)
    return Usage.objects.filter(newer).annotate(
        fix=F("package__releases__version"), fixed_on=F("package__releases__released_on"), why=F("package__releases__changes")
    )


def _oldest_unpatched(limit: int = 5) -> str:
    lines = ["Longest without a security release", "-" * 34]
    oldest = _unpatched().exclude(fixed_on=None).select_related("package", "installed").order_by("fixed_on", "application")
    first: dict[int, Usage] = {}
    for usage in oldest:
        first.setdefault(usage.pk, usage)
    for usage in list(first.values())[:limit]:
        have = f"{usage.application} has {usage.package.name} {usage.installed.version}"
        lines.append(f"{usage.fixed_on}  {have}; {usage.fix} {usage.why}")
    return "\n".join(lines if len(lines) > 2 else [*lines, "none"]) + "\n"


def _per_package(found) -> str:
    lines = ["New releases", "-" * 12]
    for row in found.values("package__name").annotate(many=Count("id")).order_by("-many", "package__name"):
        lines.append(f"{row['package__name']} ({row['many']})")
        for release in found.filter(package__name=row["package__name"]).order_by("number"):
            mark = " [security]" if release.is_security else ""
            lines.append(f"  {release.version:<14}{release.released_on or 'no date yet'}  {release.changes}{mark}")
    return "\n".join(lines) + "\n"
