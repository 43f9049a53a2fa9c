"""What an expression says, what is refused and with which fix, and what is warned of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from offbeat.core.recurrences.cron import Cron, cron_warnings
from offbeat.core.recurrences.cronfields import LONGEST, parse_cron
from offbeat.core.recurrences.recurrence import cron_text
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


ELSEWHERE = (  # what other schedulers write, and what to write here
    ("@DAILY", "S101", 'write "@daily"'),
    ("@daily 0 0 * * *", "S101", 'write "@daily"'),
    ("@every_minute", "S101", 'write fields, for example "* * * * *"'),
    ("@secondly", "S101", 'write fields, for example "* * * * * *"'),
    ("@every", "S101", 'use every = "45m" in place of cron'),
    ("@reboot", "S120", "start it where the machine is started, or name a time"),
    ("? 12 * * *", "S103", 'write "* 12 * * *"'),
    ("0 12 ?,3 * *", "S103", 'write "0 12 * * *"'),
    ("0 12 * * ? *", "S101", 'put the second first: "0 0 12 * * ? *"'),
    ("0 12 +1 * mon", "S103", "leave the + out"),
    ("0 0 * * L", "S103", 'write "0 0 * * 6"'),
    ("0 0 * * mon-wed#2", "S103", 'write "0 0 * * 1#2,2#2,3#2"'),
    ("0 0 * * +1-2L", "S103", 'write "0 0 * * +1#L,2#L"'),
    ("0 0 * * fri#6", "S103", "use # with 1 to 5, as in fri#2, or #L for the last"),
    ("0 0 * * 5W", "S103", "use 1-5 for monday to friday"),
    ("0 0 L-31 * *", "S103", "use L, L-3 (up to L-30), LW, L-3W or 15W, each for a single day"),
    ("0 0 1-15W * *", "S103", "use L, L-3 (up to L-30), LW, L-3W or 15W, each for a single day"),
    ("0 0 1,15W * *", "S103", "make two entries of it; W stands alone, or in a list of W's"),
    ("H/0 * * * *", "S103", "use a step from 1 to 60, or none for a single time"),
    ("H(0-5)/9 * * * *", "S103", "use a step from 1 to 6, or none for a single time"),
    ("H(9-3) * * * *", "S103", "use two numbers from 0 to 59, the lower one first"),
    ("50~70 * * * *", "S103", "use 0 to 59"),
    ("H5 * * * *", "S103", "use H, H(0-59), H/14 or 0~59"),
    ("0 0 0 1 1 * H", "S103", "write the years as numbers"),
    ("0 0 0 1 1 * 1969", "S103", "use a year from 1970 to 2199"),
    ("0 0 0 1 1 * 2025/2", "S103", 'write "0 0 0 1 1 * 2025-2199/2"'),
)


@pytest.mark.parametrize(("expression", "code", "fix"), ELSEWHERE, ids=[each[0] for each in ELSEWHERE])
def test_what_is_written_otherwise_elsewhere_is_refused_with_what_to_write_here(expression: str, code: str, fix: str) -> None:
    (problem,) = refused(expression)

    assert (problem.code, problem.fix) == (code, fix)
    if fix.startswith('write "'):
        assert parse_cron(fix.removeprefix('write "').removesuffix('"'))


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


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("1," * LONGEST + "1 * * * *", "S102"),
        ("1," * 2000 + "1 * ? * * *", "S101"),
        ("1," * 2000 + "9/5 * * * *", "S103"),
        ("@" + "e" * 4000, "S101"),
        ("@every " + "9" * 4000, "S101"),
    ],
    ids=["too long", "amazon", "step", "nickname", "every"],
)
def test_a_long_text_is_refused_shortly(expression: str, code: str) -> None:
    (problem,) = refused(expression)

    assert problem.code == code
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
    ("@daily", "0 0 * * *"),
    ("@midnight", "@daily"),
    ("@annually", "@yearly"),
    ("0 0 4 * * *", "0 4 * * *"),
    ("0 0 4 * * * *", "0 4 * * *"),
    ("0-50/10 * * * * *", "*/10 * * * * *"),
    ("0 0 ? * ?", "0 0 * * *"),
    ("0 0 * * 5#L", "0 0 * * FRIL"),
    ("0 0 * * 7#2", "0 0 * * sun#2"),
    ("0 0 L-0 * *", "0 0 l * *"),
    ("0 9 W15 * *", "0 9 15w * *"),
    ("0 0 * * +mon", "0 0 * * mon"),
    ("0 0 */2 * +mon", "0 0 */2 * mon"),
    ("*/4 * * * *", "0-59/4 * * * *"),
    ("*/15 0-23/6 * * *", "*/15 */6 * * *"),
    ("*/20,7 * * * *", "0-40/20,7 * * * *"),
    ("0 0 0 1 1 * 2025,2027,2029", "0 0 0 1 1 * 2025-2030/2"),
    ("0 0 0 1 1 * */2", "0 0 0 1 1 * 1970-2199/2"),
)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_schedules_written_differently_have_one_canonical_text(one: str, other: str) -> None:
    assert parse_cron(one) == parse_cron(other)


@pytest.mark.parametrize(
    ("one", "other"), [("* 5 * * *", "0-59 5 * * *"), ("0 */2 * * *", "0 0-23/2 * * *"), ("0 0 */1 * 1", "0 0 1-31 * 1")]
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
        'leave one out: "0 0 13 * *" or "0 0 * * fri"; for both: "0 0 13 * +fri"',
    ),
    ("*/7 * * * * *", "S151", "second */7 is :00, :07, :14 ... :56, not every 7 seconds", 'use every = "7s"'),
    ("0 */45 * ? * *", "S151", "minute */45 is :00 and :45, not every 45 minutes", 'use every = "45m"'),
    (
        "0 0 12 ? * 2-6",
        "S155",
        "day-of-week 2-6 counts from sun = 0, so 2 is tue",
        'write names, which are the same everywhere: "tue-sat" or "mon-fri"',
    ),
    (
        "0 0 12 ? * 6L",
        "S155",
        "day-of-week 6L counts from sun = 0, so 6 is sat",
        'write names, which are the same everywhere: "satL" or "friL"',
    ),
    (
        "0 0 31W * *",
        "S156",
        "day-of-month 31W is not due in a month without a 31st",
        'write "LW" for the last weekday of every month',
    ),
    ("5-5 * * * *", "S157", "minute 5-5 is 5 alone", 'write "5"'),
    (
        "0 0 0 30 2 * 2030",
        "S153",
        "no month of its years has such a day, so it is never due",
        'use a day that comes, for example "0 0 0 28 2 * *"',
    ),
    (
        "0 0 0 29 2 * 2025-2027",
        "S153",
        "no month of its years has such a day, so it is never due",
        'use a day that comes, for example "0 0 0 28 2 * *"',
    ),
    (
        "0 0 15 * +sun#2",
        "S153",
        "no month has such a day, so it is never due",
        'use a day that comes, for example "0 0 28 * *"',
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
    "expression",
    ["* * * * *", "*/15 */6 * */3 *", "30 4 * * mon", "0 0 29 2 *", "0 0 1-7 * *", "0 0 * * 0-7", "@daily", "@every 45m"]
    + [
        "H H * * *",
        "H/15 * * * *",
        "10~50/7 * * * *",
        "0 0 1-7 * +mon",
        "0 0 L * *",
        "0 0 LW * *",
        "0 0 * * wed#2",
        "0 0 15W * *",
    ]
    + ["*/10 * * * * *", "0 0 12 ? * MON-FRI", "0 0 12 1 1 ? 2030", "0 0 0 1 1 ? */3", "0 0 * * thu", "0 0 L-3 * ?"],
)
def test_what_is_meant_as_it_is_written_has_no_warning(expression: str) -> None:
    assert cron_warnings(expression) == ()


def test_warnings_of_what_cannot_be_read_are_its_problems() -> None:
    with pytest.raises(ScheduleError):
        cron_warnings("0 25 * * *")


def test_what_others_read_otherwise_is_said_by_name() -> None:
    why = {each: cron_warnings(each)[0].why for each in ("0 0 13 * fri", "0 0 12 ? * 2", "5-5 * * * *", "0 0 31 2 *")}

    assert "celery and APScheduler" in why["0 0 13 * fri"]
    assert "Quartz" in why["0 0 12 ? * 2"]
    assert "croniter" in why["5-5 * * * *"]
    assert "cronsim and celery" in why["0 0 31 2 *"]


SEEDED = (  # for ever: another number would move what people have running
    ("H * * * *", "nightly", "20 * * * *"),
    ("H H * * *", "nightly", "20 12 * * *"),
    ("H H(0-7) * * *", "nightly", "20 4 * * *"),
    ("H/15 * * * *", "nightly", "5-50/15 * * * *"),
    ("H(0-29)/10 * * * *", "nightly", "0-20/10 * * * *"),
    ("20~30 4 * * *", "nightly", "23 4 * * *"),
    ("~ 4 * * *", "nightly", "20 4 * * *"),
    ("H H H H H", "nightly", "20 12 16 7 0"),
    ("H H H H H H", "billing.invoice", "44 28 19 20 10 6"),
    ("H * * * *", "", "29 * * * *"),
    ("0 0 ~ * *", "nightly", "0 0 8 * *"),
    ("H,H * * * *", "nightly", "20,42 * * * *"),
    ("H(0-9),30~39 * * * *", "caf\u00e9", "1,37 * * * *"),
)


@pytest.mark.parametrize(("expression", "seed", "resolved"), SEEDED, ids=[f"{each[0]} {ascii(each[1])}" for each in SEEDED])
def test_a_seed_resolves_to_the_same_numbers_for_ever(expression: str, seed: str, resolved: str) -> None:
    assert parse_cron(expression, seed=seed).text == resolved


@pytest.mark.parametrize("expression", ["H H * * *", "0~59 4 * * *", "H(10-20)/3 H/5 H * *"])
def test_a_seed_spreads_evenly_and_stays_in_its_range(expression: str) -> None:
    texts = [parse_cron(expression, seed=f"entry {number}").text for number in range(300)]
    hours = [int(text.split()[0].partition("-")[0].partition(",")[0]) for text in texts]

    assert len(set(hours)) == {"H H * * *": 60, "0~59 4 * * *": 60}.get(expression, 3)
    assert all(10 <= hour <= 12 for hour in hours) or expression[:2] != "H("
    assert max(hours.count(each) for each in hours) < 20 or expression[:2] == "H("


def test_a_bare_h_is_never_a_date_that_some_months_lack() -> None:
    dates = {int(parse_cron("0 0 H * *", seed=f"entry {number}").text.split()[2]) for number in range(600)}

    assert dates == set(range(1, 29))


def test_a_seed_changes_nothing_else() -> None:
    assert parse_cron("30 4 * * thu", seed="one") == parse_cron("30 4 * * thu", seed="two")


def test_an_interval_can_be_written_as_a_nickname() -> None:
    noon = datetime(2026, 3, 25, 12, tzinfo=UTC)

    assert cron_text("@every 45m", zone="Europe/Sofia") == "every 2700 0"
    assert Cron("@every 90m").next_after(noon) == datetime(2026, 3, 25, 13, 30, tzinfo=UTC)
    assert cron_warnings("@every 45m") == ()
    with pytest.raises(ScheduleError) as caught:
        cron_text("@every soon", zone="UTC")
    assert caught.value.problems[0].code == "S104"


def test_a_resolved_text_has_no_seed_in_it() -> None:
    text = cron_text("H H(2-4) * * 1#2", zone="UTC", seed="nightly")

    assert text == cron_text(text.removeprefix("cron "), zone="UTC", seed="another")
    assert Cron("H * * * *", seed="nightly").next_after(datetime(2026, 3, 25, 12, tzinfo=UTC)) == datetime(
        2026, 3, 25, 12, 20, tzinfo=UTC
    )
