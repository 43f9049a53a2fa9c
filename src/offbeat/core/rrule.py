"""RFC 5545's rules in a zone, to due times: the days that they name, each with its times.

Never reads the clock. Daylight saving as for cron: what the clock skips is due at the first instant after, what it shows twice
in the first pass; rules by the hour, minute or second follow the clock as it shows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import product

from offbeat.core.localdays import FIRST_DAY, LAST_DAY, LocalDays, local_days
from offbeat.core.model import DueTime
from offbeat.core.rrulechunks import Days
from offbeat.core.rruletext import Rule, RuleSet, parse_rules
from offbeat.core.rule import Recurrence, refusal
from offbeat.core.union import UnionRecurrence
from offbeat.core.zones import BLOCK_BITS, DAY

MOST_TIMES = 1440  # of a day, in a rule by the day or longer
STEPS = 4000  # stretches of a zone that a search for a rule that follows the clock looks at
_UNITS = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}


class Times:
    """The local times of one RRULE: the days that it names, each with its times."""

    __slots__ = ("_by_phase", "_days", "_rule", "_start", "_times", "_unit", "follows_clock", "until")

    def __init__(self, rule: Rule, start: int) -> None:
        self._rule = rule
        self._start = start
        self._unit = _UNITS.get(rule.freq, 0)
        self.follows_clock = bool(self._unit)
        self._by_phase: dict[int, Sequence[int]] = {}
        self._times = () if self._unit else _times_of_day(rule, start)
        self._days = Days(rule, start // DAY)
        self.until = rule.until
        if rule.count is not None:
            self.until = self._end_of_count(rule.count)

    def first(self, low: int) -> int | None:
        """Return the first local time >= low, None when there is none within what is searched."""
        low = max(low, self._start)
        for day in self._days.after(low // DAY):
            if self.until is not None and day * DAY > self.until:
                return None
            times = self._of_day(day)
            place = bisect_left(times, low - day * DAY)
            if place < len(times):
                found = day * DAY + times[place]
                return found if self.until is None or found <= self.until else None
        return None

    def last(self, high: int) -> int | None:
        """Return the last local time <= high, None when there is none within what is searched."""
        high = high if self.until is None else min(high, self.until)
        for day in self._days.before(high // DAY):
            if (day + 1) * DAY <= self._start:
                return None
            times = self._of_day(day)
            place = bisect_right(times, high - day * DAY)
            if place:
                found = day * DAY + times[place - 1]
                return found if found >= self._start else None
        return None

    def between(self, low: int, high: int) -> Iterator[int]:
        """Yield the local times in [low, high], oldest first."""
        low, high = max(low, self._start), high if self.until is None else min(high, self.until)
        for day in self._days.between(low // DAY, high // DAY):
            for time in self._of_day(day):
                if low <= day * DAY + time <= high:
                    yield day * DAY + time

    def _of_day(self, day: int) -> Sequence[int]:
        """Return the seconds of the day at which the rule is due, on a day that it names."""
        if not self._unit:
            return self._times
        a_day = DAY // self._unit
        phase = (self._start // self._unit - day * a_day) % self._rule.interval
        known = self._by_phase.get(phase)
        if known is None:
            if len(self._by_phase) >= 8:
                self._by_phase.clear()
            known = self._by_phase[phase] = _times_in_steps(self._rule, self._start, range(phase, a_day, self._rule.interval))
        return known

    def _end_of_count(self, count: int) -> int:
        """Return the last local time that COUNT lets through."""
        left, last = count, self._start - 1
        for day in self._days.after(self._start // DAY):
            times = [day * DAY + time for time in self._of_day(day) if day * DAY + time >= self._start]
            if times:
                last = times[min(left, len(times)) - 1]
            left -= len(times)
            if left <= 0:
                break
        return last


def _times_of_day(rule: Rule, start: int) -> Sequence[int]:
    """Return the seconds of the day of a rule by the day or longer; what it does not say is DTSTART's."""
    hour, rest = divmod(start % DAY, 3600)
    minute, second = divmod(rest, 60)
    parts = [rule.by.get(name, (own,)) for name, own in (("BYHOUR", hour), ("BYMINUTE", minute), ("BYSECOND", second))]
    if len(parts[0]) * len(parts[1]) * len(parts[2]) > MOST_TIMES:
        raise refusal("S161", f"rrule: it names more than {MOST_TIMES} times of a day", "use FREQ=MINUTELY, or cron")
    return tuple(hour * 3600 + minute * 60 + second for hour, minute, second in product(*parts))


def _times_in_steps(rule: Rule, start: int, steps: range) -> Sequence[int]:
    """Return the seconds of the day of a rule by the hour, minute or second. steps: in its unit, from midnight."""
    unit, by = _UNITS[rule.freq], rule.by
    hours, minutes, seconds = (set(by.get(name, range(60))) for name in ("BYHOUR", "BYMINUTE", "BYSECOND"))
    fine = (0,) if unit == 1 else by.get("BYSECOND", (start % 60,))
    finer = (0,) if unit < 3600 else by.get("BYMINUTE", (start // 60 % 60,))
    found = (step * unit + minute * 60 + second for step in steps for minute in finer for second in fine)
    return tuple(t for t in found if t // 3600 in hours and t // 60 % 60 in minutes and t % 60 in seconds)


class WallRecurrence:
    """Local times of a zone as due times: those of a rule, less those that are excluded."""

    __slots__ = ("_days", "_excluded", "_excluded_days", "_times")

    def __init__(self, times: Times, rules: RuleSet, days: LocalDays) -> None:
        self._times = times
        self._days = days
        self._excluded = frozenset(rules.excluded)
        self._excluded_days = frozenset(rules.excluded_days)

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none within what is searched."""
        if not self._times.follows_clock:
            local = self._first(self._days.reached(after) + 1)
            return None if local is None else self._days.zone.first_instant(local)
        steps = 0
        for start, end, offset in self._stretches(after + 1, LAST_DAY * DAY):
            local = self._first(max(start, after + 1) + offset)
            if local is None or steps > STEPS:
                return None
            if local < end + offset:
                return local - offset
            steps += 1
        return None

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        if self._times.follows_clock:
            for start, end, offset in self._stretches(after + 1, until + 1):
                for local in self._between(max(start, after + 1) + offset, min(end, until + 1) + offset - 1):
                    yield local - offset
            return
        newest = after
        for local in self._between(self._days.reached(after) + 1, self._days.reached(until)):
            due = self._days.zone.first_instant(local)
            if due > newest:
                yield due
                newest = due

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none within what is searched."""
        if not self._times.follows_clock:
            local = self._last(self._days.reached(instant))
            return None if local is None else self._days.zone.first_instant(local)
        top = min(instant, LAST_DAY * DAY)
        for block in range(top >> BLOCK_BITS, (top >> BLOCK_BITS) - STEPS, -1):
            for start, end, offset in reversed(self._block(block)):
                if start > top:
                    continue
                local = self._last(min(end - 1, top) + offset)
                if local is None:
                    return None
                if local >= start + offset:
                    return local - offset
        return None

    def _block(self, block: int) -> list[tuple[int, int, int]]:
        """Return the stretches of constant offset of a block, cut to it."""
        opening, closing = block << BLOCK_BITS, (block + 1) << BLOCK_BITS
        cut = ((max(start, opening), min(end, closing), offset) for start, end, offset in self._days.zone.segments(block))
        return [stretch for stretch in cut if stretch[0] < stretch[1]]

    def _stretches(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        start, end = max(start, FIRST_DAY * DAY), min(end, LAST_DAY * DAY)
        for block in range(start >> BLOCK_BITS, (end >> BLOCK_BITS) + 1):
            yield from (stretch for stretch in self._block(block) if stretch[1] > start and stretch[0] < end)

    def _is_excluded(self, local: int) -> bool:
        return local in self._excluded or local // DAY in self._excluded_days

    def _between(self, low: int, high: int) -> Iterator[int]:
        return (local for local in self._times.between(low, high) if not self._is_excluded(local))

    def _first(self, low: int) -> int | None:
        local = self._times.first(low)
        while local is not None and self._is_excluded(local):
            local = self._times.first((local // DAY + 1) * DAY if local // DAY in self._excluded_days else local + 1)
        return local

    def _last(self, high: int) -> int | None:
        local = self._times.last(high)
        while local is not None and self._is_excluded(local):
            local = self._times.last(local // DAY * DAY - 1 if local // DAY in self._excluded_days else local - 1)
        return local


class _Dates(Times):
    """The local times that RDATEs name."""

    __slots__ = ("_dates",)

    def __init__(self, dates: Sequence[int]) -> None:
        self._dates = dates
        self.follows_clock = False

    def first(self, low: int) -> int | None:
        place = bisect_left(self._dates, low)
        return self._dates[place] if place < len(self._dates) else None

    def last(self, high: int) -> int | None:
        place = bisect_right(self._dates, high)
        return self._dates[place - 1] if place else None

    def between(self, low: int, high: int) -> Iterator[int]:
        return iter(self._dates[bisect_left(self._dates, low) : bisect_right(self._dates, high)])


def compile_rrule(text: str, zone: str) -> Recurrence:
    """Return the recurrence of what follows "rrule " in a resolved text.

    Raises: ScheduleError S161 for what cannot be read, S110.
    """
    rules = parse_rules(text, zone)
    days = local_days(rules.zone)
    times: list[Times] = [Times(rule, rules.start) for rule in rules.rules]
    if rules.dates:
        times.append(_Dates(rules.dates))
    members = [WallRecurrence(each, rules, days) for each in times]
    return members[0] if len(members) == 1 else UnionRecurrence(members)
