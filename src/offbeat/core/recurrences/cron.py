"""Cron for programs: an expression in a time zone, in and out of datetimes; and what is odd about it.

Never reads the clock. Fields are cronfields', the search is crontimes'; docs/reference/cron.md is the dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from offbeat.core.recurrences.cronfields import LONGEST, parse_cron, shown
from offbeat.core.recurrences.crontimes import HORIZON, CronRecurrence
from offbeat.core.recurrences.durations import parse_duration
from offbeat.core.recurrences.interval import EveryRecurrence, every_text
from offbeat.core.recurrences.zones import find_zone
from offbeat.errors import Problem, ScheduleError

__all__ = ["HORIZON", "Cron", "CronRecurrence", "ScheduleError", "cron_warnings", "parse_cron"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def cron_warnings(expression: str, *, seed: str = "") -> tuple[Problem, ...]:
    """Return what works in an expression, but probably not as its author, or another scheduler, reads it.

    seed: what H and ~ are resolved by.
    Raises: ScheduleError where cron_text does.

    >>> print(cron_warnings("*/45 * * * *")[0].what)
    cron "*/45 * * * *": minute */45 is :00 and :45, not every 45 minutes
    """
    from offbeat.core.recurrences.cronwarnings import never_due, warnings_of

    if every_nickname(expression) is not None:
        return ()
    found = list(warnings_of(expression, seed))
    if CronRecurrence(parse_cron(expression, seed=seed), find_zone("UTC")).next_after(-1) is None:
        found.append(never_due(expression))
    return tuple(found)


def every_nickname(expression: str) -> int | None:
    """Return the seconds of `@every 45m`, None for any other expression. Raises: ScheduleError S104 for an odd duration.

    >>> every_nickname("@every 1h30m"), every_nickname("@hourly")
    (5400, None)
    """
    if "@" not in expression:
        return None
    word, *rest = expression[: LONGEST + 1].strip().split(None, 1)
    if word != "@every":
        return None
    span = rest[0] if rest else ""
    return parse_duration(span.strip() if span.isascii() else shown(span))


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone, for programs.

    seed: what `H` and `~` are resolved by, the same for ever; it changes nothing else.
    Raises: ScheduleError, with all its problems, for an expression or a zone that cannot be read.

    >>> from datetime import UTC, datetime, timedelta
    >>> monday = Cron("30 4 * * mon", "Europe/Sofia")
    >>> noon = datetime(2026, 3, 25, 12, tzinfo=UTC)
    >>> print(monday.next_after(noon))
    2026-03-30 01:30:00+00:00
    >>> [f"{due:%d %b %H:%M}" for due in monday.due_times(noon, noon + timedelta(days=14))]
    ['30 Mar 01:30', '06 Apr 01:30']
    >>> print(Cron("H 4 * * *", seed="nightly").next_after(noon))
    2026-03-26 04:20:00+00:00
    """

    expression: str
    timezone: str = "UTC"
    seed: str = ""
    _recurrence: CronRecurrence | EveryRecurrence = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        zone, seconds = find_zone(self.timezone), every_nickname(self.expression)
        if seconds is not None:
            recurrence: CronRecurrence | EveryRecurrence = EveryRecurrence(seconds, 0)
        else:
            recurrence = CronRecurrence(parse_cron(self.expression, seed=self.seed), zone)
        object.__setattr__(self, "_recurrence", recurrence)

    @property
    def text(self) -> str:
        """The resolved text, as the ledger keeps it."""
        seconds = every_nickname(self.expression)
        return f"cron {parse_cron(self.expression, seed=self.seed).text}" if seconds is None else every_text(seconds)

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first due time after `instant`, aware and in UTC; None when there is none.

        Raises: TypeError when `instant` has no time zone.
        """
        due = self._recurrence.next_after(_whole_seconds(instant))
        return None if due is None else _EPOCH + timedelta(0, due)

    def due_times(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due times in (after, until], oldest first, strictly increasing, aware and in UTC.

        Raises: TypeError, at once, when `after` or `until` has no time zone.
        """
        due_times = self._recurrence.due_times(_whole_seconds(after), _whole_seconds(until))
        return (_EPOCH + timedelta(0, due) for due in due_times)


def _whole_seconds(instant: datetime) -> int:
    """Return the last whole second at or before `instant`: a due time is after the one iff it is after the other."""
    try:
        return (instant - _EPOCH) // _SECOND
    except TypeError:
        what = f"{instant!r} has no time zone, so it names no instant: give it one, for example tzinfo=datetime.UTC"
        raise TypeError(what) from None
