"""check, next and list: what they say of the files, without a ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.faces.conftest import NOON, Shop

CHECK_KEYS = {"file", "line", "code", "severity", "what", "why", "fix"}
TWO_BAD = """
[entries.one]
cron = "0 25 * * *"

[entries.good]
every = "45m"

[entries.two]
evry = "1h"
"""


def test_a_clean_tree_has_no_problems(shop: Shop) -> None:
    shop.write('[entries.report]\ncron = "30 4 * * mon"\n')

    result = shop.call("check")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "1 entry, no problems\n", "")


def test_check_shows_every_problem_at_once_with_its_place_first(shop: Shop) -> None:
    shop.write(TWO_BAD)

    result = shop.call("check")

    assert result.exit_code == 1
    heads = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    assert heads[0].startswith("cron/schedule.toml:5: ")
    assert heads[1].startswith("cron/schedule.toml:1")
    assert heads[-1].startswith("1 entry, ")
    assert result.stdout.count("  why: ") == result.stdout.count("  fix: ") == len(heads) - 1


def test_check_as_json_has_the_promised_keys(shop: Shop) -> None:
    shop.write(TWO_BAD)

    rows = shop.json("check")

    assert len(rows) >= 2
    assert all(set(row) >= CHECK_KEYS for row in rows)
    assert rows[0]["file"] == "cron/schedule.toml"
    assert rows[0]["line"] == 5
    assert {row["severity"] for row in rows} <= {"error", "warning"}
    assert [row["line"] for row in rows] == sorted(row["line"] for row in rows)


def test_check_of_a_clean_tree_as_json_is_an_empty_array(shop: Shop) -> None:
    assert shop.json("check") == []


@pytest.mark.parametrize(("args", "code"), [([], 0), (["--strict"], 1)])
def test_warnings_are_problems_only_when_strict(shop: Shop, args: list[str], code: int) -> None:
    (shop.tree / "schedule.toml").write_text('[entries.a]\ntask = "x.a"\nevery = "1h"\n', "utf-8")  # no project: a warning

    result = shop.call("check", *args)

    assert result.exit_code == code
    assert "warning: " in result.stdout
    assert result.stdout.endswith("1 entry, no problems, 1 warning\n")


def test_a_file_that_is_no_toml_is_one_problem_and_no_traceback(shop: Shop) -> None:
    (shop.tree / "schedule.toml").write_text("project = \n", "utf-8")

    result = shop.call("check")

    assert result.exit_code == 1
    assert result.stdout.startswith("cron/schedule.toml:1: ")
    assert result.stderr == ""


def test_no_tree_is_a_problem_that_says_what_to_do(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")

    result = shop.call("next")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "offbeat init" in result.stderr


def test_no_tree_is_in_the_json_of_check_too(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert [row["severity"] for row in shop.json("check")] == ["error"]


def test_check_tells_when_the_broker_cannot_be_reached(shop: Shop) -> None:
    shop.environ["OFFBEAT_BROKER"] = "redis://:hunter2@127.0.0.1:1/0"

    result = shop.call("check", "--broker")

    assert result.exit_code == 3
    assert "hunter2" not in result.output
    assert result.stdout.startswith("broker redis://")


def test_check_tells_when_the_broker_answers(shop: Shop) -> None:
    result = shop.call("check", "--broker")

    first, limit = result.stdout.splitlines()
    assert (result.exit_code, first) == (0, "0 entries, no problems, the broker answers")
    assert limit.startswith("broker: ")


def test_check_opens_the_ledger_on_request(shop: Shop) -> None:
    shop.environ["OFFBEAT_LEDGER"] = "redis://:hunter2@127.0.0.1:1/0"

    plain, asked = shop.call("check"), shop.call("check", "--ledger")

    assert plain.exit_code == 0
    assert plain.stdout.splitlines()[1].startswith("ledger: Redis, redis://***@127.0.0.1:1/0; it forgets what its server loses")
    assert asked.exit_code == 3
    assert "hunter2" not in plain.output + asked.output


def test_check_tells_when_no_broker_is_named(shop: Shop) -> None:
    del shop.environ["OFFBEAT_BROKER"]

    result = shop.call("check", "--broker")

    assert result.exit_code == 3
    assert "no broker address" in result.stdout


def test_next_shows_the_soonest_first_in_the_entrys_zone(shop: Shop) -> None:
    shop.write('timezone = "Europe/Sofia"\n[entries.report]\ncron = "30 4 * * mon"\n[entries.often]\nevery = "45m"\n')

    result = shop.call("next", "-n", "2")

    assert result.stdout.splitlines() == [
        "ENTRY   DUE",
        "often   Sun 2026-03-01 14:45:00 +02:00  in 45 min",
        "often   Sun 2026-03-01 15:30:00 +02:00  in 1 h 30 min",
        "report  Mon 2026-03-02 04:30:00 +02:00  in 14 h 30 min",
        "report  Mon 2026-03-09 04:30:00 +02:00  in 7 d 14 h",
    ]


def test_next_as_json_has_the_promised_keys(shop: Shop) -> None:
    shop.write('timezone = "Europe/Sofia"\n[entries.report]\ncron = "30 4 * * mon"\n')

    assert shop.json("next", "-n", "1") == [
        {
            "entry": "report",
            "due_at": "2026-03-02T02:30:00Z",
            "send_at": "2026-03-02T02:30:00Z",
            "local": "2026-03-02T04:30:00+02:00",
            "zone": "Europe/Sofia",
            "reason": "",
            "overlap": "allow",
        }
    ]


def test_next_shows_the_jitter_in_the_send_time(shop: Shop) -> None:
    shop.write('[entries.a]\nevery = "1h"\njitter = "5m"\n')

    rows = shop.json("next", "-n", "20")

    spread = {int(row["send_at"][14:16]) for row in rows}
    assert len(spread) > 1 and max(spread) <= 5
    assert all(row["due_at"].endswith(":00:00Z") for row in rows)


def test_next_from_an_instant_includes_it(shop: Shop) -> None:
    shop.write('timezone = "Europe/Sofia"\n[entries.a]\nevery = "1h"\n')

    assert shop.json("next", "-n", "1", "--from", "2026-03-05T10:00")[0]["due_at"] == "2026-03-05T08:00:00Z"


def test_next_from_nonsense_is_wrong_usage(shop: Shop) -> None:
    result = shop.call("next", "--from", "soon")

    assert result.exit_code == 2
    assert "--from" in result.stderr


def test_next_of_one_entry_shows_only_that(shop: Shop) -> None:
    shop.write('[entries.a]\nevery = "1h"\n[entries.b]\nevery = "1h"\n')

    assert {row["entry"] for row in shop.json("next", "a")} == {"a"}


def test_a_mistyped_entry_is_told_which_one_was_meant(shop: Shop) -> None:
    shop.write('[entries.search_dates]\nevery = "1h"\n')

    result = shop.call("next", "serch_dates")

    assert result.exit_code == 2
    assert 'there is no entry "serch_dates"; did you mean "search_dates"?' in result.stderr


def test_next_keeps_within_starts_at_and_ends_at(shop: Shop) -> None:
    shop.write('[entries.a]\nevery = "1h"\nstarts_at = 2026-03-02T00:00:00Z\nends_at = 2026-03-02T01:00:00Z\n')

    assert [row["due_at"] for row in shop.json("next", "-n", "9")] == ["2026-03-02T00:00:00Z", "2026-03-02T01:00:00Z"]


def test_an_entry_that_is_never_due_is_named_on_stderr(shop: Shop) -> None:
    shop.write('[entries.off]\nevery = "1h"\nenabled = false\n[entries.past]\nat = 2020-01-01T00:00:00Z\n')

    result = shop.call("next")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.splitlines()[-2:] == ["off: disabled", "past: never due again"]


def test_a_bad_entry_does_not_keep_next_from_the_others(shop: Shop) -> None:
    shop.write(TWO_BAD)

    result = shop.call("next", "-n", "1")

    assert result.exit_code == 0
    assert "good" in result.stdout
    assert "cron/schedule.toml:5: " in result.stderr


def test_list_says_when_what_and_where(shop: Shop) -> None:
    shop.write('[entries.report]\ncron = "30 4 * * 1"\nqueue = "slow"\n')
    shop.link("hourly", "search_dates")

    result = shop.call("list")

    assert result.stdout.splitlines() == [
        "ENTRY         WHEN             ZONE  WHAT                     TO            WHERE",
        "report        cron 30 4 * * 1  UTC   shop.tasks.report        queue slow    cron/schedule.toml:3",
        "search_dates  cron 1 * * * *   UTC   shop.tasks.search_dates  queue celery  cron/hourly/search_dates",
    ]


def test_list_as_json_has_its_documented_keys(shop: Shop) -> None:
    shop.write('[entries.report]\nevery = "45m"\nkwargs = { full = true }\ndescription = "weekly"\n')

    assert shop.json("list") == [
        {
            "entry": "report",
            "kind": "task",
            "recurrence": "every 45m",
            "zone": "UTC",
            "enabled": True,
            "is_paused": False,
            "paused_until_at": None,
            "overlap": "allow",
            "max_runtime_s": None,
            "task": "shop.tasks.report",
            "queue": "celery",
            "args": [],
            "kwargs": {"full": True},
            "command": None,
            "description": "weekly",
            "file": "cron/schedule.toml",
            "line": 3,
        }
    ]


def test_reading_the_files_makes_no_ledger(shop: Shop, tmp_path: Path) -> None:
    shop.write('[entries.a]\nevery = "1h"\n')

    for command in (["check"], ["next"], ["list"], ["plan"], ["status"], ["history"]):
        assert shop.call(*command).exit_code == 0, command

    assert not (tmp_path / "state").exists()


def test_names_that_would_steer_a_terminal_are_spelled_out(shop: Shop) -> None:
    shop.write('[entries."a\\u001b[31m"]\ntask = "x.a"\nevery = "1h"\n')

    for command in ("check", "list", "next"):
        assert "\x1b" not in shop.call(command).output


def test_an_array_is_a_row_a_line(shop: Shop) -> None:
    shop.write('[entries.a]\nevery = "1h"\n')

    lines = shop.call("next", "--json").stdout.splitlines()

    assert (lines[0], lines[-1]) == ("[", "]")
    assert all(json.loads(line.rstrip(","))["entry"] == "a" for line in lines[1:-1])
    assert NOON < shop.clock.now() + 1


def test_list_says_in_words_what_no_crontab_has(shop: Shop) -> None:
    shop.write(
        '[entries.sun]\nsolar = { event = "sunset", latitude = 42.7, longitude = 23.3 }\n'
        '[entries.many]\nany = [ { cron = "30 4 * * mon" }, { every = "45m" } ]\nexcept = ["2026-12-24"]\n'
        '[entries.rule]\nrrule = "DTSTART:20260101T090000\\nRRULE:FREQ=WEEKLY;BYDAY=MO"\n'
        '[entries.plain]\ncron = "30 4 * * mon"\n'
    )

    result = shop.call("list")

    assert result.exit_code == 0, result.output
    when = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert "At sunset at 42.7°N 23.3°E" in when["sun"]
    assert "any of: at 04:30, only on Monday" in when["many"].replace("Any", "any")
    assert "{" not in result.stdout
    assert "DTSTART" not in result.stdout
    assert "cron 30 4 * * 1" in when["plain"] or "cron 30 4 * * mon" in when["plain"]
    assert all(len(line) < 160 for line in result.stdout.splitlines())
