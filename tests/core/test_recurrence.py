"""Resolved texts, durations and instants: what is read, what is refused, and the three kinds behind one interface."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.recurrences.recurrence import (
    LONGEST,
    at_text,
    compile_recurrence,
    cron_text,
    every_text,
    format_duration,
    parse_duration,
    parse_instant,
)
from offbeat.errors import ScheduleError

SPANS = st.integers(1, LONGEST)
INSTANTS = st.integers(-(2**33), 2**35)


def code_of(error: pytest.ExceptionInfo[ScheduleError]) -> str:
    """Return the codes of a refusal."""
    return ",".join(problem.code for problem in error.value.problems)


@pytest.mark.parametrize(
    ("text", "zone", "after", "due"),
    [
        ("cron 30 4 * * 1", "Europe/Sofia", "2026-03-25T12:00:00Z", "2026-03-30T01:30:00Z"),
        ("every 2700 0", "Europe/Sofia", "2026-01-01T00:00:00Z", "2026-01-01T00:45:00Z"),
        ("every 2700 60", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        ("at 1767225600,1767229200", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
    ],
)
def test_each_kind_is_compiled_from_its_resolved_text(text: str, zone: str, after: str, due: str) -> None:
    start, expected = (int(datetime.fromisoformat(each).timestamp()) for each in (after, due))

    recurrence = compile_recurrence(text, zone)

    assert recurrence.next_after(start) == expected
    assert next(iter(recurrence.due_times(start, expected))) == expected
    assert recurrence.last_at_or_before(expected) == expected
    assert compile_recurrence(text, zone) is recurrence


@pytest.mark.parametrize(
    "text", ["", "cron", "every", "every 0 0", "every 10", "every -5 0", "at", "at x", "at 1,,2", "at 1, 2", "solar dawn"]
)
def test_a_text_that_is_not_resolved_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        compile_recurrence(text, "UTC")

    assert code_of(refused) in ("S109", "S101")


def test_an_at_list_ends() -> None:
    recurrence = compile_recurrence(at_text([30, 10, 20, 10]), "UTC")

    assert [recurrence.next_after(instant) for instant in (9, 10, 29, 30)] == [10, 20, 30, None]
    assert [recurrence.last_at_or_before(instant) for instant in (9, 10, 29, 99)] == [None, 10, 20, 30]
    assert list(recurrence.due_times(10, 30)) == [20, 30]


@given(SPANS, st.integers(0, LONGEST), INSTANTS, st.integers(0, 400))
def test_an_interval_is_anchored_to_the_epoch(seconds: int, offset: int, after: int, steps: int) -> None:
    recurrence = compile_recurrence(every_text(seconds, offset), "UTC")
    until = after + steps * seconds // 7

    due = list(recurrence.due_times(after, until))

    assert due == [instant for instant in due if (instant - offset) % seconds == 0 and after < instant <= until]
    assert all(later - earlier == seconds for earlier, later in pairwise(due))
    following = recurrence.next_after(after)
    assert following is not None
    assert (following - offset) % seconds == 0
    assert after < following <= after + seconds
    assert due[:1] == [following][: following <= until]
    assert recurrence.last_at_or_before(following) == following
    assert recurrence.last_at_or_before(following - 1) == following - seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45m", 2700),
        ("1h30m", 5400),
        ("90s", 90),
        ("2d", 172800),
        ("1w", 604800),
        ("1w2d3h4m5s", 788645),
        (90, 90),
        (" 1h 30m ", 5400),
    ],
)
def test_a_duration_is_read(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == seconds


def test_an_interval_ends_before_no_zone_can_show_it() -> None:
    century = compile_recurrence(every_text(36_525 * 86_400), "UTC")
    found: list[int] = []
    while (due := century.next_after(found[-1] if found else 0)) is not None:
        found.append(due)

    assert datetime.fromtimestamp(found[-1], UTC).year == 9970
    assert list(century.due_times(0, 10**12)) == found


@given(SPANS)
def test_a_formatted_duration_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("5 minutes", '"5m"'),
        ("45M", '"45m"'),
        ("1.5h", '"1h30m"'),
        ("PT5M", '"5m"'),
        ("10 sec.", '"10s"'),
        ("30m1h", "largest first"),
        ("", '"45m"'),
        ("0", '"45m"'),
        ("0s", '"45m"'),
        ("-5m", '"45m"'),
        ("5ms", '"45m"'),
        ("3 months", 'rrule = "FREQ=MONTHLY"'),
        ("1mo", 'cron = "30 4 1 * *"'),
        ("1M", 'cron = "30 4 1 * *"'),
        ("1y", 'cron = "30 4 1 1 *"'),
        ("2 years", 'rrule = "FREQ=YEARLY"'),
        (0, '"45m"'),
        ("90", '"90s" or "90m"'),
        (" 9 0 ", '"90s" or "90m"'),
        (-1, '"45m"'),
        (True, '"45m"'),
        ("101" + "0" * 9 + "s", '"45m"'),
        ("9" * 4096, '"45m"'),
        ("٤٥m", '"45m"'),
    ],
)
def test_another_duration_is_refused_with_a_fix(text: str | int, fix: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_duration(text)

    assert code_of(refused) == "S104"
    assert fix in refused.value.problems[0].fix
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("seconds", [0, -1, LONGEST + 1])
def test_an_interval_of_no_length_is_refused(seconds: int) -> None:
    with pytest.raises(ScheduleError) as refused:
        every_text(seconds)

    assert code_of(refused) == "S104"


def test_an_empty_at_list_is_refused() -> None:
    with pytest.raises(ScheduleError) as refused:
        at_text([])

    assert code_of(refused) == "S105"


def test_an_expression_and_a_zone_that_are_both_wrong_are_both_reported() -> None:
    with pytest.raises(ScheduleError) as refused:
        cron_text("0 25 * * *", zone="Europe/Sofa")

    assert code_of(refused) == "S103,S110"


def test_a_cron_text_is_canonical() -> None:
    assert cron_text(" 30 04  * * MON ", zone="Europe/Sofia") == "cron 30 4 * * 1"


@pytest.mark.parametrize(
    ("written", "zone", "instant"),
    [
        ("2026-03-01T04:30:00", "Europe/Sofia", "2026-03-01T02:30:00Z"),
        ("2026-03-01 04:30", "Europe/Sofia", "2026-03-01T02:30:00Z"),
        ("2026-03-01T04:30:00Z", "Europe/Sofia", "2026-03-01T04:30:00Z"),
        ("2026-03-01T04:30:00+05:30", "Europe/Sofia", "2026-02-28T23:00:00Z"),
        ("2026-03-01", "Europe/Sofia", "2026-02-28T22:00:00Z"),
        ("2026-03-08T02:30:00", "America/New_York", "2026-03-08T07:00:00Z"),
        ("2026-11-01T01:30:00", "America/New_York", "2026-11-01T05:30:00Z"),
        (datetime(2026, 3, 1, 4, 30), "Europe/Sofia", "2026-03-01T02:30:00Z"),  # noqa: DTZ001 - TOML has local times
        (datetime(2026, 3, 1, 4, 30, tzinfo=timezone(timedelta(hours=1))), "UTC", "2026-03-01T03:30:00Z"),
        (date(2026, 3, 1), "UTC", "2026-03-01T00:00:00Z"),
    ],
)
def test_an_instant_is_read(written: str | date, zone: str, instant: str) -> None:
    assert parse_instant(written, zone) == int(datetime.fromisoformat(instant).timestamp())


@pytest.mark.parametrize(
    "written",
    [
        "",
        "tomorrow",
        "2026-02-30",
        "2026-03-01T25:00:00",
        "2026-03-01T04:30:00.5",
        "20260301",
        "2026-W10-1",
        "1767225600",
        "9" * 4096,
    ]
    + ["2026-03-01T04:30:00 Europe/Sofia", "2026-03-01x04:30", "٢٠٢٦-03-01", "0000-01-01", "2026-03-01T04:30:00+25:00"],
)
def test_what_names_no_instant_is_refused(written: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_instant(written, "UTC")

    assert code_of(refused) == "S105"
    assert str(refused.value).isascii()


def test_a_time_without_a_date_is_refused() -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_instant(time(4, 30), "UTC")

    assert code_of(refused) == "S105"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_only_instants_that_every_zone_can_show_are_read(zone: str) -> None:
    for written in ("0001-01-01", "1969-12-31T23:59:59", "9999-12-31T23:59:59", "9999-12-31T23:59:59-14:00"):
        with pytest.raises(ScheduleError) as refused:
            parse_instant(written, zone)
        assert code_of(refused) == "S105"
    for written in ("1970-01-01", "9998-12-31T23:59:59-23:59"):
        assert datetime.fromtimestamp(parse_instant(written, zone), timezone(timedelta(hours=14)))


def test_an_unknown_zone_of_a_local_instant_is_refused() -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_instant(datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None), "Europe/Sofa")

    assert code_of(refused) == "S110"
