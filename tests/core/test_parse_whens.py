"""When entries are due, as schedule.toml says it: each kind of recurrence, unions, exclusions and working days."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.core.listing import Kind, Text, TreeFiles
from offbeat.core.model import Entry
from offbeat.core.parse import parse
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import Problem, Severity

ICS = b"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//y//EN
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20260814
DTEND;VALUE=DATE:20260817
SUMMARY:Closed
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART:20260601T060000Z
DURATION:PT2H
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART;VALUE=DATE:20250505
RRULE:FREQ=YEARLY
EXDATE;VALUE=DATE:20270505
END:VEVENT
BEGIN:VEVENT
UID:4
DTSTART;TZID=Europe/Berlin:20260105T080000
DTEND;TZID=Europe/Berlin:20260105T093000
RRULE:FREQ=WEEKLY;BYDAY=MO
END:VEVENT
BEGIN:VEVENT
UID:5
STATUS:CANCELLED
DTSTART;VALUE=DATE:20260602
END:VEVENT
END:VCALENDAR
""".replace(b"\n", b"\r\n")


def read(text: str, *, ics: bytes | None = None) -> tuple[dict[str, Entry], tuple[Problem, ...]]:
    """Return the entries of a schedule.toml in Sofia, and its problems."""
    files = TreeFiles(
        path="cron",
        schedule=Text(
            path="cron/schedule.toml", kind=Kind.FILE, content=f'project = "p"\ntimezone = "Europe/Sofia"\n{text}\n'.encode()
        ),
        calendars=() if ics is None else (Text(path="cron/closures.ics", kind=Kind.FILE, content=ics),),
    )
    schedule, problems = parse(files, {})
    assert schedule is not None
    return {entry.name: entry for entry in schedule.entries}, problems


def recurrence(lines: str, *, ics: bytes | None = None, top: str = "") -> str:
    entries, problems = read(f"{top}\n[entries.one]\n{lines}", ics=ics)
    assert problems == ()
    return entries["one"].timing.recurrence


def due(lines: str, after: str, count: int = 3, *, ics: bytes | None = None, top: str = "") -> list[str]:
    """Return the first due times after an instant, in Sofia."""
    rule = compile_recurrence(recurrence(lines, ics=ics, top=top), "Europe/Sofia")
    at: int | None = int(datetime.fromisoformat(after).timestamp())
    found = []
    for _ in range(count):
        assert at is not None
        at = rule.next_after(at)
        found.append("never" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}")
    return found


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ('cron = "30 4 * * mon"', "cron 30 4 * * 1"),
        ('every = "45m"\noffset = "5m"', "every 2700 300"),
        ("at = 2026-03-01", "at 1772316000"),
        (
            'solar = { event = "sunset", latitude = 42.7, longitude = 23, offset = "-30m" }',
            "solar sunset 42.7 23.0 -1800",
        ),
        ('solar = { event = "dawn_nautical", latitude = 0, longitude = -0.0 }', "solar dawn_nautical 0.0 0.0 0"),
        ('rrule = "FREQ=DAILY;BYHOUR=9"', "rrule DTSTART:19700101T000000 RRULE:FREQ=DAILY;BYHOUR=9"),
        (
            'rrule = "DTSTART;TZID=Europe/Sofia:20260101T090000 '
            'RRULE:FREQ=DAILY;UNTIL=20260201T000000Z EXDATE:20260103T090000"',
            "rrule DTSTART:20260101T090000 RRULE:FREQ=DAILY;UNTIL=20260201T020000 EXDATE:20260103T090000",
        ),
        (
            'any = [ { every = "1h", offset = "1m" }, { cron = "0 0 1 1 *" }, { every = "1h", offset = "1m" } ]',
            'any {"of":["cron 0 0 1 1 *","every 3600 60"]}',
        ),
        ('any = [ { every = "1h" } ]', "every 3600 0"),
        (
            'every = "1d"\nexcept = ["2026-12-25", 2026-12-24, "* * * * mon"]',
            'any {"except":["2026-12-24/2026-12-25","cron * * * * 1"],"of":["every 86400 0"]}',
        ),
        (
            'any = [ { every = "1h" }, { every = "7m" } ]\nworkday = "next"\nweekend = ["friday", "sat"]',
            'any {"of":["every 3600 0","every 420 0"],"weekend":[5,6],"workday":"next"}',
        ),
    ],
)
def test_each_kind_is_resolved(lines: str, text: str) -> None:
    assert recurrence(lines) == text


def test_holidays_are_resolved_with_the_version_of_their_package() -> None:
    from importlib.metadata import version

    assert recurrence('every = "1d"\nexcept = "holidays:DE-BY"') == (
        f'any {{"except":["holidays:DE-BY@{version("holidays")}"],"of":["every 86400 0"]}}'
    )


def test_holidays_are_left_out() -> None:
    lines = 'cron = "0 9 * * *"\nexcept = ["holidays:BG"]'

    assert due(lines, "2026-03-02T00:00Z", 2) == ["2026-03-02T07:00", "2026-03-04T07:00"]


def test_a_due_time_on_a_day_off_moves_to_the_next_working_day_at_its_time() -> None:
    lines = 'cron = "30 9 1 * *"\nworkday = "next"\nexcept = ["2026-06-01"]'

    # 1 February 2026 is a Sunday, 1 March too, 1 April a Wednesday, 1 May a Friday, 1 June an excluded Monday.
    assert due(lines, "2026-01-10T00:00Z", 5) == [
        *("2026-02-02T07:30", "2026-03-02T07:30", "2026-04-01T06:30", "2026-05-01T06:30", "2026-06-02T06:30"),
    ]


def test_a_due_time_on_a_day_off_moves_to_the_previous_working_day() -> None:
    assert due('cron = "30 9 1 * *"\nworkday = "previous"', "2026-01-10T00:00Z", 2) == ["2026-01-30T07:30", "2026-02-27T07:30"]


def test_a_due_time_on_a_day_off_is_skipped() -> None:
    assert due('cron = "30 9 1 * *"\nworkday = "skip"', "2026-01-10T00:00Z", 1) == ["2026-04-01T06:30"]


def test_calendars_are_named_once_and_name_others() -> None:
    top = '[calendars]\nsummer = "2026-08-01/2026-08-31"\noffice = ["summer", "2026-09-01"]'

    assert due('cron = "0 9 * * *"\nexcept = "office"', "2026-07-31T00:00Z", 2, top=top) == [
        "2026-07-31T06:00",
        "2026-09-02T06:00",
    ]


def test_a_calendar_file_excludes_days_and_hours() -> None:
    lines = 'every = "1h"\nexcept = ["closures.ics"]'

    assert due(lines, "2026-08-13T20:00Z", 1, ics=ICS) == ["2026-08-16T21:00"]  # until midnight in Sofia
    assert due(lines, "2026-06-01T07:30Z", 1, ics=ICS) == ["2026-06-01T08:00"]
    assert due(lines, "2026-06-02T05:30Z", 1, ics=ICS) == ["2026-06-02T06:00"]  # was cancelled
    assert due(lines, "2026-05-04T20:00Z", 1, ics=ICS) == ["2026-05-05T21:00"]  # every year
    assert due(lines, "2027-05-04T20:00Z", 1, ics=ICS) == ["2027-05-04T21:00"]  # but for 2027
    assert due(lines, "2026-07-06T05:30Z", 1, ics=ICS) == ["2026-07-06T08:00"]  # Mondays, 8:00 to 9:30 in Berlin


def test_exclusions_of_the_defaults_are_for_all_entries_and_one_may_say_otherwise() -> None:
    entries, problems = read(
        '[defaults]\nexcept = ["2026-12-24"]\n[entries.a]\nevery = "1h"\n[entries.b]\nevery = "1h"\nexcept = []'
    )

    assert problems == ()
    assert entries["a"].timing.recurrence == 'any {"except":["2026-12-24"],"of":["every 3600 0"]}'
    assert entries["b"].timing.recurrence == "every 3600 0"


@pytest.mark.parametrize(
    ("lines", "code", "what"),
    [
        ('solar = { event = "sunup", latitude = 1, longitude = 1 }', "S160", 'solar event "sunup" is not known'),
        ('solar = { event = "sunset", latitude = 91, longitude = 1 }', "S160", "latitude 91 is outside -90 to 90"),
        ('solar = { event = "sunset", latitude = "x", longitude = 1 }', "S144", '"latitude" is text'),
        ('solar = { event = "sunset", latitude = 1 }', "S145", 'solar has no "longitude"'),
        ('solar = "sunset"', "S144", '"solar" is text'),
        ('solar = { event = "noon", latitude = 1, longitude = 1, offset = "2d" }', "S160", "more than a day"),
        ('rrule = "FREQ=DAILY;COUNT=3"', "S161", "COUNT counts from DTSTART"),
        ('rrule = "FREQ=FORTNIGHTLY"', "S161", 'FREQ is "FORTNIGHTLY"'),
        ('rrule = "FREQ=WEEKLY;BYMONTHDAY=1"', "S161", "BYMONTHDAY does not go with FREQ=WEEKLY"),
        ("any = []", "S144", '"any" is a list'),
        ('any = [ { cron = "61 * * * *" }, { evry = "1h" } ]', "S143", 'the key "evry" is not known'),
        ('any = [ { every = "1h", timezone = "UTC" } ]', "S143", 'the key "timezone"'),
        ("own = { quarter = 1 }", "S145", '"own" names no kind'),
        ('own = { kind = "fiscal" }', "S168", 'no installed package has a recurrence kind "fiscal"'),
        ('every = "1h"\nexcept = ["2026-02-30"]', "S163", "is in no calendar"),
        ('every = "1h"\nexcept = ["2026-02-03/2026-02-01"]', "S163", "ends before it begins"),
        ('every = "1h"\nexcept = ["20260203"]', "S163", "is no date"),
        ('every = "1h"\nexcept = ["@every 1d"]', "S163", "is no cron expression of days"),
        ('every = "1h"\nexcept = ["61 * * * *"]', "S103", "minute 61"),
        ('every = "1h"\nexcept = [5]', "S144", '"except" is not a list of texts'),
        ('every = "1h"\nexcept = ["holidays:XX"]', "S163", 'knows no country "XX"'),
        ('every = "1h"\nexcept = ["holidays:DE-XX"]', "S163", 'knows no region "XX"'),
        ('every = "1h"\nexcept = ["office"]', "S164", 'there is no calendar "office"'),
        ('every = "1h"\nexcept = ["away.ics"]', "S165", "is no file in the tree"),
        ('every = "1h"\nexcept = ["* * * * *"]', "S166", "leave nothing"),
        ('at = "2026-12-24T09:00:00"\nexcept = ["2026-12-24"]', "S166", "leave nothing"),
        ('every = "1h"\nworkday = "nxt"', "S145", '"workday" is not next, previous, skip'),
        ('every = "1h"\nworkday = "next"\nweekend = ["x"]', "S144", '"weekend" is not a list of days'),
        ('every = "1h"\nweekend = ["sun"]', "S133", '"weekend" belongs to "workday"'),
    ],
)
def test_what_is_wrong_is_told_and_stops_only_its_entry(lines: str, code: str, what: str) -> None:
    entries, problems = read(f'[entries.bad]\n{lines}\n[entries.good]\nevery = "1h"')

    assert [*entries] == ["good"]
    assert code in [problem.code for problem in problems]
    assert any(what in problem.what and problem.entry == "bad" and problem.line >= 4 for problem in problems), problems


@pytest.mark.parametrize(
    ("calendars", "code", "what"),
    [
        ('a = ["b"]\nb = ["a"]', "S164", "names itself"),
        ('a = ["nope"]', "S164", 'there is no calendar "nope"'),
        ("a = 5", "S144", "not a list of texts"),
        ('"a b" = []', "S132", "no name of a calendar"),
    ],
)
def test_a_calendar_that_is_wrong_stops_the_entries_that_name_it(calendars: str, code: str, what: str) -> None:
    entries, problems = read(f'[calendars]\n{calendars}\n[entries.a]\nevery = "1h"\nexcept = "a"\n[entries.b]\nevery = "1h"')

    assert "b" in entries
    assert "a" not in entries
    assert any(problem.code == code and what in problem.what for problem in problems), problems


@pytest.mark.parametrize("content", [b"", b"hello", b"BEGIN:VCALENDAR\nBEGIN:VEVENT\n", b"\xff\xfe", b"x" * 1_048_577])
def test_a_calendar_file_that_cannot_be_read_is_a_problem(content: bytes) -> None:
    entries, problems = read('[entries.a]\nevery = "1h"\nexcept = "closures.ics"', ics=content)

    assert [problem.code for problem in problems] == ["S165"] or entries["a"].timing.recurrence == "every 3600 0"


def test_a_rule_that_takes_its_day_from_1970_is_a_warning() -> None:
    entries, problems = read('[entries.a]\nrrule = "FREQ=WEEKLY;BYHOUR=9"')

    assert "a" in entries
    assert [(problem.code, problem.severity) for problem in problems] == [("S162", Severity.WARNING)]
    assert "Thursday" in problems[0].what


HOSTILE = st.text("0123456789-/:*, @holidaysBGHLW.icsT#\"'[]{}", max_size=60) | st.text(max_size=4096)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["except", "rrule", "workday", "at", "every", "cron", "event", "jitter"]), HOSTILE)
def test_any_text_in_any_key_is_read_or_is_a_problem(key: str, text: str) -> None:
    said = json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")
    lines = f"solar = {{ event = {said}, latitude = 1, longitude = 1 }}" if key == "event" else f"{key} = {said}"
    more = 'every = "1h"\n' if key in ("except", "workday", "jitter") else ""

    entries, problems = read(f"[entries.one]\n{more}{lines}")

    assert entries or problems


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ICS) - 1), st.binary(max_size=8), st.integers(0, 40))
def test_a_damaged_calendar_file_is_read_or_is_a_problem(place: int, put: bytes, cut: int) -> None:
    entries, problems = read('[entries.one]\nevery = "1h"\nexcept = "closures.ics"', ics=ICS[:place] + put + ICS[place + cut :])

    assert entries or {problem.code for problem in problems} <= {"S161", "S163", "S165", "S166", "S110"}


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ('rrule = "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"', "S153", "never due"),
        ("at = 2026-03-29T03:30:00", "S170", "skips, so it is 2026-03-29T01:00:00Z"),
        ('at = ["2026-01-01T09:00:00", "2026-10-25T03:30:00"]', "S170", "twice, so it is 2026-10-25T00:30:00Z"),
        ('every = "1h"\nexcept = "0 0 13 * fri"', "S154", "either of them"),
        ('every = "1h"\nexcept = "* 12 * * mon"', "S171", '"* * * * mon"'),
        ('every = "1h"\nexcept = "30 0 12 * * sun"', "S171", '"* * * * sun"'),
        ('every = "1h"\nexcept = "* * 30 2 *"', "S153", "excludes nothing"),
    ],
)
def test_what_is_hardly_meant_is_a_warning_and_the_entry_is_loaded(lines: str, code: str, said: str) -> None:
    entries, problems = read(f"[entries.one]\n{lines}")

    assert "one" in entries
    (problem,) = [each for each in problems if each.code == code]
    assert problem.severity is Severity.WARNING
    assert said in f"{problem.what} {problem.fix}"


@pytest.mark.parametrize(
    "lines",
    ["at = 2026-03-29T01:30:00Z", "at = 2026-03-29T04:00:00", "at = 2026-10-25T04:00:00", 'at = "2026-10-25T00:30:00Z"'],
)
def test_an_instant_that_the_clock_shows_once_is_no_warning(lines: str) -> None:
    assert read(f"[entries.one]\n{lines}")[1] == ()


def test_a_calendar_that_excludes_by_the_hour_is_a_warning_of_the_calendar() -> None:
    entries, problems = read('[calendars]\nnights = "0 3 * * mon"\n[entries.one]\nevery = "1h"\nexcept = ["nights"]')

    assert "one" in entries
    assert [(each.code, each.line) for each in problems] == [("S171", 4)]


def test_an_exclusion_of_every_day_says_that_it_goes_by_the_day() -> None:
    entries, problems = read('[entries.one]\nevery = "1h"\nexcept = "0 12 * * *"')

    assert entries == {}
    assert {each.code for each in problems} == {"S171", "S166"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('every = "1mo"', "months, which have no length"),
        ('every = "1y"', "years, which have no length"),
        ('every = "1d"\noffset = "-2h"', 'offset = "22h", which is the same'),
        ('every = "1d"\noffset = -7200', 'offset = "22h", which is the same'),
        ('every = "1d"\noffset = "-2d"', "offset = 0, or leave it out"),
        ('every = "1h"\njitter = "12.5%"', "not a whole number of per cent"),
        ('solar = "sunset"', 'solar = { event = "sunset", latitude = 42.7, longitude = 23.3 }'),
        ('solar = { event = "sunset", latitude = 42.7, longitude = "east" }', "longitude = 23.3"),
        ('solar = { event = "sunset", latitude = 42.7, longitude = 200 }', "longitude = 23.3"),
        ('solar = { event = "sunset", latitude = 42.7, longitude = 23.3, offset = -1800 }', 'offset = "-1800s" or "-1800m"'),
        ('solar = { event = "sunset", latitude = 42.7, longitude = 23.3, offset = "30" }', '"30s" or "30m"'),
        ('every = "1h"\nworkday = "next"\nweekend = "fri"', 'weekend = ["fri"]'),
        ('any = [ { any = [ { every = "1h" } ] } ]', '"any" has an "any" in it'),
        ('cron = "cron(0 12 * * ? 2030)"', 'take cron( ) off: "0 0 12 * * ? 2030"'),
    ],
)
def test_the_fix_is_what_could_have_been_meant(lines: str, said: str) -> None:
    entries, problems = read(f"[entries.one]\n{lines}")

    assert entries == {}
    assert [f"{each.what} {each.fix}" for each in problems if said in f"{each.what} {each.fix}"]
    assert len(problems) == 1


@pytest.mark.parametrize(("word", "taken"), [("fri", True), ("Friday", True), ("sunny", False), ("monsoon", False)])
def test_a_weekend_is_made_of_names_of_days(word: str, taken: bool) -> None:
    entries, _ = read(f'[entries.x]\ncron = "0 9 * * *"\nworkday = "next"\nweekend = ["{word}"]\n')

    assert ("x" in entries) is taken
