"""Backfills that a pause holds, and backfills that somebody cancels."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import Kind, Overlap, Reason, State
from offbeat.core.recheck import HELD_BACK, decide_at_claim
from offbeat.errors import ConfigError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Claim

A, B = runner("a"), runner("b")
ROWS = [(NOON - 60 * n, NOON + n) for n in range(5)]


@pytest.fixture
def hourly(ledger: Ledger) -> Ledger:
    """A ledger with an entry and another one, each due at another time than what is backfilled."""
    ledger.look(A)
    ledger.activate(schedule(entry("e", "every 3600 1800", grace=60, expires=30), entry("other", "every 3600 1700")), "stamp")
    return ledger


def filled(ledger: Ledger, limit: int = 100) -> list[int]:
    return [claim.key.due_at for claim in ledger.claim(A, limit) if claim.key.kind is Kind.BACKFILL]


def test_a_pause_holds_what_is_backfilled_and_resume_lets_it_go(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS)
    hourly.pause("e", "ann", "")
    clock.advance(2)

    assert filled(hourly) == []
    assert not hourly.look(A).due
    assert hourly.status().pending == 5
    clock.advance(2 * HELD_BACK)
    assert hourly.look(A).due
    assert filled(hourly) == []
    hourly.resume("e")
    found = []
    for _ in range(HELD_BACK // 20):
        clock.advance(20)
        claims = hourly.claim(A, 100)
        assert {reason(claim, clock) for claim in claims} <= {Reason.NONE}  # neither too late nor expired
        hourly.settle(A, [outcome(claim) for claim in claims])
        found += [claim.key.due_at for claim in claims]
    assert sorted(found) == sorted(due_at for due_at, _ in ROWS)


def reason(claim: Claim, clock: FakeClock) -> Reason:
    return decide_at_claim(
        kind=claim.key.kind,
        due_at=claim.key.due_at,
        send_at=claim.send_at,
        policy=claim.policy,
        next_due=claim.next_due,
        enabled=True,
        paused=claim.paused,
        expires_at=claim.expires_at,
        now=clock.now(),
    )


def test_what_a_person_asked_for_is_not_too_late_however_late_a_runner_comes(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS)  # an entry with a minute of grace
    hourly.fire(B, "e", "fired")
    clock.advance(3000)
    claims = {claim.key.kind: claim for claim in hourly.claim(A, 100)}

    assert claims.keys() == {Kind.BACKFILL, Kind.MANUAL}
    assert reason(claims[Kind.BACKFILL], clock) is Reason.NONE
    assert claims[Kind.MANUAL].policy.grace == 60
    assert claims[Kind.MANUAL].expires_at == NOON + 30  # its first claim is long ago: no worker would start it
    assert reason(claims[Kind.MANUAL], clock) is Reason.TOO_LATE


def test_what_is_backfilled_expires_from_its_first_claim_on(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS[:1])
    clock.advance(3000)
    decided = [reason(claim, clock) for claim in hourly.claim(A, 100)]
    clock.advance(31)
    (second,) = hourly.claim(A, 100)

    assert [*decided, reason(second, clock)] == [Reason.NONE, Reason.TOO_LATE]
    assert second.expires_at == NOON + 3030


def test_a_pause_of_all_holds_it_too_and_a_pause_of_another_or_a_skip_does_not(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS[:1])
    hourly.pause("", "ann", "")
    clock.advance(1)
    assert filled(hourly) == []
    hourly.resume("")
    hourly.pause("other", "ann", "")
    hourly.skip("e", NOON + HELD_BACK, "ann", "")

    clock.advance(HELD_BACK - 1)  # the very second that is skipped
    assert filled(hourly) == [NOON]


def test_a_pause_with_an_end_lets_it_go_by_itself(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS)
    hourly.pause("e", "ann", "", NOON + 100.0)
    clock.advance(50)
    assert filled(hourly) == []
    clock.advance(HELD_BACK)

    assert len(filled(hourly)) == 5


def test_others_are_claimed_beside_what_a_pause_holds(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS)
    hourly.backfill("other", "token", [(NOON - 30, NOON + 10)])
    hourly.pause("e", "ann", "")
    clock.advance(10)

    assert [claim.name for claim in hourly.claim(A, 1)] == ["other"]


def test_what_was_claimed_and_left_is_held_by_a_pause_too(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS[:1])
    clock.advance(1)
    assert len(filled(hourly)) == 1
    hourly.pause("e", "ann", "")
    clock.advance(20)  # its lease is over

    assert filled(hourly) == []
    hourly.resume("e")
    clock.advance(HELD_BACK)
    assert [claim.attempt for claim in hourly.claim(A, 10)] == [2]


def cancelled(ledger: Ledger) -> list[str]:
    """Cancel two at most, and return the notes of all that are cancelled by then."""
    ledger.cancel("e", "ann", "wrong span", 2)
    return [row.note for row in ledger.history("e") if row.reason is Reason.BY_HAND]


def test_a_cancelled_backfill_is_skipped_in_steps_and_what_is_out_stays(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS)
    clock.advance(5)
    (first,) = hourly.claim(A, 1)
    hourly.settle(A, [outcome(first)])
    hourly.claim(A, 1)

    counts = [len(cancelled(hourly)) for _ in range(3)]

    assert counts == [2, 3, 3]
    told = [state for _, _, state, _ in states(hourly, "e")]
    assert told.count(State.DISPATCHED) == told.count(State.CLAIMED) == 1


POLICY: dict[str, Any] = {"overlap": Overlap.WAIT, "max_runtime": 1000}


def test_what_waits_for_its_slot_is_cancelled_too(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("e", "every 60 0", **POLICY)), "stamp")
    clock.advance(60)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    ledger.backfill("e", "token", [(NOON + 90, NOON)])
    assert ledger.claim(A, 10) == []
    assert ledger.status().waiting == 1

    assert ledger.cancel("e", "ann", "", 10) == 1
    assert ledger.status().waiting == 0


def test_one_of_several_backfills_is_cancelled_by_its_token(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "one", ROWS[:2])
    hourly.backfill("e", "two", ROWS)
    hourly.backfill("other", "one", ROWS[:1])

    assert hourly.cancel("e", "ann", "", 100, "one") == 2
    clock.advance(10)
    assert len(hourly.claim(A, 100)) == 6


def test_a_cancelled_backfill_does_not_come_back_when_it_is_said_again(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS)
    hourly.cancel("e", "ann", "", 100)

    assert hourly.backfill("e", "token", ROWS) == 0
    clock.advance(10)
    assert hourly.claim(A, 100) == []
    assert {row.note for row in hourly.history("e")} == {"ann"}


def test_what_was_handed_back_into_another_lane_is_cancelled(hourly: Ledger, clock: FakeClock) -> None:
    hourly.backfill("e", "token", ROWS[:1])
    clock.advance(1)
    (claim,) = hourly.claim(A, 1)
    hourly.settle(A, [outcome(claim, State.PENDING, next_try_at=clock.now() + 50)])

    assert hourly.cancel("e", "ann", "", 100) == 1


@pytest.mark.parametrize("name", ["nobody", ""])
def test_an_unknown_name_cannot_be_cancelled(hourly: Ledger, name: str) -> None:
    with pytest.raises(ConfigError):
        hourly.cancel(name, "ann", "", 100)
    assert hourly.cancel("e", "ann", "", 100) == 0
