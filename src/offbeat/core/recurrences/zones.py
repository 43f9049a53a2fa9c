"""Time zones as lists of UTC segments with a constant offset, so that no search has to build a datetime.

Never reads the clock. Its authority is the zone database that zoneinfo finds: the system's, else the tzdata package's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import TypeAlias

from offbeat.errors import Problem, ScheduleError

Segment: TypeAlias = tuple[int, int, int]  # start (included), end (excluded), both UTC; offset: local = UTC + offset

DAY = 86_400
BLOCK_BITS = 25  # segments are worked out by blocks of 2**25 seconds, about 388 days
LEAD = 2 * DAY  # how much of the time before its start a block also covers
FIRST = -62_135_596_800  # 0001-01-01T00:00:00Z, where datetimes begin
END = 253_402_300_800  # 10000-01-01T00:00:00Z, where they have ended

_PROBE = 2 * DAY  # the shortest segment in the zone database lasts 4 days (Freetown, 1939)
_RULE_PROBE = 14 * DAY  # where only a zone's yearly rule is left, segments last months
_RULES_ONLY = 3_786_912_000  # 2090-01-01; Morocco's table of Ramadans ends in 2087
_LONGEST_NAME = 64
_NOT_ZONES = ("localtime", "posixrules", "Factory")  # files beside the zones; their content differs between hosts
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/")


class Zone:
    """One zone of the database. Segments are found by probing, and kept."""

    __slots__ = ("_blocks", "_tz", "name")

    def __init__(self, name: str, tz: tzinfo | None) -> None:
        self.name = name
        self._tz = tz
        self._blocks: dict[int, tuple[Segment, ...]] = {}

    @property
    def is_utc(self) -> bool:
        """Whether this is UTC itself, which has one segment and needs no database."""
        return self._tz is None

    def offset_at(self, instant: int) -> int:
        """Return the seconds to add to UTC for local time at `instant` (epoch seconds, UTC)."""
        if self._tz is None:
            return 0
        inside = min(max(instant, FIRST + LEAD), END - LEAD)
        offset = datetime.fromtimestamp(inside, self._tz).utcoffset()
        return 0 if offset is None else offset.days * DAY + offset.seconds

    def segments(self, block: int) -> tuple[Segment, ...]:
        """Return the segments of [block << BLOCK_BITS, (block + 1) << BLOCK_BITS) and of LEAD before it.

        Adjacent, oldest first; the first and the last are cut at the edges of what is covered.
        """
        known = self._blocks.get(block)
        if known is None:
            if len(self._blocks) > 1024:
                self._blocks.clear()
            start = block << BLOCK_BITS
            known = self._blocks[block] = tuple(self._probe(start - LEAD, start + (1 << BLOCK_BITS)))
        return known

    def first_instant(self, local: int) -> int:
        """Return the UTC instant of a local time, given as seconds since 1970-01-01T00:00:00 local.

        A time that the clock shows twice means its first pass; one that it skips means the first instant after the gap.
        """
        around = (*self.segments((local - DAY) >> BLOCK_BITS), *self.segments((local + DAY) >> BLOCK_BITS))
        return next(max(start, local - offset) for start, end, offset in around if local < end + offset)

    def _probe(self, start: int, until: int) -> Iterator[Segment]:
        position, offset = start, self.offset_at(start)
        while position < until:
            ahead = min(position + (_PROBE if position < _RULES_ONLY else _RULE_PROBE), until)
            if self.offset_at(ahead) == offset:
                position = ahead
                continue
            low, high = position, ahead  # the offset is still the same at low, and another one at high
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self.offset_at(middle) == offset else (low, middle)
            if high >= until:
                break
            yield start, high, offset
            start = position = high
            offset = self.offset_at(high)
        yield start, until, offset


def is_zone(name: str) -> bool:
    """Return whether `name` is a zone of the database, such as "Europe/Sofia". Never raises."""
    return _load(name) is not None


def find_zone(name: str) -> Zone:
    """Return the zone of that name.

    Raises: ScheduleError S110, with the nearest names, when there is none.

    >>> find_zone("Australia/Lord_Howe").offset_at(1_767_225_600)
    39600
    """
    zone = _load(name)
    if zone is None:
        raise ScheduleError(zone_problem(name))
    return zone


def zone_problem(name: str) -> Problem:
    """Return the problem that says that `name` is no zone, and which ones are near."""
    near = near_zones(name)
    if near:
        fix = "did you mean " + " or ".join(f'"{each}"' for each in near) + "?"
    else:
        fix = 'use a name like "Europe/Sofia" or "UTC"; on a machine that knows no zone but UTC: pip install tzdata'
    shown = ascii(name[:_LONGEST_NAME])[1:-1]
    what = f'time zone "{shown}" is not in the zone database'
    return Problem(code="S110", what=what, why="no due time can be worked out without it", fix=fix)


def near_zones(name: str) -> tuple[str, ...]:
    """Return up to three names of zones that look like `name`, nearest first. Never raises.

    >>> near_zones("europe/sofa")[0], near_zones("sydney")
    ('Europe/Sofia', ('Australia/Sydney',))
    """
    wanted = name[:_LONGEST_NAME].strip().replace(" ", "_").casefold()
    if not wanted:
        return ()
    from difflib import get_close_matches

    by_text: dict[str, str] = {}
    for each in _all_names():
        by_text.setdefault(each.casefold().rpartition("/")[2], each)
    by_text.update((each.casefold(), each) for each in _all_names())
    if wanted in by_text:
        return (by_text[wanted],)
    near = get_close_matches(wanted, by_text, n=3, cutoff=0.8)
    return tuple(dict.fromkeys(by_text[each] for each in near))


@lru_cache(maxsize=1)
def _all_names() -> tuple[str, ...]:
    from zoneinfo import available_timezones

    return tuple(sorted(available_timezones().difference(_NOT_ZONES)))


@lru_cache(maxsize=256)
def _load(name: str) -> Zone | None:
    if name == "UTC":
        return Zone(name, None)
    if not 0 < len(name) <= _LONGEST_NAME or not _LETTERS.issuperset(name):
        return None
    if name in _NOT_ZONES or name.startswith(("posix/", "right/", "/")) or name.endswith("/") or "//" in name:
        return None
    from zoneinfo import ZoneInfo

    try:
        return Zone(name, ZoneInfo(name))
    except (ValueError, LookupError, OSError):
        return None
