"""Recurrences: resolved text to due times, behind one interface.

Never reads the clock. All spans are (after, until]; cutting one in two changes no due time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from offbeat.core.model import DueTime


class Recurrence(Protocol):
    """What yields due times. All instants are whole seconds since the epoch, UTC."""

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""
