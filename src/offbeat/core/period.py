"""Calendar periods: the minute, hour, day, week or month that an executed link stands for, and the due time in it.

Never reads the clock. Weeks are ISO's, Monday to Sunday, so that each holds one Sunday 04:22, the default of `weekly`.
"""

from __future__ import annotations

from offbeat.core.model import DueTime
from offbeat.core.recurrences.recurrence import Recurrence
from offbeat.core.recurrences.zones import Zone, find_zone

_DAY = 86_400


def period(directory: str, now: int, zone: str) -> tuple[int, int]:
    """Return the span (after, until] of this minute, hour, day, week or month, as clocks in `zone` show it.

    The first second of a period belongs to it: the span of 10:05 is (10:04:59, 10:05:59]. Minutes and hours are elapsed time,
    so the hour that a clock shows twice is two periods; a day or longer begins at its first instant, whatever the clock skips.
    Raises: ScheduleError for a name that is no zone.
    """
    known = find_zone(zone)
    local = now + known.offset_at(now)
    if directory in ("minutely", "hourly"):
        width = 60 if directory == "minutely" else 3600
        start = now - local % width
        return start - 1, start + width - 1
    first, last = _days(directory, local // _DAY)
    return _start_of(known, first) - 1, _start_of(known, last) - 1


def _start_of(zone: Zone, day: int) -> int:
    return zone.first_instant(day * _DAY)


def _days(directory: str, day: int) -> tuple[int, int]:
    """Return the first day of the period that `day` is in, and the first of the next one, as days since 1970-01-01."""
    if directory == "daily":
        return day, day + 1
    if directory == "weekly":
        monday = day - (day + 3) % 7  # 1970-01-01 was a Thursday
        return monday, monday + 7
    from datetime import date, timedelta

    today = date(1970, 1, 1) + timedelta(days=day)
    first = today.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    origin = date(1970, 1, 1)
    return (first - origin).days, (following - origin).days


def due_in_period(recurrence: Recurrence, span: tuple[int, int]) -> DueTime:
    """Return the due time in the span (after, until]: the first one, or the start of the period when there is none."""
    after, until = span
    due_at = recurrence.next_after(after)
    return due_at if due_at is not None and due_at <= until else after + 1
