"""Recurrences for programs: what a union is made of, and what each kind refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from offbeat import At, Cron, Every, Recurrence, RRule, ScheduleError, Solar, Union

NOON = datetime(2026, 3, 25, 12, tzinfo=UTC)
NINE = Cron("0 9 * * *")


def test_members_without_a_zone_of_their_own_go_into_any_union() -> None:
    members: list[Recurrence] = [Cron("0 9 * * *", timezone="Europe/Sofia"), Every("6h"), At([NOON])]

    union = Union(members, timezone="Europe/Sofia")

    assert union.text == 'any {"of":["at 1774440000","cron 0 9 * * *","every 21600 0"]}'
    assert next(iter(union.due_times(NOON, NOON + timedelta(days=2)))) == datetime(2026, 3, 25, 18, tzinfo=UTC)


@pytest.mark.parametrize("member", [NINE, RRule("FREQ=DAILY")], ids=["cron", "rrule"])
def test_members_that_read_local_time_are_in_the_zone_of_the_union(member: Recurrence) -> None:
    with pytest.raises(ScheduleError, match="another zone than the union, Europe/Sofia"):
        Union([member], timezone="Europe/Sofia")


def test_cron_says_what_it_is_resolved_to() -> None:
    assert Cron("0 9 * * MON").text == "cron 0 9 * * 1"
    assert Cron("@every 45m").text == "every 2700 0"


def test_one_exclusion_alone_is_one() -> None:
    assert Union([NINE], excluding="2026-11-23").text == Union([NINE], excluding=["2026-11-23"]).text


def test_a_union_has_a_weekend() -> None:
    union = Union([NINE], workday="next", weekend=["fri", "sat"])

    assert union.next_after(datetime(2026, 3, 26, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (lambda: Union([]), "S147", "nothing"),
        (lambda: Union([NINE], workday="nxt"), "S145", "next, previous, skip"),
        (lambda: Union([NINE], weekend="fri"), "S133", "belongs to workday"),
        (lambda: Union([NINE], workday="next", weekend="often"), "S144", "no list of days"),
        (lambda: Union([NINE], excluding=[5]), "S163", "5"),  # type: ignore[list-item]
        (lambda: Union([NINE], excluding="* * * * *"), "S166", "leave nothing"),
        (lambda: Union([Union([NINE, Every("6h")])]), "S145", "a union itself"),
        (lambda: Union(["0 9 * * *"]), "S145", "no recurrence"),  # type: ignore[list-item]
        (lambda: At(["2026-01-01T00:00:00Z"]), "S105", "no datetime"),  # type: ignore[list-item]
        (lambda: At([]), "S105", "no instant"),
        (lambda: At([NOON.replace(tzinfo=None)]), "S105", "no time zone"),
        (lambda: At([NOON + timedelta(microseconds=5)]), "S105", "fraction"),
        (lambda: Every(timedelta(milliseconds=1500)), "S104", "fraction"),
        (lambda: Every("1d", offset=timedelta(milliseconds=500)), "S104", "fraction"),
        (lambda: Solar("sunset", 42.7, 23.3, offset="-30"), "S104", '"-30s" or "-30m"'),
    ],
)
def test_what_cannot_be_is_refused_as_everything_else_is(make: Callable[[], Recurrence], code: str, said: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        make()

    (problem,) = refused.value.problems
    assert problem.code == code
    assert said in f"{problem.what} {problem.fix}"
