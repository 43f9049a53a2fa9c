"""Lists of instants: due then and at no other time.

Never reads the clock: what is past is past for whoever asks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from offbeat.core.model import DueTime
from offbeat.core.recurrences.rule import refusal


class AtRecurrence:
    """Due at the instants of a list and at no other."""

    __slots__ = ("instants",)

    def __init__(self, instants: Iterable[int]) -> None:
        self.instants = tuple(sorted(set(instants)))

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""
        place = bisect_right(self.instants, after)
        return self.instants[place] if place < len(self.instants) else None

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        return iter(self.instants[bisect_right(self.instants, after) : bisect_right(self.instants, until)])

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""
        place = bisect_right(self.instants, instant)
        return self.instants[place - 1] if place else None


def at_text(instants: Iterable[int]) -> str:
    """Return the resolved text of a list of instants (epoch seconds, UTC), sorted, each once.

    Raises: ScheduleError S105 when the list is empty.

    >>> at_text([1767229200, 1767225600, 1767229200])
    'at 1767225600,1767229200'
    """
    ordered = sorted(set(instants))
    if not ordered:
        raise refusal("S105", "at names no instant", 'name one, for example at = "2026-03-01T04:30:00"')
    return "at " + ",".join(map(str, ordered))
