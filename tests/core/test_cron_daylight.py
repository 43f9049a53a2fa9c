"""Daylight saving, minute by minute: the engine against a plain telling of how Debian's daemon goes through the minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest

from offbeat.core.cron import CronRecurrence
from offbeat.core.cronfields import parse_cron
from offbeat.core.zones import BLOCK_BITS, Zone, find_zone

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


BY_SECOND = (("30", "30 2 * * *"), ("0,20,59", "0 * * * *"), ("*/25", "*/20 0-3 * * *"), ("5-7", "28-31 0-3 * * sun"))
BY_SECOND += (("59", "30 0-23 * * *"), ("0-59/20", "15 */2 * * *"), ("58", "30 0 * * *"))


def each_second(seconds: str, minutes: list[int], begin: int, end: int) -> list[int]:
    """Return the seconds of the due minutes: six fields are due in the minutes that the five name, at the seconds they name."""
    return [
        minute + second
        for minute in minutes
        for second in sorted(Naive.numbers(seconds, 0, 59))
        if begin < minute + second <= end
    ]


@pytest.mark.parametrize(("zone", "around"), WEEKS, ids=[f"{zone}-{day}" for zone, day in WEEKS])
def test_six_fields_are_due_at_their_seconds_of_the_minutes_that_debians_daemon_would_take(zone: str, around: str) -> None:
    minutes = shown_minutes(zone, around)
    begin, end = minutes[0][0] + 59, minutes[-1][0]

    for seconds, expression in BY_SECOND:
        rule = CronRecurrence(parse_cron(f"{seconds} {expression}"), find_zone(zone))
        expected = each_second(seconds, list(daemon(Naive(expression), minutes)), begin, end)
        assert_every_way_gives(rule, begin, end, expected)


class Invented(tzinfo):
    """A zone that is UTC until its first change. changes: (instant, offset in minutes from there on), oldest first."""

    def __init__(self, changes: list[tuple[int, int]]) -> None:
        self.changes = changes

    def fromutc(self, instant: datetime) -> datetime:
        seconds = (instant.replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
        minutes = [0] + [offset for start, offset in self.changes if start <= seconds]
        return instant.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes[-1])))

    def utcoffset(self, instant: datetime | None) -> timedelta:
        raise NotImplementedError

    def dst(self, instant: datetime | None) -> timedelta:
        raise NotImplementedError

    def tzname(self, instant: datetime | None) -> str:
        raise NotImplementedError


EDGE = 60 << BLOCK_BITS  # between two of the blocks that zones are worked out in, and on a whole minute
CHANGES = {
    "back at the edge of a block": [(EDGE, -60)],
    "back just after the edge": [(EDGE + 1800, -60)],
    "back just before the edge": [(EDGE - 1800, -60)],
    "forward at the edge": [(EDGE, 60)],
    "forward just before the edge": [(EDGE - 60, 60)],
    "back, and forward before the time is caught up": [(EDGE - 86_400, -60), (EDGE - 84_600, 30)],
    "forward, and back at once": [(EDGE - 86_400, 60), (EDGE - 84_600, -30)],
    "forward twice": [(EDGE - 86_400, 60), (EDGE - 85_200, 120)],
    "forward by three hours, and back by them": [(EDGE - 86_400, 180), (EDGE + 86_400, 0)],
    "forward by a minute less": [(EDGE - 86_400, 179), (EDGE + 86_400, 0)],
    "back over midnight at the edge": [(EDGE - 2_000_000, 480), (EDGE, 420)],
    "back by three hours": [(EDGE - 86_400, -180)],
    "back by a minute more": [(EDGE - 86_400, -181)],
    "forward by five minutes": [(EDGE - 86_400, 5), (EDGE + 86_400, 0)],
    "forward by four minutes": [(EDGE - 86_400, 4), (EDGE + 86_400, 0)],
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_changes_that_no_zone_has_had_go_as_in_debians_daemon_too(changes: list[tuple[int, int]]) -> None:
    invented = Invented(changes)
    instants = range(EDGE - 2 * 86_400, EDGE + 2 * 86_400, 60)
    minutes = [(instant, datetime.fromtimestamp(instant, invented).replace(tzinfo=None)) for instant in instants]
    zone = Zone("Invented", invented)
    edge = datetime.fromtimestamp(EDGE - 1800, invented)
    date, time = f"{edge.day} {edge.month}", f"{edge.minute + 8} {edge.hour}"
    hours, weekdays = f"*/{edge.hour or 24}", f"*/{edge.isoweekday()}"
    beside = (f"{time} {date} *", f"{time} * * *", f"*/10 {edge.hour} {date} *", "7 * * * *", "10 16 * * *")
    years_apart = (f"*/10 {edge.hour} {date} {weekdays}", f"{edge.minute + 8} {hours} {date} {weekdays}")

    for expression in EXPRESSIONS + beside + years_apart:
        expected = list(daemon(Naive(expression), minutes))
        assert_every_way_gives(CronRecurrence(parse_cron(expression), zone), minutes[0][0], minutes[-1][0], expected)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_six_fields_keep_to_the_same_minutes_there(changes: list[tuple[int, int]]) -> None:
    invented = Invented(changes)
    instants = range(EDGE - 2 * 86_400, EDGE + 2 * 86_400, 60)
    minutes = [(instant, datetime.fromtimestamp(instant, invented).replace(tzinfo=None)) for instant in instants]
    zone = Zone("Invented", invented)
    begin, end = minutes[0][0] + 59, minutes[-1][0]

    for seconds, expression in (
        *BY_SECOND,
        ("*/9", f"{(EDGE // 60) % 60} * * * *"),
        ("50", "32 * * * *"),
        ("1-59/29", "* 16,17 * * *"),
    ):
        expected = each_second(seconds, list(daemon(Naive(expression), minutes)), begin, end)
        assert_every_way_gives(CronRecurrence(parse_cron(f"{seconds} {expression}"), zone), begin, end, expected)


def test_what_is_made_up_for_over_the_edge_of_a_block_keeps_all_its_seconds() -> None:
    """The block begins 32 seconds into the minute in which 01:12 becomes 02:12."""
    edge = 61 << BLOCK_BITS
    minute = edge - 32
    rule = CronRecurrence(parse_cron("*/10 30 1 * * *"), Zone("Invented", Invented([(minute, 60)])))

    assert_every_way_gives(rule, minute - 600, minute + 600, [minute + second for second in range(0, 60, 10)])
    assert rule.next_after(edge - 20) == minute + 20
    assert rule.last_at_or_before(edge) == minute + 30
    assert list(rule.due_times(edge, edge + 9)) == [minute + 40]


def test_a_gap_that_ends_within_a_minute_is_made_up_for_at_the_next_whole_minute() -> None:
    rule = CronRecurrence(parse_cron("0 17 * * *"), Zone("Invented", Invented([(EDGE + 30, 60)])))  # 16:32:30 becomes 17:32:30

    assert rule.next_after(EDGE) == rule.last_at_or_before(EDGE + 90) == EDGE + 60
    assert list(rule.due_times(EDGE, EDGE + 90)) == [EDGE + 60]


def test_an_offset_that_no_whole_minute_sees_is_passed_over() -> None:
    rule = CronRecurrence(parse_cron("0 17 * * *"), Zone("Invented", Invented([(EDGE + 10, 60), (EDGE + 40, 120)])))

    assert rule.next_after(EDGE) == rule.last_at_or_before(EDGE + 90) == EDGE + 60


def test_the_weeks_have_gaps_and_repeated_hours_of_every_size() -> None:
    """Else the test above would prove little."""
    changes = set()
    for zone, around in WEEKS:
        minutes = [shown for _, shown in shown_minutes(zone, around)]
        changes |= {(after - before) // timedelta(minutes=1) - 1 for before, after in zip(minutes, minutes[1:], strict=False)}

    assert changes >= {60, -60, 30, -30, 15, -120, 1440}


NEW_YORK: tuple[tuple[str, str, list[str]], ...] = (
    ("30 2 * * *", "2026-03-08", ["03:00-04:00"]),
    ("*/30 2 * * *", "2026-03-08", []),
    ("30 1-3 * * *", "2026-03-08", ["01:30-05:00", "03:00-04:00", "03:30-04:00"]),
    ("15 */2 * * *", "2026-03-08", ["00:15-05:00", "04:15-04:00"]),
    ("30 1 * * *", "2026-11-01", ["01:30-04:00"]),
    ("0 1 * * *", "2026-11-01", ["01:00-04:00"]),
    ("0 * * * *", "2026-11-01", ["00:00-04:00", "01:00-04:00", "01:00-05:00", "02:00-05:00", "03:00-05:00", "04:00-05:00"]),
    ("*/30 1 * * *", "2026-11-01", ["01:00-04:00", "01:30-04:00", "01:00-05:00", "01:30-05:00"]),
    ("30 0-2 * * *", "2026-11-01", ["00:30-04:00", "01:30-04:00", "02:30-05:00"]),
)


@pytest.mark.parametrize(("expression", "day", "expected"), NEW_YORK, ids=[f"{each[0]} {each[1]}" for each in NEW_YORK])
def test_the_examples_of_the_documentation_hold(expression: str, day: str, expected: list[str]) -> None:
    zone = ZoneInfo("America/New_York")
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    until = midnight.replace(hour=4, minute=30)
    rule = CronRecurrence(parse_cron(expression), find_zone("America/New_York"))

    due = rule.due_times(int(midnight.timestamp()) - 1, int(until.timestamp()))

    assert [
        datetime.fromtimestamp(each, zone).isoformat()[11:16] + datetime.fromtimestamp(each, zone).isoformat()[19:]
        for each in due
    ] == expected


def test_a_start_in_the_second_pass_never_gives_an_instant_before_it() -> None:
    rule = CronRecurrence(parse_cron("30 1 * * *"), find_zone("America/New_York"))
    second_pass = int(datetime(2026, 11, 1, 6, 10, tzinfo=UTC).timestamp())  # 01:10, the second time

    assert rule.next_after(second_pass) == int(datetime(2026, 11, 2, 6, 30, tzinfo=UTC).timestamp())
    assert rule.last_at_or_before(second_pass) == int(datetime(2026, 11, 1, 5, 30, tzinfo=UTC).timestamp())
