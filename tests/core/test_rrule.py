"""RFC 5545: what its own examples name, what dateutil names, daylight saving, and searches that end."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.rruletext import FREQUENCIES, WEEKDAYS, format_rules, parse_rules, rrule_text
from offbeat.errors import ScheduleError

START = "19970902T090000"  # of the RFC's examples
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times


def due(rule: str, zone: str = "UTC", *, after: str = "1997-09-02T00:00:00Z", count: int = 5) -> list[str]:
    """Return the first due times after an instant, in UTC."""
    compiled = compile_recurrence(rrule_text(rule, zone), zone)
    at: int | None = int(datetime.fromisoformat(after).timestamp())
    found: list[str] = []
    while at is not None and len(found) < count:
        at = compiled.next_after(at)
        found += [] if at is None else [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}"]
    return found


@pytest.mark.parametrize(
    ("rule", "days"),
    [  # the examples of RFC 5545, 3.8.5.3
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", "09-02 09-12 09-22 10-02 10-12"),
        ("FREQ=WEEKLY;UNTIL=19971007T000000;WKST=SU;BYDAY=TU,TH", "09-02 09-04 09-09 09-11 09-16"),
        ("FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000;WKST=SU;BYDAY=MO,WE,FR", "09-03 09-05 09-15 09-17 09-19"),
        ("FREQ=MONTHLY;COUNT=10;BYDAY=1FR", "09-05 10-03 11-07 12-05 01-02"),
        ("FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", "09-07 09-28 11-02 11-30 01-04"),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "09-22 10-20 11-17 12-22 01-19"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", "09-28 10-29 11-28 12-29 01-29"),
        ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", "09-30 10-01 10-31 11-01 11-30"),
        ("FREQ=YEARLY;BYDAY=20MO", "05-18 05-17 05-15 05-14 05-20"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "05-11 05-17 05-15 05-14 05-13"),
        ("FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200", "01-01 04-09 07-18 01-01 04-10"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "02-13 03-13 11-13 08-13 10-13"),
        ("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", "11-04 11-06 11-08 11-03 11-05"),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "09-04 10-07 11-06"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", "09-29 10-30 11-27 12-30 01-29"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "09-02 09-07 09-16 09-21"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "09-02 09-14 09-16 09-28"),
    ],
)
def test_the_examples_of_the_rfc_name_what_it_says(rule: str, days: str) -> None:
    assert [each[5:10] for each in due(f"DTSTART:{START} RRULE:{rule}")] == days.split()


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Draw an RRULE that names something soon, so that dateutil ends too."""
    freq = draw(st.sampled_from(FREQUENCIES))
    parts = [f"FREQ={freq}"]
    maybe = draw(
        st.sets(st.sampled_from(["INTERVAL", "BYMONTH", "BYDAY", "BYMONTHDAY", "BYHOUR", "BYMINUTE", "WKST"]), max_size=4)
    )
    if "INTERVAL" in maybe:
        parts.append(f"INTERVAL={draw(st.integers(1, 12))}")
    if "BYMONTH" in maybe and freq not in FREQUENCIES[5:]:
        parts.append(f"BYMONTH={','.join(map(str, sorted(draw(st.sets(st.integers(1, 12), min_size=3, max_size=9)))))}")
    if "BYDAY" in maybe:
        days = sorted(draw(st.sets(st.sampled_from(WEEKDAYS), min_size=2, max_size=5)))
        nth = draw(st.sampled_from(["", "1", "-1", "2"])) if freq in ("MONTHLY", "YEARLY") else ""
        parts.append("BYDAY=" + ",".join(nth + day for day in days))
    elif "BYMONTHDAY" in maybe and freq in ("YEARLY", "MONTHLY", "DAILY"):
        parts.append(
            "BYMONTHDAY=" + ",".join(map(str, sorted(draw(st.sets(st.sampled_from([1, 2, 15, 28, 31, -1, -2]), min_size=2)))))
        )
    if "BYHOUR" in maybe and freq not in ("SECONDLY", "HOURLY"):
        parts.append(f"BYHOUR={','.join(map(str, sorted(draw(st.sets(st.integers(0, 23), min_size=1, max_size=3)))))}")
    if "BYMINUTE" in maybe and freq in FREQUENCIES[:5]:
        parts.append(f"BYMINUTE={draw(st.integers(0, 59))}")
    if "WKST" in maybe:
        parts.append(f"WKST={draw(st.sampled_from(WEEKDAYS))}")
    return ";".join(parts)


@settings(max_examples=150, deadline=None)
@given(rules(), st.integers(0, 3), st.sampled_from(["20240229T093015", "20250105T000000", "20251231T235959"]))
def test_dateutil_names_the_same(rule: str, skip: int, start: str) -> None:
    compiled = compile_recurrence(rrule_text(f"DTSTART:{start} RRULE:{rule}", "UTC"), "UTC")
    begin = parse_rules(f"DTSTART:{start} RRULE:{rule}", "UTC").start
    assume(compiled.next_after(begin + 86_400 * 900) is not None)

    try:
        theirs = [
            (at - EPOCH).days * 86_400 + (at - EPOCH).seconds for at in islice(rrulestr(f"DTSTART:{start}\nRRULE:{rule}"), 25)
        ]
    except ValueError:  # it refuses an interval that never meets its BYHOUR or BYMINUTE
        assume(False)

    assert list(compiled.due_times(begin - 1, theirs[-1])) == theirs
    assert compiled.next_after(theirs[skip]) == theirs[skip + 1]
    assert compiled.last_at_or_before(theirs[skip + 1] - 1) == theirs[skip]


@given(
    rules(),
    st.sampled_from(["", "DTSTART:20260101T010203 ", "DTSTART;TZID=Asia/Tokyo:20260101T010203 ", "DTSTART:20260101T000000Z "]),
)
def test_a_formatted_rule_reads_back(rule: str, start: str) -> None:
    written = f"{start}RRULE:{rule};UNTIL=20300101T000000 EXDATE:20260103T010203,20260104T010203 EXDATE;VALUE=DATE:20260201"

    said = parse_rules(written, "Europe/Sofia")
    text = format_rules(said, "Europe/Sofia")

    assert parse_rules(text, "Europe/Sofia").rules == said.rules
    assert format_rules(parse_rules(text, "Europe/Sofia"), "Europe/Sofia") == text


def test_numbered_and_plain_weekdays_are_both_named() -> None:
    assert [each[:10] for each in due("FREQ=MONTHLY;BYDAY=MO,1TU", after="2026-03-01T00:00:00Z")] == [
        *("2026-03-02", "2026-03-03", "2026-03-09", "2026-03-16", "2026-03-23"),
    ]


def test_a_time_that_the_clock_skips_is_due_right_after_and_one_shown_twice_is_due_once() -> None:
    rule = "FREQ=DAILY;BYHOUR=3;BYMINUTE=30"

    assert due(rule, "Europe/Sofia", after="2026-03-28T12:00:00Z", count=2) == ["2026-03-29T01:00", "2026-03-30T00:30"]
    assert due(rule, "Europe/Sofia", after="2026-10-24T12:00:00Z", count=2) == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_a_rule_by_the_hour_is_due_once_in_a_repeated_hour_and_after_a_skipped_one() -> None:
    rule = "FREQ=HOURLY;BYMINUTE=30"

    assert due(rule, "America/New_York", after="2026-11-01T04:00:00Z", count=4) == [
        *("2026-11-01T04:30", "2026-11-01T05:30", "2026-11-01T07:30", "2026-11-01T08:30"),
    ]
    assert due(rule, "America/New_York", after="2026-03-08T06:00:00Z", count=3) == [
        *("2026-03-08T06:30", "2026-03-08T07:00", "2026-03-08T07:30"),
    ]


def test_a_start_with_a_zone_is_read_in_it_whatever_the_entry_s_is() -> None:
    for start in ("DTSTART;TZID=Asia/Tokyo:20260101T090000", "DTSTART:20260101T000000Z"):
        assert due(f"{start} RRULE:FREQ=DAILY", "Europe/Sofia", after="2026-06-01T00:00:00Z", count=1) == ["2026-06-02T00:00"]


def test_dates_are_added_and_left_out() -> None:
    rule = "DTSTART:20260101T090000 RRULE:FREQ=DAILY;COUNT=4 RDATE:20260301T120000"
    rule += " EXDATE:20260102T090000 EXDATE;VALUE=DATE:20260103"

    assert due(rule, after="2025-01-01T00:00:00Z") == ["2026-01-01T09:00", "2026-01-04T09:00", "2026-03-01T12:00"]


@pytest.mark.parametrize(
    "rule",
    [
        *(
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=WEEKLY;BYMONTH=2;BYDAY=MO;BYSETPOS=9",
        ),
        *(
            "FREQ=MONTHLY;BYMONTH=4;BYMONTHDAY=31",
            "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;BYHOUR=3",
            "FREQ=MINUTELY;INTERVAL=60;BYMINUTE=7",
        ),
    ],
)
def test_a_rule_that_names_nothing_ends(rule: str) -> None:
    assert due(f"DTSTART:20260101T000000 RRULE:{rule}", "Europe/Sofia") == []


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("", "neither RRULE nor RDATE"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20260101", "COUNT and UNTIL"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR"),
        ("FREQ=DAILY;BYDAY=2MO", "BYDAY with a number"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY 0"),
        ("FREQ=MONTHLY;BYWEEKNO=3", "BYWEEKNO does not go"),
        ("FREQ=DAILY;FREQ=DAILY", "twice"),
        ("FREQ=DAILY;BYEASTER=0", "no part of an RRULE"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS needs"),
        ("DTSTART:20260101 DTSTART:20260102 RRULE:FREQ=DAILY", "more than one DTSTART"),
        ("DTSTART:20261301T000000 RRULE:FREQ=DAILY", "no date and time"),
        ("DTSTART:20260101T000000 RDATE:99991231T235959", "after the year 9998"),
        ("EXRULE:FREQ=DAILY RRULE:FREQ=DAILY", "EXRULE"),
        ("DTSTART:20260101T000000 RRULE:FREQ=DAILY;COUNT=10001", "COUNT"),
        ("RDATE;VALUE=PERIOD:20260101T000000Z/PT1H", "periods"),
        ("x" * 9000, "longer than"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, what: str) -> None:
    with pytest.raises(ScheduleError, match=what) as refused:
        rrule_text(rule, "UTC")

    assert refused.value.problems[0].code == "S161"


@settings(max_examples=300, deadline=None)
@given(st.text("FREQ=DAILYMNTHSBCOU;:,0123456789-+TZ \n", max_size=120) | st.text(max_size=4096))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        compile_recurrence(rrule_text(text, "UTC"), "UTC").next_after(0)
    except ScheduleError as refused:
        assert refused.problems[0].code in ("S161", "S110")
