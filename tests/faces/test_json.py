"""What --json prints is what docs/reference/json.md says, key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.faces.conftest import Shop

from offbeat.faces.cli_session import JSON_VERSION

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "json.md").read_text("utf-8")
PROMISED: Mapping[str, set[str]] = {
    "next": {"entry", "due_at", "send_at", "local"},
    "history": {"entry", "due_at", "state", "reason", "cause", "task_id", "dispatched_at"},
    "check": {"file", "line", "code", "severity", "what", "why", "fix"},
}
TREE = """
[entries.ping]
every = "1m"
[entries.bad]
cron = "0 25 * * *"
"""


def documented(command: str) -> set[str]:
    """Return the keys in the first cells of the table below the command's heading."""
    part = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (table,) = [text for text in part if text.startswith(f"{command}\n")]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture
def lived(settled: Callable[[str], Shop]) -> Shop:
    """A repository whose ledger has rows, a gap, and a problem."""
    shop = settled(TREE)
    shop.call("tick")
    shop.clock.advance(600)
    shop.call("tick")
    shop.call("fire", "ping")
    shop.clock.advance(600)
    return shop


ARGS: Mapping[str, list[str]] = {
    "history": ["--output"],
    "deploy": ["--allow-problems"],
    "skip": ["ping"],
    "pause": ["ping"],
    "resume": ["ping"],
    "rewind": ["--to", "1m", "--yes"],
    "backfill": ["ping", "--from", "1h", "--to", "50m"],
}


@pytest.mark.parametrize(
    "command",
    ["next", "explain", "load", "history", "check", "list", "plan", "status", "log", "diff", "deploy", "skip", "backfill"]
    + ["pause", "resume", "rewind"],
)
def test_each_command_prints_the_documented_keys_and_no_others(lived: Shop, command: str) -> None:
    args = [command, *ARGS.get(command, [])]
    if command == "diff":
        (lived.tree / "schedule.toml").write_text('project = "shop"\n[entries.ping]\nevery = "2m"\n', "utf-8")

    rows = lived.json(*args)

    assert rows
    assert {key for row in rows for key in row} == documented(command)
    assert documented(command) >= PROMISED.get(command, set())


def test_pauses_runners_and_workers_have_the_keys_that_status_names(lived: Shop) -> None:
    lived.call("pause", "ping")

    (row,) = lived.json("status")

    text = PAGE.partition("\n## status\n")[2].partition("\n## ")[0]
    told = {line.split("`")[1]: {*line.split("`")[3::2]} for line in text.splitlines() if line.startswith("| `")}
    assert set(row["pauses"][0]) == told["pauses"]
    assert set(row["runners"][0]) == told["runners"]


def test_the_version_of_the_output_is_documented() -> None:
    assert f"**version {JSON_VERSION}**" in PAGE


@pytest.mark.parametrize("command", ["next", "history", "list", "plan", "status", "log"])
def test_every_instant_is_utc_text_or_null(lived: Shop, command: str) -> None:
    values = [row[key] for row in lived.json(command) for key in row if key.endswith("_at")]

    assert all(value is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) for value in values)
