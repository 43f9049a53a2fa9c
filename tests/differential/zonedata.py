"""Due times around every change of every zone's clock, by whatever zone database this process finds; printed as JSON.

Run as a program, in a process of its own for each database: zoneinfo chooses one when Python starts (PYTHONTZPATH).
Arguments: take every n-th zone. Prints {"zones": {name: [rules, due]}}, both as digests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from zoneinfo import ZoneInfo, available_timezones

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.zones import find_zone, is_zone

FIRST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2045, 12, 31, tzinfo=UTC).timestamp())
DAY = 86_400
PROBE = 5 * DAY  # no stretch of these years is shorter
EXPRESSIONS = ("30 2 * * *", "0,30 0-3 * * *", "*/30 1-3 * * *", "15 * * * *", "0 0 * * *", "45 23 * * *")
ALWAYS = (
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "Asia/Beirut",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/Sofia",
    "Pacific/Apia",
    "Pacific/Chatham",
)


def changes(name: str) -> Iterator[tuple[int, int]]:
    """Yield (instant, new offset) for each change of a zone's clock, found without offbeat."""
    tz = ZoneInfo(name)

    def offset(instant: int) -> int:
        found = datetime.fromtimestamp(instant, tz).utcoffset()
        assert found is not None
        return found.days * DAY + found.seconds

    yield FIRST, offset(FIRST)
    for low in range(FIRST, LAST, PROBE):
        high = low + PROBE
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        yield high, offset(high)


def due_times(name: str, around: list[int]) -> Iterator[int]:
    """Yield the due times of EXPRESSIONS within a day and a half of each instant."""
    for expression in EXPRESSIONS:
        rule = CronRecurrence(parse_cron(expression), find_zone(name))
        for instant in around:
            yield from rule.due_times(instant - DAY, instant + DAY // 2)


def digest(numbers: object) -> str:
    return sha256(repr(numbers).encode()).hexdigest()[:16]


def main(step: int) -> None:
    names = sorted(name for name in available_timezones() if is_zone(name))
    chosen = sorted({*names[::step], *ALWAYS} & set(names))
    zones = {}
    for name in chosen:
        rules = list(changes(name))
        zones[name] = digest(rules), digest(list(due_times(name, [instant for instant, _ in rules])))
    sys.stdout.write(json.dumps({"zones": zones}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
