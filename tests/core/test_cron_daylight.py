"""Daylight saving, minute by minute: the engine against a plain telling of how Debian's daemon goes through the minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.zones import find_zone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXPRESSIONS = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 * * * *",
    "15 */2 * * *",
    "*/20 0-3 * * *",
    "30 0-23 * * *",
    "5,35 1,2,3 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "45 1 * * *",
    "59 23 * * *",
    "0 3 * * *",
    "28-31 0-3 * * sun",
    "1-59/9 0-4 1-15 * sat",
    "30 23 */2 * *",
)
WEEKS = (  # zone, a day whose neighbourhood has one change of the clock or more
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Apia", "2021-04-04"),
    ("Europe/Dublin", "2026-03-29"),
    ("Europe/Dublin", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Asia/Beirut", "2022-03-27"),
    ("Asia/Kathmandu", "1986-01-01"),
    ("Asia/Pyongyang", "2018-05-05"),
    ("Antarctica/Troll", "2040-10-28"),
    ("America/Noronha", "2000-10-11"),
    ("Asia/Kolkata", "2026-03-01"),
)


def shown_minutes(zone: str, around: str) -> list[tuple[int, datetime]]:
    """Return each minute from 3 days before to 4 days after, with what the clock shows in it."""
    local, middle = ZoneInfo(zone), datetime.fromisoformat(around).replace(tzinfo=UTC)
    instants = (middle + timedelta(minutes=minute) for minute in range(-3 * 1440, 4 * 1440))
    return [((instant - EPOCH) // timedelta(seconds=1), instant.astimezone(local).replace(tzinfo=None)) for instant in instants]


class Naive:
    """An expression as sets of numbers; reads only what EXPRESSIONS has."""

    def __init__(self, expression: str) -> None:
        parts = expression.replace("sun", "0").replace("sat", "6").split()
        lows, highs = (0, 0, 1, 1, 0), (59, 23, 31, 12, 6)
        self.sets = [self.numbers(*each) for each in zip(parts, lows, highs, strict=True)]
        self.wildcard = parts[0][0] == "*" or parts[1][0] == "*"
        self.both = parts[2][0] == "*" or parts[4][0] == "*"

    @staticmethod
    def numbers(text: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for item in text.split(","):
            body, _, step = item.partition("/")
            first, _, last = (f"{low}-{high}" if body == "*" else body).partition("-")
            found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
        return found

    def matches(self, shown: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.sets
        if shown.minute not in minutes or shown.hour not in hours or shown.month not in months:
            return False
        day, weekday = shown.day in days, shown.isoweekday() % 7 in weekdays
        return day and weekday if self.both else day or weekday


def daemon(rule: Naive, minutes: list[tuple[int, datetime]]) -> Iterator[int]:
    """Yield when Debian's daemon would start the line. It keeps a virtual clock that never goes back."""
    minute = timedelta(minutes=1)
    virtual = minutes[0][1]
    for instant, shown in minutes[1:]:
        ahead = (shown - virtual) // minute
        if ahead > 180 or ahead <= -180:  # somebody set the clock
            virtual, due = shown, rule.matches(shown)
        elif ahead <= 0:  # gone back: fixed times wait until the virtual clock is reached again
            due = rule.wildcard and rule.matches(shown)
        else:
            missed = [virtual + minute * step for step in range(1, ahead + 1)]
            made_up = not rule.wildcard or ahead <= 5
            due = any(map(rule.matches, missed)) if made_up else rule.matches(shown)
            virtual = shown
        if due:
            yield instant


def assert_every_way_gives(rule: CronRecurrence, begin: int, end: int, expected: list[int]) -> None:
    """Ask for (begin, end] as a whole, forwards one by one, and backwards one by one."""
    assert list(rule.due_times(begin, end)) == expected
    walked, due = [], rule.next_after(begin)
    while due is not None and due <= end:
        walked.append(due)
        due = rule.next_after(due)
    assert walked == expected
    backwards, last = [], rule.last_at_or_before(end)
    while last is not None and last > begin:
        backwards.append(last)
        last = rule.last_at_or_before(last - 1)
    assert backwards[::-1] == expected


@pytest.mark.parametrize(("zone", "around"), WEEKS, ids=[f"{zone}-{day}" for zone, day in WEEKS])
def test_a_week_with_a_clock_change_goes_as_debians_daemon_goes_through_it(zone: str, around: str) -> None:
    minutes = shown_minutes(zone, around)
    begin, end = minutes[0][0], minutes[-1][0]

    for expression in EXPRESSIONS:
        rule = CronRecurrence(parse_cron(expression), find_zone(zone))
        expected = list(daemon(Naive(expression), minutes))
        assert_every_way_gives(rule, begin, end, expected)


BY_SECOND: tuple[tuple[str, str], ...] = (
    ("30", "30 2 * * *"),
    ("0,20,59", "0 * * * *"),
    ("*/25", "*/20 0-3 * * *"),
    ("5-7", "28-31 0-3 * * sun"),
    ("59", "30 0-23 * * *"),
    ("0-59/20", "15 */2 * * *"),
    ("58", "30 0 * * *"),
)
