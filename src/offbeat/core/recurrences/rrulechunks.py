"""The days that an RRULE names, worked out a year at a time, so that no search is endless.

Never works out a time of day. Its authority is RFC 5545, 3.3.10; the tests hold it to dateutil.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby

from offbeat.core.recurrences.rruletext import FREQUENCIES, Rule

# How many years a search looks through; by the week and the day: 29 February on a given weekday comes every 40 at most.
HORIZON: Mapping[str, int] = {"YEARLY": 400, "MONTHLY": 100, "WEEKLY": 41, "DAILY": 41}
_A_YEAR: Mapping[str, int] = {"YEARLY": 1, "MONTHLY": 12, "WEEKLY": 52, "DAILY": 365}  # periods
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST_YEAR = 9998
_KEPT = 256  # years


@lru_cache(maxsize=2048)
def year_start(year: int) -> int:
    """Return the number of days from 1970-01-01 to 1 January of a year."""
    before = year - 1
    return 365 * year + before // 4 - before // 100 + before // 400 - 719_527


def year_of(day: int) -> int:
    """Return the year of a day, numbered from 1970-01-01."""
    year = 1970 + day // 366
    while year_start(year + 1) <= day:
        year += 1
    while year_start(year) > day:
        year -= 1
    return year


def length_of(year: int, month: int) -> int:
    """Return how many days a month has."""
    return _LENGTHS[month - 1] + (month == 2 and year_start(year + 1) - year_start(year) == 366)


@lru_cache(maxsize=1024)
def month_starts(year: int) -> tuple[int, ...]:
    """Return the first day of each month of a year, and that of the next January."""
    starts = [year_start(year)]
    for month in range(1, 13):
        starts.append(starts[-1] + length_of(year, month))
    return tuple(starts)


class Days:
    """The days of one RRULE, numbered from 1970-01-01. first: the day of DTSTART."""

    __slots__ = (
        "_by",
        "_byday",
        "_every_day",
        "_first",
        "_freq",
        "_interval",
        "_known",
        "_nth_of_year",
        "_opening",
        "_repeats",
        "_shapes",
        "_wkst",
    )

    def __init__(self, rule: Rule, first: int) -> None:
        by_the_clock = rule.freq in FREQUENCIES[4:]
        self._freq = "DAILY" if by_the_clock else rule.freq
        self._interval = 1 if by_the_clock else rule.interval
        self._first = first
        self._wkst = rule.wkst
        self._by = {name: frozenset(values) for name, values in rule.by.items()}
        self._byday = frozenset(rule.byday)
        self._take_from_start(rule.freq)
        self._nth_of_year = self._freq == "YEARLY" and "BYMONTH" not in rule.by
        self._opening = self._period(first)
        days = {"BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYSETPOS"} & self._by.keys()
        self._every_day = self._freq == "DAILY" and self._interval == 1 and not days and not self._byday
        self._known: dict[int, tuple[int, ...] | range] = {}
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._repeats = self._freq == "YEARLY" or (self._freq == "MONTHLY" and 12 % self._interval == 0)

    def _take_from_start(self, freq: str) -> None:
        """Take from DTSTART what chooses days and is not said."""
        if self._byday or {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY"} & self._by.keys():
            return
        year = year_of(self._first)
        month = bisect_right(month_starts(year), self._first)
        if freq == "WEEKLY":
            self._byday = frozenset({(0, (self._first + 3) % 7)})
        elif freq in ("YEARLY", "MONTHLY"):
            self._by["BYMONTHDAY"] = frozenset({self._first - month_starts(year)[month - 1] + 1})
            if freq == "YEARLY":
                self._by.setdefault("BYMONTH", frozenset({month}))

    def after(self, day: int) -> Iterator[int]:
        """Yield the days >= day, oldest first, as far as a search goes."""
        day = max(day, self._first)
        year = year_of(day)
        for each in range(year, min(year + self._searched(), _LAST_YEAR) + 1):
            found = self._of(each)
            yield from found[bisect_left(found, day) :]

    def before(self, day: int) -> Iterator[int]:
        """Yield the days <= day, newest first, as far as a search goes."""
        year = min(year_of(day), _LAST_YEAR)
        for each in range(year, max(year - self._searched(), year_of(self._first)) - 1, -1):
            found = self._of(each)
            yield from reversed(found[: bisect_right(found, day)])

    def between(self, first: int, last: int) -> Iterator[int]:
        """Yield the days in [first, last], oldest first."""
        first = max(first, self._first)
        for year in range(year_of(first), min(year_of(last), _LAST_YEAR) + 1):
            found = self._of(year)
            yield from found[bisect_left(found, first) : bisect_right(found, last)]

    def _searched(self) -> int:
        return HORIZON[self._freq] + 3 * self._interval // _A_YEAR[self._freq]

    def _of(self, year: int) -> tuple[int, ...] | range:
        known = self._known.get(year)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[year] = self._alike(year) if self._repeats else self._work_out(year)
        return known

    def _alike(self, year: int) -> tuple[int, ...]:
        """Return the days of a year from one that begins on the same weekday, among years as long: few are worked out."""
        if self._freq == "YEARLY" and (year - self._opening) % self._interval:
            return ()
        before, first, after, later = (year_start(each) for each in range(year - 1, year + 3))
        shape = (first % 7, first - before, after - first, later - after)
        if shape not in self._shapes:
            self._shapes[shape] = tuple(day - first for day in self._work_out(year))
        return tuple(first + day for day in self._shapes[shape])

    def _work_out(self, year: int) -> tuple[int, ...] | range:
        """Return the days of a year, those before DTSTART included."""
        if self._every_day:
            return range(year_start(year), year_start(year + 1))
        chosen = self._by.get("BYSETPOS")
        if chosen is None:
            return tuple(self._named(year))
        named = list(self._named(year))
        if self._freq == "WEEKLY":  # a week may be in two years
            ends = year_start(year), year_start(year + 1) - 1
            named = [d for d in self._named(year - 1) if d >= ends[0] - 7] + named
            named += [d for d in self._named(year + 1) if d <= ends[1] + 7]
        picked = []
        for _, group in groupby(named, self._period):
            days = list(group)
            picked += [day for place, day in enumerate(days, 1) if place in chosen or place - len(days) - 1 in chosen]
        return tuple(day for day in picked if year_of(day) == year)

    def _named(self, year: int) -> Iterator[int]:
        """Yield the days of a year that are in a period of the rule and that its BY parts name."""
        if self._freq == "YEARLY" and (year - self._opening) % self._interval:
            return
        starts = month_starts(year)
        for month in sorted(self._by.get("BYMONTH", range(1, 13))):
            first, after = starts[month - 1], starts[month]
            if self._freq == "MONTHLY" and (year * 12 + month - self._opening) % self._interval:
                continue
            dates = self._by.get("BYMONTHDAY")
            days = range(first, after)
            if dates is not None:
                named = {first + date - 1 if date > 0 else after + date for date in dates}
                yield from (day for day in sorted(named) if first <= day < after and self._matches(day, year, month))
            else:
                yield from (day for day in days if self._matches(day, year, month))

    def _matches(self, day: int, year: int, month: int) -> bool:
        if self._byday and not self._is_weekday(day, year, month):
            return False
        if self._freq in ("WEEKLY", "DAILY") and (self._period(day) - self._opening) % self._interval:
            return False
        first, after = year_start(year), year_start(year + 1)
        of_year = self._by.get("BYYEARDAY")
        if of_year is not None and day - first + 1 not in of_year and day - after not in of_year:
            return False
        weeks = self._by.get("BYWEEKNO")
        return weeks is None or any(number in weeks for number in self._week(day, year))

    def _is_weekday(self, day: int, year: int, month: int) -> bool:
        weekday = (day + 3) % 7
        if (0, weekday) in self._byday:
            return True
        starts = month_starts(year)
        first, after = (starts[0], starts[12]) if self._nth_of_year else (starts[month - 1], starts[month])
        return ((day - first) // 7 + 1, weekday) in self._byday or (-((after - 1 - day) // 7 + 1), weekday) in self._byday

    def _week(self, day: int, year: int) -> tuple[int, int]:
        """Return the number of a day's week, from the front and from the back of the year that the week belongs to."""
        for each in (year + 1, year, year - 1):
            opening = self._first_week(each)
            if day >= opening:
                break
        number = (day - opening) // 7 + 1
        return number, number - 1 - (self._first_week(each + 1) - opening) // 7

    def _first_week(self, year: int) -> int:
        """Return the first day of week 1: the first week that has four days of the year."""
        january = year_start(year)
        into = (january + 3 - self._wkst) % 7
        return january - into if into <= 3 else january - into + 7

    def _period(self, day: int) -> int:
        """Return the number of the period that a day is in."""
        if self._freq == "DAILY":
            return day
        if self._freq == "WEEKLY":
            return (day + 3 - self._wkst) // 7
        year = year_of(day)
        return year if self._freq == "YEARLY" else year * 12 + bisect_right(month_starts(year), day)
