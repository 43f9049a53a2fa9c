"""The sun: dawn, sunrise, noon, sunset and dusk at a place, to due times.

Never reads the clock. astral works out each solar day's event; a day on which the sun does not get there has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache

from offbeat.core.model import DueTime
from offbeat.core.recurrences.durations import LONGEST
from offbeat.core.recurrences.localdays import FIRST_DAY, LAST_DAY
from offbeat.core.recurrences.rule import missing, refusal, shown
from offbeat.core.recurrences.zones import DAY

SEARCHED = 400  # solar days that a search looks through: no night is longer than a year
DEPRESSIONS = {"civil": 6.0, "nautical": 12.0, "astronomical": 18.0}  # degrees below the horizon
EVENTS = (
    *("sunrise", "noon", "sunset", "dawn_civil", "dawn_nautical", "dawn_astronomical"),
    *("dusk_civil", "dusk_nautical", "dusk_astronomical"),
)
ALIASES = {"dawn": "dawn_civil", "dusk": "dusk_civil", "solar_noon": "noon"}
_KEPT = 4096
_LOST = "Unable to find"  # how astral says that the event is on neither side of UTC's midnight, though it is there
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
_TEXT = re.compile(r"([a-z_]+) (-?\d{1,3}\.\d{1,17}(?:e-\d\d)?) (-?\d{1,3}\.\d{1,17}(?:e-\d\d)?) (-?\d{1,10})", re.ASCII)


class SolarRecurrence:
    """Due `offset` seconds after (before, if negative) each time that the sun reaches `event` at a place.

    Events are told by the place's own solar day (mean solar time), so the zone does not matter: each counts once.
    """

    __slots__ = ("_at", "_known", "offset", "shift")

    def __init__(self, at: Callable[[date], datetime], longitude: float, offset: int) -> None:
        self._at = at
        self._known: dict[int, int | None] = {}
        self.offset = offset
        self.shift = offset - round(longitude * 240)  # a solar day starts so much after UTC's, and the offset is added

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none within SEARCHED days."""
        day = self._day(after)
        return next((due for n in range(day, day + SEARCHED) if (due := self._due(n)) is not None and due > after), None)

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        for day in range(max(self._day(after), FIRST_DAY), min(self._day(until) + 4, LAST_DAY)):
            due = self._due(day)
            if due is not None and after < due <= until:
                yield due

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none within SEARCHED days."""
        day = self._day(instant) + 3
        return next((due for n in range(day, day - SEARCHED, -1) if (due := self._due(n)) is not None and due <= instant), None)

    def _day(self, instant: DueTime) -> int:
        """Return a solar day that is over before `instant`, by no more than two days."""
        return (instant - self.shift) // DAY - 1

    def _due(self, day: int) -> DueTime | None:
        if day in self._known:
            return self._known[day]
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[day] = due = self._work_out(day) if FIRST_DAY < day < LAST_DAY else None
        return due

    def _work_out(self, day: int) -> DueTime | None:
        try:
            return self._reckoned(day)
        except ValueError as error:
            if not str(error).startswith(_LOST):  # the sun stays above, or below
                return None
        try:  # astral misses an event within a minute of UTC's midnight; it is halfway between its neighbours
            return (self._reckoned(day - 1) + self._reckoned(day + 1)) // 2
        except ValueError:
            return None

    def _reckoned(self, day: int) -> DueTime:
        """Return what astral says of a solar day. Raises: its ValueError when it finds none."""
        at = self._at(date.fromordinal(day + _EPOCH_DAY))
        return (at - _EPOCH + timedelta(milliseconds=500)) // timedelta(seconds=1) + self.offset


def solar_text(event: str, latitude: float, longitude: float, offset: int = 0) -> str:
    """Return the resolved text of an event of the sun at a place.

    Raises: ScheduleError S160 for an unknown event, a place that is none, or an offset of more than a day.

    >>> solar_text("dawn", 42.7, 23, -1800)
    'solar dawn_civil 42.7 23.0 -1800'
    """
    name = ALIASES.get(event, event)
    if name not in EVENTS:
        from difflib import get_close_matches

        near = get_close_matches(event[:40].lower(), [*EVENTS, *ALIASES], n=1)
        fix = f'did you mean "{near[0]}"?' if near else f"use one of {', '.join(sorted([*EVENTS, *ALIASES]))}"
        raise refusal("S160", f'solar event "{shown(event)}" is not known', fix)
    for what, value, most, usual in (("latitude", latitude, 90, 42.7), ("longitude", longitude, 180, 23.3)):
        if not isinstance(value, int | float):
            raise refusal("S160", f"solar {what} {shown(repr(value))} is no number", f"{what} = {usual}, in degrees")
        if not -most <= value <= most:
            raise refusal("S160", f"solar {what} {value:g} is outside -{most} to {most}", f"{what} = {usual}, in degrees")
    if not -DAY <= offset <= DAY:
        raise refusal("S160", f"solar offset {offset} s is more than a day", 'offset = "-30m"')
    return f"solar {name} {float(latitude) + 0.0!r} {float(longitude) + 0.0!r} {offset}"


def compile_solar(text: str) -> SolarRecurrence | None:
    """Return the recurrence of what follows "solar " in a resolved text, None when it is of another form.

    Raises: ScheduleError S167 when astral is not installed.
    """
    found = _TEXT.fullmatch(text)
    if not found or found[1] not in EVENTS or abs(int(found[4])) > LONGEST:
        return None
    latitude, longitude = float(found[2]), float(found[3])
    return SolarRecurrence(_event(found[1], latitude, longitude), longitude, int(found[4]))


@lru_cache(maxsize=256)
def _event(event: str, latitude: float, longitude: float) -> Callable[[date], datetime]:
    """Return what gives the instant of an event on a solar day of the place; it raises ValueError when there is none."""
    try:
        from astral import Observer
        from astral.sun import dawn, dusk, noon, sunrise, sunset
    except ImportError:
        raise missing("astral") from None
    kind, _, twilight = event.partition("_")
    named: Mapping[str, Callable[..., datetime]] = {
        "dawn": dawn,
        "dusk": dusk,
        "noon": noon,
        "sunrise": sunrise,
        "sunset": sunset,
    }
    find, observer = named[kind], Observer(latitude, longitude, 0.0)
    options: dict[str, object] = {"tzinfo": timezone(timedelta(minutes=round(longitude * 4)))}
    if twilight:
        options["depression"] = DEPRESSIONS[twilight]
    return lambda day: find(observer, day, **options)
