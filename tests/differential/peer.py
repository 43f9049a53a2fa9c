"""Random expressions in random zones, read by offbeat and by cronsim: the same due times, wherever both define an answer.

Left out, by rule and never case by case, is what LEFT_OUT says; everything else that differs is a finding.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import cronsim

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.zones import BLOCK_BITS, DAY, Segment, find_zone, is_zone
from offbeat.errors import OffbeatError

LEFT_OUT = (
    "starts in the second pass of a repeated hour: cronsim can answer with an instant before its start",
    "zones whose clock, within the years compared, changes by, from or at other than whole hours, or by three or more: "
    "cronsim is wrong or endless there, and Debian's cron makes up for no such jump",
    "six fields in a zone whose clock changes: cronsim gives them no Debian rule",
    "wildcards where the clock skips or repeats midnight: cronsim starts a day at a midnight that the clock does not show",
    "`5/15`, reversed ranges and LW in a list: refused here on purpose; `1-1/2`: cronsim reads it as `1-31/2`",
)
COMPARED = 12  # due times of each pair
YEARS = range(2000, 2045)
GIVES_UP = 50  # years; cronsim looks no further

MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What both are asked: the first COMPARED due times after `start`, which is in epoch seconds."""

    expression: str
    zone: str
    start: int

    def __str__(self) -> str:
        return f'"{self.expression}" in {self.zone} after {datetime.fromtimestamp(self.start, ZoneInfo(self.zone)).isoformat()}'


@cache
def zones(step: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the zones that can be compared: those whose clock changes in YEARS, and those whose clock never does.

    step: 1 for all, else every n-th; to look at one takes a hundredth of a second.
    """
    changing, steady = [], []
    for name in sorted(available_timezones())[::step]:
        if is_zone(name):
            offsets = {offset for _, _, offset in _segments(name)}
            if len(offsets) == 1:
                steady.append(name)
            elif all(offset % 3600 == 0 for offset in offsets) and _changes_are_plain(name):
                changing.append(name)
    return tuple(changing), tuple(steady)


@cache
def _segments(name: str) -> tuple[Segment, ...]:
    zone = find_zone(name)
    last = int(datetime(YEARS[-1] + 5, 1, 1, tzinfo=UTC).timestamp())
    first = int(datetime(YEARS[0], 1, 1, tzinfo=UTC).timestamp())
    return tuple(each for block in range(first >> BLOCK_BITS, (last >> BLOCK_BITS) + 1) for each in zone.segments(block))


def _changes_are_plain(name: str) -> bool:
    segments = _segments(name)
    changing = [(a[2], b[2], b[0]) for a, b in zip(segments, segments[1:], strict=False) if a[2] != b[2]]
    return all(abs(after - before) < 3 * 3600 and at % 3600 == 0 for before, after, at in changing)


@cache
def changes(name: str) -> tuple[int, ...]:
    """Return the instants at which a zone's clock changes."""
    segments = _segments(name)
    return tuple(sorted({b[0] for a, b in zip(segments, segments[1:], strict=False) if a[1] == b[0] and a[2] != b[2]}))


@cache
def touches_midnight(name: str) -> bool:
    """Return whether a change of this zone's clock skips or repeats a midnight."""
    segments = _segments(name)
    for before, after in zip(segments, segments[1:], strict=False):
        shown = sorted((after[0] + before[2], after[0] + after[2]))
        if before[2] != after[2] and -(-shown[0] // DAY) * DAY <= shown[1]:
            return True
    return False


def pairs(seed: int, *, step: int = 1) -> Iterator[Pair]:
    """Yield pairs without end, the same ones for the same seed: mostly five fields, half of the starts near a change."""
    dice = random.Random(seed)
    changing, steady = zones(step)
    while True:
        seconds = dice.random() < 0.15
        zone = dice.choice(steady if seconds or dice.random() < 0.1 else changing)
        expression = " ".join([_field(dice, 59)] * seconds + [_minutes(dice), _hours(dice), *_dates(dice)])
        if _is_wildcard(expression) and not seconds and touches_midnight(zone):
            continue
        start = int(datetime(dice.choice(YEARS), 1, 1, tzinfo=UTC).timestamp()) + dice.randrange(365 * DAY)
        if changes(zone) and dice.random() < 0.6:
            start = dice.choice(changes(zone)) + dice.randrange(-2 * DAY, DAY)
        if datetime.fromtimestamp(start, ZoneInfo(zone)).fold == 0:
            yield Pair(expression=expression, zone=zone, start=start)


def _is_wildcard(expression: str) -> bool:
    return any(part.startswith("*") for part in expression.split()[-5:-3])


def _minutes(dice: random.Random) -> str:
    return dice.choice([_field(dice, 59), str(dice.randrange(60)), "0", "30", "*/10", "*"])


def _hours(dice: random.Random) -> str:
    return dice.choice([_field(dice, 23), _field(dice, 3), str(dice.randrange(4)), "*", "*"])


def _dates(dice: random.Random) -> list[str]:
    """Return day-of-month, month and day-of-week; each a star more often than not."""
    day = _star_or(dice, lambda: dice.choice([_field(dice, 31, low=1), "L", "LW", "L,15", "1,L"]))
    month = _star_or(dice, lambda: dice.choice([_field(dice, 12, low=1), dice.choice(MONTHS), "3,10", "MAR-NOV/8"]))
    nth = f"{dice.choice([*WEEKDAYS, str(dice.randrange(8))])}#{dice.randint(1, 5)}"
    weekday = _star_or(
        dice, lambda: dice.choice([_field(dice, 7), dice.choice(WEEKDAYS), "0", "7", "MON-FRI", f"{dice.randrange(8)}L", nth])
    )
    return [day, month, weekday]


def _star_or(dice: random.Random, other: object) -> str:
    assert callable(other)
    return "*" if dice.random() < 0.6 else str(other())


def _field(dice: random.Random, high: int, *, low: int = 0) -> str:
    return ",".join(_item(dice, low, high) for _ in range(dice.choice([1, 1, 2, 3])))


def _item(dice: random.Random, low: int, high: int) -> str:
    first = dice.randint(low, high - 1)
    last = dice.randint(first + 1, high)
    step = dice.randint(1, high)
    return dice.choice([str(first), str(last), f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}", "*"])


def difference(pair: Pair) -> str:
    """Return how the two answers differ, "" when they do not."""
    there = _cronsim(pair)
    try:
        rule = CronRecurrence(parse_cron(pair.expression), find_zone(pair.zone))
    except OffbeatError as refused:
        return f"{pair}: offbeat refuses it: {refused.problems[0].what}"
    here: list[int] = []
    while len(here) < max(len(there), 1) and (due := rule.next_after(here[-1] if here else pair.start)) is not None:
        if not there and due > pair.start + GIVES_UP * 365 * DAY:
            break
        here.append(due)
    if here != there:
        return f"{pair}: cronsim {_shown(there, pair)}, offbeat {_shown(here, pair)}"
    if there and list(rule.due_times(pair.start, there[-1])) != there:
        return f"{pair}: due_times does not give what next_after gives"
    return ""


def _cronsim(pair: Pair) -> list[int]:
    start = datetime.fromtimestamp(pair.start, UTC if pair.zone == "UTC" else ZoneInfo(pair.zone))
    try:
        found = [int(due.timestamp()) for due in islice(cronsim.CronSim(pair.expression, start), COMPARED)]
    except cronsim.CronSimError:  # what it says to a date that never comes
        return []
    return found


def _shown(instants: list[int], pair: Pair) -> str:
    tz = ZoneInfo(pair.zone)
    return " ".join(datetime.fromtimestamp(each, tz).strftime("%Y-%m-%dT%H:%M:%S%z") for each in instants[:4]) or "never"
