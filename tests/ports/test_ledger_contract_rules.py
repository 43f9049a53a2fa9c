"""Rules: the versions of zones, holidays and the sun that due times are worked out with; the newest counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import Entry, Schedule, State
from offbeat.core.plan import plan
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.recurrences.zones import Zone
from offbeat.core.rules import with_rules
from offbeat.core.transitions import compiled
from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Origin

A, B = runner("a"), runner("b")
DAILY = entry("daily", "cron 0 13 * * *", zone="Europe/Sofia")  # 11:00 UTC in March, 10:00 UTC by the rules below
OLD, NEW = "tzdata 2025b", "tzdata 2025c"
DEPLOYED = Origin(commit="abc", deployed=True)


def by(rules: str, *entries: Entry) -> Schedule:
    return with_rules(schedule(*entries), rules)


@pytest.fixture
def new_zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return what makes this process one with another zone database, where all clocks are an hour further east."""

    def forget() -> None:
        compile_recurrence.cache_clear()
        compiled.cache_clear()

    class East(Zone):
        __slots__ = ()

        def offset_at(self, instant: int) -> int:
            return super().offset_at(instant) + 3600

    def change() -> None:
        from offbeat.core.recurrences import recurrence, zones

        def east(name: str) -> Zone:
            from zoneinfo import ZoneInfo

            return East(name, ZoneInfo(name))

        monkeypatch.setattr(zones, "find_zone", east)
        monkeypatch.setattr(recurrence, "find_zone", east)
        forget()

    forget()
    yield change
    monkeypatch.undo()
    forget()


def test_the_rules_in_force_can_be_asked_for(ledger: Ledger) -> None:
    assert ledger.rules() == ""
    ledger.activate(schedule(DAILY), "s1")
    assert ledger.rules() == ""
    assert ledger.activate(by(OLD, DAILY), "s1") == 2
    assert ledger.rules() == OLD

    found = ledger.schedule()
    assert (found and found.rules, ledger.schedule(1)) == (OLD, schedule(DAILY))


def test_newer_rules_are_another_revision_and_the_same_ones_none(ledger: Ledger) -> None:
    numbers = [ledger.activate(by(rules, DAILY), "s1") for rules in (OLD, OLD, NEW, NEW)]

    assert numbers == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (NEW, OLD),
        (f"{OLD}; holidays 0.86", f"{NEW}; holidays 0.85"),
        ("tzdata 2026a", "tzdata ?"),
        ("astral 3.10", "astral 3.9"),
    ],
)
def test_a_schedule_by_older_rules_is_refused_and_nothing_is_changed(ledger: Ledger, before: str, after: str) -> None:
    ledger.activate(by(before, DAILY), "s1")

    with pytest.raises(LedgerError) as refused:
        ledger.activate(by(after, DAILY, entry("other")), "s2", origin=DEPLOYED)

    assert [problem.code for problem in refused.value.problems] == ["L313"]
    assert (ledger.rules(), ledger.look(A).revision, ledger.look(A).stamp) == (before, 1, "s1")
    assert not ledger.look(A).deployed


def test_whoever_may_lower_the_rules_can(ledger: Ledger) -> None:
    ledger.activate(by(NEW, DAILY), "s1")

    assert ledger.activate(by(OLD, DAILY), "s1", origin=Origin(lowers=True)) == 2
    assert ledger.rules() == OLD


def test_a_package_that_is_used_no_more_holds_nobody_back(ledger: Ledger) -> None:
    ledger.activate(by(f"{OLD}; holidays 0.85", DAILY), "s1")

    assert ledger.activate(by(OLD, DAILY), "s2") == 2
    assert ledger.activate(by("none", entry()), "s3") == 3


def test_with_newer_rules_the_next_due_times_of_all_groups_are_worked_out_anew(
    ledger: Ledger, clock: FakeClock, new_zones: Callable[[], None]
) -> None:
    ledger.look(A)
    ledger.activate(by(OLD, DAILY), "s1")
    assert ledger.status().next_due == NOON + 23 * 3600
    clock.advance(60)
    new_zones()
    ledger.activate(by(NEW, DAILY), "s1")

    assert ledger.status().next_due == NOON + 22 * 3600


def test_what_is_due_by_newer_rules_since_the_cursor_is_not_lost(
    ledger: Ledger, clock: FakeClock, new_zones: Callable[[], None]
) -> None:
    ledger.look(A)
    ledger.activate(by(OLD, DAILY), "s1")
    for _ in range(27):  # 10:30 of the next day: due at 11:00 by the old rules, at 10:00 by the new ones
        clock.advance(3000)
        ledger.look(A)
    new_zones()
    ledger.activate(by(NEW, DAILY, entry("other", "cron 0 13 * * *", zone="Europe/Sofia")), "s2")

    (claim,) = [*pass_once(ledger, A), *ledger.claim(A, 9)]
    ledger.settle(A, [outcome(claim)])
    clock.advance(1800)
    assert [*pass_once(ledger, A), *ledger.claim(A, 9)] == []
    assert states(ledger) == [("daily", NOON + 22 * 3600, State.DISPATCHED, "")]


def test_what_was_planned_by_older_rules_is_recorded_no_more(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(by(OLD, entry()), "s1")
    clock.advance(60)
    portion = ledger.take(9)
    ledger.activate(by(NEW, entry()), "s1")

    assert list(ledger.record(A, plan(portion), portion.revision)) == []
    assert list(ledger.record(A, plan(portion), portion.revision + 1)) == []  # the group has another version too
    assert states(ledger) == []
    assert [claim.key.due_at for claim in pass_once(ledger, B)] == [NOON + 60]


def test_newer_rules_for_entries_that_they_do_not_matter_to_change_no_due_time(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(by(OLD, entry("x"), entry("y", "every 600 0"), entry("z", "at 1")), "s1")
    clock.advance(60)
    pass_once(ledger, A)
    before = ledger.status().next_due
    ledger.activate(by(NEW, entry("x"), entry("y", "every 600 0"), entry("z", "at 1")), "s1")

    assert ledger.status().next_due == before == NOON + 120
