"""What could send to the wrong place, at the wrong time or tell a secret is refused, and said without repeating it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core import serial
from offbeat.core.listing import Directory, Found, Kind, Text, TreeFiles
from offbeat.core.model import Schedule, TaskCall
from offbeat.core.parse import parse
from offbeat.core.passwords import masked, password_paths
from offbeat.core.recurrences.recurrence import cron_text
from offbeat.errors import Problem, Severity

GOOD = '[entries.good]\nevery = "45m"\n'
HUGE = "0x" + "f" * 5000
HOURLY = Directory(name="hourly", path="cron/hourly", kind=Kind.DIRECTORY, files=(Found(name="tidy", executable=True),))


def read(text: str) -> tuple[Schedule | None, list[Problem]]:
    """Return the schedule and the errors of a schedule.toml."""
    schedule = Text(path="cron/schedule.toml", kind=Kind.FILE, content=text.encode())
    found, problems = parse(TreeFiles(path="cron", schedule=schedule, directories=(HOURLY,)), {"OFFBEAT_PROJECT": "p"})
    return found, [problem for problem in problems if problem.severity is Severity.ERROR]


def names(schedule: Schedule | None) -> list[str]:
    assert schedule is not None
    return [entry.name for entry in schedule.entries if not entry.name.startswith("hourly/")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("transport_options = 5", "S144"),
        ("transport_options = { a = nan, global_keyprefix = 'difio:' }", "S149"),
        ("transport_options = { a = 2026-01-01, global_keyprefix = 'difio:' }", "S149"),
        (f"transport_options = {{ a = {HUGE}, global_keyprefix = 'difio:' }}", "S149"),
        ("transport_options = { sentinel_kwargs = { password = 'hunter2' }, global_keyprefix = 'difio:' }", "C110"),
        ("transport_options = { global_keyprefix = 1 }", "S144"),
        ("ssl = 'required'", "S144"),
        ("ssl = 1", "S144"),
        ("ssl = { ca_certs = nan }", "S149"),
        ("ssl = { password = 'hunter2' }", "C110"),
        ("default_queue = ''", "S145"),
        ("transport_option = { global_keyprefix = 'difio:' }", "S143"),
        ("global_keyprefix = 'difio:'", "S143"),
        ("tls = true", "S143"),
    ],
)
def test_what_messages_are_sent_by_is_right_or_nothing_is_sent(line: str, code: str) -> None:
    schedule, errors = read(f"[broker]\n{line}\n{GOOD}")

    assert schedule is None
    assert [(each.code, each.line) for each in errors] == [(code, 2)]
    assert "the last good schedule stays in force" in errors[0].why
    assert "hunter2" not in str(errors)


@pytest.mark.parametrize("key", ["url", "broker_url", "queues"])
def test_a_key_of_broker_that_says_nothing_of_how_to_send_stops_nothing(key: str) -> None:
    schedule, errors = read(f"[broker]\n{key} = 'x'\n{GOOD}")

    assert names(schedule) == ["good"]
    assert len(errors) == 1


@pytest.mark.parametrize("key", ["env_file", "broker_env"])
def test_a_key_that_counts_for_nothing_is_stored_nowhere(key: str) -> None:
    schedule, errors = read(f"{key} = 'redis://:hunter2@h/0'\n{GOOD}")

    assert [each.code for each in errors] == ["C110"]
    assert schedule is not None
    assert (schedule.broker.env_file, schedule.broker.broker_env) == ("", "")
    assert "hunter2" not in serial.schedule_to_json(schedule)


ADDRESS = "redis://u:hunter2@h"


@pytest.mark.parametrize(
    "line", ["every", "at", "cron", "grace", "jitter", "starts_at", "timezone", "rrule", "except", "queue"]
)
def test_a_password_is_told_once_and_read_no_further(line: str) -> None:
    own = "" if line in ("every", "at", "cron", "rrule") else "every = '1h'\n"

    schedule, errors = read(f"{GOOD}[entries.bad]\n{own}{line} = '{'x' * 20}{ADDRESS}'")

    assert names(schedule) == ["good"]
    assert {each.code for each in errors} == {"C110"}
    assert "hunter2" not in str(errors)


@pytest.mark.parametrize("digits", [HUGE, "-0xf".replace("0xf", "1" * 30), "9" * 30, str(2**64), str(-(2**63) - 1)])
@pytest.mark.parametrize(
    "line",
    [
        *("every = N", "every = '1h'\ngrace = N", "every = '1h'\npriority = N", "every = '1h'\nexpires = N"),
        *("every = '1h'\nargs = [[N]]", "every = '1h'\nkwargs = { a = { b = N } }", "every = '1h'\nheaders = { a = N }"),
        *("at = N", "at = [N]", "cron = N", "rrule = N", "own = { kind = 'fiscal', year = N }", "any = [ { every = N } ]"),
        *("solar = { event = 'noon', latitude = N, longitude = 0 }", "every = '1h'\nexcept = N", "every = '1h'\nqueue = N"),
        *("every = '1h'\noffset = N", "every = '1h'\nzzz = N", "every = '1h'\ncommand = [N]", "every = '1h'\njitter = N"),
    ],
)
def test_a_number_of_more_than_64_bits_stops_its_entry(line: str, digits: str) -> None:
    schedule, errors = read(f"{GOOD}[entries.bad]\n{line.replace('N', digits)}")

    assert names(schedule) == ["good"]
    assert {each.entry for each in errors} == {"bad"}
    assert {each.code for each in errors} <= {"S143", "S144", "S149"}
    assert any("64 bits" in each.what for each in errors)
    assert len(str(errors)) < 2000


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_a_number_of_64_bits_is_carried(number: int) -> None:
    schedule, errors = read(f"[entries.a]\nevery = '1h'\nargs = [{number}]")

    assert not errors
    assert schedule is not None
    call = schedule.entries[0].call
    assert isinstance(call, TaskCall)
    assert json.loads(serial.call_to_json(call))["args"] == [number]


@pytest.mark.parametrize("text", ["timezone = N", "env_file = N", "[defaults]\ngrace = N", "[directories]\ndaily = N", "x = N"])
def test_a_number_of_more_than_64_bits_anywhere_else_is_told(text: str) -> None:
    _, errors = read(f"{text.replace('N', HUGE)}\n{GOOD}")

    assert any("64 bits" in each.what for each in errors)


def test_a_number_that_python_itself_refuses_to_read_refuses_the_file_at_its_line() -> None:
    schedule, errors = read(f"{GOOD}[entries.bad]\nevery = '1h'\nargs = [1_{'9' * 5000}]\n")

    assert schedule is None
    assert [(each.code, each.line) for each in errors] == [("S140", 5)]
    assert "more than 4300 digits" in errors[0].what
    assert "set_int_max_str_digits" not in str(errors)


@pytest.mark.parametrize(
    "written",
    [
        "9999-12-31T23:59:59",
        "9999-01-01",
        "1969-12-31T23:59:59",
        "0001-01-01",
        "9999-12-31T23:59:59-23:59",
        "1969-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("quote", ["'", ""], ids=["text", "date"])
@pytest.mark.parametrize("key", ["at", "starts_at", "ends_at"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_an_instant_that_no_calendar_here_can_show_is_refused(written: str, quote: str, key: str, zone: str) -> None:
    own = "" if key == "at" else "every = '1h'\n"

    schedule, errors = read(f"{GOOD}[entries.bad]\ntimezone = '{zone}'\n{own}{key} = {quote}{written}{quote}")

    assert names(schedule) == ["good"]
    assert [(each.code, each.entry) for each in errors] == [("S105", "bad")]
    assert "1970 to 9998" in errors[0].fix


@pytest.mark.parametrize(
    "written", ["1970-01-01", "9998-12-31T23:59:59", "9998-12-31T23:59:59-23:59", "1970-01-01T00:00:00+14:00"]
)
def test_the_first_and_the_last_instants_are_read(written: str) -> None:
    _, errors = read(f"[entries.a]\ntimezone = 'Pacific/Kiritimati'\nat = '{written}'")

    assert not errors


SPANS = ["every", "offset", "grace", "jitter", "time_limit"]


@pytest.mark.parametrize("value", ["5", '"5"', '" 45 "', "45", "3600"])
@pytest.mark.parametrize("key", SPANS)
def test_a_duration_without_a_unit_is_refused_with_what_it_may_mean(key: str, value: str) -> None:
    own = "" if key == "every" else "every = '1h'\n"
    own += "command = 'x'\n" if key == "time_limit" else ""
    number = value.strip('" ')

    schedule, errors = read(f"{GOOD}[entries.bad]\n{own}{key} = {value}")

    assert names(schedule) == ["good"]
    assert [each.code for each in errors] == ["S104"]
    assert "unit" in errors[0].what
    assert errors[0].fix == f'{key} = "{number}s" or "{number}m"'


@pytest.mark.parametrize(
    "text", ["[defaults]\ngrace = 5", "[directories]\ndaily = { time_limit = 60 }", "[defaults]\njitter = '5'"]
)
def test_a_duration_without_a_unit_is_refused_everywhere(text: str) -> None:
    _, errors = read(f"{text}\n{GOOD}")

    assert [each.code for each in errors] == ["S104"]


@pytest.mark.parametrize("text", ["@every 45", "@every 0"])
def test_an_every_of_cron_needs_a_unit_too(text: str) -> None:
    _, errors = read(f"[entries.bad]\ncron = '{text}'")

    assert [each.code for each in errors] == ["S104"]


@pytest.mark.parametrize("key", ["offset", "grace", "jitter"])
@pytest.mark.parametrize("zero", ["0", '"0"', '"0s"'])
def test_nothing_at_all_needs_no_unit(key: str, zero: str) -> None:
    _, errors = read(f"[entries.a]\nevery = '1h'\n{key} = {zero}")

    assert not errors


def test_expires_is_a_number_of_seconds_as_in_celery() -> None:
    schedule, errors = read("[entries.a]\nevery = '1h'\nexpires = 90")

    assert not errors
    assert schedule is not None
    call = schedule.entries[0].call
    assert isinstance(call, TaskCall)
    assert call.expires == 90


@pytest.mark.parametrize("text", ['"90"', "-1", "0", "99999999999"])
def test_expires_is_nothing_else_without_a_unit(text: str) -> None:
    _, errors = read(f"[entries.a]\nevery = '1h'\nexpires = {text}")

    assert [each.code for each in errors] == ["S104"]


@pytest.mark.parametrize(
    "name",
    [
        "redis://u:hunter2@h",
        "redis://:hunter2@h:6379/0",
        "u/redis://u:12/hunter2@h",
        "https://h/?password=hunter2",
        "x" * 50 + ADDRESS,
    ],
)
def test_a_password_in_the_name_of_an_entry_is_refused_and_repeated_nowhere(name: str) -> None:
    schedule, errors = read(f'{GOOD}[entries."{name}"]\nevery = "1h"')

    assert names(schedule) == ["good"]
    assert [(each.code, each.line) for each in errors] == [("C110", 3)]
    assert "hunter2" not in repr(errors) + repr(schedule)


@pytest.mark.parametrize(
    "text",
    [
        f'[entries.bad]\nevery = "1h"\n"{ADDRESS}" = 1',
        f'[entries.bad]\nevery = "1h"\nkwargs = {{ "{ADDRESS}" = 1 }}',
        f'[entries.bad]\nevery = "1h"\nargs = [ {{ "{ADDRESS}" = 1 }} ]',
        f'[calendars]\n"{ADDRESS}" = "2026-01-01"',
        f'[defaults]\n"{ADDRESS}" = 1',
        f'[directories]\n"{ADDRESS}" = 1',
        f'"{ADDRESS}" = 1',
        f'["{ADDRESS}"]\na = 1',
        f'[routes]\n"{ADDRESS}" = "q"',
        f'[entries]\n"{ADDRESS}" = 1',
    ],
)
def test_a_password_in_a_key_is_repeated_nowhere(text: str) -> None:
    schedule, errors = read(f"{text}\n")

    assert "C110" in {each.code for each in errors}
    assert "hunter2" not in repr(errors) + repr(schedule)


SECRETS = [
    "redis://u:12/hunter2@h",
    "redis://:12/hunter2@h:6379/0",
    "amqp://u:5672/hunter2@h//",
    "redis://u:hun@ter2@h",
    "redis://h/0?password=hunter2",
    "https://h/x?a=1&password=hunter2&b=2",
    "rediss://h/0?ssl_keyfile_password=hunter2",
    "https://h/?access_token=hunter2",
    "postgresql://h/d?user=u&PASSWORD=hunter2",
    "curl https://u:hunter2@h/x",
]
HARMLESS = [
    "redis://h:6379/0",
    "redis://u@h:6379/0",
    "http://h:8080/@user",
    "https://h:443/a@b",
    "https://h/?page=2&next_page_token=3",
    "https://h/?password=",
    'curl "https://h/?token=$TOKEN"',
    "https://h/?password=${PASSWORD}",
    "ask for the password=1",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_password_in_an_address_is_found_and_masked(text: str) -> None:
    assert password_paths({"a": [text]}) == [("a",)]
    assert "***" in masked(text)
    assert not re.search("hun|ter2|12/", masked(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_an_address_without_a_password_is_let_through(text: str) -> None:
    assert password_paths({"a": [text]}) == []
    assert masked(text) == text


@given(before=st.text("ab/:@?&=", max_size=12), secret=st.text("xyz/@:?", min_size=1, max_size=12))
def test_what_is_masked_has_no_password_left(before: str, secret: str) -> None:
    once = masked(f"{before}amqp://u:{secret}SECRET@h/{before}")

    assert "SECRET" not in once
    assert masked(once) == once


def test_text_that_looks_like_a_thousand_addresses_is_searched_in_time() -> None:
    assert password_paths("://a:" * 20_000 + "?password" * 20_000) == []


TWO = 'cron = "1 * * * *"\nevery = "1h"\nat = "2026-01-01"'


@pytest.mark.parametrize("lines", [TWO, "task = 't'"])
def test_the_fix_of_a_recurrence_too_many_or_too_few_is_one_sentence(lines: str) -> None:
    _, errors = read(f"[entries.bad]\n{lines}")

    assert [each.code for each in errors] == ["S147"]
    assert ";" not in errors[0].fix
    assert len(errors[0].fix) < 100


def test_h_is_resolved_by_the_name_of_the_entry() -> None:
    text = '[entries.{}]\ncron = "H H * * *"\n[entries.several]\nany = [ {{ cron = "H H * * *" }}, {{ cron = "H * 1 * *" }} ]'

    schedule, errors = read(text.format("nightly"))

    assert not errors
    assert schedule is not None
    found = {entry.name: entry.timing.recurrence for entry in schedule.entries}
    assert found["nightly"] == cron_text("H H * * *", zone="UTC", seed="nightly") == "cron 20 12 * * *"
    assert cron_text("H H * * *", zone="UTC", seed="several").removeprefix("cron ") in found["several"]


def test_h_of_a_directory_is_resolved_by_the_name_of_the_directory() -> None:
    for line in ('hourly = "H * * * *"', 'hourly = { cron = "H * * * *", time_limit = "1h" }'):
        schedule, errors = read(f"[directories]\n{line}")

        assert not errors
        assert schedule is not None
        assert [entry.timing.recurrence for entry in schedule.entries] == [cron_text("H * * * *", zone="UTC", seed="hourly")]
