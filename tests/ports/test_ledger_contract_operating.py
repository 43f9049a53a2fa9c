"""What every store promises of activate, refuse, fire, slot, pause and resume."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import SHARD, CatchUp, Cause, Kind, Lane, Reason, State
from offbeat.core.plan import Gap, Member, Portion, Window
from offbeat.errors import ConfigError, LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import LEASE, Claim, HistoryRow, Ledger

A, B = runner("a"), runner("b")


def members(portion: Portion) -> dict[str, list[Member]]:
    """Return the members by name, in the order of their groups."""
    found: dict[str, list[Member]] = {}
    for _, group in portion.groups:
        for member in group:
            found.setdefault(member.name, []).append(member)
    return found


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


def test_fire_records_a_manual_row_that_is_due_now(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(expires=5)), "s")
    clock.advance(10.7)

    slot = ledger.fire(A, "e", "token")

    assert slot.claim is not None
    assert (slot.key.due_at, slot.key.kind, slot.key.kind_id) == (NOON + 10, Kind.MANUAL, "token")
    assert (slot.claim.cause, slot.claim.attempt, slot.claim.call) == (Cause.MANUAL, 1, entry(expires=5).call)
    assert slot.claim.lease_until == clock.now() + LEASE and slot.claim.expires_at == clock.now() + 5
    assert slot.claim.next_due is None
    assert ledger.entries()[0][1] is None  # a fire is no due time of the schedule


def test_a_token_makes_one_row_whoever_asks(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    first = ledger.fire(A, "e", "token")
    clock.advance(3)

    assert ledger.fire(A, "e", "token").claim == first.claim
    other = ledger.fire(B, "e", "token")
    assert (other.key, other.claim, other.state) == (first.key, None, State.CLAIMED)
    assert first.claim is not None
    ledger.settle(A, [outcome(first.claim)])
    done = ledger.fire(A, "e", "token")
    assert (done.claim, done.state, done.dispatched_at) == (None, State.DISPATCHED, NOON + 3)
    assert ledger.fire(A, "e", "other").claim is not None


def test_fire_sends_another_call_and_keeps_it_for_later_attempts(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(queue="q")), "s")
    call = entry(kwargs={"full": True}, expires=60).call
    ledger.fire(A, "e", "token", call)
    clock.advance(LEASE)

    (claim,) = ledger.claim(B, 10)

    assert (claim.call, claim.attempt, claim.expires_at) == (call, 2, NOON + 60)


def test_fire_of_what_is_no_entry_needs_a_call(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    ledger.activate(schedule(), "s")

    for name in ("e", "never"):
        with pytest.raises(ConfigError, match=rf'"{name}" is not in the active schedule \[C301\]'):
            ledger.fire(A, name, "token")
    slot = ledger.fire(A, "shop.tasks.x", "token", entry("x").call)
    assert slot.claim is not None
    assert (slot.claim.name, slot.claim.timing, slot.claim.call) == ("shop.tasks.x", None, entry("x").call)
    assert ledger.entries() == []


def test_a_slot_is_sent_once_by_hand_or_by_the_schedule(handles: Callable[[], Ledger], clock: FakeClock) -> None:
    one, other = handles(), handles()
    one.activate(schedule(command("c", "every 3600 60")), "s")
    clock.advance(60)
    (claim,) = pass_once(one, A)

    slot = other.slot(B, "c", NOON + 60)

    assert (slot.claim, slot.state) == (None, State.CLAIMED)
    one.settle(A, [outcome(claim)])
    slot = other.slot(B, "c", NOON + 60)
    assert (slot.claim, slot.state, slot.dispatched_at) == (None, State.DISPATCHED, NOON + 60)


def test_a_slot_may_be_sent_before_its_due_time_and_after_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x", "every 3600 60"), entry("y", "every 3600 0")), "s")

    early, late = ledger.slot(A, "x", NOON + 60).claim, ledger.slot(A, "y", NOON - 3600).claim

    assert early is not None and late is not None
    assert (early.send_at, early.cause, early.key.kind) == (NOON, Cause.SCHEDULE, Kind.SCHEDULE)
    assert (late.send_at, late.cause) == (NOON - 3600, Cause.CATCH_UP)
    assert {e.name: due for e, due in ledger.entries()} == {"x": NOON + 60, "y": NOON - 3600}
    assert ledger.slot(A, "x", NOON + 60).claim == early


def test_a_slot_in_a_gap_or_before_the_last_due_time_is_known(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(600)
    gap = Gap(eno=None, after=NOON, until=NOON + 300, reason=Reason.COALESCED)
    ledger.record(A, [Window(gid=1, version=1, after=NOON, until=NOON + 300, next_due=NOON + 360, rows=(), gaps=(gap,))], 1)

    covered = ledger.slot(A, "e", NOON + 240)
    assert (covered.claim, covered.state, covered.reason) == (None, State.SKIPPED, Reason.COALESCED)
    assert ledger.slot(A, "e", NOON + 600).claim is not None
    before = ledger.slot(A, "e", NOON - 60)
    assert (before.claim, before.state, before.dispatched_at) == (None, State.DISPATCHED, None)


def test_a_slot_of_what_is_no_entry_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="C301"):
        ledger.slot(A, "e", NOON)


def test_a_pause_holds_from_now_until_its_end_or_until_it_is_resumed(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "s")
    ledger.pause("x", "ann", "why", NOON + 90)
    ledger.pause("", "bob", "all")
    clock.advance(30)
    ledger.resume("")
    clock.advance(30)

    found = members(ledger.take(10))

    assert found["x"][0].pauses == ((NOON, NOON + 90), (NOON, NOON + 30))
    assert found["y"][0].pauses == ((NOON, NOON + 30),)
    assert {claim.name: claim.paused for claim in [fired(ledger, "x"), fired(ledger, "y")]} == {"x": True, "y": False}
    clock.advance(30)
    assert not fired(ledger, "x").paused


def fired(ledger: Ledger, name: str) -> Claim:
    slot = ledger.fire(A, name, f"at {ledger.status().now}")
    assert slot.claim is not None
    return slot.claim


def test_a_second_pause_writes_into_the_interval_that_holds(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    ledger.pause("e", "ann", "", NOON + 100)
    clock.advance(60)
    ledger.pause("e", "ann", "")

    assert members(ledger.take(10))["e"][0].pauses == ((NOON, None),)


def test_an_interval_is_kept_until_every_cursor_has_passed_it(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y", "every 3600 0")), "s")
    clock.advance(30)
    ledger.pause("", "ann", "")
    clock.advance(60)
    ledger.resume("")
    clock.advance(3510)
    ledger.prune(10)
    assert {m.pauses for ms in members(ledger.take(10)).values() for m in ms} == {((NOON + 30, NOON + 90),)}

    pass_once(ledger, A)
    clock.advance(3600)
    assert {m.pauses for ms in members(ledger.take(10)).values() for m in ms} == {()}


def test_a_typing_error_in_a_name_is_told(ledger: Ledger) -> None:
    ledger.activate(schedule(entry()), "s")

    with pytest.raises(ConfigError, match='"f" is not in the active schedule'):
        ledger.pause("f", "ann", "")
    with pytest.raises(ConfigError, match='"f" is not in the active schedule'):
        ledger.resume("f")


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
