"""Rules of RFC 5545 where the clocks change: each local time once, COUNT and UNTIL kept, one answer from every question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.rruletext import rrule_text
from offbeat.errors import ScheduleError

NEW_YORK = "America/New_York"
FAR = 2_600_000_000
ZONES = (
    *("America/New_York", "Europe/Sofia", "Europe/Dublin", "Africa/Casablanca", "America/St_Johns", "Pacific/Chatham"),
    *("Australia/Lord_Howe", "Asia/Tehran", "Africa/Cairo", "America/Santiago", "Asia/Beirut", "America/Nuuk"),
    *("Antarctica/Troll", "Pacific/Apia", "UTC"),
)
CHANGES = {  # instants of changes of the clocks
    "Pacific/Apia": (1_325_239_200,),  # a whole day skipped
}


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def all_due(rule: str, zone: str = NEW_YORK) -> list[str]:
    """Return every due time of a rule that ends, in UTC."""
    compiled = compile_recurrence(rrule_text(rule, zone), zone)
    return [f"{datetime.fromtimestamp(at, UTC):%m-%dT%H:%M}" for at in compiled.due_times(0, FAR)]


@pytest.mark.parametrize(
    ("rule", "times"),
    [
        ("DTSTART:20261101T010000 RRULE:FREQ=MINUTELY;INTERVAL=15;COUNT=2", "11-01T05:00 11-01T05:15"),
        ("DTSTART:20261101T000000 RRULE:FREQ=HOURLY;COUNT=3", "11-01T04:00 11-01T05:00 11-01T07:00"),
        ("DTSTART:20261101T000000 RRULE:FREQ=HOURLY;UNTIL=20261101T053000Z", "11-01T04:00 11-01T05:00"),
        ("DTSTART:20261101T003000 RRULE:FREQ=HOURLY;UNTIL=20261101T061500Z", "11-01T04:30 11-01T05:30"),
        ("DTSTART:20260308T000000 RRULE:FREQ=HOURLY;COUNT=3", "03-08T05:00 03-08T06:00 03-08T07:00"),
        ("DTSTART:20260308T000000 RRULE:FREQ=HOURLY;COUNT=4", "03-08T05:00 03-08T06:00 03-08T07:00"),  # 02:00 and 03:00 meet
        ("DTSTART:20260308T020000 RRULE:FREQ=HOURLY;COUNT=1", "03-08T07:00"),
        ("DTSTART:20260308T020000 RRULE:FREQ=MINUTELY;INTERVAL=20;COUNT=5", "03-08T07:00 03-08T07:20"),
    ],
)
def test_a_rule_by_the_clock_counts_local_times_each_once(rule: str, times: str) -> None:
    assert all_due(rule) == times.split()


def test_what_was_due_last_is_found_in_the_second_pass_too() -> None:
    compiled = compile_recurrence(rrule_text("DTSTART:20261101T011500 RRULE:FREQ=MINUTELY;INTERVAL=15", NEW_YORK), NEW_YORK)

    assert compiled.last_at_or_before(epoch("2026-11-01T06:10:00Z")) == epoch("2026-11-01T05:45:00Z")
    assert compiled.next_after(epoch("2026-11-01T05:45:00Z")) == epoch("2026-11-01T07:00:00Z")


def test_dates_in_utc_are_these_instants_in_the_second_pass_of_a_repeated_hour_too() -> None:
    start = "DTSTART:20261031T013000 RRULE:FREQ=DAILY;COUNT=3"

    assert all_due(f"{start} RDATE:20261101T063000Z") == ["10-31T05:30", "11-01T05:30", "11-01T06:30", "11-02T06:30"]
    assert all_due(f"{start} EXDATE:20261101T063000Z") == ["10-31T05:30", "11-01T05:30", "11-02T06:30"]
    assert all_due(f"{start} EXDATE:20261101T053000Z") == ["10-31T05:30", "11-02T06:30"]
    assert all_due(f"{start} RDATE:20261101T063000Z EXDATE:20261101T053000Z") == ["10-31T05:30", "11-01T06:30", "11-02T06:30"]
    assert all_due(f"{start} RDATE:20261101T063000Z EXDATE;VALUE=DATE:20261101") == ["10-31T05:30", "11-02T06:30"]


def test_an_instant_after_a_gap_is_left_out_whatever_local_time_fell_on_it() -> None:
    rule = "DTSTART:20260307T023000 RRULE:FREQ=DAILY;COUNT=3"

    assert all_due(rule) == ["03-07T07:30", "03-08T07:00", "03-09T06:30"]
    assert all_due(f"{rule} EXDATE:20260308T070000Z") == ["03-07T07:30", "03-09T06:30"]


def test_a_resolved_text_keeps_the_instants_that_no_local_time_tells() -> None:
    written = "DTSTART:20261031T013000 RRULE:FREQ=DAILY RDATE:20261101T063000Z,20261201T120000Z EXDATE:20261101T064500Z"

    text = rrule_text(written, NEW_YORK)

    assert text.endswith("RDATE:20261201T070000,20261101T063000Z EXDATE:20261101T064500Z")
    assert rrule_text(text.partition(" ")[2], NEW_YORK) == text


def test_a_quoted_zone_is_read() -> None:
    quoted, plain = (f"DTSTART;TZID={zone}:20260101T090000 RRULE:FREQ=DAILY" for zone in (f'"{NEW_YORK}"', NEW_YORK))

    assert rrule_text(quoted, "UTC") == rrule_text(plain, "UTC")


def test_a_count_goes_on_for_as_long_as_the_rule_names_something() -> None:
    weekly = compile_recurrence(rrule_text("DTSTART:19800101T090000 RRULE:FREQ=WEEKLY;COUNT=3000", "UTC"), "UTC")
    last = weekly.last_at_or_before(FAR)

    assert last == epoch("1980-01-01T09:00:00Z") + 2999 * 7 * 86_400
    assert weekly.next_after(last - 1) == last
    assert weekly.next_after(last) is None


def test_dateutil_counts_the_same_where_years_are_without_any() -> None:
    rule = "FREQ=MONTHLY;INTERVAL=6;COUNT=38;BYMONTH=7,3;BYMONTHDAY=-13;BYDAY=FR"
    theirs = [int(at.replace(tzinfo=UTC).timestamp()) for at in rrulestr(f"DTSTART:19970902T090000\nRRULE:{rule}")]

    ours = compile_recurrence(rrule_text(f"DTSTART:19970902T090000 RRULE:{rule}", "UTC"), "UTC")

    assert len(theirs) == 38
    assert list(ours.due_times(0, theirs[-1] + 86_400 * 365 * 50)) == theirs


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("FREQ=HOURLY;INTERVAL=400000", "INTERVAL"),
        (" ".join(["RRULE:FREQ=DAILY"] * 21), "more than 20 RRULEs"),
        ("DTSTART:20260101T000000 RRULE:FREQ=DAILY;COUNT=6000 RRULE:FREQ=WEEKLY;COUNT=6000", "more than 10000 together"),
    ],
)
def test_what_no_search_would_reach_and_what_is_far_too_much_are_refused(rule: str, what: str) -> None:
    with pytest.raises(ScheduleError, match=what):
        rrule_text(rule, "UTC")


@st.composite
def rules_near_a_change(draw: st.DrawFn) -> tuple[str, str, int]:
    """Draw a rule by the clock, its zone, and an instant near a change of the clocks where it starts."""
    from offbeat.core.recurrences.zones import find_zone

    zone = draw(st.sampled_from(ZONES))
    begin = epoch("2026-01-01T00:00:00Z")
    changes = (
        CHANGES.get(zone)
        or [start for start, _, _ in find_zone(zone).segments(begin >> 25) if start > begin - 86_400 * 300]
        or [begin]
    )
    at = draw(st.sampled_from(list(changes))) + draw(st.integers(-12, 12)) * 900
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at + find_zone(zone).offset_at(at))
    freq, most = draw(st.sampled_from([("HOURLY", 5), ("MINUTELY", 90), ("SECONDLY", 5000)]))
    rule = f"FREQ={freq};INTERVAL={draw(st.integers(1 if freq != 'SECONDLY' else 300, most))}"
    rule += draw(st.sampled_from(["", ";COUNT=5", ";COUNT=40", f";UNTIL={local + timedelta(hours=3):%Y%m%dT%H%M%S}Z"]))
    rule += draw(st.sampled_from(["", ";BYMINUTE=0,30", ";BYHOUR=0,1,2,3"]))
    return f"DTSTART:{local:%Y%m%dT%H%M%S} RRULE:{rule}", zone, at


@settings(max_examples=300, deadline=None)
@given(rules_near_a_change(), st.integers(-200, 200), st.integers(1, 400))
def test_every_question_is_answered_alike_near_a_change_of_the_clocks(drawn: tuple[str, str, int], back: int, cut: int) -> None:
    text, zone, at = drawn
    compiled = compile_recurrence(rrule_text(text, zone), zone)
    low, high = at - 90_000, at + 100_000 + back * 97
    middle = min(low + cut * 499, high)

    found = list(compiled.due_times(low, high))

    assert all(a < b for a, b in zip(found, found[1:], strict=False))
    assert [*compiled.due_times(low, middle), *compiled.due_times(middle, high)] == found
    later = compiled.next_after(middle)
    assert later == next((due for due in found if due > middle), later)
    assert later is None or later > middle
    for each, following in zip([low, *found], found, strict=False):
        assert compiled.next_after(each) == following
        assert compiled.last_at_or_before(following) == following
    for instant in (middle, *range(at - 7200, min(at + 7200, high), 1800)):
        assert compiled.last_at_or_before(instant) == max((due for due in found if due <= instant), default=None)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["HOURLY", "MINUTELY", "SECONDLY"]),
    st.integers(1, 5000),
    st.sets(st.integers(0, 23), max_size=3),
    st.sets(st.integers(0, 59), max_size=3),
    st.integers(0, 400_000),
)
def test_steps_are_those_that_counting_finds(freq: str, interval: int, hours: set[int], minutes: set[int], ahead: int) -> None:
    unit = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}[freq]
    rule = f"FREQ={freq};INTERVAL={interval}"
    for name, values in (("BYHOUR", hours), ("BYMINUTE", minutes)):
        rule += f";{name}={','.join(map(str, sorted(values)))}" if values else ""
    start = epoch("2026-01-01T09:30:15Z")
    span = range(start + ahead, start + ahead + 40_000)

    found = list(
        compile_recurrence(rrule_text(f"DTSTART:20260101T093015 RRULE:{rule}", "UTC"), "UTC").due_times(span[0] - 1, span[-1])
    )

    def is_named(at: int) -> bool:
        hour, minute = at // 3600 % 24, at // 60 % 60
        fits = (at // unit - start // unit) % interval == 0 and (not hours or hour in hours)
        own_minute = minutes or ({30} if unit == 3600 else set(range(60)))
        return fits and minute in own_minute and (unit == 1 or at % 60 == 15)

    assert found == [at for at in span if is_named(at)]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(3600, "HOURLY", 3000), (60, "MINUTELY", 100_000), (1, "SECONDLY", 1_000_000)]),
    st.data(),
    st.sets(st.integers(0, 23), max_size=3),
)
def test_long_intervals_reach_the_hours_that_are_named(
    kind: tuple[int, str, int], data: st.DataObject, hours: set[int]
) -> None:
    unit, freq, most = kind
    interval = data.draw(st.integers(most // 100, most))
    start = epoch("2026-01-01T09:30:15Z")
    rule = f"FREQ={freq};INTERVAL={interval}" + (f";BYHOUR={','.join(map(str, sorted(hours)))}" if hours else "")
    compiled = compile_recurrence(rrule_text(f"DTSTART:20260101T093015 RRULE:{rule}", "UTC"), "UTC")

    steps = range(start, start + 86_400 * 365 * 30, interval * unit)[:5000]
    named = [at for at in steps if not hours or at // 3600 % 24 in hours]

    assert list(compiled.due_times(start - 1, steps[-1])) == named
    for before, at in zip(named[:20], named[1:21], strict=False):
        assert compiled.next_after(before) == at
        assert compiled.last_at_or_before(at - 1) == before
