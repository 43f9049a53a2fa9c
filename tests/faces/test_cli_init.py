"""init and add: what they write, and what they refuse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.faces.conftest import Shop


@pytest.fixture
def bare(shop: Shop) -> Shop:
    """A repository without a tree."""
    (shop.tree / "schedule.toml").unlink()
    shop.tree.rmdir()
    return shop


def test_init_lays_out_a_tree_that_has_no_problems(bare: Shop) -> None:
    result = bare.call("init", "--project", "difio", "--prefix", "difio.tasks")

    assert result.exit_code == 0
    assert "wrote cron/schedule.toml" in result.stdout
    assert 'project = "difio"' in (bare.tree / "schedule.toml").read_text("utf-8")
    assert 'task_prefix = "difio.tasks."' in (bare.tree / "schedule.toml").read_text("utf-8")
    assert os.access(bare.tree / "tasks" / "run_celery_task", os.X_OK)
    assert bare.call("check", "--strict").stdout == "0 entries, no problems\n"


def test_init_names_the_project_after_the_folder(bare: Shop) -> None:
    bare.call("init")

    assert 'project = "repo"' in (bare.tree / "schedule.toml").read_text("utf-8")


def test_init_of_another_folder_makes_it_there(bare: Shop, tmp_path: Path) -> None:
    assert bare.call("init", str(tmp_path / "other")).exit_code == 0
    assert (tmp_path / "other" / "cron" / "schedule.toml").exists()


def test_init_overwrites_nothing(bare: Shop) -> None:
    bare.call("init")
    before = (bare.tree / "schedule.toml").read_bytes()

    result = bare.call("init", "--project", "other")

    assert result.exit_code == 1
    assert "there already" in result.stderr
    assert (bare.tree / "schedule.toml").read_bytes() == before


def test_init_with_an_unknown_zone_writes_nothing(bare: Shop) -> None:
    result = bare.call("init", "--timezone", "Europe/Sofya")

    assert result.exit_code == 1
    assert "Europe/Sofia" in result.stderr
    assert not bare.tree.exists()


def test_add_of_a_directory_makes_a_link_and_says_when_it_is_due(bare: Shop) -> None:
    bare.call("init")

    result = bare.call("add", "hourly", "search_dates")

    assert result.exit_code == 0, result.output
    assert (bare.tree / "hourly" / "search_dates").readlink() == Path("../tasks/run_celery_task")
    assert result.stdout.splitlines() == [
        "wrote cron/hourly/search_dates",
        "search_dates is due Sun 2026-03-01 12:01:00 +00:00, in 1 min",
    ]


def test_add_to_a_schedule_that_is_refused_whole_says_why_it_is_not_due(shop: Shop) -> None:
    (shop.tree / "schedule.toml").write_text("project = \n")

    result = shop.call("add", "hourly", "search_dates")

    assert result.stdout.startswith("wrote cron/hourly/search_dates\n") and "is due" not in result.stdout
    assert "[S140]" in result.stderr and "the last good schedule stays in force" in result.stderr


@pytest.mark.parametrize(
    ("args", "recurrence"),
    [
        (["--cron", "30 4 * * mon"], "cron"),
        (["--every", "45m"], "every 45m"),
        (["--at", "2030-01-01T00:00:00"], "at 2030-01-01T00:00:00Z"),
    ],
)
def test_add_with_a_recurrence_makes_an_entry(shop: Shop, args: list[str], recurrence: str) -> None:
    result = shop.call("add", "report", *args, "--queue", "slow", "--kwargs", '{"full": true}', "--description", "weekly")

    assert result.exit_code == 0, result.output
    assert "wrote [entries.report] into cron/schedule.toml" in result.stdout
    (row,) = shop.json("list")
    assert row["recurrence"].startswith(recurrence)
    assert (row["task"], row["queue"], row["kwargs"]) == ("shop.tasks.report", "slow", {"full": True})


def test_add_at_a_time_that_is_over_says_so(shop: Shop) -> None:
    result = shop.call("add", "report", "--at", "2020-01-01T00:00:00")

    assert result.exit_code == 0, result.output
    assert "all that it is due by is in the past [S169]" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["hourly"],
        ["report", "more", "--every", "1h"],
        ["--every", "1h"],
        ["report", "--every", "1h", "--cron", "* * * * *"],
        ["hourly", "report", "--queue", "slow"],
        ["report", "--every", "1h", "--kwargs", "[1]"],
        ["report", "--every", "1h", "--args", "nonsense"],
    ],
)
def test_what_says_too_little_or_too_much_is_wrong_usage(shop: Shop, args: list[str]) -> None:
    before = (shop.tree / "schedule.toml").read_bytes()

    assert shop.call("add", *args).exit_code == 2
    assert (shop.tree / "schedule.toml").read_bytes() == before


def test_a_mistyped_directory_is_told_which_one_was_meant(shop: Shop) -> None:
    result = shop.call("add", "hourli", "x")

    assert result.exit_code == 2
    assert 'did you mean "hourly"?' in result.stderr


def test_a_bad_expression_is_a_problem_and_nothing_is_written(shop: Shop) -> None:
    before = (shop.tree / "schedule.toml").read_bytes()

    result = shop.call("add", "report", "--cron", "0 25 * * *")

    assert result.exit_code == 1
    assert "25" in result.stderr and "nothing was written" in result.stderr
    assert (shop.tree / "schedule.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "text", "place"),
    [
        ("--kwargs", '{"y": null}', "kwargs.y"),
        ("--kwargs", '{"a": {"b c": [1, null]}}', "kwargs.a.b c[1]"),
        ("--args", "[null]", "args[0]"),
        ("--args", '[1, {"x": [[null]]}]', "args[1].x[0][0]"),
    ],
)
def test_null_is_a_problem_and_nothing_is_written(shop: Shop, option: str, text: str, place: str) -> None:
    before = (shop.tree / "schedule.toml").read_bytes()

    result = shop.call("add", "report", "--every", "1h", option, text)

    assert result.exit_code == 1
    assert f'entry "report": "{place}" is null, which TOML cannot carry [S149]' in result.stderr
    assert "nothing was written" in result.stderr and f"fix: leave {place} out" in result.stderr
    assert (shop.tree / "schedule.toml").read_bytes() == before


def test_add_says_the_heading_as_it_is_in_the_file(shop: Shop) -> None:
    result = shop.call("add", "a.b", "--every", "1h")

    heading = '[entries."a.b"]'
    assert f"wrote {heading} into cron/schedule.toml" in result.stdout
    assert heading in (shop.tree / "schedule.toml").read_text("utf-8").splitlines()
    assert f"fix: remove {heading}, or" in shop.call("add", "daily", "a.b").stderr


def test_a_name_that_is_taken_is_a_problem(shop: Shop) -> None:
    shop.call("add", "report", "--every", "1h")

    assert shop.call("add", "report", "--every", "2h").exit_code == 1
    assert shop.call("add", "daily", "report").exit_code == 1


def test_quiet_says_nothing(shop: Shop) -> None:
    assert shop.call("add", "report", "--every", "1h", "-q").output == ""


@pytest.mark.parametrize("option", ["--queue", "--task", "--timezone", "--grace", "--jitter", "--description", "--at"])
def test_an_empty_option_is_not_ignored(shop: Shop, option: str) -> None:
    before = (shop.tree / "schedule.toml").read_text()

    result = shop.call("add", "report", "--every", "1h", option, "")

    assert result.exit_code == 2
    assert f"{option}: it is empty" in result.stderr
    assert (shop.tree / "schedule.toml").read_text() == before


@pytest.mark.parametrize("words", [("add", "hourly", "a\nb"), ("fire", "ta\nsk")])
def test_a_name_with_a_line_end_is_spelled_out_in_one_line(shop: Shop, words: tuple[str, ...]) -> None:
    result = shop.call(*words)

    assert result.exit_code == 1
    assert words[-1].replace("\n", "\\n") in result.stderr
    assert words[-1] not in result.stderr
