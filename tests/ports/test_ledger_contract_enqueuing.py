"""A ledger that holds the broker's queues: pushing and settling is one step, and never two."""

from __future__ import annotations

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.model import Overlap, State
from offbeat.ports.broker import Push
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import FENCED, Enqueuing
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import LEASE, Claim, Post

A, B, WORKER = runner("a"), runner("b"), runner("w", "worker")


class Wire:
    """Keeps what is pushed; refuses while `error` says something."""

    def __init__(self) -> None:
        self.pushed: list[Push] = []
        self.error = ""

    def accept(self, push: Push) -> str:
        if not self.error:
            self.pushed.append(push)
        return self.error


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def ledger(wire: Wire, clock: FakeClock) -> LedgerMemory:
    made = LedgerMemory(clock=clock, wire=wire, server_id="server 1")
    made.look(A)
    made.activate(schedule(entry(overlap=Overlap.SKIP, max_runtime=100)), "stamp")
    clock.advance(60)
    return made


@pytest.fixture
def claim(ledger: LedgerMemory) -> Claim:
    (claim,) = pass_once(ledger, A)
    return claim


@pytest.fixture
def fused(ledger: LedgerMemory) -> Enqueuing:
    found = ledger.enqueuing()
    assert found is not None
    return found


def post(claim: Claim) -> Post:
    push = Push(database=0, key="celery", payload=b"body")
    return Post(outcome=outcome(claim, task_id="id"), push=push)


def test_a_ledger_without_queues_enqueues_nothing(clock: FakeClock) -> None:
    assert LedgerMemory(clock=clock).enqueuing() is None


def test_it_says_on_which_server_it_is(fused: Enqueuing) -> None:
    assert fused.server_id() == "server 1"


def test_pushed_and_settled_in_one_step(ledger: LedgerMemory, fused: Enqueuing, claim: Claim, wire: Wire) -> None:
    seq = ledger.look(A).seq

    assert list(fused.enqueue(A, [post(claim)])) == [""]

    assert wire.pushed == [post(claim).push]
    (row,) = ledger.history()
    assert (row.state, row.task_id, row.dispatched_at) == (State.DISPATCHED, "id", NOON + 60)
    assert ledger.look(A).seq > seq


def test_a_message_that_comes_twice_pushes_once(ledger: LedgerMemory, fused: Enqueuing, claim: Claim, wire: Wire) -> None:
    assert list(fused.enqueue(A, [post(claim), post(claim)])) == ["", ""]
    ledger.report(WORKER, [report(claim, State.SUCCEEDED)])
    assert list(fused.enqueue(A, [post(claim)])) == [""]

    assert len(wire.pushed) == 1


def test_a_claim_that_was_taken_over_pushes_nothing(
    ledger: LedgerMemory, fused: Enqueuing, claim: Claim, wire: Wire, clock: FakeClock
) -> None:
    clock.advance(LEASE)
    assert list(fused.enqueue(A, [post(claim)])) == [FENCED]  # its lease has ended
    (taken,) = ledger.claim(B, 9)
    assert list(fused.enqueue(A, [post(claim)])) == [FENCED]  # and another one has it
    assert wire.pushed == []

    assert list(fused.enqueue(B, [post(taken)])) == [""]


@pytest.mark.parametrize("state", [State.SKIPPED, State.UNDELIVERED, State.PENDING])
def test_what_was_settled_otherwise_is_not_pushed(
    ledger: LedgerMemory, fused: Enqueuing, claim: Claim, wire: Wire, state: State
) -> None:
    ledger.settle(A, [outcome(claim, state)])

    assert list(fused.enqueue(A, [post(claim)])) == [FENCED]
    assert wire.pushed == []


def test_what_the_server_refuses_stays_claimed(ledger: LedgerMemory, fused: Enqueuing, claim: Claim, wire: Wire) -> None:
    wire.error = "WRONGTYPE"
    assert list(fused.enqueue(A, [post(claim)])) == ["WRONGTYPE"]
    assert states(ledger)[0][2] is State.CLAIMED

    wire.error = ""
    assert list(fused.enqueue(A, [post(claim)])) == [""]


def test_the_slot_is_held_from_the_push(ledger: LedgerMemory, fused: Enqueuing, claim: Claim, clock: FakeClock) -> None:
    clock.advance(5)
    fused.enqueue(A, [post(claim)])  # until + 165
    clock.advance(55)
    assert pass_once(ledger, A) == []
    clock.advance(45)

    assert ledger.slot(A, "e", NOON + 180).claim is not None
