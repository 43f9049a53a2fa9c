"""When something is due, worked out the slow way: every minute is held against the rule, intervals are arithmetic.

Shares no line with offbeat.core. Knows only what schedule_maker draws: cron in numbers and stars, every, at, unions. No zone
is drawn whose clocks change within a run, so a wall clock is an offset here.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

CHUNK = 86_400  # seconds whose due times are worked out at once


def due_times(recurrence: str, zone: str, first: int, last: int) -> list[int]:
    """Return the due times in [first, last], both ends closed."""
    if last < first:
        return []
    kind, _, rest = recurrence.partition(" ")
    if kind == "every":
        seconds, offset = map(int, rest.split())
        return list(range(first + (offset - first) % seconds, last + 1, seconds))
    if kind == "at":
        return sorted(at for at in set(map(int, rest.split(","))) if first <= at <= last)
    if kind == "any":
        return sorted({at for member in json.loads(rest)["of"] for at in due_times(member, zone, first, last)})
    assert kind == "cron", recurrence
    return list(_cron_between(rest, zone, first, last))


def next_due(recurrence: str, zone: str, after: int, last: int) -> int | None:
    """Return the first due time in (after, last], None when there is none."""
    begin, step = after + 1, 3_600
    while begin <= last:
        found = due_times(recurrence, zone, begin, min(begin + step - 1, last))
        if found:
            return found[0]
        begin, step = begin + step, min(step * 4, 8 * CHUNK)
    return None


def _cron_between(fields: str, zone: str, first: int, last: int) -> Iterator[int]:
    for chunk in range(first // CHUNK, last // CHUNK + 1):
        times = _cron_of_a_day(fields, zone, chunk)
        yield from times[bisect_left(times, first) : bisect_right(times, last)]


@lru_cache(maxsize=20_000)
def _cron_of_a_day(fields: str, zone: str, chunk: int) -> tuple[int, ...]:
    minute, hour, day, month, weekday = (_numbers(field) for field in fields.split())
    found = []
    for instant in range(chunk * CHUNK, (chunk + 1) * CHUNK, 60):
        wall = _wall(zone, instant)
        if minute and wall[1] not in minute or hour and wall[0] not in hour or month and wall[3] not in month:
            continue
        by_day, by_weekday = not day or wall[2] in day, not weekday or wall[4] in weekday
        if (by_day or by_weekday) if day and weekday else (by_day and by_weekday):
            found.append(instant)
    return tuple(found)


def _wall(zone: str, instant: int) -> tuple[int, int, int, int, int]:
    """Return (hour, minute, day, month, weekday with Sunday 0) on a wall in that zone."""
    local = instant + _offset(zone, instant // CHUNK)
    day, month, weekday = _date(local // CHUNK)
    return local // 3600 % 24, local // 60 % 60, day, month, weekday


@lru_cache(maxsize=20_000)
def _offset(zone: str, chunk: int) -> int:
    there = datetime.fromtimestamp(chunk * CHUNK, tz=ZoneInfo(zone)).utcoffset()
    assert there is not None
    return int(there.total_seconds())


@lru_cache(maxsize=20_000)
def _date(days: int) -> tuple[int, int, int]:
    date = datetime.fromtimestamp(days * CHUNK, tz=ZoneInfo("UTC"))
    return date.day, date.month, date.isoweekday() % 7


def _numbers(field: str) -> frozenset[int] | None:
    """Return the numbers of a field like 5 or 1,30 or 1-5, None for any; only what schedule_maker draws."""
    if field == "*":
        return None
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        if span == "*":
            found.update(range(0, 60, int(step)))
        else:
            found.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return frozenset(found)
