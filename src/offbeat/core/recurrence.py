"""Recurrences: resolved text to due times, behind one interface.

Never reads the clock. All spans are (after, until]; cutting one in two changes no due time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol

from offbeat.core.cron import CronRecurrence
from offbeat.core.cronfields import parse_cron, shown
from offbeat.core.model import DueTime
from offbeat.core.zones import DAY, find_zone
from offbeat.errors import Problem, ScheduleError

UNITS = {"w": 604_800, "d": DAY, "h": 3600, "m": 60, "s": 1}
LONGEST = 36_525 * DAY  # of a duration: a hundred years

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DURATION = r"(?:(\d{1,10})w)?(?:(\d{1,10})d)?(?:(\d{1,10})h)?(?:(\d{1,10})m)?(?:(\d{1,10})s)?"
_INSTANT = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?"
_UNREADABLE = "no due time can be worked out from it"


class Recurrence(Protocol):
    """What yields due times. All instants are whole seconds since the epoch, UTC."""

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""


class EveryRecurrence:
    """Due where (instant - offset) is a multiple of `seconds`: anchored to the epoch, so no restart and no deploy shifts it."""

    __slots__ = ("offset", "seconds")

    def __init__(self, seconds: int, offset: int) -> None:
        self.seconds = seconds
        self.offset = offset

    def next_after(self, after: DueTime) -> DueTime:
        """Return the first due time > after."""
        return after + self.seconds - (after - self.offset) % self.seconds

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        return iter(range(self.next_after(after), until + 1, self.seconds))

    def last_at_or_before(self, instant: DueTime) -> DueTime:
        """Return the last due time <= instant."""
        return instant - (instant - self.offset) % self.seconds


class AtRecurrence:
    """Due at the instants of a list and at no other."""

    __slots__ = ("instants",)

    def __init__(self, instants: Iterable[int]) -> None:
        self.instants = tuple(sorted(set(instants)))

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""
        place = bisect_right(self.instants, after)
        return self.instants[place] if place < len(self.instants) else None

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        return iter(self.instants[bisect_right(self.instants, after) : bisect_right(self.instants, until)])

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""
        place = bisect_right(self.instants, instant)
        return self.instants[place - 1] if place else None


@lru_cache(maxsize=1024)
def compile_recurrence(text: str, zone: str) -> Recurrence:
    """Return the recurrence of a resolved text: "cron M H DOM MON DOW", "every SECONDS OFFSET" or "at EPOCH[,EPOCH...]".

    zone: IANA name; only cron looks at it.
    Raises: ScheduleError, S109 for a text of another form, else what cron_text raises.

    >>> compile_recurrence("every 2700 0", "UTC").next_after(1_767_225_600)
    1767228300
    """
    kind, _, rest = text.partition(" ")
    if kind == "cron":
        return CronRecurrence(parse_cron(rest), find_zone(zone))
    if kind == "every" and re.fullmatch(r"[1-9]\d{0,10} \d{1,10}", rest, re.ASCII):
        seconds, offset = map(int, rest.split())
        return EveryRecurrence(seconds, offset)
    if kind == "at" and re.fullmatch(r"-?\d{1,12}(,-?\d{1,12})*", rest, re.ASCII):
        return AtRecurrence(map(int, rest.split(",")))
    raise _error("S109", f'recurrence "{shown(text)}" is of no known kind', 'use cron = "...", every = "..." or at = "..."')


def cron_text(expression: str, *, zone: str) -> str:
    """Return the resolved text of a cron expression. Equal schedules written differently mostly give equal texts.

    Raises: ScheduleError with all that is wrong with the expression (S101-S103, S120) and the zone (S110).

    >>> cron_text("30  4 * * MON", zone="Europe/Sofia")
    'cron 30 4 * * 1'
    """
    problems: list[Problem] = []
    text = ""
    try:
        text = parse_cron(expression).text
    except ScheduleError as wrong:
        problems += wrong.problems
    try:
        find_zone(zone)
    except ScheduleError as wrong:
        problems += wrong.problems
    if problems:
        raise ScheduleError(*problems)
    return f"cron {text}"


def every_text(seconds: int, offset: int = 0) -> str:
    """Return the resolved text of an interval that is due where (instant - offset) is a multiple of `seconds`.

    Raises: ScheduleError S104 when `seconds` is not from 1 to a hundred years.

    >>> every_text(2700, 3600)
    'every 2700 900'
    """
    if not 1 <= seconds <= LONGEST:
        raise _error("S104", f"every {seconds} s is not from 1 second to 100 years", 'use a duration like "45m"')
    return f"every {seconds} {offset % seconds}"


def at_text(instants: Iterable[int]) -> str:
    """Return the resolved text of a list of instants (epoch seconds, UTC), sorted, each once.

    Raises: ScheduleError S105 when the list is empty.

    >>> at_text([1767229200, 1767225600, 1767229200])
    'at 1767225600,1767229200'
    """
    ordered = sorted(set(instants))
    if not ordered:
        raise _error("S105", "at names no instant", 'name one, for example at = "2026-03-01T04:30:00"')
    return "at " + ",".join(map(str, ordered))


def parse_duration(text: str | int) -> int:
    """Return the seconds of a duration: "45m", "1h30m", "90s", "2d", "1w" (largest unit first), or a number of seconds.

    Raises: ScheduleError S104 for anything else, and for what is not from 1 second to a hundred years.

    >>> parse_duration("1h30m"), parse_duration(90)
    (5400, 90)
    """
    seconds = 0
    if isinstance(text, int) and not isinstance(text, bool):
        seconds = text
    elif isinstance(text, str):
        compact = text.strip().replace(" ", "")
        if found := re.fullmatch(_DURATION, compact, re.ASCII):
            seconds = sum(int(count) * unit for count, unit in zip(found.groups("0"), UNITS.values(), strict=True))
        elif re.fullmatch(r"\d{1,10}", compact, re.ASCII):
            seconds = int(compact)
    if 1 <= seconds <= LONGEST:
        return seconds
    fix = _likely_duration(text) if isinstance(text, str) else ""
    what = f'duration "{shown(str(text))}" is not a span from 1 second to 100 years'
    raise _error(
        "S104", what, f'did you mean "{fix}"?' if fix else 'use w, d, h, m and s, largest first, for example "45m" or "1h30m"'
    )


def _likely_duration(text: str) -> str:
    """Return "5m" for what people write in other places ("5 minutes", "PT5M", "1.5h"), "" when nobody can tell."""
    found = re.fullmatch(r"\s*(?:pt)?(\d{1,6})(\.5)?\s*(w|d|h|m|s)[a-z]*\.?\s*", text[:64].lower(), re.ASCII)
    if not found or text.lower().strip().endswith(("ms", "month", "months", "millis", "milliseconds")):
        return ""
    seconds = int(found[1]) * UNITS[found[3]] + (UNITS[found[3]] // 2 if found[2] else 0)
    return format_duration(seconds) if 1 <= seconds <= LONGEST else ""


def format_duration(seconds: int) -> str:
    """Return the shortest text that parse_duration reads as `seconds`.

    >>> format_duration(5400), format_duration(604800)
    ('1h30m', '1w')
    """
    parts = []
    for unit, size in UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_instant(written: str | date | time, zone: str) -> int:
    """Return the instant that a text or a TOML date and time names, in epoch seconds, UTC.

    Without an offset it is local time in `zone`: one that the clock skips means the first instant after the gap, one that it
    shows twice means the first pass. A date alone means its midnight.
    Raises: ScheduleError S105 for what is no such time, S110 for an unknown zone.

    >>> parse_instant("2026-03-01T04:30:00", "Europe/Sofia") == parse_instant("2026-03-01T02:30:00Z", "UTC")
    True
    """
    moment = _moment(written)
    if moment.microsecond:
        what = f'instant "{shown(str(written))}" has a fraction of a second'
        raise _error("S105", what, f'use whole seconds: "{moment.replace(microsecond=0).isoformat()}"')
    if moment.tzinfo is None:
        local = (moment.replace(tzinfo=UTC) - _EPOCH) // _SECOND
        return find_zone(zone).first_instant(local)
    return (moment - _EPOCH) // _SECOND


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
            raise _error("S105", f'instant "{shown(written)}" is in no calendar: {reason}', "use a date that exists") from None
    what = f'instant "{shown(str(written))}" is not a date and a time'
    raise _error("S105", what, 'write it like "2026-03-01T04:30:00" (local), or with Z or +02:00 at its end')


def _error(code: str, what: str, fix: str) -> ScheduleError:
    return ScheduleError(Problem(code=code, what=what, why=_UNREADABLE, fix=fix))
