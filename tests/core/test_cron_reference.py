"""The examples of docs/reference/cron.md are what it says they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from offbeat.core.recurrences.cron import cron_warnings
from offbeat.core.recurrences.cronfields import NICKNAMES, parse_cron
from offbeat.core.recurrences.recurrence import cron_text
from offbeat.errors import ScheduleError

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/cron.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|")]


def test_every_expression_on_the_page_is_read() -> None:
    quoted = re.findall(r"`([^`\n]+)`", PAGE.replace("```", ""))
    written = {each for each in quoted if len(each.split()) in (5, 6, 7) and '"' not in each}
    assert len(written) > 25

    for expression in written:
        assert parse_cron(expression, seed="nightly"), expression


def test_what_is_resolved_for_nightly_is_so() -> None:
    resolved = re.findall(r"`([^`]+)` is `([^`]+)` \|", PAGE)
    assert len(resolved) == 5

    for expression, plain in resolved:
        assert cron_text(expression, zone="UTC", seed="nightly") == f"cron {plain}"


def test_the_nicknames_are_all_there() -> None:
    told = {
        name: fields
        for names, fields in re.findall(r"^\| (`@.*`) \| `(.*)` \|$", PAGE, re.MULTILINE)
        for name in re.findall(r"`(@\w+)`", names)
    }

    assert told == NICKNAMES


ODD = ("0/15", "5/15", "22-2", "1-5#2", "1,15W", "L", "*/45", "*/100", "5-5", "fri-mon", "friday")


@pytest.mark.parametrize("item", ODD)
def test_what_is_said_to_be_refused_or_warned_of_is(item: str) -> None:
    (row,) = [row for row in ROWS if f"`{item}`" in row.split("|")[1] and row.count("|") == 4]
    place = 4 if re.search(r"fri|#|^L$", item) else 2 if "W" in item else 1 if "22" in item else 0
    parts = ["0", "0", "*", "*", "*"] if place else ["*"] * 5
    parts[place] = item
    expression = " ".join(parts)

    if "warning" in row:
        assert cron_warnings(expression)
    else:
        with pytest.raises(ScheduleError):
            parse_cron(expression)


@pytest.mark.parametrize("expression", ["0 0 12 ? * 2-6", "0 0 13 * fri", "0 0 31 2 *"])
def test_whole_expressions_said_to_be_warned_of_are(expression: str) -> None:
    assert any(f"`{expression}`" in row and "warning" in row for row in ROWS)
    assert cron_warnings(expression)
