"""The fused step: where the ledger's server holds the broker's queues too, a claim is pushed and settled at once, or neither.

Decides nothing; a claim that others have taken over is left alone. Its authority is rule 15 of the ledger's design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from offbeat.core.model import State
from offbeat.errors import LedgerError
from offbeat.ports.ledger import FENCED

if TYPE_CHECKING:
    from offbeat.core.message import Message
    from offbeat.ports.broker import Broker, Delivery, Push
    from offbeat.ports.clock import Clock
    from offbeat.ports.ledger import Enqueuing, Ledger
    from offbeat.ports.ledger_values import Claim, Post, Runner

ATOMIC = "offbeat_atomic"  # the header of what is recorded and sent in one step
SCRIPT = 500  # posts of one script at most: a longer one blocks the server for everybody


@dataclass(slots=True, kw_only=True)
class Sent:
    """What became of a batch. deliveries: one a claim. settled: numbers of the claims with which the ledger is done."""

    deliveries: list[Delivery]
    settled: set[int] = field(default_factory=set)
    fenced: int = 0


def one_server(ledger: Ledger, broker: Broker) -> Enqueuing | Delivery | None:
    """Return the ledger's part that pushes, if broker and ledger are one server now; both are asked each time.

    A broker that is exchanged behind its address, or a ledger that failed over, is another server from then on. A Delivery
    that is down where the broker does not say which it is: nothing may be published then, for it may be the ledger's.
    """
    enqueuing = ledger.enqueuing()
    ours = enqueuing.server_id() if enqueuing else ""
    if not ours:
        return None
    theirs = broker.server_id()
    if not isinstance(theirs, str):
        return theirs
    return enqueuing if ours == theirs else None


@dataclass(slots=True, kw_only=True)
class Fused:
    """Sends by the fused step. until: monotonic; what was not tried by then is told as not tried."""

    broker: Broker
    enqueuing: Enqueuing
    runner: Runner
    clock: Clock
    until: float

    def send(self, claims: Sequence[Claim], messages: Sequence[Message]) -> Sent:
        """Push and settle the claims, SCRIPT at a time.

        What one push is not enough for (an exchange with several queues) is published, and left to the caller to settle.
        Raises LedgerError when the ledger does not answer twice; what was done by then is done once.
        """
        from offbeat.ports.broker import Delivery, Push

        sent = Sent(deliveries=[Delivery(error="not tried: out of time", tried=False)] * len(claims))
        posts, others = [], []
        for n, found in enumerate(self.broker.prepare(messages)):
            if isinstance(found, Push):
                posts.append((n, _post(claims[n], messages[n], found)))
            elif found.tried:
                sent.deliveries[n] = found
            else:
                others.append(n)
        for start in range(0, len(posts), SCRIPT):
            if self.clock.monotonic() >= self.until:
                return sent
            self._push(posts[start : start + SCRIPT], sent)
        if others and (left := self.until - self.clock.monotonic()) > 0:
            for n, delivery in zip(others, self.broker.publish([_plain(messages[n]) for n in others], left), strict=True):
                sent.deliveries[n] = delivery
        return sent

    def _push(self, step: Sequence[tuple[int, Post]], sent: Sent) -> None:
        from offbeat.ports.broker import Delivery

        for (n, _), answer in zip(step, _told_twice(self.enqueuing, self.runner, [post for _, post in step]), strict=True):
            if answer == FENCED:  # its lease ended: whoever has it now sends it
                sent.fenced += 1
                sent.settled.add(n)
                continue
            sent.deliveries[n] = Delivery(error=answer)
            if not answer:
                sent.settled.add(n)


def _post(claim: Claim, message: Message, push: Push) -> Post:
    from offbeat.ports.ledger_values import Outcome, Post

    outcome = Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED, task_id=message.task_id)
    return Post(outcome=outcome, push=push)


def _told_twice(enqueuing: Enqueuing, runner: Runner, posts: Sequence[Post]) -> Sequence[str]:
    """Enqueue; when the reply is lost ask once more with the same posts, which pushes nothing twice."""
    try:
        return enqueuing.enqueue(runner, posts)
    except LedgerError:
        return enqueuing.enqueue(runner, posts)


def _plain(message: Message) -> Message:
    """Return the message without the promise that it is sent once."""
    return replace(message, headers={name: value for name, value in message.headers.items() if name != ATOMIC})
