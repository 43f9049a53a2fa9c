"""The conformance cases of the Open Cron Pattern Specification, 1.0 to 1.4, in our words: what matches, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from offbeat.core.recurrences.cron import Cron
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.errors import ScheduleError

MATCHES = (  # increment, pattern, times that match, times that do not
    ("1.0", "15 10 * * *", ["2025-03-10T10:15"], ["2025-03-10T10:14"]),
    ("1.0", "30 8 * jan Mon", ["2025-01-06T08:30"], ["2025-02-03T08:30"]),
    ("1.0", "5-59/15 9 * * *", [f"2025-03-10T09:{minute}" for minute in ("05", "20", "35", "50")], ["2025-03-10T09:15"]),
    ("1.0", "0 12 1 * MON", ["2025-10-01T12:00", "2025-10-06T12:00"], ["2025-10-07T12:00"]),
    ("1.0", "0 12 * * MON", ["2025-10-06T12:00"], ["2025-10-07T12:00"]),
    ("1.0", "0 12 1-31 * MON", ["2025-10-06T12:00", "2025-10-07T12:00"], ["2025-10-08T11:00"]),
    ("1.1", "@yearly", ["2026-01-01T00:00"], ["2026-01-02T00:00"]),
    ("1.1", "@monthly", ["2026-02-01T00:00"], ["2026-02-02T00:00"]),
    ("1.1", "@weekly", ["2025-10-05T00:00"], ["2025-10-06T00:00"]),
    ("1.1", "@daily", ["2025-10-07T00:00"], ["2025-10-07T00:01"]),
    ("1.1", "@hourly", ["2025-10-07T10:00"], ["2025-10-07T10:01"]),
    ("1.2", "15 10 * * *", ["2025-03-10T10:15:00"], ["2025-03-10T10:15:30"]),
    ("1.2", "30 15 10 * * *", ["2025-03-10T10:15:30"], ["2025-03-10T10:15:29"]),
    ("1.2", "0 15 10 * * * 2025", ["2025-03-10T10:15:00"], ["2026-03-10T10:15:00"]),
    ("1.2", "0 0 0 1 1 * 1970-2199/2", ["2026-01-01T00:00:00"], ["2025-01-01T00:00:00"]),
    ("1.2", "0 0 0 1 1 * */2", ["2026-01-01T00:00:00"], ["2025-01-01T00:00:00"]),
    ("1.3", "0 0 L * *", ["2025-02-28T00:00"], ["2025-02-27T00:00"]),
    ("1.3", "0 0 * * FRI#L", ["2025-02-28T00:00"], ["2025-02-21T00:00"]),
    ("1.3", "0 0 * * TUE#3", ["2025-06-17T00:00"], ["2025-06-10T00:00"]),
    ("1.3", "0 12 15W * *", ["2025-06-16T12:00"], ["2025-06-15T12:00"]),
    ("1.3", "0 12 1W * *", ["2025-02-03T12:00"], ["2025-02-01T12:00"]),
    ("1.4", "0 12 1 * MON", ["2025-09-01T12:00", "2025-09-08T12:00", "2025-10-01T12:00"], ["2025-10-07T12:00"]),
    ("1.4", "0 12 1 * +MON", ["2025-09-01T12:00"], ["2025-09-08T12:00", "2025-10-01T12:00"]),
)


@pytest.mark.parametrize(("increment", "pattern", "yes", "no"), MATCHES, ids=[f"{each[0]} {each[1]}" for each in MATCHES])
def test_a_pattern_matches_what_the_specification_says(increment: str, pattern: str, yes: list[str], no: list[str]) -> None:
    for text in (*yes, *no):
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        before = datetime.fromtimestamp(moment.timestamp() - 1, UTC)
        assert (Cron(pattern).next_after(before) == moment) is (text in yes), (increment, text)


REFUSED = (
    *(
        "60 0 * * *",
        "0 0 10-5 * *",
        "0 0 /30 * *",
        "0/15 * * * *",
        "10/10 * * * *",
        "*/0 * * * *",
        "@Daily",
        "@daily 0 0 * * *",
    ),
    *("0 12 1-15W * *", "0 12 +1 * MON", "? 12 * * *", "0 0 0 1 1 * 1969", "0 0 0 1 1 * 2200", "0 0 * * 5#6", "0 0 * * 1+"),
)


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_the_specification_forbids_is_refused(pattern: str) -> None:
    with pytest.raises(ScheduleError):
        parse_cron(pattern)


@pytest.mark.parametrize("pattern", ["* * 31 2 *", "15 10 * * *", "30 15 10 * * *", "0 15 10 * * * 2025", "  0 0 * * *\t"])
def test_what_it_demands_is_read(pattern: str) -> None:
    assert parse_cron(pattern)


def test_reboot_is_known_and_refused_with_the_reason_and_not_as_a_mistake_of_syntax() -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_cron("@reboot")

    (problem,) = refused.value.problems
    assert problem.code == "S120"
    assert "no start of a machine" in problem.what
