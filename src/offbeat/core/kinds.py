"""Recurrences for programs, beside offbeat.Cron: the same two questions, asked and answered with aware datetimes.

Never reads the clock or a file. What schedule.toml can say, these can; each is a value: equal when what it is made of is equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from offbeat.core.calendars import Calendars
from offbeat.core.composite import Workday, any_text
from offbeat.core.cron import Cron
from offbeat.core.durations import parse_duration
from offbeat.core.interval import every_text
from offbeat.core.moments import at_text
from offbeat.core.recurrence import compile_recurrence, cron_text
from offbeat.core.rruletext import rrule_text
from offbeat.core.solar import solar_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all of them can do. text: resolved, as the ledger keeps it. timezone: IANA name."""

    timezone: str = field(default="UTC", kw_only=True)
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = self._resolved()
        compile_recurrence(text, self.timezone)
        object.__setattr__(self, "text", text)

    def _resolved(self) -> str:
        raise NotImplementedError

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first due time after `instant`, aware and in UTC; None when there is none.

        Raises: TypeError when `instant` has no time zone.
        """
        due = compile_recurrence(self.text, self.timezone).next_after(_whole_seconds(instant))
        return None if due is None else _moment(due)

    def due_times(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due times in (after, until], oldest first, strictly increasing, aware and in UTC.

        Raises: TypeError, at once, when `after` or `until` has no time zone.
        """
        rule = compile_recurrence(self.text, self.timezone)
        return map(_moment, rule.due_times(_whole_seconds(after), _whole_seconds(until)))


@dataclass(frozen=True, slots=True)
class Every(_Kind):
    """An interval, anchored to the epoch and shifted by `offset`: "45m", 2700 seconds or a timedelta.

    Raises: ScheduleError for what is no duration.

    >>> noon = datetime(2026, 3, 25, 12, tzinfo=UTC)
    >>> print(Every("45m").next_after(noon), Every("1d", offset="4h").next_after(noon))
    2026-03-25 12:45:00+00:00 2026-03-26 04:00:00+00:00
    """

    interval: str | int | timedelta
    offset: str | int | timedelta = 0

    def _resolved(self) -> str:
        return every_text(_seconds(self.interval), _seconds(self.offset) if self.offset else 0)


@dataclass(frozen=True, slots=True)
class At(_Kind):
    """Single instants, as aware datetimes.

    Raises: ScheduleError when there is none; TypeError for one without a time zone.

    >>> print(At([datetime(2026, 3, 25, 12, tzinfo=UTC)]).next_after(datetime(2026, 1, 1, tzinfo=UTC)))
    2026-03-25 12:00:00+00:00
    """

    instants: Sequence[datetime]

    def __post_init__(self) -> None:
        object.__setattr__(self, "instants", tuple(self.instants))
        _Kind.__post_init__(self)

    def _resolved(self) -> str:
        return at_text(_whole_seconds(instant) for instant in self.instants)


@dataclass(frozen=True, slots=True)
class Solar(_Kind):
    """An event of the sun at a place: dawn, sunrise, noon, sunset, dusk, dawn_nautical, dusk_astronomical, ...

    offset: "-30m", seconds or a timedelta. Needs the extra `solar`.
    Raises: ScheduleError for an unknown event or place, or where astral is not installed.

    >>> print(Solar("sunset", 42.7, 23.3, offset="-30m").next_after(datetime(2026, 6, 1, tzinfo=UTC)))
    2026-06-01 17:27:53+00:00
    """

    event: str
    latitude: float
    longitude: float
    offset: str | int | timedelta = 0

    def _resolved(self) -> str:
        return solar_text(self.event, self.latitude, self.longitude, _signed_seconds(self.offset))


@dataclass(frozen=True, slots=True)
class RRule(_Kind):
    """A rule of RFC 5545: the value of an RRULE, or lines with DTSTART, RRULE, RDATE and EXDATE.

    Raises: ScheduleError for what cannot be read.

    >>> rule = RRule("FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9", timezone="Europe/Sofia")
    >>> print(rule.next_after(datetime(2026, 3, 1, tzinfo=UTC)))
    2026-03-10 07:00:00+00:00
    """

    rule: str

    def _resolved(self) -> str:
        return rrule_text(self.rule, self.timezone)


@dataclass(frozen=True, slots=True)
class Union(_Kind):
    """Several recurrences as one, less exclusions: an instant that several name is due once.

    members: of this module's kinds and Cron, all in `timezone`. excluding: as `except` of schedule.toml, without calendars and
    files. workday: "next", "previous" or "skip" for what falls on an excluded day, Saturday or Sunday.
    Raises: ScheduleError for what cannot be read; ValueError for a member in another zone.

    >>> noon = datetime(2026, 12, 23, 12, tzinfo=UTC)
    >>> both = Union([Cron("0 9 * * *"), Cron("0 9,15 * * thu")], excluding=["2026-12-25/2027-01-03"])
    >>> [f"{due:%d %b %H:%M}" for due in both.due_times(noon, noon + timedelta(days=13))]
    ['24 Dec 09:00', '24 Dec 15:00', '04 Jan 09:00', '05 Jan 09:00']
    """

    members: Sequence[_Kind | Cron]
    excluding: Sequence[str] = ()
    workday: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        object.__setattr__(self, "excluding", tuple(self.excluding))
        _Kind.__post_init__(self)

    def _resolved(self) -> str:
        odd = next((member for member in self.members if member.timezone != self.timezone), None)
        if odd is not None:
            raise ValueError(f"{odd!r} is in another zone than the union, {self.timezone}")
        return any_text(
            [_text_of(member) for member in self.members],
            excluded=Calendars().resolve(self.excluding, self.timezone),
            workday=None if self.workday is None else Workday(self.workday),
        )


def _text_of(member: _Kind | Cron) -> str:
    if isinstance(member, Cron):
        return cron_text(member.expression, zone=member.timezone, seed=member.seed)
    if member.text.startswith("any "):
        raise ValueError(f"{member!r} is a union itself: list its members")
    return member.text


def _seconds(span: str | int | timedelta) -> int:
    return parse_duration(span // _SECOND if isinstance(span, timedelta) else span)


def _signed_seconds(span: str | int | timedelta) -> int:
    if isinstance(span, str):
        return -parse_duration(span[1:]) if span.startswith("-") else parse_duration(span)
    return span // _SECOND if isinstance(span, timedelta) else span


def _moment(due: int) -> datetime:
    return datetime.fromtimestamp(due, UTC)


def _whole_seconds(instant: datetime) -> int:
    """Return the last whole second at or before `instant`: a due time is after the one iff it is after the other."""
    if instant.utcoffset() is None:
        raise TypeError(f"{instant!r} has no time zone, so it names no instant: give it one, for example tzinfo=datetime.UTC")
    return (instant - _EPOCH) // _SECOND
