"""A ledger that holds the broker's queues: pushing and settling is one step, and never two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.ports.ledger_queues import PLACES, Queues
from tests.ports.ledger_stores import Ground
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, report, runner, schedule, states

from offbeat.core.marks import lost
from offbeat.core.model import Overlap, State
from offbeat.ports.broker import Push
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import FENCED, Enqueuing, Ledger
from offbeat.ports.ledger_mail import Post
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import LEASE, Claim

Make: TypeAlias = Callable[[Claim], Post]
A, B, WORKER = runner("a"), runner("b"), runner("w", "worker")


@pytest.fixture(params=PLACES)
def queues(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Queues]:
    with ExitStack() as stack:
        made = PLACES[request.param](Ground(request=request, clock=clock, stack=stack, folder=tmp_path))
        made.ledger.look(A)
        made.ledger.activate(schedule(entry(overlap=Overlap.SKIP, max_runtime=100)), "stamp")
        clock.advance(60)
        yield made


@pytest.fixture
def ledger(queues: Queues) -> Ledger:
    return queues.ledger


@pytest.fixture
def claim(ledger: Ledger) -> Claim:
    (claim,) = pass_once(ledger, A)
    return claim


@pytest.fixture
def fused(ledger: Ledger) -> Enqueuing:
    found = ledger.enqueuing()
    assert found is not None
    return found


@pytest.fixture
def post(queues: Queues) -> Make:
    """Return a function that makes a claim's message."""

    def made(claim: Claim) -> Post:
        push = Push(database=0, key=queues.name, payload=b"\x00body\xff")
        return Post(outcome=outcome(claim, task_id="id"), push=push)

    return made


def test_a_ledger_without_queues_enqueues_nothing(clock: FakeClock) -> None:
    assert LedgerMemory(clock=clock).enqueuing() is None


def test_it_says_on_which_server_it_is(fused: Enqueuing, queues: Queues) -> None:
    assert fused.server_id() == queues.server_id


def test_pushed_and_settled_in_one_step(post: Make, ledger: Ledger, fused: Enqueuing, claim: Claim, queues: Queues) -> None:
    marks = ledger.look(A).marks

    assert list(fused.enqueue(A, [post(claim)])) == [""]

    assert queues.payloads() == [b"\x00body\xff"]
    (row,) = ledger.history()
    assert (row.state, row.task_id, row.dispatched_at) == (State.DISPATCHED, "id", NOON + 60)
    assert lost(ledger.look(A).marks, marks) > 0


def test_a_message_that_comes_twice_pushes_once(
    post: Make, ledger: Ledger, fused: Enqueuing, claim: Claim, queues: Queues
) -> None:
    assert list(fused.enqueue(A, [post(claim), post(claim)])) == ["", ""]
    ledger.report(WORKER, [report(claim, State.SUCCEEDED)])
    assert list(fused.enqueue(A, [post(claim)])) == [""]

    assert len(queues.payloads()) == 1


def test_a_claim_that_was_taken_over_pushes_nothing(
    post: Make, ledger: Ledger, fused: Enqueuing, claim: Claim, queues: Queues, clock: FakeClock
) -> None:
    clock.advance(LEASE)
    assert list(fused.enqueue(A, [post(claim)])) == [FENCED]  # its lease has ended
    (taken,) = ledger.claim(B, 9)
    assert list(fused.enqueue(A, [post(claim)])) == [FENCED]  # and another one has it
    assert queues.payloads() == []

    assert list(fused.enqueue(B, [post(taken)])) == [""]


@pytest.mark.parametrize("state", [State.SKIPPED, State.UNDELIVERED, State.PENDING])
def test_what_was_settled_otherwise_is_not_pushed(
    post: Make, ledger: Ledger, fused: Enqueuing, claim: Claim, queues: Queues, state: State
) -> None:
    ledger.settle(A, [outcome(claim, state)])

    assert list(fused.enqueue(A, [post(claim)])) == [FENCED]
    assert queues.payloads() == []


def test_what_the_server_refuses_stays_claimed(
    post: Make, ledger: Ledger, fused: Enqueuing, claim: Claim, queues: Queues
) -> None:
    queues.spoil(True)
    (error,) = fused.enqueue(A, [post(claim)])
    assert "of the type string" in error
    assert states(ledger)[0][2] is State.CLAIMED

    queues.spoil(False)
    assert list(fused.enqueue(A, [post(claim)])) == [""]


def test_the_slot_is_held_from_the_push(post: Make, ledger: Ledger, fused: Enqueuing, claim: Claim, clock: FakeClock) -> None:
    clock.advance(5)
    fused.enqueue(A, [post(claim)])  # until + 165
    clock.advance(55)
    assert pass_once(ledger, A) == []
    clock.advance(45)

    assert ledger.slot(A, "e", NOON + 180).claim is not None
