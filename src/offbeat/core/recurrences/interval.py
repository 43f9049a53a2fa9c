"""Intervals: due every so many seconds, anchored to the epoch.

Never keeps state: no restart and no deploy shifts one.
"""

from __future__ import annotations

from collections.abc import Iterator

from offbeat.core.model import DueTime
from offbeat.core.recurrences.durations import LONGEST
from offbeat.core.recurrences.rule import refusal

_END = 253_370_764_800  # 9999-01-01T00:00:00Z


class EveryRecurrence:
    """Due where (instant - offset) is a multiple of `seconds`: anchored to the epoch, so no restart and no deploy shifts it."""

    __slots__ = ("offset", "seconds")

    def __init__(self, seconds: int, offset: int) -> None:
        self.seconds = seconds
        self.offset = offset

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when that is in the year 9999, which not every zone can show."""
        due = after + self.seconds - (after - self.offset) % self.seconds
        return due if due < _END else None

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        first = after + self.seconds - (after - self.offset) % self.seconds
        return iter(range(first, min(until + 1, _END), self.seconds))

    def last_at_or_before(self, instant: DueTime) -> DueTime:
        """Return the last due time <= instant."""
        return instant - (instant - self.offset) % self.seconds


def every_text(seconds: int, offset: int = 0) -> str:
    """Return the resolved text of an interval that is due where (instant - offset) is a multiple of `seconds`.

    Raises: ScheduleError S104 when `seconds` is not from 1 to a hundred years.

    >>> every_text(2700, 3600)
    'every 2700 900'
    """
    if not 1 <= seconds <= LONGEST:
        raise refusal("S104", f"every {seconds} s is not from 1 second to 100 years", 'use a duration like "45m"')
    return f"every {seconds} {offset % seconds}"
