"""What every store promises after a wrong future was believed, and the clock has gone back to the right time."""

from __future__ import annotations

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule

from offbeat.core.model import Lane, Overlap, State
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import LONGEST_HOLD, LONGEST_WAIT

A, B = runner("a"), runner("b")
YEAR = 365 * 86_400.0


def believe(ledger: Ledger, clock: FakeClock, seconds: float) -> None:
    """Let the clock step forward, and two looks believe it."""
    clock.advance(seconds)
    ledger.look(A)
    clock.advance(5)
    assert ledger.look(A).believed


def test_a_future_that_was_believed_is_told_until_the_time_has_come(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    assert (ledger.look(A).ahead, ledger.status().ahead) == (0.0, 0.0)
    believe(ledger, clock, YEAR)
    assert (ledger.look(A).ahead, ledger.status().ahead) == (0.0, 0.0)
    clock.advance(-YEAR)
    assert (ledger.look(A).ahead, ledger.status().ahead) == (YEAR, YEAR)

    clock.advance(YEAR - 3601)
    assert (ledger.look(A).ahead, ledger.status().ahead) == (3601.0, 3601.0)
    clock.advance(1)
    assert (ledger.look(A).ahead, ledger.status().ahead) == (0.0, 0.0)


@pytest.mark.parametrize("lane", list(Lane))
def test_what_was_handed_back_in_a_wrong_future_is_tried_again(ledger: Ledger, clock: FakeClock, lane: Lane) -> None:
    ledger.activate(schedule(entry(grace=None)), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    believe(ledger, clock, YEAR)
    (again,) = ledger.claim(A, 10)
    ledger.settle(A, [outcome(again, State.PENDING, next_try_at=clock.now() + 60, lane=lane)])
    clock.advance(-YEAR)

    assert ledger.look(A).wake_at == clock.now() and ledger.look(A).due
    assert [(c.key, c.attempt) for c in ledger.peek(10)[1]] == [(claim.key, 2)]
    assert [(c.key, c.attempt) for c in ledger.claim(B, 10)] == [(claim.key, 3)]
    assert ledger.claim(B, 10) == []


def test_what_waits_as_long_as_anybody_may_ask_is_left_alone(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "s")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=clock.now() + LONGEST_WAIT)])

    assert ledger.claim(B, 10) == [] and ledger.look(A).wake_at == NOON + 120


def test_what_is_not_to_be_sent_yet_waits_however_long(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(jitter=3600, recurrence="every 86400 0")), "s")
    clock.advance(43_200)
    ledger.look(A)
    clock.advance(5)
    ledger.look(A)
    pass_once(ledger, A)
    (row,) = ledger.history()
    assert row.send_at is not None and row.send_at > clock.now() + LONGEST_WAIT

    assert ledger.claim(B, 10) == [] and ledger.look(A).wake_at == row.send_at


@pytest.mark.parametrize("is_freed", [False, True])
def test_what_waits_in_a_wrong_future_is_never_sent_before_its_time(ledger: Ledger, clock: FakeClock, is_freed: bool) -> None:
    ledger.activate(schedule(entry(overlap=Overlap.WAIT, max_runtime=999)), "s")
    believe(ledger, clock, YEAR)
    claims = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim) for claim in claims])
    clock.advance(60)
    assert pass_once(ledger, A) == []
    (waiting,) = (row for row in ledger.history(limit=9) if row.state is State.WAITING)
    clock.advance(-YEAR)
    if is_freed:
        ledger.report(B, [report(claim, State.SUCCEEDED) for claim in claims])

    assert ledger.claim(B, 9) == [] and ledger.peek(9)[1] == []
    assert ledger.look(B).wake_at > clock.now()
    clock.advance(waiting.due_at - clock.now())
    assert [claim.key for claim in ledger.claim(B, 9)] == ([waiting.key] if is_freed else [])


def test_a_slot_that_was_taken_in_a_wrong_future_does_not_hold(ledger: Ledger, clock: FakeClock) -> None:
    ledger.activate(schedule(command()), "s")
    believe(ledger, clock, YEAR)
    ledger.occupy("hourly", "p1", 60)
    clock.advance(-YEAR)

    assert ledger.occupy("hourly", "p2", 60)
    assert not ledger.occupy("hourly", "p1", 60)


def test_a_slot_holds_as_long_as_anybody_may_ask(ledger: Ledger, clock: FakeClock) -> None:
    ledger.occupy("hourly", "p1", LONGEST_HOLD)

    assert not ledger.occupy("hourly", "p2", 60)
    clock.advance(LONGEST_HOLD)
    assert ledger.occupy("hourly", "p2", 60)
