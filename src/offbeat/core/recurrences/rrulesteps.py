"""The times of a day of an RRULE by the hour, minute or second: every so many of its units, counted on the local clock.

Never builds a whole day: hours and minutes that the rule leaves out are passed over at once. Its authority is RFC 5545, 3.3.10.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from math import gcd

from offbeat.core.recurrences.rruletext import Rule
from offbeat.core.recurrences.zones import DAY

UNITS: Mapping[str, int] = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
_SIXTY = range(60)
FEW = 2000  # times of a day


class Steps:
    """The seconds of a day at which a rule by the clock is due, on a day that it names. start: the local time of DTSTART."""

    __slots__ = (
        "_a_day",
        "_cycle",
        "_fine",
        "_hours",
        "_interval",
        "_minutes",
        "_opening",
        "_rests",
        "_seconds",
        "_unit",
        "is_never",
    )

    def __init__(self, rule: Rule, start: int) -> None:
        self._unit = unit = UNITS[rule.freq]
        self._a_day = DAY // unit
        self._interval = rule.interval
        self._opening = start // unit
        by = rule.by
        self._hours = frozenset(by.get("BYHOUR", range(24)))
        self._minutes = frozenset(by.get("BYMINUTE", _SIXTY) if unit < 3600 else _SIXTY)
        self._seconds = frozenset(by.get("BYSECOND", _SIXTY) if unit == 1 else _SIXTY)
        minutes: Sequence[int] = (0,) if unit < 3600 else by.get("BYMINUTE", (start // 60 % 60,))
        seconds: Sequence[int] = (0,) if unit == 1 else by.get("BYSECOND", (start % 60,))
        self._fine = tuple(minute * 60 + second for minute in minutes for second in seconds)

        self.is_never = self._know_days()

    def _know_days(self) -> bool:
        """Work out which days have a step, as the rest of their numbers by _cycle. Return whether none ever has.

        Only for few times of day: with many, steps meet one of them soon anyway.
        """
        apart = gcd(self._interval, self._a_day)  # over the days, the steps meet all times of day this far apart
        self._cycle = self._interval // apart
        step, begin = apart * self._unit, self._opening * self._unit
        seconds = self._seconds if self._unit == 1 else (0,)
        minutes = self._minutes if self._unit < 3600 else (0,)
        of_hour = [m * 60 + s for s in seconds if not (s - begin) % gcd(step, 60) for m in minutes]
        of_hour = [time for time in of_hour if not (time - begin) % gcd(step, 3600)]
        met = (hour * 3600 + time for hour in self._hours for time in of_hour if not (hour * 3600 + time - begin) % step)
        self._rests: list[int] = []
        if self._cycle == 1 or len(self._hours) * len(of_hour) > FEW:
            return next(met, None) is None
        inverse = pow(self._a_day // apart, -1, self._cycle)
        self._rests = sorted({(begin - time) // step * inverse % self._cycle for time in met})
        return not self._rests

    def next_day(self, day: int) -> int:
        """Return the first day >= day that may have a time."""
        if not self._rests:
            return day
        place = bisect_left(self._rests, day % self._cycle)
        return day - day % self._cycle + (self._rests[place] if place < len(self._rests) else self._rests[0] + self._cycle)

    def previous_day(self, day: int) -> int:
        """Return the last day <= day that may have a time."""
        if not self._rests:
            return day
        place = bisect_right(self._rests, day % self._cycle)
        return day - day % self._cycle + (self._rests[place - 1] if place else self._rests[-1] - self._cycle)

    def forward(self, day: int, low: int) -> Iterator[int]:
        """Yield the times >= low of a day, first to last."""
        step = (self._opening - day * self._a_day) % self._interval
        if low > 0:
            step += max(0, -((step - low // self._unit) // self._interval)) * self._interval
        while step < self._a_day:
            passed = self._passed_over(step)
            if passed is not None:
                step += -((step - passed[1]) // self._interval) * self._interval
                continue
            for fine in self._fine:
                if step * self._unit + fine >= low:
                    yield step * self._unit + fine
            step += self._interval

    def last(self, day: int, high: int) -> int | None:
        """Return the last time <= high of a day."""
        first = (self._opening - day * self._a_day) % self._interval
        step = first + (high // self._unit - first) // self._interval * self._interval
        while step >= first:
            passed = self._passed_over(step)
            if passed is not None:
                step -= -((passed[0] - 1 - step) // self._interval) * self._interval
                continue
            for fine in reversed(self._fine):
                if step * self._unit + fine <= high:
                    return step * self._unit + fine
            step -= self._interval
        return None

    def _passed_over(self, step: int) -> tuple[int, int] | None:
        """Return the first step, and the one after the last, of what the rule leaves out around a step, else None."""
        time, unit = step * self._unit, self._unit
        hour = time // 3600
        if hour not in self._hours:
            return hour * 3600 // unit, (hour + 1) * 3600 // unit
        if unit < 3600:
            minute = time // 60
            if minute % 60 not in self._minutes:
                return minute * 60 // unit, (minute + 1) * 60 // unit
            if time % 60 not in self._seconds:
                return step, step + 1
        return None
