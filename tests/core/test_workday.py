"""Days off and working days, held to the plainest way of working them out; and searches that end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.recurrences.composite import LONGEST, Workday, any_text
from offbeat.core.recurrences.exclusions import Exclusions, merge_spans, read_span, span_text
from offbeat.core.recurrences.localdays import local_days
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.workday import FARTHEST
from offbeat.errors import ScheduleError

DAY = 86_400
EPOCH = date(1970, 1, 1).toordinal()
START = date(2026, 3, 1).toordinal() - EPOCH
SPANS = st.lists(st.tuples(st.integers(START, START + 60), st.integers(0, 9)), max_size=6)
ZONES = st.sampled_from(["UTC", "Europe/Sofia", "America/New_York", "Africa/Casablanca"])


def plainly(base: str, zone: str, off: set[int], workday: Workday | None) -> set[int]:
    """Return what is due around START, by walking from day to day."""
    days = local_days(zone)
    found = set()
    for due in compile_recurrence(base, zone).due_times((START - 120) * DAY, (START + 200) * DAY):
        day = days.day_of(due)
        if day not in off:
            found.add(due)
        elif workday in (Workday.NEXT, Workday.PREVIOUS):
            to = day
            while to in off:
                to += 1 if workday is Workday.NEXT else -1
            if abs(to - day) <= FARTHEST:
                found.add(days.zone.first_instant(to * DAY + days.shown(due) % DAY))
    return found


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["cron 30 2 * * *", "cron 0 0,12 1,15 * *", "every 50000 0", "cron 45 23 * * 1-5"]),
    ZONES,
    SPANS,
    st.sampled_from([None, *Workday]),
    st.sampled_from([(0, 6), (5, 6), ()]),
)
def test_days_off_and_working_days_are_what_walking_from_day_to_day_says(
    base: str, zone: str, spans: list[tuple[int, int]], workday: Workday | None, weekend: tuple[int, ...]
) -> None:
    excluded = [span_text(first, first + more) for first, more in spans]
    off = {day for first, more in spans for day in range(first, first + more + 1)}
    if workday is not None:
        off |= {day for day in range(START - 200, START + 300) if (day + 4) % 7 in weekend}
    rule = compile_recurrence(any_text([base], excluded=excluded, workday=workday, weekend=weekend), zone)
    after, until = START * DAY, (START + 70) * DAY

    expected = sorted(due for due in plainly(base, zone, off, workday) if after < due <= until)

    assert list(rule.due_times(after, until)) == expected
    assert rule.next_after(after) == expected[0] if expected else True
    assert rule.last_at_or_before(until) == expected[-1] if expected else True


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 20)), max_size=10))
def test_merged_spans_hold_the_same_days_and_do_not_touch(spans: list[tuple[int, int]]) -> None:
    closed = [(first, first + more) for first, more in spans]

    merged = merge_spans(closed)

    assert {d for a, b in merged for d in range(a, b + 1)} == {d for a, b in closed for d in range(a, b + 1)}
    assert all(later[0] > earlier[1] + 1 for earlier, later in zip(merged, merged[1:], strict=False))
    assert all(read_span(span_text(*span)) == span for span in merged)


@pytest.mark.parametrize("workday", [None, *Workday])
@pytest.mark.parametrize(
    ("base", "excluded"),
    [
        ("cron * * * * *", ["cron * * * * *"]),
        ("every 1 0", ["1970-01-01/2999-12-31"]),
        ("cron 0 0 29 2 *", ["cron * * 29 2 *"]),
        ("at 1772366400", ["2026-03-01"]),
    ],
)
def test_a_search_among_exclusions_that_leave_nothing_ends(base: str, excluded: list[str], workday: Workday | None) -> None:
    rule = compile_recurrence(any_text([base], excluded=excluded, workday=workday), "Europe/Sofia")
    after = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

    found, before = rule.next_after(after), rule.last_at_or_before(after)

    assert found is None or found > after + 365 * DAY or workday in (Workday.NEXT, Workday.PREVIOUS)
    assert before is None or before < after
    assert len(list(rule.due_times(after, after + 30 * DAY))) <= 1


@pytest.mark.parametrize("days", [FARTHEST, FARTHEST + 1])
def test_nothing_is_moved_further_than_three_months(days: int) -> None:
    first = date(2026, 1, 1)
    excluded = f"{first}/{first + timedelta(days=days - 1)}"
    noon = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
    rule = compile_recurrence(any_text([f"at {noon}"], excluded=[excluded], workday=Workday.NEXT, weekend=()), "UTC")

    assert rule.next_after(noon) == (noon + days * DAY if days <= FARTHEST else None)


def test_two_that_meet_on_a_working_day_are_due_once() -> None:
    friday = int(datetime(2026, 3, 6, 9, tzinfo=UTC).timestamp())
    text = any_text(["cron 0 9 * * *"], workday=Workday.PREVIOUS)

    assert list(compile_recurrence(text, "UTC").due_times(friday - 1, friday + 4 * DAY)) == [
        *(friday, friday + 3 * DAY, friday + 4 * DAY),
    ]


def test_a_composite_that_is_far_too_long_is_refused() -> None:
    dates = [span_text(day, day) for day in range(0, 12_000, 2)]

    with pytest.raises(ScheduleError, match=str(LONGEST)) as refused:
        any_text(["every 60 0"], excluded=dates)

    assert refused.value.problems[0].code == "S163"


@pytest.mark.parametrize(
    "text",
    [
        *("any", "any {}", "any []", "any 5", 'any {"of":[]}', 'any {"of":"x"}', 'any {"of":[5]}', "any " + "[" * 5000),
        *('any {"of":["every 60 0"],"workday":"x"}', 'any {"of":["any {}"]}', 'any {"of":["every 60 0"],"except":[1]}'),
        'any {"of":["every 60 0"],"except":["nonsense"]}',
    ],
)
def test_a_text_that_is_no_composite_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        compile_recurrence(text, "UTC")

    assert refused.value.problems[0].code == "S109"


def test_hours_off_are_only_those_hours() -> None:
    exclusions = Exclusions(["100/200", "150/260"], local_days("UTC"), compile_recurrence)

    assert [exclusions.hours_around(at) for at in (99, 100, 259, 260)] == [None, (100, 259), (100, 259), None]
