"""The fused step: where the ledger's server holds the broker's queues too, a claim is pushed and settled at once, or neither.

Decides nothing; a claim that others have taken over is left alone. Its authority is rule 15 of the ledger's design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.core.model import State
from offbeat.errors import LedgerError
from offbeat.ports.ledger import FENCED

if TYPE_CHECKING:
    from offbeat.core.message import Message
    from offbeat.ports.broker import Broker, Delivery
    from offbeat.ports.clock import Clock
    from offbeat.ports.ledger import Enqueuing, Ledger
    from offbeat.ports.ledger_values import Claim, Post, Runner

SCRIPT = 500  # posts of one script at most: a longer one blocks the server for everybody


@dataclass(slots=True, kw_only=True)
class Sent:
    """What became of a batch. deliveries: one a claim. settled: numbers of the claims with which the ledger is done."""

    deliveries: list[Delivery]
    settled: set[int] = field(default_factory=set)
    fenced: int = 0


def one_server(ledger: Ledger, broker: Broker) -> Enqueuing | None:
    """Return the ledger's part that pushes, if broker and ledger are one server now; both are asked each time.

    A broker that is exchanged behind its address, or a ledger that failed over, is another server from then on.
    """
    enqueuing = ledger.enqueuing()
    if enqueuing is None:
        return None
    ours = enqueuing.server_id()
    return enqueuing if ours and ours == broker.server_id() else None


def enqueue(
    claims: Sequence[Claim],
    messages: Sequence[Message],
    *,
    broker: Broker,
    enqueuing: Enqueuing,
    runner: Runner,
    clock: Clock,
    until: float,
) -> Sent:
    """Push and settle the claims, SCRIPT at a time. until: monotonic; what was not tried by then is told as not tried.

    Raises LedgerError when the ledger does not answer twice; what was done by then is done once.
    """
    from offbeat.ports.broker import Delivery, Push
    from offbeat.ports.ledger_values import Outcome, Post

    posts: list[tuple[int, Post]] = []
    sent = Sent(deliveries=[Delivery(error="not tried: out of time", tried=False)] * len(claims))
    for n, (claim, message, found) in enumerate(zip(claims, messages, broker.prepare(messages), strict=True)):
        if isinstance(found, Push):
            outcome = Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED, task_id=message.task_id)
            posts.append((n, Post(outcome=outcome, push=found)))
        else:
            sent.deliveries[n] = found
    for start in range(0, len(posts), SCRIPT):
        if clock.monotonic() >= until:
            break
        step = posts[start : start + SCRIPT]
        for (n, _), answer in zip(step, _told_twice(enqueuing, runner, [post for _, post in step]), strict=True):
            if answer == FENCED:  # its lease ended: whoever has it now sends it
                sent.fenced += 1
                sent.settled.add(n)
            else:
                sent.deliveries[n] = Delivery(error=answer)
                sent.settled |= set() if answer else {n}
    return sent


def _told_twice(enqueuing: Enqueuing, runner: Runner, posts: Sequence[Post]) -> Sequence[str]:
    """Enqueue; when the reply is lost ask once more with the same posts, which pushes nothing twice."""
    try:
        return enqueuing.enqueue(runner, posts)
    except LedgerError:
        return enqueuing.enqueue(runner, posts)
