"""Instants as people write them, local or not, to seconds since the epoch.

Never reads the clock. What a zone's clock skips or shows twice is read as cron's fixed times are.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from offbeat.core.recurrences.rule import refusal, shown
from offbeat.core.recurrences.zones import find_zone

FIRST_YEAR, LAST_YEAR = 1970, 9998  # the year 9999 ends in some zones when datetime itself has
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_INSTANT = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?"


def parse_instant(written: str | date | time, zone: str) -> int:
    """Return the instant that a text or a TOML date and time names, in epoch seconds, UTC.

    Without an offset it is local time in `zone`: one that the clock skips means the first instant after the gap, one that it
    shows twice means the first pass. A date alone means its midnight.
    Raises: ScheduleError S105 for what is no such time, or not of the years 1970 to 9998, which every zone can show; S110
    for an unknown zone.

    >>> parse_instant("2026-03-01T04:30:00", "Europe/Sofia") == parse_instant("2026-03-01T02:30:00Z", "UTC")
    True
    """
    moment = _moment(written)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        what = f'instant "{shown(str(written))}" is in the year {moment.year}'
        raise refusal("S105", what, f"use a year from {FIRST_YEAR} to {LAST_YEAR}")
    if moment.microsecond:
        what = f'instant "{shown(str(written))}" has a fraction of a second'
        raise refusal("S105", what, f'use whole seconds: "{moment.replace(microsecond=0).isoformat()}"')
    if moment.tzinfo is None:
        local = (moment.replace(tzinfo=UTC) - _EPOCH) // _SECOND
        return find_zone(zone).first_instant(local)
    return (moment - _EPOCH) // _SECOND


def odd_local(written: str | date | time, instant: int, zone: str) -> str:
    """Return what is odd about a local time that parse_instant has read as `instant`, "" when nothing is."""
    moment = _moment(written)
    if moment.tzinfo is not None:
        return ""
    local = (moment.replace(tzinfo=UTC) - _EPOCH) // _SECOND
    found = find_zone(zone)
    text = f'"{shown(str(written))}" is local time in {zone}'
    if found.offset_at(instant) + instant != local:
        return f"{text} that the clock skips, so it is {utc_text(instant)}, the first instant after"
    again = {local - found.offset_at(instant + hours * 3600) for hours in range(1, 25)}
    if any(other > instant and found.offset_at(other) + other == local for other in again):
        return f"{text} that the clock shows twice, so it is {utc_text(instant)}, the first time"
    return ""


def utc_text(instant: int) -> str:
    """Return an instant as a person writes it in UTC.

    >>> utc_text(1_767_225_600)
    '2026-01-01T00:00:00Z'
    """
    return f"{_EPOCH + timedelta(seconds=instant):%Y-%m-%dT%H:%M:%SZ}"


def _moment(written: str | date | time) -> datetime:
    if isinstance(written, datetime):
        return written
    if isinstance(written, date):
        return datetime.combine(written, time())
    if isinstance(written, str) and re.fullmatch(_INSTANT, written.strip().upper(), re.ASCII):
        try:
            return datetime.fromisoformat(written.strip().upper())
        except ValueError as wrong:
            reason = str(wrong)
            raise refusal("S105", f'instant "{shown(written)}" is in no calendar: {reason}', "use a date that exists") from None
    what = f'instant "{shown(str(written))}" is not a date and a time'
    raise refusal("S105", what, 'write it like "2026-03-01T04:30:00" (local), or with Z or +02:00 at its end')
