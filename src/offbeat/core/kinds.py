"""Recurrences for programs, beside offbeat.Cron: the same two questions, asked and answered with aware datetimes.

Never reads the clock or a file. What schedule.toml can say, these can; each is a value: equal when what it is made of is equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from offbeat.core.calendars import Calendars
from offbeat.core.recurrences.composite import DAYS, WEEKEND, Workday, any_text, check_left
from offbeat.core.recurrences.cron import Cron
from offbeat.core.recurrences.durations import parse_duration, parse_signed
from offbeat.core.recurrences.instants import parse_instant
from offbeat.core.recurrences.interval import every_text
from offbeat.core.recurrences.moments import at_text
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.rruletext import rrule_text
from offbeat.core.recurrences.rule import refusal
from offbeat.core.recurrences.solar import solar_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class Recurrence(Protocol):
    """What Cron and the kinds of this module have in common, and what a Union is made of."""

    @property
    def timezone(self) -> str:
        """IANA name of the zone of its local times."""

    @property
    def text(self) -> str:
        """It, resolved, as the ledger keeps it."""

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first due time after `instant`, aware and in UTC; None when there is none."""

    def due_times(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due times in (after, until], oldest first, strictly increasing, aware and in UTC."""


@dataclass(frozen=True, slots=True)
class _Kind(ABC):
    """What all of them can do. text: resolved, as the ledger keeps it. timezone: IANA name."""

    timezone: str = field(default="UTC", kw_only=True)
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = self._resolved()
        compile_recurrence(text, self.timezone)
        object.__setattr__(self, "text", text)

    @abstractmethod
    def _resolved(self) -> str:
        """Return the text of what was given. Raises: ScheduleError for what cannot be said."""

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

    Raises: ScheduleError for what is no duration of whole seconds.

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
    """Single instants, as aware datetimes of whole seconds.

    Raises: ScheduleError when there is none, for one without a time zone and for what is no datetime.

    >>> print(At([datetime(2026, 3, 25, 12, tzinfo=UTC)]).next_after(datetime(2026, 1, 1, tzinfo=UTC)))
    2026-03-25 12:00:00+00:00
    """

    instants: Sequence[datetime]

    def __post_init__(self) -> None:
        given = self.instants
        object.__setattr__(self, "instants", (given,) if isinstance(given, str | datetime) else tuple(given))
        _Kind.__post_init__(self)

    def _resolved(self) -> str:
        return at_text([_exact(instant) for instant in self.instants])


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

    members: Cron and the kinds of this module; Cron and RRule in the union's `timezone`, which the others have no use for.
    excluding: as `except` of schedule.toml, without calendars and files. workday: "next", "previous" or "skip" for what falls
    on an excluded day or one of `weekend`, ["sat", "sun"] unless said.
    Raises: ScheduleError for what cannot be read, a member in another zone, and exclusions that leave nothing.

    >>> noon = datetime(2026, 12, 23, 12, tzinfo=UTC)
    >>> both = Union([Cron("0 9 * * *"), Cron("0 9,15 * * thu")], excluding=["2026-12-25/2027-01-03"])
    >>> [f"{due:%d %b %H:%M}" for due in both.due_times(noon, noon + timedelta(days=13))]
    ['24 Dec 09:00', '24 Dec 15:00', '04 Jan 09:00', '05 Jan 09:00']
    """

    members: Sequence[Recurrence]
    excluding: Sequence[str] | str = ()
    workday: str | None = None
    weekend: Sequence[str] | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        object.__setattr__(self, "excluding", _texts(self.excluding))
        object.__setattr__(self, "weekend", None if self.weekend is None else _texts(self.weekend))
        _Kind.__post_init__(self)

    def _resolved(self) -> str:
        if not self.members:
            raise refusal("S147", "a union of nothing is never due", 'list its members, for example [Cron("30 4 * * mon")]')
        bare = any_text([_text_of(member, self.timezone) for member in self.members])
        workday, weekend = self._workday(), self._weekend()
        odd = next((item for item in self.excluding if not isinstance(item, str)), None)
        if odd is not None:
            raise refusal("S163", f"{odd!r:.60} is no text of an exclusion", 'excluding=["2026-12-24", "* * * * sat,sun"]')
        excluded = Calendars().resolve(self.excluding, self.timezone)
        members = [member.text for member in self.members]
        text = any_text(members, excluded=excluded, workday=workday, weekend=weekend)
        return check_left(text, bare, self.timezone, compile_recurrence)

    def _workday(self) -> Workday | None:
        if self.workday is None or self.workday in tuple(Workday):
            return None if self.workday is None else Workday(self.workday)
        raise refusal("S145", f"workday {self.workday!r:.60} is not {', '.join(Workday)}", 'workday="next"')

    def _weekend(self) -> Sequence[int]:
        if self.weekend is None:
            return WEEKEND
        if not all(isinstance(day, str) and day.lower()[:3] in DAYS for day in self.weekend):
            raise refusal("S144", f"weekend {self.weekend!r:.60} is no list of days", 'weekend=["sat", "sun"]')
        if self.workday is None:
            raise refusal("S133", "weekend belongs to workday, which is not there", 'workday="next"')
        return [DAYS.index(day.lower()[:3]) for day in self.weekend]


def _texts(written: Sequence[str] | str) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else tuple(written)


def _text_of(member: Recurrence, zone: str) -> str:
    """Return the resolved text of a member. Raises: ScheduleError S145 for one that cannot be part of a union in `zone`."""
    if not isinstance(member, Cron | _Kind):
        raise refusal("S145", f"{member!r:.60} is no recurrence", 'list Cron("30 4 * * mon"), Every("45m"), ...')
    if isinstance(member, Union):
        raise refusal("S145", "a member of a union is a union itself", "list its members in this one")
    if isinstance(member, Cron | RRule) and member.timezone != zone:
        what = f"{member!r:.160} is in another zone than the union, {zone}"
        raise refusal("S145", what, f'give both the same, for example timezone="{member.timezone}"')
    return member.text


def _seconds(span: str | int | timedelta) -> int:
    return parse_duration(_whole(span) if isinstance(span, timedelta) else span)


def _signed_seconds(span: str | int | timedelta) -> int:
    if isinstance(span, str):
        return parse_signed(span)
    return _whole(span) if isinstance(span, timedelta) else span


def _whole(span: timedelta) -> int:
    if span % _SECOND:
        raise refusal("S104", f'duration "{span}" has a fraction of a second', "use whole seconds")
    return span // _SECOND


def _exact(instant: datetime) -> int:
    """Return an instant of a list in epoch seconds. Raises: ScheduleError S105 for what is none, or none of whole seconds."""
    if not isinstance(instant, datetime):
        fix = 'make it a datetime: datetime.fromisoformat("2026-03-01T04:30:00+00:00")'
        raise refusal("S105", f"{instant!r:.60} is no datetime", fix)
    if instant.utcoffset() is None:
        raise refusal("S105", f"{instant!r} has no time zone, so it names no instant", "give it one: tzinfo=datetime.UTC")
    return parse_instant(instant, "UTC")


def _moment(due: int) -> datetime:
    return datetime.fromtimestamp(due, UTC)


def _whole_seconds(instant: datetime) -> int:
    """Return the last whole second at or before `instant`: a due time is after the one iff it is after the other."""
    if instant.utcoffset() is None:
        raise TypeError(f"{instant!r} has no time zone, so it names no instant: give it one, for example tzinfo=datetime.UTC")
    return (instant - _EPOCH) // _SECOND
