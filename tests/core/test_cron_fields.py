"""What an expression says, what is refused and with which fix, and what is warned of."""

from __future__ import annotations

import pytest

from offbeat.core.cron import cron_warnings
from offbeat.core.cronfields import LONGEST, parse_cron
from offbeat.errors import Problem, ScheduleError, Severity


def refused(expression: str) -> tuple[Problem, ...]:
    """Return the problems of an expression that must have some."""
    with pytest.raises(ScheduleError) as caught:
        parse_cron(expression)
    return caught.value.problems


WRONG = (
    ("0 25 * * *", 'cron "0 25 * * *": hour 25 is outside 0-23', "use an hour from 0 to 23"),
    ("60 * * * *", 'cron "60 * * * *": minute 60 is outside 0-59', "use a minute from 0 to 59"),
    ("0 0 0 * *", 'cron "0 0 0 * *": day-of-month 0 is outside 1-31', "use a day-of-month from 1 to 31"),
    ("0 0 * 13 *", 'cron "0 0 * 13 *": month 13 is outside 1-12', "use a month from 1 to 12"),
    ("0 0 * * 8", 'cron "0 0 * * 8": day-of-week 8 is outside 0-7', "use a day-of-week from 0 to 7"),
    ("0 22-2 * * *", 'cron "0 22-2 * * *": hour range "22-2" ends before it begins', 'write "0 22-23,0-2 * * *"'),
    ("0 1,22-2 * * *", 'cron "0 1,22-2 * * *": hour range "22-2" ends before it begins', 'write "0 1,22-23,0-2 * * *"'),
    ("0 23-1/2 * * *", 'cron "0 23-1/2 * * *": hour range "23-1/2" ends before it begins', 'write "0 23,1 * * *"'),
    ("0 0 * nov-jan *", 'cron "0 0 * nov-jan *": month range "nov-jan" ends before it begins', 'write "0 0 * 11-12,1 *"'),
    ("0 0 * * fri-mon", 'cron "0 0 * * fri-mon": day-of-week range "fri-mon" ends before it begins', 'write "0 0 * * 5-6,0-1"'),
    ("0 0 * * sat-sun", 'cron "0 0 * * sat-sun": day-of-week range "sat-sun" ends before it begins', 'write "0 0 * * 6-7"'),
    ("5/15 * * * *", 'cron "5/15 * * * *": minute "5/15" has a step without a range', 'write "5-59/15 * * * *"'),
    ("0/15 * * * *", 'cron "0/15 * * * *": minute "0/15" has a step without a range', 'write "0-59/15 * * * *"'),
    (
        "0 0 * * friday",
        'cron "0 0 * * friday": day-of-week "friday" is not a name of cron',
        'use the first three letters, "fri"',
    ),
    ("*/0 * * * *", 'cron "*/0 * * * *": minute step "0" is not a step', "use a step from 1 to 59, as in */15"),
)


@pytest.mark.parametrize(("expression", "what", "fix"), WRONG, ids=[each[0] for each in WRONG])
def test_a_wrong_field_is_named_with_its_value_its_range_and_a_fix(expression: str, what: str, fix: str) -> None:
    (problem,) = refused(expression)

    assert (problem.code, problem.what, problem.fix) == ("S103", what, fix)
    assert problem.severity is Severity.ERROR


@pytest.mark.parametrize("expression", [each[0] for each in WRONG if each[2].startswith("write")])
def test_a_fix_that_can_be_pasted_is_an_expression_that_is_read(expression: str) -> None:
    (problem,) = refused(expression)

    assert parse_cron(problem.fix.removeprefix('write "').removesuffix('"'))


def test_all_wrong_fields_are_reported_at_once() -> None:
    problems = refused("61 25 32 13 8")

    assert [problem.what.partition(": ")[2].split()[0] for problem in problems] == [
        "minute",
        "hour",
        "day-of-month",
        "month",
        "day-of-week",
    ]


LATER = ("0 0 L * *", "0 0 L-3 * *", "0 0 LW * *", "0 0 15W * *", "0 0 * * 5L", "0 0 * * fri#2", "0 0 * * 5#L", "0 0 ? * *") + (
    "0 0 1 * +mon",
    "H * * * *",
    "0 H(0-5) * * *",
    "H/15 * * * *",
    "0~30 * * * *",
    "@daily",
    "@DAILY",
    "@every 45m",
    "@reboot",
    "0 0 0 * * *",
    "0 0 0 * * * 2027",
)


@pytest.mark.parametrize("expression", LATER)
def test_the_rest_of_the_dialect_is_refused_as_not_yet_supported(expression: str) -> None:
    (problem,) = refused(expression)

    assert problem.code == "S120"
    assert "supported" in problem.what


@pytest.mark.parametrize(
    ("written", "fix"), [("@DAILY", '"0 0 * * *"'), ("@hourly", '"0 * * * *"'), ("@every 45m", 'every = "45m"')]
)
def test_a_nickname_is_refused_with_what_to_write_in_its_place(written: str, fix: str) -> None:
    (problem,) = refused(written)

    assert fix in problem.fix


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("", "S101"),
        ("* * *", "S101"),
        ("* * * * * * * *", "S101"),
        ("@dayly", "S101"),
        ("1\n2 * * * *", "S102"),
        ("٣ * * * *", "S102"),
    ],
)
def test_what_is_no_five_fields_is_one_problem_of_the_whole(expression: str, code: str) -> None:
    (problem,) = refused(expression)

    assert problem.code == code


def test_a_long_text_is_refused_shortly() -> None:
    (problem,) = refused("1," * LONGEST + "1 * * * *")

    assert problem.code == "S102"
    assert len(str(problem)) < 400


EQUAL = (
    ("0 0 * * 0", "0 0 * * 7"),
    ("0 0 * * SUN", "0 0 * * 7"),
    ("0  0\t* * mon-FRI ", "0 0 * * 1-5"),
    ("0,1,2,3 0 * * *", "0-3 0 * * *"),
    ("0,15,30,45 * * * *", "0-45/15 * * * *"),
    ("*/1 * * * *", "* * * * *"),
    ("*,5 * * * *", "* * * * *"),
    ("00 04 01 * *", "0 4 1 * *"),
    ("0 0 1 jan,JUL *", "0 0 1 1,7 *"),
    ("*/100 * * * *", "*/60 * * * *"),
    ("*/20,5 * * * *", "*/20,5,5 * * * *"),
)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_schedules_written_differently_have_one_canonical_text(one: str, other: str) -> None:
    assert parse_cron(one) == parse_cron(other)


@pytest.mark.parametrize(
    ("one", "other"), [("* * * * *", "0-59 * * * *"), ("0 */2 * * *", "0 0-23/2 * * *"), ("0 0 */1 * 1", "0 0 1-31 * 1")]
)
def test_a_leading_star_is_kept_because_it_means_something(one: str, other: str) -> None:
    """For daylight saving in the first two fields, for `or` and `and` in the day fields."""
    assert parse_cron(one) != parse_cron(other)


WARNINGS = (
    ("*/45 * * * *", "S151", "minute */45 is :00 and :45, not every 45 minutes", 'use every = "45m"'),
    ("*/45 9-17 * * *", "S151", "minute */45 is :00 and :45, not every 45 minutes", 'write "0,45" if that is what you mean'),
    ("0 */5 * * *", "S151", "hour */5 is 0, 5, 10 ... 20, not every 5 hours", 'use every = "5h"'),
    ("0 0 */2 * *", "S151", "day-of-month */2 is 1, 3, 5 ... 31, not every 2 days", 'use every = "2d"'),
    ("0 0 1 */5 *", "S151", "month */5 is jan, jun and nov, not every 5 months", 'write "1,6,11" if that is what you mean'),
    ("0 0 * * */3", "S151", "day-of-week */3 is sun, wed and sat, not every 3 days", 'write "0,3,6" if that is what you mean'),
    ("*/100 * * * *", "S152", "minute */100 means 0 and nothing else", 'write 0 in place of "*/100"'),
    ("0 9-12/5 * * *", "S152", "hour 9-12/5 means 9 and nothing else", 'write 9 in place of "9-12/5"'),
    ("0 0 31 2 *", "S153", "no month has such a day, so it is never due", 'use a day that comes, for example "0 0 28 2 *"'),
    (
        "0 0 13 * fri",
        "S154",
        "both day fields are restricted: it is due on a day that matches either of them",
        'leave one out: "0 0 13 * *" or "0 0 * * fri"',
    ),
)


@pytest.mark.parametrize(("expression", "code", "what", "fix"), WARNINGS, ids=[each[0] for each in WARNINGS])
def test_what_works_but_is_hardly_meant_is_warned_of(expression: str, code: str, what: str, fix: str) -> None:
    (warning,) = cron_warnings(expression)

    assert (warning.code, warning.severity) == (code, Severity.WARNING)
    assert warning.what == f'cron "{expression}": {what}'
    assert warning.fix == fix


def test_a_starred_day_field_beside_another_one_is_said_to_mean_both() -> None:
    codes = [(warning.code, "both of them" in warning.what) for warning in cron_warnings("0 0 */10 * mon")]

    assert codes == [("S151", False), ("S154", True)]


@pytest.mark.parametrize(
    "expression", ["* * * * *", "*/15 */6 * */3 *", "30 4 * * mon", "0 0 29 2 *", "0 0 1-7 * *", "0 0 * * 0-7"]
)
def test_what_is_meant_as_it_is_written_has_no_warning(expression: str) -> None:
    assert cron_warnings(expression) == ()


def test_warnings_of_what_cannot_be_read_are_its_problems() -> None:
    with pytest.raises(ScheduleError):
        cron_warnings("0 25 * * *")
