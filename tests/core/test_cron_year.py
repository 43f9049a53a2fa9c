"""A whole year of minutes in thirty zones, one after the other, as Debian's daemon would go through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.zones import find_zone

ZONES = {  # and a year in which something happens
    "UTC": 2028,
    "America/New_York": 2026,
    "America/Havana": 2026,
    "America/St_Johns": 2006,
    "America/Santiago": 2022,
    "America/Sao_Paulo": 2018,
    "America/Caracas": 2007,
    "America/Nuuk": 2023,
    "America/Asuncion": 2024,
    "Europe/London": 1968,
    "Europe/Dublin": 2026,
    "Europe/Sofia": 2040,
    "Europe/Istanbul": 2016,
    "Europe/Volgograd": 2018,
    "Europe/Lisbon": 1992,
    "Africa/Casablanca": 2026,
    "Africa/El_Aaiun": 2030,
    "Africa/Cairo": 2023,
    "Asia/Beirut": 2022,
    "Asia/Amman": 2022,
    "Asia/Gaza": 2026,
    "Asia/Tehran": 2022,
    "Asia/Kathmandu": 1986,
    "Asia/Pyongyang": 2018,
    "Asia/Kolkata": 2026,
    "Antarctica/Troll": 2026,
    "Antarctica/Casey": 2010,
    "Australia/Lord_Howe": 2026,
    "Pacific/Apia": 2011,
    "Pacific/Chatham": 2096,
}
EVERY = range(60)
HOURS = range(24)
Day = Callable[[date], bool]


def is_weekday(day: date) -> bool:
    return day.isoweekday() < 6


def is_last(day: date) -> bool:
    return (day + timedelta(days=1)).month != day.month


def is_nearest_to_15th(day: date) -> bool:
    """Whether the 15th is today on a weekday, was yesterday on a Sunday, or will be tomorrow on a Saturday."""
    return is_weekday(day) and (
        day.day == 15 or day.isoweekday() == 1 and day.day == 16 or day.isoweekday() == 5 and day.day == 14
    )


def is_last_weekday(day: date) -> bool:
    later = (day + timedelta(days=ahead) for ahead in range(1, 4))
    return is_weekday(day) and not any(each.month == day.month and is_weekday(each) for each in later)


RULES: tuple[tuple[str, range | tuple[int, ...], range | tuple[int, ...], Day], ...] = (
    ("*/7 * * * *", EVERY[::7], HOURS, lambda day: True),
    ("30 * * * *", (30,), HOURS, lambda day: True),
    ("30 2 * * *", (30,), (2,), lambda day: True),
    ("0 0 * * *", (0,), (0,), lambda day: True),
    ("15,45 0-3 * * *", (15, 45), range(4), lambda day: True),
    ("*/20 */2 * * mon-fri", EVERY[::20], HOURS[::2], is_weekday),
    ("59 1-23/2 13 * fri", (59,), HOURS[1::2], lambda day: day.day == 13 or day.isoweekday() == 5),
    ("5 1 13 * +fri", (5,), (1,), lambda day: day.day == 13 and day.isoweekday() == 5),
    ("0 3 */2 * sun", (0,), (3,), lambda day: day.day % 2 == 1 and day.isoweekday() == 7),
    ("30 1 L * *", (30,), (1,), is_last),
    (
        "0-9 23 L-3 * ?",
        range(10),
        (23,),
        lambda day: (day + timedelta(days=3)).month == day.month and is_last(day + timedelta(days=3)),
    ),
    ("45 2 LW * *", (45,), (2,), is_last_weekday),
    ("15 2 15W * *", (15,), (2,), is_nearest_to_15th),
    (
        "30 2 * 3,10,11 sun#2,sunL",
        (30,),
        (2,),
        lambda day: (
            day.month in (3, 10, 11)
            and day.isoweekday() == 7
            and (day.day in range(8, 15) or (day + timedelta(days=7)).month != day.month)
        ),
    ),
    ("10 0 * * sat#5", (10,), (0,), lambda day: day.isoweekday() == 6 and day.day > 28),
)


def shown_minutes(zone: ZoneInfo, year: int) -> list[int]:
    """Return what the clock shows in each minute of a year UTC, in minutes since 1970; by the hour where nothing changes."""
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // 60
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()) // 60
    found: list[int] = []
    for hour in range(begin, end, 60):
        first, last = offset(zone, hour), offset(zone, hour + 59)
        offsets = [first] * 60 if first == last else [offset(zone, minute) for minute in range(hour, hour + 60)]
        found += [minute + shift for minute, shift in zip(range(hour, hour + 60), offsets, strict=True)]
    return found


def offset(zone: ZoneInfo, minute: int) -> int:
    shift = datetime.fromtimestamp(minute * 60, zone).utcoffset()
    assert shift is not None
    return shift // timedelta(minutes=1)


def daemon(matches: set[int], shown: list[int], wildcard: bool) -> Iterator[int]:
    """Yield the places of the minutes in which Debian's daemon would start a line; its virtual clock never goes back."""
    virtual = shown[0] - 1
    for place, now in enumerate(shown):
        ahead = now - virtual
        if ahead == 1 or ahead > 180 or ahead <= -180:
            virtual = now
            due = now in matches
        elif ahead <= 0:
            due = wildcard and now in matches
        else:
            due = (
                any(minute in matches for minute in range(virtual + 1, now + 1))
                if not wildcard or ahead <= 5
                else now in matches
            )
            virtual = now
        if due:
            yield place


def wall_times(rule: tuple[str, range | tuple[int, ...], range | tuple[int, ...], Day], year: int) -> set[int]:
    _, minutes, hours, matches = rule
    days = (date(year, 1, 1) + timedelta(days=ahead) for ahead in range(-3, 370))
    midnights = ((day - date(1970, 1, 1)).days * 1440 for day in days if matches(day))
    return {midnight + hour * 60 + minute for midnight in midnights for hour in hours for minute in minutes}


@pytest.mark.parametrize("number", range(len(ZONES)), ids=ZONES)
def test_every_minute_of_a_year_agrees(number: int) -> None:
    """Each zone takes a third of the rules, each rule meets ten zones."""
    name, year = list(ZONES.items())[number]
    shown = shown_minutes(ZoneInfo(name), year)
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())

    for rule in RULES[number % 3 :: 3]:
        recurrence = CronRecurrence(parse_cron(rule[0]), find_zone(name))
        wildcard = any(part.startswith("*") for part in rule[0].split()[:2])
        expected = [begin + place * 60 for place in daemon(wall_times(rule, year), shown, wildcard)]

        assert list(recurrence.due_times(begin - 1, begin + len(shown) * 60 - 1)) == expected, rule[0]
        assert_walks_agree(recurrence, expected, begin)


def assert_walks_agree(recurrence: CronRecurrence, expected: list[int], begin: int) -> None:
    """Go forwards and backwards, one by one, from every due time where they are few, from some of them where they are many."""
    some = slice(None, None, max(1, len(expected) // 2000))
    assert [recurrence.next_after(due) for due in expected[:-1][some]] == expected[1:][some]
    assert [recurrence.last_at_or_before(due - 1) for due in expected[1:][some]] == expected[:-1][some]
    assert recurrence.next_after(begin - 1) == expected[0]
