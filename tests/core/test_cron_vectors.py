"""Facts about cron from other projects' suites and from Debian's own daemon; vectors/README.md says whose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.recurrences.cron import CronRecurrence
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.recurrence import EveryRecurrence, parse_duration
from offbeat.core.recurrences.zones import find_zone
from offbeat.errors import ScheduleError

VECTORS = Path(__file__).parent / "vectors"
DECIDED = {"wrap", "start-step", "alias-case", "full-names"}  # tags of what ADR 0003 refuses, with a fix
UNDECIDED_RANGE = "MON-FRI#1"  # refused, too: only croniter and croner read it, each in another way


def vectors(name: str) -> Iterator[Any]:
    """Yield the records of a file."""
    for line in (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def readable(name: str) -> list[Any]:
    """Return the records that the decisions of ADR 0003 leave."""
    return [r for r in vectors(name) if not DECIDED & set(r.get("tags", ())) and UNDECIDED_RANGE not in r["expr"]]


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


FILES = {
    "next5": 254,
    "next5_ext": 11,
    "next5_lwhash": 93,
    "next6": 103,
    "next6_lwhash": 67,
    "ocps": 17,
    "dst": 597,
    "dst6": 42,
    "disputes": 439,
}


@pytest.mark.parametrize("name", FILES)
def test_every_due_time_that_others_state_is_found_from_both_sides(name: str) -> None:
    records = readable(name)
    assert len(records) == FILES[name]

    for record in records:
        rule, start, expected = recurrence(record), epoch(record["start"]), [epoch(each) for each in record["expected"]]
        assert following(rule, start, len(expected)) == expected, record
        assert list(rule.due_times(start, expected[-1])) == expected, record
        assert [rule.last_at_or_before(due - 1) for due in expected[1:]] == expected[:-1], record
        assert [rule.last_at_or_before(due) for due in expected] == expected, record


@pytest.mark.parametrize("name", ["next5_ext", "next6", "dst6"])
def test_what_is_refused_by_decision_has_a_fix_that_means_what_others_read(name: str) -> None:
    """`22-2` and `5/15` as other programs read them: their due times are those of the fix that we show."""
    records = [r for r in vectors(name) if DECIDED & set(r.get("tags", ()))]
    assert records

    for record in records:
        fixed = mended(record["expr"])
        rule = CronRecurrence(parse_cron(fixed), find_zone(record["tz"]))
        expected = [epoch(each) for each in record["expected"]]
        assert following(rule, epoch(record["start"]), len(expected)) == expected, (fixed, record)


def mended(expression: str) -> str:
    """Return the expression after every fix has been pasted."""
    for _ in range(9):
        try:
            parse_cron(expression)
            return expression
        except ScheduleError as refused:
            fix = refused.problems[0].fix
        if fix.startswith('write "'):
            expression = fix.removeprefix('write "').removesuffix('"')
        else:
            expression = expression.replace("friday", fix.rpartition(" ")[2].strip('"'))
    raise AssertionError(expression)


def test_random_expressions_agree_with_debians_daemon() -> None:
    utc = find_zone("UTC")
    rows = list(vectors("random"))
    assert len(rows) > 700

    for name, expression, start, expected in rows:
        rule = CronRecurrence(parse_cron(expression), utc)
        assert following(rule, start, len(expected)) == expected, name
        assert list(rule.due_times(start, expected[-1])) == expected, name


def test_what_never_comes_has_no_due_time() -> None:
    """Some only if both day fields have to match, which a + says."""
    records = [r for r in vectors("never") if r["dialect"] != "systemd"]
    assert len(records) > 30

    for record in records:
        rule = CronRecurrence(parse_cron(with_both(record)), find_zone(record["tz"]))
        start = min(epoch(record["start"]), 253_402_300_799)
        assert rule.next_after(start) is None, record
        assert list(rule.due_times(start, start + 50 * 366 * 86_400)) == [], record


def with_both(record: Any) -> str:
    """Return the expression with a + where the record wants both day fields to match."""
    parts = record["expr"].split()
    if record.get("rule") == "dom AND dow":
        parts[-1] = f"+{parts[-1]}"
    return " ".join(parts)


def test_a_plus_makes_both_day_fields_match() -> None:
    records = list(vectors("dom_dow_and"))
    assert len(records) == 12

    for record in records:
        rule = CronRecurrence(parse_cron(with_both({**record, "rule": "dom AND dow"})), find_zone(record["tz"]))
        expected = [epoch(each) for each in record["expected"]]
        assert following(rule, epoch(record["start"]), len(expected)) == expected, record


def test_equal_schedules_have_one_text_and_different_ones_have_two() -> None:
    """All but @reboot, which is no time, and ranges that end before they begin."""
    checked = 0
    for record in vectors("equal"):
        if record["expr"] != "@reboot" and "5-2" not in record["expr"]:
            same = parse_cron(record["expr"]).text == parse_cron(record["equal_to"]).text
            assert same is record["equal"], record
            checked += 1
    assert checked >= 13


def test_what_everybody_refuses_is_refused() -> None:
    """Those that everybody refuses, and what the specification forbids; `0 0 * * * 4` only lacks Quartz's `?`."""
    records = [r for r in vectors("invalid") if r["consensus"] in ("all", "spec") and r["expr"] != "0 0 * * * 4"]
    assert len(records) > 260

    for record in records:
        with pytest.raises(ScheduleError) as refused:
            parse_cron(record["expr"])
        assert all(problem.fix and problem.why for problem in refused.value.problems), record


def test_what_most_refuse_is_refused_too() -> None:
    """What Debian's cron refuses, and the junk after a number that its parser skips. A list with # is clear: it is read."""
    records = [r for r in vectors("invalid") if r["consensus"] == "most" and r["expr"] != "0 0 0 ? * 0,6#4"]
    assert len(records) > 40

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
