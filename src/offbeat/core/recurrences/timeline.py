"""What the clock of a zone shows, as stretches on which a cron search need not think about daylight saving.

Never reads the clock. Debian's cron is the authority for what is made up for after a gap and what waits in a repeated hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

from offbeat.core.recurrences.zones import BLOCK_BITS, DAY, END, FIRST, Zone

# start (included), end (excluded): UTC. offset: local = UTC + offset. first, end_local: between them local times are due as
# they are shown. missed: local times from here to `first` were skipped by the clock, and are due at `first`, as one.
Stretch: TypeAlias = tuple[int, int, int, int, int, int]

LARGE_JUMP = 180  # minutes; Debian's cron makes up for no jump that is larger, nor does it wait for the clock to catch up
SMALL_JUMP = 5  # minutes; of so small a jump the wildcards too are made up for


class Timeline(dict[int, tuple[Stretch, ...]]):
    """The stretches of one zone under Debian's rule, by block; worked out when first asked for."""

    __slots__ = ("_by_second", "_wildcard", "_zone")

    def __init__(self, zone: Zone, wildcard: bool, by_second: bool = False) -> None:
        self._zone = zone
        self._wildcard = wildcard
        self._by_second = by_second

    def __missing__(self, block: int) -> tuple[Stretch, ...]:
        if self._zone.is_utc:
            stretches: tuple[Stretch, ...] = ((FIRST, END, 0, FIRST, END, FIRST),)
        else:
            stretches = tuple(self._walk(block))
        if len(self) > 1024:
            self.clear()
        self[block] = stretches
        return stretches

    def _walk(self, block: int) -> Iterator[Stretch]:
        """Yield the stretches of a block as Debian's main loop would meet them, minute by minute.

        reached: the local minute up to which fixed times are done with, its `virtualTime`.
        """
        opening, closing = max(block << BLOCK_BITS, FIRST), min((block + 1) << BLOCK_BITS, END)
        reached: int | None = None
        for start, end, offset in self._zone.segments(block):
            shown = -(-(start + offset) // 60)  # the first and the last whole minute that the clock shows
            last = (end + offset - 1) // 60
            if last < shown:
                continue
            jump = 1 if reached is None else shown - reached
            if -LARGE_JUMP < jump <= LARGE_JUMP and reached is not None:
                makes_up = jump > 1 and (not self._wildcard or jump <= SMALL_JUMP)
                missed = reached + 1 if makes_up or (jump < 1 and not self._wildcard) else shown
                reached = max(reached, last)
            else:
                missed, reached = shown, last
            begin, finish = max(start, opening), min(end, closing)
            if begin < finish:
                yield from self._cut(begin, finish, offset, (max(shown, missed) * 60, missed * 60, start))

    def _cut(self, begin: int, finish: int, offset: int, whole: tuple[int, int, int]) -> Iterator[Stretch]:
        """Yield what a block has of a stretch. whole: its first and missed local times, and its start.

        By second, the minute in which what was missed is made up for is a stretch of its own, or two at a block's edge.
        """
        first, missed, start = whole
        if self._by_second and missed < first:
            minute_ends = min(first + 60 - offset, finish)
            if begin < minute_ends:
                yield begin, minute_ends, offset, first, minute_ends + offset, missed
                begin = minute_ends
            if begin < finish:
                yield begin, finish, offset, begin + offset, finish + offset, begin + offset
        elif begin > start:  # cut by the block's edge: what was missed belongs to the block before
            first = max(first, begin + offset)
            yield begin, finish, offset, first, finish + offset, first
        else:
            yield begin, finish, offset, first, finish + offset, missed


@lru_cache(maxsize=256)
def timeline(zone: Zone, wildcard: bool, by_second: bool = False) -> Timeline:
    """Return the timeline of a zone, the same one for all who ask. by_second: for expressions that name seconds."""
    return Timeline(zone, wildcard, by_second)


def block_after(block: int, known: int, found: int) -> int:
    """Return the next block worth looking at, when the first match at or after local time `known` is local time `found`."""
    following = block + 1
    if known + 2 * DAY > following << BLOCK_BITS:  # the clock may go back over what is before `known`
        return following
    return max(following, (found - 2 * DAY) >> BLOCK_BITS)


def block_before(block: int, known: int, found: int) -> int:
    """Return the next block worth looking at, going back, when `found` is the last match at or before local time `known`."""
    if known - 2 * DAY < block << BLOCK_BITS:
        return block - 1
    return min(block - 1, (found + 2 * DAY) >> BLOCK_BITS)
