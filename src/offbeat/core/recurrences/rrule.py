"""RFC 5545's rules in a zone, to due times: the days that they name, each with its times.

Never reads the clock. A rule of whatever frequency names times of the local clock, each once: what the clock skips is due at
the first instant after, what it shows twice in the first pass. All searches are in local time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice, product

from offbeat.core.model import DueTime
from offbeat.core.recurrences.localdays import LocalDays, local_days
from offbeat.core.recurrences.rrulechunks import Days
from offbeat.core.recurrences.rrulesteps import UNITS, Steps
from offbeat.core.recurrences.rruletext import Rule, RuleSet, parse_rules
from offbeat.core.recurrences.rule import Recurrence, refusal
from offbeat.core.recurrences.union import UnionRecurrence
from offbeat.core.recurrences.zones import DAY

MOST_TIMES = 1440  # of a day, in a rule by the day or longer
COUNTED = 400  # years from DTSTART in which COUNT counts


class FixedTimes:
    """The same times on each day, for a rule by the day or longer: seconds from midnight."""

    __slots__ = ("_times",)

    def __init__(self, times: Sequence[int]) -> None:
        self._times = times

    def forward(self, day: int, low: int) -> Iterator[int]:
        """Yield the times >= low of a day, first to last."""
        return iter(self._times if low <= 0 else self._times[bisect_left(self._times, low) :])

    def next_day(self, day: int) -> int:
        """Return the first day >= day that has a time."""
        return day

    def previous_day(self, day: int) -> int:
        """Return the last day <= day that has a time."""
        return day

    def last(self, day: int, high: int) -> int | None:
        """Return the last time <= high of a day."""
        place = bisect_right(self._times, high)
        return self._times[place - 1] if place else None


class Times:
    """The local times of one RRULE: the days that it names, each with its times."""

    __slots__ = ("_days", "_of_day", "_start", "_until")

    def __init__(self, rule: Rule, start: int) -> None:
        self._start = start
        steps = Steps(rule, start) if rule.freq in UNITS else None
        self._of_day: Steps | FixedTimes = steps or FixedTimes(_times_of_day(rule, start))
        self._days = Days(rule, start // DAY)
        self._until = start - 1 if steps and steps.is_never else rule.until
        if rule.count is not None and self._until is None:
            self._until = self._end_of_count(rule.count)

    def first(self, low: int) -> int | None:
        """Return the first local time >= low, None when there is none within what is searched."""
        low = max(low, self._start)
        for day in () if self._until is not None and low > self._until else self._met(self._days.after(low // DAY)):
            if self._until is not None and day * DAY > self._until:
                return None
            for time in self._of_day.forward(day, low - day * DAY):
                found = day * DAY + time
                return found if self._until is None or found <= self._until else None
        return None

    def last(self, high: int) -> int | None:
        """Return the last local time <= high, None when there is none within what is searched."""
        high = high if self._until is None else min(high, self._until)
        wanted = high // DAY
        for day in () if high < self._start else self._days.before(high // DAY):
            if day > wanted or (wanted := self._of_day.previous_day(day)) < day:
                continue
            time = self._of_day.last(day, min(high - day * DAY, DAY - 1))
            if time is not None:
                found = day * DAY + time
                return found if found >= self._start else None
        return None

    def between(self, low: int, high: int) -> Iterator[int]:
        """Yield the local times in [low, high], oldest first."""
        low, high = max(low, self._start), high if self._until is None else min(high, self._until)
        for day in () if low > high else self._met(self._days.between(low // DAY, high // DAY)):
            for time in self._of_day.forward(day, low - day * DAY):
                if day * DAY + time > high:
                    return
                yield day * DAY + time

    def _met(self, days: Iterator[int]) -> Iterator[int]:
        """Yield those of ascending days that may have a time."""
        wanted: int | None = None
        for day in days:
            if wanted is None or day >= wanted:
                wanted = self._of_day.next_day(day)
                if wanted == day:
                    yield day

    def _end_of_count(self, count: int) -> int:
        """Return the last local time that COUNT lets through, within the first COUNTED years."""
        last, left = self._start - 1, count
        end = last // DAY + COUNTED * 366
        while left > 0:
            found = list(islice(self._ahead(last + 1, end), left))
            if not found:
                break
            last, left = found[-1], left - len(found)
        return last

    def _ahead(self, low: int, end: int) -> Iterator[int]:
        """Yield the local times >= low up to a day, as far as one search goes."""
        for day in self._met(self._days.after(low // DAY)):
            if day > end:
                return
            for time in self._of_day.forward(day, low - day * DAY):
                yield day * DAY + time


def _times_of_day(rule: Rule, start: int) -> Sequence[int]:
    """Return the seconds of the day of a rule by the day or longer; what it does not say is DTSTART's."""
    hour, rest = divmod(start % DAY, 3600)
    minute, second = divmod(rest, 60)
    parts = [rule.by.get(name, (own,)) for name, own in (("BYHOUR", hour), ("BYMINUTE", minute), ("BYSECOND", second))]
    if len(parts[0]) * len(parts[1]) * len(parts[2]) > MOST_TIMES:
        raise refusal("S161", f"rrule: it names more than {MOST_TIMES} times of a day", "use FREQ=MINUTELY, or cron")
    return tuple(hour * 3600 + minute * 60 + second for hour, minute, second in product(*parts))


class Dates:
    """Numbers that are listed, such as those of RDATEs, found as Times finds those of a rule."""

    __slots__ = ("_dates",)

    def __init__(self, dates: Sequence[int]) -> None:
        self._dates = dates

    def first(self, low: int) -> int | None:
        """Return the first that is >= low."""
        place = bisect_left(self._dates, low)
        return self._dates[place] if place < len(self._dates) else None

    def last(self, high: int) -> int | None:
        """Return the last that is <= high."""
        place = bisect_right(self._dates, high)
        return self._dates[place - 1] if place else None

    def between(self, low: int, high: int) -> Iterator[int]:
        """Yield those in [low, high], in order."""
        return iter(self._dates[bisect_left(self._dates, low) : bisect_right(self._dates, high)])


class WallRecurrence:
    """Local times of a zone as due times: those of a rule, less those that are excluded."""

    __slots__ = ("_days", "_excluded", "_excluded_days", "_excluded_instants", "_times")

    def __init__(self, times: Times | Dates, rules: RuleSet, days: LocalDays) -> None:
        self._times = times
        self._days = days
        self._excluded = frozenset(rules.excluded)
        self._excluded_days = frozenset(rules.excluded_days)
        self._excluded_instants = frozenset(rules.excluded_instants)

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none within what is searched."""
        while True:
            local = self._first(self._days.reached(after) + 1)
            if local is None:
                return None
            after = self._days.zone.first_instant(local)
            if after not in self._excluded_instants:
                return after

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        newest = after
        for local in self._times.between(self._days.reached(after) + 1, self._days.reached(until)):
            if self._is_excluded(local):
                continue
            due = self._days.zone.first_instant(local)
            if due > newest and due not in self._excluded_instants:
                yield due
                newest = due

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none within what is searched."""
        while True:
            local = self._last(self._days.reached(instant))
            if local is None:
                return None
            due = self._days.zone.first_instant(local)
            if due not in self._excluded_instants:
                return due
            instant = due - 1

    def _is_excluded(self, local: int) -> bool:
        return local in self._excluded or local // DAY in self._excluded_days

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


class InstantRecurrence:
    """Instants that RDATEs name exactly, such as one in the second pass of a repeated hour."""

    __slots__ = ("_dates",)

    def __init__(self, instants: Sequence[DueTime]) -> None:
        self._dates = Dates(instants)

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after."""
        return self._dates.first(after + 1)

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until]."""
        return self._dates.between(after + 1, until)

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant."""
        return self._dates.last(instant)


def compile_rrule(text: str, zone: str) -> Recurrence:
    """Return the recurrence of what follows "rrule " in a resolved text.

    Raises: ScheduleError S161 for what cannot be read, S110.
    """
    rules = parse_rules(text, zone)
    days = local_days(rules.zone)
    times: list[Times | Dates] = [Times(rule, rules.start) for rule in rules.rules]
    if rules.dates:
        times.append(Dates(rules.dates))
    members: list[Recurrence] = [WallRecurrence(each, rules, days) for each in times]
    if rules.instants:
        left = (at for at in rules.instants if at not in rules.excluded_instants)
        members.append(InstantRecurrence([at for at in left if days.shown(at) // DAY not in rules.excluded_days]))
    return members[0] if len(members) == 1 else UnionRecurrence(members)
