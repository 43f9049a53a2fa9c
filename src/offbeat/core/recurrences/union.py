"""Several recurrences as one: an instant that several of them name is due once.

Never reads the clock, and never asks a member for more than it is asked for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge

from offbeat.core.model import DueTime
from offbeat.core.recurrences.rule import Recurrence


class UnionRecurrence:
    """Due whenever any of its members is."""

    __slots__ = ("members",)

    def __init__(self, members: Sequence[Recurrence]) -> None:
        self.members = tuple(members)

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""
        return min((due for member in self.members if (due := member.next_after(after)) is not None), default=None)

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        newest = after
        for due in merge(*(member.due_times(after, until) for member in self.members)):
            if due > newest:
                yield due
                newest = due

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""
        return max((due for member in self.members if (due := member.last_at_or_before(instant)) is not None), default=None)
