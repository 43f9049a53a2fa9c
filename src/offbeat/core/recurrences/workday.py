"""A recurrence less its exclusions: due times on days off are left out, or moved to a working day.

Never reads the clock. A moved due time keeps its time of day; one that would move further than FARTHEST is left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain, islice

from offbeat.core.model import DueTime
from offbeat.core.recurrences.exclusions import STEPS, Exclusions
from offbeat.core.recurrences.localdays import LocalDays
from offbeat.core.recurrences.rule import Recurrence
from offbeat.core.recurrences.zones import DAY

FARTHEST = 92  # days that a due time is moved by at most
MOST_MOVED = 1440  # due times of one day off that are moved, the first of the day; the rest are left out
_KEPT = 4  # days of which is kept what is due
_ENDLESS = 1 << 62
_IN_A_ROW = 16  # excluded due times after which a stream starts anew behind what excludes them


class ExcludingRecurrence:
    """Due when `inner` is, except on days off and in hours off."""

    __slots__ = ("_days", "_excluded", "inner")

    def __init__(self, inner: Recurrence, excluded: Exclusions, days: LocalDays) -> None:
        self.inner = inner
        self._excluded = excluded
        self._days = days

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none within what is searched."""
        due = self.inner.next_after(after)
        for _ in range(STEPS):
            if due is None:
                return None
            over = self._blocked_until(due)
            if over is None:
                return due
            if over == _ENDLESS:
                return None
            due = self.inner.next_after(over)
        return None

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        over = after
        while over < until:
            row = 0
            start, free_until = over, over
            for due in self.inner.due_times(start, until):
                if due <= over:
                    row += 1
                    if row > _IN_A_ROW:
                        break
                    continue
                if due > free_until:
                    blocked = self._blocked_until(due)
                    if blocked is not None:
                        over, row = self._days.start(self._days.day_of(due) + STEPS) if blocked == _ENDLESS else blocked, 0
                        continue
                    if not self._excluded.has_hours:
                        free_until = self._days.start(self._days.day_of(due) + 1) - 1
                yield due
            else:
                return

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none within what is searched."""
        due = self.inner.last_at_or_before(instant)
        for _ in range(STEPS):
            if due is None:
                return None
            day = self._days.day_of(due)
            if self._excluded.is_off(day):
                free = self._excluded.free_before(day)
                if free is None:
                    return None
                due = self.inner.last_at_or_before(self._days.start(free + 1) - 1)
                continue
            hours = self._excluded.hours_around(due)
            if hours is None:
                return due
            due = self.inner.last_at_or_before(hours[0] - 1)
        return None

    def _blocked_until(self, due: DueTime) -> int | None:
        """Return the last second that is off around a due time, None when it counts, _ENDLESS when no free day is found."""
        day = self._days.day_of(due)
        if self._excluded.is_off(day):
            free = self._excluded.free_after(day)
            return _ENDLESS if free is None else self._days.start(free) - 1
        hours = self._excluded.hours_around(due)
        return None if hours is None else hours[1]


class MovingRecurrence:
    """Due when `inner` is; what falls on a day off is due on the next working day (or the previous), at the same time."""

    __slots__ = ("_days", "_excluded", "_forward", "_known", "inner")

    def __init__(self, inner: Recurrence, excluded: Exclusions, days: LocalDays, *, forward: bool) -> None:
        self.inner = inner
        self._excluded = excluded
        self._days = days
        self._forward = forward
        self._known: dict[int, tuple[int, ...]] = {}

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none within what is searched."""
        return next(self._from(after, None), None)

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        for due in self._from(after, until):
            if due > until:
                return
            yield due

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none within what is searched."""
        day: int | None = self._days.day_of(instant)
        for _ in range(STEPS):
            if day is None:
                return None
            if not self._excluded.is_off(day):
                due_times = self._on(day)
                place = bisect_right(due_times, instant)
                if place:
                    return due_times[place - 1]
            day = self._working_before(day)
        return None

    def arrivals(self, day: int) -> Iterator[int]:
        """Yield the local times, as seconds since 1970-01-01T00:00:00, of what moves to a day from days off, in no order."""
        if self._excluded.is_off(day):
            return
        step = -1 if self._forward else 1
        for source in range(day + step, day + (FARTHEST + 1) * step, step):
            if not self._excluded.is_off(source):
                return
            of_day = self.inner.due_times(self._days.start(source) - 1, self._days.start(source + 1) - 1)
            for due in islice(of_day, MOST_MOVED):
                yield day * DAY + self._days.shown(due) % DAY

    def day_for(self, day: int) -> int | None:
        """Return the day that what falls on `day` is due on: itself when it is a working day, None when there is none."""
        free = self._excluded.free_after(day) if self._forward else self._excluded.free_before(day)
        return free if free is not None and abs(free - day) <= FARTHEST else None

    def _from(self, after: DueTime, until: DueTime | None) -> Iterator[DueTime]:
        """Yield due times > after; as far as STEPS go, or to the first that is past `until`."""
        day: int | None = self._days.day_of(after)
        steps = 0
        while day is not None and (steps < STEPS if until is None else self._days.start(day) <= until):
            steps += 1
            if not self._excluded.is_off(day):
                due_times = self._on(day)
                yield from due_times[bisect_right(due_times, after) :]
            day = self._working_after(day)

    def _working_after(self, day: int) -> int | None:
        """Return the next working day after `day` that something may be due on."""
        if self._forward:
            if self._excluded.is_off(day):
                return self._excluded.free_after(day)
            due = self.inner.next_after(self._days.start(day + 1) - 1)
            return None if due is None else self._excluded.free_after(self._days.day_of(due))
        working = self._excluded.free_after(day + 1)
        if working is None:
            return None
        due = self.inner.next_after(self._days.start(working) - 1)
        return None if due is None else self._excluded.free_before(self._days.day_of(due))

    def _working_before(self, day: int) -> int | None:
        """Return the next working day before `day` that something may be due on."""
        if not self._forward:
            if self._excluded.is_off(day):
                return self._excluded.free_before(day)
            due = self.inner.last_at_or_before(self._days.start(day) - 1)
            return None if due is None else self._excluded.free_before(self._days.day_of(due))
        working = self._excluded.free_before(day - 1)
        if working is None:
            return None
        due = self.inner.last_at_or_before(self._days.start(working + 1) - 1)
        return None if due is None else self._excluded.free_after(self._days.day_of(due))

    def _on(self, day: int) -> tuple[int, ...]:
        """Return what is due on a working day: its own due times and those moved to it."""
        known = self._known.get(day)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[day] = tuple(sorted(set(self._gathered(day))))
        return known

    def _gathered(self, day: int) -> Iterator[int]:
        own = self.inner.due_times(self._days.start(day) - 1, self._days.start(day + 1) - 1)
        for due in chain(own, map(self._days.zone.first_instant, self.arrivals(day))):
            if self._excluded.hours_around(due) is None:
                yield due
