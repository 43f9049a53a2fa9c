"""The JSON Schema of schedule.toml says what the parser does: of every key, of good examples and of bad ones."""

from __future__ import annotations

import json
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from offbeat.core import entries, settings, whens
from offbeat.core.listing import Kind, Text, TreeFiles
from offbeat.core.model import DIRECTORIES
from offbeat.core.parse import parse
from offbeat.core.schema import OF_BROKER, OF_ENTRIES, OF_LEDGER, SOLAR, schedule_schema
from offbeat.errors import Severity

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = schedule_schema()
GOOD = [
    "",
    'project = "p"\ntimezone = "Europe/Sofia"\ntask_prefix = "p.tasks."\nenv_file = ".env"\nbroker_env = "REDIS_URL"',
    '[broker]\ndefault_queue = "c"\nssl = true\ntransport_options = { a = 1 }',
    '[broker]\nssl = { ca_certs = "x" }',
    '[routes]\n"a.*" = "q"\nb = { queue = "c" }',
    '[directories]\nhourly = "5 * * * *"\ndaily = { cron = "30 3 * * *", time_limit = "1h" }',
    '[defaults]\nexpires = "1h"\njitter = "10%"\ngrace = 0\nworkday = "next"\nweekend = ["Fri", "sat"]',
    '[defaults]\nmax_runtime = "1h"',
    '[ledger]\nkeep = "90d"\nkeep_rows = 1000000\nkeep_bytes = "1GB"\nafter_restore = "send"',
    '[ledger]\nkeep_bytes = " 500 MiB "',
    "[ledger]\nkeep_bytes = 5000000",
    '[calendars]\na = "2026-12-24"\nb = ["a", 2026-12-25, "* * * * sat", "holidays:BG"]',
]
GOOD_ENTRIES = [
    'cron = "30 4 * * mon"\nargs = [1]\nkwargs = { a = 1 }\nqueue = "q"\npriority = 255\nheaders = { x_a = "1" }',
    'every = "1h 30m"\noffset = "5m"\njitter = "5m"\ncatch_up = "none"\nenabled = false\ndescription = "x"',
    'every = "90s"\noverlap = "skip"\nmax_runtime = "1h"',
    'every = "90s"\noverlap = "wait"\nmax_runtime = "1h"',
    'every = "90s"\nexpires = 90\ngrace = 0\nserializer = "json"',
    'every = "90s"\nstarts_at = 2026-01-01\nends_at = "2027-01-01T00:00:00Z"\noverlap = "allow"\ntask = "a.b"\nexchange = "e"',
    "at = 2026-03-01T04:30:00Z\nrouting_key = 'r'",
    'at = ["2026-03-01 04:30", 2026-03-02]\ncommand = ["make", "report"]\ntime_limit = "5m"',
    'solar = { event = "dawn", latitude = 42, longitude = 23.3, offset = "-1h30m" }\ncommand = "make"',
    'rrule = "FREQ=DAILY"\nexcept = "2026-12-24"\ntimezone = "Europe/Sofia"',
    'any = [ { cron = "@daily" }, { every = "45m", offset = "5m" }, { at = "2026-03-01T04:30:00" }, { rrule = "FREQ=DAILY" } ]',
]
BAD = [
    "project = 5",
    'timezone = ["UTC"]',
    "tiemzone = 'UTC'",
    "broker_env = 'A B'",
    "task_prefix = true",
    "broker = 5",
    "[broker]\nssl = 'yes'",
    "[broker]\ndefault_queue = 5",
    "[directories]\nhourly = { time_limit = 60 }",
    "[broker]\nurl = 'redis://h'",
    "[routes]\na = 5",
    "[routes]\na = { queue = 5 }",
    "[directories]\nyearly = '1 * * * *'",
    "[directories]\nhourly = 5",
    "[defaults]\ncron = '* * * * *'",
    "[defaults]\nexpires = 'x'",
    "[calendars]\na = 5",
    "[calendars]\na = [5]",
    "ledger = 5",
    "[ledger]\nkeep = 90",
    "[ledger]\nkeep_rows = 0",
    "[ledger]\nkeep_bytes = '1 gig'",
    "[ledger]\nkeep_bytes = 0",
    "[ledger]\nafter_restore = 'both'",
    "[ledger]\nretention = '1d'",
    "entries = 5",
    "[entries]\na = 5",
]
BAD_ENTRIES = [
    "queue = 'x'",
    "every = '1h'\ncron = '* * * * *'",
    "every = true",
    "every = -1",
    "every = 5",
    "every = '5'",
    "every = 0",
    "any = [ { every = 45 } ]",
    "every = '1x'",
    "every = '30m1h'",
    "cron = 5",
    "at = 5",
    "at = []",
    "at = 'tomorrow'",
    "solar = 'sunset'",
    "solar = { event = 'sunset' }",
    "solar = { event = 'sunup', latitude = 1, longitude = 1 }",
    "solar = { event = 'sunset', latitude = 91, longitude = 1 }",
    "solar = { event = 'sunset', latitude = 1, longitude = 1, offset = 5 }",
    "rrule = 5",
    "any = []",
    "any = [ 5 ]",
    "any = [ { every = '1h', queue = 'x' } ]",
    "any = [ { every = '1h', cron = '* * * * *' } ]",
    "own = { a = 1 }",
    *(
        f"every = '1h'\n{line}"
        for line in ("priority = 256", "priority = '5'", "jitter = '101%'", "jitter = -5", "jitter = true")
    ),
    *(
        f"every = '1h'\n{line}"
        for line in ("enabled = 1", "grace = 'x'", "catch_up = 'all of them'", "starts_at = 5", "args = 5")
    ),
    *(
        f"every = '1h'\n{line}"
        for line in ("kwargs = []", "queue = ''", "headers = 5", "expires = 1.5", "task = 'a b'", "zzz = 1")
    ),
]
BAD_LINES = [
    "priority = 256",
    "priority = '5'",
    "jitter = '101%'",
    "jitter = -5",
    "jitter = true",
    "enabled = 1",
    "grace = 'x'",
    "catch_up = 'all of them'",
    "starts_at = 5",
    "args = 5",
    "kwargs = []",
    "queue = ''",
    "headers = 5",
    "expires = 1.5",
    "expires = '90'",
    "expires = 0",
    "grace = 5",
    "jitter = '5'",
    "offset = 300",
    "task = 'a b'",
    "zzz = 1",
    "except = 5",
    "workday = 'nxt'",
    "weekend = 'sat'",
    "overlap = 'x'",
    "overlap = 'skip'\nmax_runtime = 60",
    "command = 5",
    "description = 5",
    "task = ''",
    "command = []",
    "timezone = 5",
    "offset = true",
]
BAD_ENTRIES += [f"every = '1h'\n{line}" for line in BAD_LINES]


def plain(value: Any) -> Any:
    """Return a value of TOML as editors' checkers see it: dates are texts."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date | time) else value


def is_valid(text: str) -> bool:
    return not list(jsonschema.Draft7Validator(SCHEMA).iter_errors(plain(tomllib.loads(text))))


def is_taken(text: str) -> bool:
    """Return whether the parser finds no error."""
    schedule = Text(path="cron/schedule.toml", kind=Kind.FILE, content=text.encode())
    _, problems = parse(TreeFiles(path="cron", schedule=schedule), {})
    return all(problem.severity is Severity.WARNING for problem in problems)


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_every_key_that_the_parser_knows_is_in_it_and_no_other() -> None:
    top = SCHEMA["properties"]

    assert top.keys() == {*settings.TOP}
    assert top["broker"]["properties"].keys() == {*settings.BROKER} == OF_BROKER.keys()
    assert top["ledger"]["properties"].keys() == {*settings.LEDGER} == OF_LEDGER.keys()
    assert top["directories"]["properties"].keys() == {*DIRECTORIES}
    assert top["entries"]["additionalProperties"]["properties"].keys() == {*entries.KEYS} == OF_ENTRIES.keys()
    assert top["defaults"]["properties"].keys() == {*entries.DEFAULTS}
    assert {*whens.SOLAR} == SOLAR.keys()


@pytest.mark.parametrize("text", [*GOOD, *(f"[entries.one]\n{lines}" for lines in GOOD_ENTRIES)])
def test_both_take_what_is_right(text: str) -> None:
    assert is_taken(text)
    assert is_valid(text)


@pytest.mark.parametrize("text", [*BAD, *(f"[entries.one]\n{lines}" for lines in BAD_ENTRIES)])
def test_both_refuse_what_is_wrong(text: str) -> None:
    assert not is_valid(text)
    assert not is_taken(text)


def test_the_page_that_editors_read_is_the_newest() -> None:
    page = ROOT / "docs" / "reference" / "schedule.schema.json"

    assert json.loads(page.read_text("utf-8")) == SCHEMA, "run: make docs"
