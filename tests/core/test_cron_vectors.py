"""Facts about cron from other projects' suites and from Debian's own daemon; vectors/README.md says whose."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.cron import CronRecurrence
from offbeat.core.cronfields import NICKNAMES, parse_cron
from offbeat.core.recurrence import EveryRecurrence, parse_duration
from offbeat.core.zones import find_zone
from offbeat.errors import ScheduleError

VECTORS = Path(__file__).parent / "vectors"
LATER = {"L", "W", "#", "?", "+", "year", "wrap", "start-step"}  # tags of another dialect than five Vixie fields


def vectors(name: str) -> Iterator[Any]:
    """Yield the records of a file."""
    for line in (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def five_fields(name: str) -> list[Any]:
    """Return the records in Debian's syntax; a nickname is spelled out, because nicknames are another dialect."""
    found = [r for r in vectors(name) if r["dialect"] == "vixie5" and not LATER & set(r.get("tags", ()))]
    return [{**r, "expr": NICKNAMES.get(r["expr"], r["expr"])} for r in found]


def epoch(text: str) -> int:
    """Return whole epoch seconds."""
    return int(datetime.fromisoformat(text).timestamp() // 1)


def recurrence(record: Any) -> CronRecurrence:
    """Return the record's recurrence."""
    return CronRecurrence(parse_cron(record["expr"]), find_zone(record["tz"]))


def following(rule: CronRecurrence | EveryRecurrence, after: int, count: int) -> list[int]:
    """Return the next `count` due times, or fewer where there are no more."""
    found: list[int] = []
    while len(found) < count:
        due = rule.next_after(found[-1] if found else after)
        if due is None:
            break
        found.append(due)
    return found


@pytest.mark.parametrize("name", ["next5", "dst"])
def test_every_due_time_that_others_state_is_found_from_both_sides(name: str) -> None:
    records = five_fields(name)
    assert len(records) > 250

    for record in records:
        rule, start, expected = recurrence(record), epoch(record["start"]), [epoch(each) for each in record["expected"]]
        assert following(rule, start, len(expected)) == expected, record
        assert list(rule.due_times(start, expected[-1])) == expected, record
        assert [rule.last_at_or_before(due - 1) for due in expected[1:]] == expected[:-1], record
        assert [rule.last_at_or_before(due) for due in expected] == expected, record


def test_random_expressions_agree_with_debians_daemon() -> None:
    utc = find_zone("UTC")
    rows = list(vectors("random"))
    assert len(rows) > 700

    for name, expression, start, expected in rows:
        rule = CronRecurrence(parse_cron(expression), utc)
        assert following(rule, start, len(expected)) == expected, name
        assert list(rule.due_times(start, expected[-1])) == expected, name


def test_what_never_comes_has_no_due_time() -> None:
    records = five_fields("never")
    assert len(records) >= 2

    for record in records:
        rule, start = recurrence(record), epoch(record["start"])
        assert rule.next_after(start) is None, record
        assert rule.last_at_or_before(start) is None, record
        assert list(rule.due_times(start, start + 50 * 366 * 86_400)) == [], record


def test_day_fields_can_be_made_to_match_both() -> None:
    records = [r for r in five_fields("dom_dow_and") if len(r["expr"].split()) == 5]
    assert len(records) >= 5

    for record in records:
        both = dataclasses.replace(parse_cron(record["expr"]), either=False)
        rule = CronRecurrence(both, find_zone(record["tz"]))
        expected = [epoch(each) for each in record["expected"]]
        assert following(rule, epoch(record["start"]), len(expected)) == expected, record


def test_what_everybody_refuses_is_refused() -> None:
    """Five-field syntaxes only: those that everybody refuses, and what the specification forbids."""
    records = [r for r in vectors("invalid") if r["dialect"] in ("vixie5", "ocps") and r["consensus"] in ("all", "spec")]
    assert len(records) > 150

    for record in records:
        with pytest.raises(ScheduleError) as refused:
            parse_cron(record["expr"])
        assert all(problem.fix and problem.why for problem in refused.value.problems), record


def test_what_most_refuse_is_refused_too() -> None:
    """Nothing that Debian's cron refuses is accepted, nor the junk after a number that its parser skips."""
    records = [r for r in vectors("invalid") if r["dialect"] in ("vixie5", "ocps") and r["consensus"] == "most"]
    assert len(records) > 30

    for record in records:
        with pytest.raises(ScheduleError):
            parse_cron(record["expr"])


def test_elapsed_time_is_not_bent_by_clock_changes() -> None:
    """Those whose interval is a duration of ours, counted from their start as robfig/cron counts."""
    checked = 0
    for record in vectors("interval"):
        kind, _, text = record["expr"].partition(" ")
        try:
            seconds = parse_duration(text) if kind == "@every" else 0
        except ScheduleError:
            continue  # parts of a second
        if seconds:
            start, expected = epoch(record["start"]), [epoch(each) for each in record["expected"]]
            assert following(EveryRecurrence(seconds, start % seconds), start, len(expected)) == expected, record
            checked += 1
    assert checked >= 8
