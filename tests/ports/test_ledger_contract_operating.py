"""What every store promises of activate and refuse."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from tests.ports.ledger_world import NOON, entry, members, outcome, pass_once, runner, schedule, states

from offbeat.core.model import SHARD, CatchUp, Cause, Lane, Reason, State
from offbeat.core.plan import Gap, Window
from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import HistoryRow

A, B = runner("a"), runner("b")


def test_a_schedule_becomes_active_from_the_next_whole_second_on(ledger: Ledger, clock: FakeClock) -> None:
    clock.advance(60.2)

    assert ledger.activate(schedule(entry()), "s") == 1

    clock.advance(100)
    assert [row.due_at for row in pass_rows(ledger)] == [NOON + 120]


def pass_rows(ledger: Ledger) -> list[HistoryRow]:
    pass_once(ledger, A)
    return sorted(ledger.history(limit=10_000), key=lambda row: row.due_at)


def test_an_equal_digest_keeps_its_number_and_renews_stamp_and_problems(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s1")
    clock.advance(5)

    assert ledger.activate(schedule(entry()), "s2", '[{"code":"S103"}]') == 1
    assert ledger.look(A).stamp == "s2"
    assert (ledger.status().refused, ledger.status().activated_at) == ('[{"code":"S103"}]', NOON)


def test_a_tree_refused_whole_leaves_the_active_revision_in_force(ledger: Ledger) -> None:
    ledger.activate(schedule(entry()), "s1")
    ledger.refuse("s2", "[1]")

    status = ledger.status()
    assert (status.revision, status.refused, status.refused_whole) == (1, "[1]", True)
    assert ledger.look(A).stamp == "s2"
    ledger.activate(schedule(entry()), "s3")
    assert (ledger.status().refused, ledger.status().refused_whole) == ("", False)


def test_a_removed_entry_is_skipped_up_to_its_removal_and_never_after(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    clock.advance(130)
    ledger.activate(schedule(entry("y")), "s")
    clock.advance(100)

    (gone,) = members(ledger.take(10))["x"]
    assert (gone.last, gone.gone) == (NOON + 130, Reason.REMOVED)
    pass_once(ledger, A)
    assert [(due_at - NOON, reason) for name, due_at, _, reason in states(ledger) if name == "x"] == [
        (120, "removed"),
        (60, "removed"),
    ]
    clock.advance(60)
    assert "x" not in members(ledger.take(10))


def test_a_disabled_entry_has_a_version_and_no_group(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    ledger.activate(schedule(entry(enabled=False)), "s")
    clock.advance(600)

    (gone,) = members(ledger.take(10))["e"]
    assert (gone.gone, gone.last) == (Reason.DISABLED, NOON + 60)
    pass_once(ledger, A)
    assert states(ledger) == [("e", NOON + 60, State.SKIPPED, "disabled")]
    assert [e.timing.enabled for e, _ in ledger.entries()] == [False]
    assert ledger.status().next_due is None


def test_what_was_disabled_comes_back_from_now_on(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(enabled=False)), "s")
    clock.advance(600)
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)

    assert [row.due_at for row in pass_rows(ledger)] == [NOON + 660]


def test_a_changed_recurrence_opens_a_version_and_each_instant_belongs_to_one(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "s")
    clock.advance(90)
    ledger.activate(schedule(entry(recurrence="every 60 30", catch_up=CatchUp.ALL)), "s")
    clock.advance(90)

    old, new = members(ledger.take(10))["e"]
    assert (old.last, new.first) == (NOON + 90, NOON + 91)
    assert [(heir.recurrence, heir.first, heir.last) for heir in old.heirs] == [("every 60 30", NOON + 91, None)]
    assert old.gone is Reason.NONE and new.heirs == ()
    assert [row.due_at - NOON for row in pass_rows(ledger)] == [60, 150]


def test_the_policy_of_an_old_version_is_the_newest_one(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(grace=5)), "s")
    clock.advance(90)
    ledger.activate(schedule(entry(recurrence="every 60 30", grace=7)), "s")
    clock.advance(90)

    assert [member.policy.grace for member in members(ledger.take(10))["e"]] == [7, 7]


@pytest.mark.parametrize("change", [{"queue": "q"}, {"kwargs": {"a": 1}}, {"grace": 60}, {"jitter": 5}, {"task": "shop.other"}])
def test_other_changes_apply_in_place(ledger: Ledger, clock: FakeClock, change: dict[str, object]) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(150)
    changed = entry(**change)  # type: ignore[arg-type]
    assert ledger.activate(schedule(changed), "s") == 2
    clock.advance(1)

    (member,) = members(ledger.take(10))["e"]
    assert (member.first, member.last, member.policy) == (NOON + 1, None, changed.policy)
    assert [e for e, _ in ledger.entries()] == [changed]


def test_a_change_raises_the_version_of_the_groups_it_touches_and_of_no_other(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y", "every 60 1"), entry("z", "every 60 2")), "s")
    clock.advance(70)
    before = {group.gid: group.version for group, _ in ledger.take(10).groups}
    ledger.activate(schedule(entry("x"), entry("y", "every 60 1", queue="q"), entry("z", "every 60 1")), "s")

    after = {group.gid: group.version for group, _ in ledger.take(10).groups}
    assert {gid: after[gid] - version for gid, version in before.items()} == {1: 0, 2: 1, 3: 1}


def test_a_place_that_got_free_in_a_group_is_taken_again(ledger: Ledger, clock: FakeClock) -> None:
    names = [f"e{number}" for number in range(SHARD)]
    ledger.activate(schedule(*map(entry, names)), "s")
    clock.advance(60)
    pass_once(ledger, A)
    ledger.activate(schedule(*map(entry, [*names[1:], "new"])), "s")
    clock.advance(60)

    assert [len(group) for _, group in ledger.take(10).groups] == [SHARD]


def test_a_new_member_of_a_group_that_lags_is_due_from_now_on_only(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x")), "s")
    clock.advance(300)
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    clock.advance(60)
    pass_once(ledger, A)

    assert [due_at - NOON for name, due_at, *_ in states(ledger) if name == "y"] == [360]


def test_changes_within_one_second_leave_each_instant_to_one_version(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e", "every 60 0")), "s")
    ledger.activate(schedule(entry("e", "every 60 1")), "s")
    ledger.activate(schedule(), "s")
    ledger.activate(schedule(entry("e", "every 60 2")), "s")
    clock.advance(62)
    pass_once(ledger, A)

    assert [due_at - NOON for _, due_at, *_ in states(ledger)] == [62, 2]


def test_a_change_after_the_clock_went_back_counts_from_what_is_undecided(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "s")
    clock.advance(120)
    pass_once(ledger, A)
    clock.advance(-100)
    ledger.activate(schedule(entry(recurrence="every 60 30", catch_up=CatchUp.ALL)), "s")
    clock.advance(200)
    pass_once(ledger, A)

    assert sorted(due_at - NOON for _, due_at, *_ in states(ledger)) == [60, 120, 150, 210]


def test_the_first_activation_plans_nothing(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e", f"at {NOON - 10},{NOON}")), "s")

    assert states(ledger) == [] and ledger.take(10).groups == ()


def test_an_instant_that_has_just_passed_is_recorded_by_the_change_itself(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x")), "s")
    clock.advance(0.5)
    instants = f"at {NOON - 90},{NOON - 89},{NOON},{NOON + 5}"
    ledger.activate(schedule(entry("x"), entry("e", instants), entry("off", instants, enabled=False)), "s")

    rows = ledger.history("e")
    assert [(row.due_at - NOON, row.state, row.cause) for row in rows] == [
        (0, State.PENDING, Cause.SCHEDULE),
        (-89, State.PENDING, Cause.SCHEDULE),
    ]
    assert ledger.history("off") == []
    assert [(claim.key.due_at - NOON, claim.lane) for claim in ledger.claim(A, 10)] == [(-89, Lane.LIVE), (0, Lane.LIVE)]
    clock.advance(5)
    assert [claim.key.due_at - NOON for claim in pass_once(ledger, A)] == [5]


@pytest.mark.parametrize("name", ["", "e"], ids=["all", "the entry"])
def test_an_instant_that_has_just_passed_in_a_pause_is_recorded_as_paused(ledger: Ledger, clock: FakeClock, name: str) -> None:
    ledger.activate(schedule(entry("x"), entry("e", f"at {NOON + 600}")), "s")
    ledger.pause(name, "me", "", until=NOON + 20.5)
    clock.advance(30)
    ledger.activate(schedule(entry("x"), entry("e", f"at {NOON},{NOON + 20},{NOON + 21}")), "s")

    assert [row[1:] for row in states(ledger, "e")] == [
        (NOON + 21, State.PENDING, ""),
        (NOON + 20, State.SKIPPED, "paused"),
        (NOON, State.SKIPPED, "paused"),
    ]
    assert [claim.key.due_at for claim in ledger.claim(A, 10)] == [NOON + 21]
    assert ledger.slot(A, "e", NOON + 20).reason is Reason.PAUSED


def test_an_instant_that_was_sent_is_not_recorded_again_by_a_change(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e", f"at {NOON + 10}")), "s")
    clock.advance(10)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    clock.advance(1)
    ledger.activate(schedule(entry("e", f"at {NOON + 10},{NOON + 11}")), "s")

    assert [(due_at - NOON, state) for _, due_at, state, _ in states(ledger)] == [(11, State.PENDING), (10, State.DISPATCHED)]


def test_nothing_is_activated_while_the_clock_is_not_believed(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    ledger.look(A)
    clock.advance(5000)

    with pytest.raises(LedgerError, match=r"\[L301\]"):
        ledger.activate(schedule(), "s")

    assert ledger.status().revision == 1


def test_a_new_member_moves_the_cursor_of_a_group_that_rests(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x", "every 3600 0")), "s")
    clock.advance(1800)
    ledger.activate(schedule(entry("x", "every 3600 0"), entry("y", "every 3600 0")), "s")
    clock.advance(1800)

    ((group, both),) = ledger.take(10).groups
    assert (group.cursor, [member.name for member in both]) == (NOON + 1800, ["x", "y"])
    assert len(pass_once(ledger, A)) == 2


def test_an_instant_that_was_skipped_in_a_gap_is_not_recorded_by_a_change(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("e", f"at {NOON + 10},{NOON + 99}")), "s")
    clock.advance(20)
    gap = Gap(eno=1, after=NOON, until=NOON + 20, reason=Reason.PAUSED)
    ledger.record(A, [Window(gid=1, version=1, after=NOON, until=NOON + 20, next_due=NOON + 99, rows=(), gaps=(gap,))], 1)
    ledger.activate(schedule(entry("e", f"at {NOON + 10},{NOON + 98}")), "s")

    assert states(ledger) == [("e", NOON + 10, f"{State.SKIPPED} x1", "paused")]


def test_a_removed_entry_that_comes_back_keeps_its_rows_and_its_number(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    ledger.activate(schedule(), "s")
    assert ledger.entries() == [] and len(ledger.history("e")) == 1
    clock.advance(600)
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)

    assert [claim.key.eno for claim in pass_once(ledger, A)] == [1]
    assert [row.due_at - NOON for row in ledger.history("e")] == [720, 60]


def test_a_compile_that_somebody_overtook_writes_nothing(handles: Callable[[], Ledger], clock: FakeClock) -> None:
    slow, quick = handles(), handles()
    slow.activate(schedule(entry()), "s1")
    known = slow.look(A).stamp
    assert quick.activate(schedule(entry(), entry("new", "every 60 5")), "s3", "[3]", known=known) == 2
    clock.advance(10)

    assert slow.activate(schedule(entry("old")), "s2", "[2]", known=known) == 0
    assert (slow.look(A).stamp, slow.status().revision, slow.status().refused) == ("s3", 2, "[3]")
    assert [e.name for e, _ in slow.entries()] == ["e", "new"]
    assert slow.activate(schedule(entry("old")), "s2", known=slow.look(A).stamp) == 3


def test_a_refusal_that_somebody_overtook_is_not_remembered(ledger: Ledger) -> None:
    ledger.activate(schedule(entry()), "s3")
    ledger.refuse("s2", "[2]", known="s1")
    assert (ledger.look(A).stamp, ledger.status().refused_whole) == ("s3", False)

    ledger.refuse("s4", "[4]", known="s3")
    assert (ledger.look(A).stamp, ledger.status().refused, ledger.status().refused_whole) == ("s4", "[4]", True)


def test_a_compile_that_a_refusal_overtook_writes_nothing(ledger: Ledger) -> None:
    ledger.activate(schedule(entry()), "s1")
    ledger.refuse("s3", "[3]", known="s1")

    assert ledger.activate(schedule(), "s2", known="s1") == 0
    assert (ledger.look(A).stamp, ledger.status().revision, ledger.status().refused_whole) == ("s3", 1, True)


def test_two_who_read_the_same_tree_are_of_one_mind(handles: Callable[[], Ledger]) -> None:
    one, other = handles(), handles()

    assert [who.activate(schedule(entry()), "s", known="") for who in (one, other)] == [1, 1]


@pytest.mark.parametrize("order", sorted(set(permutations("aabbr"))), ids="".join)
def test_of_all_who_saw_the_same_stamp_one_is_heard_and_the_others_read_again(
    handles: Callable[[], Ledger], order: tuple[str, ...]
) -> None:
    """a and b look, then activate; r refuses a third tree at once. In every order, whoever writes knows what it writes over."""
    sights: dict[str, str] = {}
    shared = handles()
    shared.activate(schedule(entry()), "s0")
    stamp = "s0"
    for who in order:
        ledger = handles()
        if who == "r":
            ledger.refuse(stamp := "sr", "[]", known=ledger.look(A).stamp)
        elif who not in sights:
            sights[who] = ledger.look(A).stamp
        else:
            done = ledger.activate(schedule(entry(who)), f"s{who}", known=sights[who])
            assert bool(done) is (sights[who] == stamp)
            stamp = f"s{who}" if done else stamp
        assert shared.look(A).stamp == stamp
