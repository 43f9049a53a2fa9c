"""The sun: every event once, as astral says it, and nights that last for months."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from astral import Observer
from astral.sun import dawn, dusk, sunrise, sunset

from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.solar import ALIASES, EVENTS, solar_text
from offbeat.errors import ScheduleError

YEAR = range(366)


def seconds(at: datetime) -> int:
    return round(at.timestamp())


@pytest.mark.parametrize(("event", "theirs"), [("sunrise", sunrise), ("sunset", sunset), ("dawn", dawn), ("dusk", dusk)])
@pytest.mark.parametrize(
    ("zone", "latitude", "longitude"),
    [("Europe/Sofia", 42.7, 23.3), ("Pacific/Auckland", -36.8, 174.8), ("America/Bogota", 4.7, -74.1), ("UTC", 0.0, 0.0)],
)
def test_every_day_has_the_event_that_astral_names(
    event: str, theirs: object, zone: str, latitude: float, longitude: float
) -> None:
    rule = compile_recurrence(solar_text(event, latitude, longitude), zone)
    days = [date(2026, 1, 1) + timedelta(days=number) for number in YEAR]
    place = Observer(latitude, longitude, 0.0)
    expected = [seconds(theirs(place, day, tzinfo=ZoneInfo(zone))) for day in days]  # type: ignore[operator]

    assert list(rule.due_times(expected[0] - 1, expected[-1])) == expected


def test_an_offset_may_be_negative() -> None:
    start = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
    plain, early = (compile_recurrence(solar_text("sunset", 42.7, 23.3, offset), "UTC") for offset in (0, -1800))

    assert [due - 1800 for due in plain.due_times(start + 1800, start + 864_000)] == list(
        early.due_times(start, start + 862_200)
    )


def test_a_polar_night_is_skipped_and_the_search_ends() -> None:
    rule = compile_recurrence(solar_text("sunrise", 78.2, 15.6), "Arctic/Longyearbyen")
    december = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())

    found, before = rule.next_after(december), rule.last_at_or_before(december)

    assert found is not None
    assert before is not None
    assert datetime.fromtimestamp(found, UTC).month == 2
    assert datetime.fromtimestamp(before, UTC).month == 10
    assert list(rule.due_times(december, found)) == [found]


@pytest.mark.parametrize("event", [*EVENTS, *ALIASES])
def test_every_name_is_an_event(event: str) -> None:
    rule = compile_recurrence(solar_text(event, 42.7, 23.3), "UTC")

    assert rule.next_after(0) is not None


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("sunsett", 0.0, 0.0), 'did you mean "sunset"'),
        (("x", 0.0, 0.0), "use one of"),
        (("noon", float("nan"), 0.0), "latitude"),
        (("noon", 0.0, 180.5), "longitude"),
        (("noon", 0.0, 0.0, 86_401), "-30m"),
    ],
)
def test_what_is_no_event_of_the_sun_is_refused(arguments: tuple[str, float, float], fix: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        solar_text(*arguments)

    assert refused.value.problems[0].code == "S160"
    assert fix in refused.value.problems[0].fix


@pytest.mark.parametrize(
    "text", ["solar noon 1 2 3", "solar x 1.0 2.0 3", "solar noon 1.0 2.0", "solar", "solar noon 1.0 2.0 1e3"]
)
def test_a_text_that_is_not_resolved_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        compile_recurrence(text, "UTC")

    assert refused.value.problems[0].code == "S109"


@pytest.mark.parametrize(("latitude", "longitude"), [(28.6, 77.2), (23.8, 90.4), (51.2, 71.4), (55.0, 82.9), (0.0, 90.0)])
@pytest.mark.parametrize("event", ["sunrise", "dawn_civil", "sunset"])
def test_no_day_goes_without_its_event_where_the_sun_rises_daily(latitude: float, longitude: float, event: str) -> None:
    rule = compile_recurrence(f"solar {event} {latitude} {longitude} 0", "UTC")
    due = list(rule.due_times(1_767_225_600, 1_767_225_600 + 366 * 86_400))

    assert {round((b - a) / 86_400) for a, b in zip(due, due[1:], strict=False)} == {1}
    assert 366 <= len(due) <= 367
