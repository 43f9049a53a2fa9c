"""The calendar period that an executed link stands for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from offbeat.core.period import due_in_period, period
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.settings import TIMES
from offbeat.errors import ScheduleError


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("directory", "now", "zone", "first", "last"),
    [
        ("minutely", "2026-03-01T10:05:30Z", "UTC", "2026-03-01T10:05:00Z", "2026-03-01T10:05:59Z"),
        ("hourly", "2026-03-01T10:05:30Z", "UTC", "2026-03-01T10:00:00Z", "2026-03-01T10:59:59Z"),
        ("hourly", "2026-03-01T10:05:30Z", "Asia/Kolkata", "2026-03-01T09:30:00Z", "2026-03-01T10:29:59Z"),
        ("hourly", "2026-10-25T01:10:00Z", "Europe/Sofia", "2026-10-25T01:00:00Z", "2026-10-25T01:59:59Z"),
        ("daily", "2026-03-01T23:30:00Z", "Europe/Sofia", "2026-03-02T00:00:00+02:00", "2026-03-02T23:59:59+02:00"),
        ("daily", "2026-03-29T12:00:00Z", "Europe/Sofia", "2026-03-29T00:00:00+02:00", "2026-03-29T23:59:59+03:00"),
        ("weekly", "2026-03-01T12:00:00Z", "UTC", "2026-02-23T00:00:00Z", "2026-03-01T23:59:59Z"),
        ("weekly", "2026-03-02T00:00:00Z", "UTC", "2026-03-02T00:00:00Z", "2026-03-08T23:59:59Z"),
        ("monthly", "2026-12-31T23:59:59Z", "UTC", "2026-12-01T00:00:00Z", "2026-12-31T23:59:59Z"),
        ("monthly", "2028-02-29T12:00:00Z", "UTC", "2028-02-01T00:00:00Z", "2028-02-29T23:59:59Z"),
    ],
)
def test_a_period_is_what_clocks_of_the_zone_show(directory: str, now: str, zone: str, first: str, last: str) -> None:
    after, until = period(directory, at(now), zone)

    assert (after + 1, until) == (at(first), at(last))


@pytest.mark.parametrize("directory", ["minutely", "hourly", "daily", "weekly", "monthly"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Sofia", "America/New_York", "Africa/Cairo", "America/Havana"])
def test_each_period_of_a_year_holds_exactly_one_due_time_and_touches_the_next(directory: str, zone: str) -> None:
    recurrence = compile_recurrence(f"cron {TIMES[directory]}", zone)
    now = start = at("2026-01-15T12:00:00Z")
    end = start + (400 * 86_400 if directory not in ("minutely", "hourly") else 3 * 86_400)

    while now < end:
        after, until = period(directory, now, zone)
        due = list(recurrence.due_times(after, until))
        assert len(due) == 1, datetime.fromtimestamp(now, UTC)
        assert due_in_period(recurrence, (after, until)) == due[0]
        assert period(directory, until + 1, zone)[0] == until
        now = until + 1


def test_of_several_due_times_the_first_counts_and_of_none_the_start() -> None:
    span = period("daily", at("2026-03-01T12:00:00Z"), "UTC")

    assert due_in_period(compile_recurrence("cron 0 6,18 * * *", "UTC"), span) == at("2026-03-01T06:00:00Z")
    assert due_in_period(compile_recurrence("cron 0 0 * * *", "UTC"), span) == at("2026-03-01T00:00:00Z")
    assert due_in_period(compile_recurrence("cron 0 6 5 * *", "UTC"), span) == at("2026-03-01T00:00:00Z")


def test_an_unknown_zone_is_a_problem() -> None:
    with pytest.raises(ScheduleError, match="Europe/Sofa"):
        period("daily", 0, "Europe/Sofa")
