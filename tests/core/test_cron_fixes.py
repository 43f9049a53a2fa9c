"""Fixes of cron problems can be pasted: what they quote is read, whatever else is wrong with the expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.recurrences.cron import cron_warnings, every_nickname
from offbeat.core.recurrences.cronfields import parse_cron
from offbeat.core.recurrences.durations import parse_duration
from offbeat.errors import Problem, ScheduleError


def refused(expression: str) -> tuple[Problem, ...]:
    """Return the problems of an expression that must have some."""
    with pytest.raises(ScheduleError) as caught:
        parse_cron(expression)
    return caught.value.problems


MENDED = (  # expressions with several things wrong: what can be mended is, all at once, or is said in prose
    ("*/0 5-1 * * *", ["use a step from 1 to 59, as in */15", "make the hour 5-23,0-1"]),
    ("5/15 22-2 * * *", ['write "5-59/15 22-23,0-2 * * *"'] * 2),
    ("0 5-3,8-6 * * *", ['write "0 5-23,0-3,8-23,0-6 * * *"']),
    ("0 5-3,99 * * *", ["use numbers from 0 to 23, rising"]),
    ("0 25", ['write 5 fields (6: second first, 7: year last), for example "0 * * * *"']),
    ("5 4", ['write 5 fields (6: second first, 7: year last), for example "5 4 * * *"']),
    ("0 25 * * ? *", ['put the second first: "0 0 12 * * ? *"']),
    ("@every soon", ['use every = "45m" in place of cron']),
    ("@every 90s", ['use every = "90s" in place of cron']),
)


@pytest.mark.parametrize(("expression", "fixes"), MENDED, ids=[each[0] for each in MENDED])
def test_a_fix_never_keeps_what_is_wrong_elsewhere(expression: str, fixes: list[str]) -> None:
    assert [problem.fix for problem in refused(expression)] == fixes


WORDS = [
    *"* */0 */7 0 1 5 59 5-1 22-2 0/15 1-1/2 L LW 15W 31W 5L FRI#2 mon-wed#2 ? +MON H H/7 0~59 61 friday 1,15W ?,3".split(),
    "",
]


def assert_pasteable(fix: str) -> None:
    """Assert that each expression and each span that a fix quotes is read."""
    for span in re.findall('every = "([^"]*)"', fix):
        assert parse_duration(span)
    for quoted in re.findall('"([^"]*)"', fix):
        if " " in quoted:
            assert parse_cron(quoted)


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(",".join), max_size=8).map(" ".join))
def test_every_expression_that_a_fix_quotes_is_read(expression: str) -> None:
    try:
        parse_cron(expression)
        problems = cron_warnings(expression)
    except ScheduleError as wrong:
        problems = wrong.problems
    for problem in problems:
        assert_pasteable(problem.fix)


@pytest.mark.parametrize(
    "expression",
    [
        f"{','.join(map(str, range(0, 60, 3)))} {','.join(map(str, range(0, 24, 2)))},23 1,2,4,8,16 * mon,wed,fri",
        f"{','.join(map(str, range(0, 60, 3)))} {','.join(map(str, range(0, 24, 2)))},23 31 2 *",
    ],
)
def test_a_fix_of_a_long_expression_can_be_pasted_as_well(expression: str) -> None:
    problems = cron_warnings(expression)

    assert {"S154", "S153"} & {problem.code for problem in problems}
    for problem in problems:
        assert "..." not in problem.fix
        assert_pasteable(problem.fix)


@pytest.mark.parametrize(("text", "fix"), [("0 0 * * 7-1", "0-1"), ("0 0 * * 7-6", "0-6"), ("0 0 * * 7-5/2", "0-5/2")])
def test_a_week_that_begins_on_seven_is_told_to_begin_on_zero(text: str, fix: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_cron(text)

    quoted = refused.value.problems[0].fix.split('"')[1]
    assert quoted == f"0 0 * * {fix}"
    parse_cron(quoted)


def test_a_tab_after_every_is_a_blank() -> None:
    assert every_nickname("@every\t45m") == 2700
