"""What every store promises of fire, slot, pause and resume: what people do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.ports.ledger_world import NOON, command, entry, members, outcome, pass_once, runner, schedule

from offbeat.core.model import Cause, Kind, Reason, State
from offbeat.core.plan import Gap, Window
from offbeat.errors import ConfigError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import LEASE, Claim

A, B = runner("a"), runner("b")


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
