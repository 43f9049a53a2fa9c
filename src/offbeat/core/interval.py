"""Intervals: due every so many seconds, anchored to the epoch.

Never keeps state: no restart and no deploy shifts one.
"""

from __future__ import annotations

from collections.abc import Iterator

from offbeat.core.durations import LONGEST
from offbeat.core.model import DueTime
from offbeat.core.rule import refusal


class EveryRecurrence:
    """Due where (instant - offset) is a multiple of `seconds`: anchored to the epoch, so no restart and no deploy shifts it."""

    __slots__ = ("offset", "seconds")

    def __init__(self, seconds: int, offset: int) -> None:
        self.seconds = seconds
        self.offset = offset

    def next_after(self, after: DueTime) -> DueTime:
        """Return the first due time > after."""
        return after + self.seconds - (after - self.offset) % self.seconds

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        return iter(range(self.next_after(after), until + 1, self.seconds))

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
