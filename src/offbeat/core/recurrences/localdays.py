"""The days of a zone as spans of UTC: which day an instant belongs to, and what the clock shows then.

Never reads the clock. A day begins at the first instant that the clock shows its midnight or later, so every instant is in one.
"""

from __future__ import annotations

from functools import lru_cache

from offbeat.core.recurrences.zones import BLOCK_BITS, DAY, END, FIRST, Zone, find_zone

FIRST_DAY = FIRST // DAY + 3
LAST_DAY = END // DAY - 3
_KEPT = 4096


class LocalDays:
    """The days of one zone, numbered from 1970-01-01. A day that the zone skipped (Apia, 2011-12-30) is empty."""

    __slots__ = ("_starts", "zone")

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self._starts: dict[int, int] = {}

    def start(self, day: int) -> int:
        """Return the instant at which a day begins."""
        if self.zone.is_utc:
            return day * DAY
        known = self._starts.get(day)
        if known is None:
            if len(self._starts) >= _KEPT:
                self._starts.clear()
            known = self._starts[day] = self.zone.first_instant(min(max(day, FIRST_DAY), LAST_DAY) * DAY)
        return known

    def day_of(self, instant: int) -> int:
        """Return the day that an instant belongs to."""
        instant = min(max(instant, FIRST_DAY * DAY), LAST_DAY * DAY)
        day = (instant + self.zone.offset_at(instant)) // DAY
        while instant < self.start(day):
            day -= 1
        while instant >= self.start(day + 1):
            day += 1
        return day

    def is_empty(self, day: int) -> bool:
        """Return whether the zone skipped the day."""
        return self.start(day) == self.start(day + 1)

    def shown(self, instant: int) -> int:
        """Return what the clock shows, as seconds since 1970-01-01T00:00:00 local."""
        return instant + self.zone.offset_at(instant)

    def reached(self, instant: int) -> int:
        """Return the latest local time shown by `instant`: a local time is no later iff its first_instant is <= instant."""
        if self.zone.is_utc:
            return instant
        instant = min(max(instant, FIRST_DAY * DAY), LAST_DAY * DAY)
        around = self.zone.segments(instant >> BLOCK_BITS)
        return max(min(end - 1, instant) + offset for start, end, offset in around if start <= instant)


@lru_cache(maxsize=256)
def local_days(zone: str) -> LocalDays:
    """Return the days of the zone of that name, the same ones for all who ask. Raises: ScheduleError S110."""
    return LocalDays(find_zone(zone))
