"""What daylight saving does to due times, held against the due times themselves."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.daylight import DaylightNote, Effect, daylight_notes, segments
from offbeat.core.recurrences.composite import any_text
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.zones import find_zone

DAY = 86_400


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type, misc]


def year(recurrence: str, zone: str, number: int = 2026) -> list[DaylightNote]:
    return list(daylight_notes(recurrence, zone, at(number, 1, 1), at(number + 1, 1, 1)))


@pytest.mark.parametrize(
    ("recurrence", "zone", "texts"),
    [
        (
            "cron 30 3 * * *",
            "Europe/Sofia",
            [
                "Sun 29 Mar 2026 03:30 does not exist in Europe/Sofia: due at 04:00 instead",
                "Sun 25 Oct 2026 03:30 comes twice in Europe/Sofia: due the first time only",
            ],
        ),
        (
            "cron */20 * * * *",
            "Europe/Sofia",
            [
                "Sun 29 Mar 2026 03:00 to 03:40 (3 times) do not exist in Europe/Sofia: "
                "left out, as the clock goes from 03:00 to 04:00 at once",
                "Sun 25 Oct 2026 03:00 to 03:40 (3 times) come twice in Europe/Sofia: due both times",
            ],
        ),
        (
            "cron 0,30 3-4 * * *",
            "Europe/Sofia",
            [
                "Sun 29 Mar 2026 03:00 and 03:30 do not exist in Europe/Sofia: "
                "due at 04:00 as one instead, together with what is due then anyway",
                "Sun 25 Oct 2026 03:00 and 03:30 come twice in Europe/Sofia: due the first time only",
            ],
        ),
        (
            "cron 15 2 * * *",
            "Australia/Lord_Howe",
            ["Sun 4 Oct 2026 02:15 does not exist in Australia/Lord_Howe: due at 02:30 instead"],
        ),
        (
            "cron 30 0 * * *",
            "America/Havana",
            [
                "Sun 8 Mar 2026 00:30 does not exist in America/Havana: due at 01:00 instead",
                "Sun 1 Nov 2026 00:30 comes twice in America/Havana: due the first time only",
            ],
        ),
    ],
    ids=["fixed", "wildcard", "fixed twice", "half an hour", "midnight"],
)
def test_each_change_of_the_clocks_is_told_with_its_reason(recurrence: str, zone: str, texts: list[str]) -> None:
    assert [note.text for note in year(recurrence, zone)] == texts


def test_a_day_that_a_zone_skipped_is_left_out() -> None:
    (note,) = [note for note in year("cron 30 4 * * *", "Pacific/Apia", 2011) if note.at == at(2011, 12, 30, 10)]

    assert note.effect is Effect.DROPPED
    assert note.text.endswith("as the clock goes from Fri 30 Dec 2011 00:00 to Sat 31 Dec 2011 00:00 at once")


@pytest.mark.parametrize(
    ("recurrence", "zone"),
    [
        ("cron 30 4 * * *", "Europe/Sofia"),  # between the changes
        ("cron 30 3 1 1 *", "Europe/Sofia"),
        ("cron 30 3 * * *", "UTC"),
        ("cron 30 3 * * *", "Asia/Tokyo"),
        ("every 3600 0", "Europe/Sofia"),
        ("at 1774746000", "Europe/Sofia"),
    ],
)
def test_what_the_clocks_do_not_touch_has_no_notes(recurrence: str, zone: str) -> None:
    assert year(recurrence, zone) == []


@pytest.mark.parametrize(
    ("recurrence", "effects"),
    [
        ("rrule DTSTART:19700101T033000 RRULE:FREQ=DAILY", ["moved", "first_pass"]),
        ("rrule DTSTART:19700101T000000 RRULE:FREQ=HOURLY", ["moved", "first_pass"]),
        ("rrule DTSTART;TZID=America/New_York:19700101T023000 RRULE:FREQ=DAILY", ["moved"]),
        ("rrule DTSTART:19700101T033000Z RRULE:FREQ=DAILY", []),
        ('any {"of":["cron 30 3 * * *","every 3600 0"]}', ["moved", "first_pass"]),
        ('any {"except":["2026-03-29"],"of":["cron 30 3 * * *"]}', ["first_pass"]),
        ('any {"except":["2026-03-29"],"of":["cron 0 * * * *"]}', ["both_passes"]),
        ('any {"except":["2026-10-25"],"of":["cron 0 * * * *"]}', ["dropped"]),
    ],
)
def test_rules_and_composites_are_told_too_but_for_what_they_exclude(recurrence: str, effects: list[str]) -> None:
    assert [str(note.effect) for note in year(recurrence, "Europe/Sofia")] == effects


def test_a_pass_that_is_excluded_is_told() -> None:
    second = at(2026, 10, 25, 1)
    recurrence = any_text(["cron 0 * * * *"], excluded=[f"{second}/{second + 60}"])

    (fold,) = [note for note in year(recurrence, "Europe/Sofia") if note.effect is Effect.BOTH_PASSES]

    assert fold.due == (second - 3600,)
    assert fold.text.endswith("due both times, but for what is excluded")


@pytest.mark.parametrize(
    ("recurrence", "number", "texts"),
    [
        (
            'any {"of":["cron 30 3 * * 6"],"weekend":[6],"workday":"next"}',
            2027,
            [
                "Sun 28 Mar 2027 03:30 does not exist in Europe/Sofia: due at 04:00 instead",
                "Sun 31 Oct 2027 03:30 comes twice in Europe/Sofia: due the first time only",
            ],
        ),
        (
            'any {"of":["cron 30 3 * * 1"],"weekend":[1],"workday":"previous"}',
            2026,
            [
                "Sun 29 Mar 2026 03:30 does not exist in Europe/Sofia: due at 04:00 instead",
                "Sun 25 Oct 2026 03:30 comes twice in Europe/Sofia: due the first time only",
            ],
        ),
        (
            'any {"of":["cron 30 3 * * 0"],"weekend":[0],"workday":"next"}',
            2026,
            [
                "Sun 29 Mar 2026 03:30 does not exist in Europe/Sofia: due at 04:00 instead, "
                "on the working day Mon 30 Mar 2026 04:00"
            ],
        ),
        (
            'any {"of":["cron 5 * * * 0"],"weekend":[0],"workday":"next"}',
            2026,
            [
                "Sun 29 Mar 2026 03:05 does not exist in Europe/Sofia: left out, as the clock goes from 03:00 to 04:00 "
                "at once, and so missing on the working day Mon 30 Mar 2026"
            ],
        ),
        ('any {"of":["cron 30 3 * * 6"],"weekend":[6,0],"workday":"next"}', 2027, []),
        (
            'any {"of":["every 86400 5400"],"weekend":[6],"workday":"next"}',
            2027,
            ["Sun 28 Mar 2027 03:30 does not exist in Europe/Sofia: due at 04:00 instead"],
        ),
    ],
    ids=["next", "previous", "from the gap", "from what is dropped", "past the change", "interval"],
)
def test_what_moves_to_a_working_day_is_told_by_the_day_that_it_moves_to(
    recurrence: str, number: int, texts: list[str]
) -> None:
    notes = year(recurrence, "Europe/Sofia", number)

    assert [note.text for note in notes] == texts
    rule = compile_recurrence(recurrence, "Europe/Sofia")
    assert all(rule.last_at_or_before(due) == due for note in notes for due in note.due)


def test_a_rule_that_ended_before_the_clocks_were_put_back_has_no_note_of_it() -> None:
    recurrence = "rrule DTSTART:20260101T033000 RRULE:FREQ=DAILY;UNTIL=20260601T000000"

    assert [str(note.effect) for note in year(recurrence, "Europe/Sofia")] == ["moved"]


def test_only_changes_inside_the_span_are_told() -> None:
    change = at(2026, 3, 29, 1)

    assert [note.at for note in daylight_notes("cron 30 3 * * *", "Europe/Sofia", change - 1, change)] == [change]
    assert list(daylight_notes("cron 30 3 * * *", "Europe/Sofia", change, change + DAY)) == []


@pytest.mark.parametrize(
    ("recurrence", "remarks"),
    [
        ("cron 30 3 * * *", ["moved from 03:30", "first pass only"]),
        ("cron 0,15,30 3 * * *", ["moved from 03:00 to 03:30", "first pass only"]),
        ("cron 0 * * * *", ["03:00 left out", "first pass of two"]),
    ],
)
def test_each_note_has_a_short_remark(recurrence: str, remarks: list[str]) -> None:
    assert [note.remark() for note in year(recurrence, "Europe/Sofia")] == remarks


def test_the_second_pass_is_told_from_the_first() -> None:
    _, fold = year("cron 0 * * * *", "Europe/Sofia")

    assert [fold.remark(due) for due in fold.due] == ["first pass of two", "second pass of two"]


ZONES = ("Europe/Sofia", "America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "America/Havana", "Asia/Beirut")
MINUTE = st.one_of(st.just("*"), st.just("*/7"), st.integers(0, 59).map(str), st.just("5,35"))
HOUR = st.one_of(st.just("*"), st.just("*/2"), st.integers(0, 4).map(str), st.just("0-3"))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(ZONES), MINUTE, HOUR, st.integers(2020, 2036))
def test_wall_clock_times_are_due_as_often_as_the_notes_say_and_all_others_once(
    zone: str, minute: str, hour: str, number: int
) -> None:
    recurrence, place = f"cron {minute} {hour} * * *", find_zone(zone)
    notes = {note.at: note for note in year(recurrence, zone, number)}
    times = {Effect.MOVED: 0, Effect.DROPPED: 0, Effect.FIRST_PASS: 1, Effect.BOTH_PASSES: 2}
    for change, _, _ in list(segments(place, at(number, 1, 3), at(number, 12, 29)))[1:]:
        begin, end, note = change - DAY, change + DAY, notes.get(change)
        wall = compile_recurrence(recurrence, "UTC").due_times(begin + place.offset_at(begin), end + place.offset_at(end))
        due = Counter(each + place.offset_at(each) for each in compile_recurrence(recurrence, zone).due_times(begin, end))
        if note and note.effect is Effect.MOVED:
            (moved,) = note.due  # where something else may be due too
            due[moved + place.offset_at(moved)] = sum(note.text.endswith("anyway") for _ in note.due)
        for local in wall:
            concerned = note is not None and note.first <= local <= note.last
            assert due.pop(local, 0) == (times[note.effect] if note and concerned else 1)
        assert not +due


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(ZONES), st.integers(0, 2_000_000_000), st.integers(1, 100_000_000))
def test_segments_cover_a_span_without_a_hole(zone: str, start: int, length: int) -> None:
    found = list(segments(find_zone(zone), start, start + length))

    assert [found[0][0], found[-1][1]] == [start, start + length]
    assert all(before[1] == after[0] for before, after in zip(found, found[1:], strict=False))
    assert all(find_zone(zone).offset_at(begin) == offset for begin, _, offset in found)
