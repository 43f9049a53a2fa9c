"""The fused step: where the ledger's server holds the broker's queues too, a row is pushed and settled at once, or neither.

What is due now is even recorded in that step. What others have taken over is left alone. Its authority is ledger rule 15.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from offbeat.core.model import State, TaskCall
from offbeat.errors import ConfigError, LedgerError
from offbeat.ports.ledger import FENCED
from offbeat.runners.letter import letter, reason_of

if TYPE_CHECKING:
    from offbeat.core.message import Message
    from offbeat.core.model import Instant
    from offbeat.core.plan import Portion, Window
    from offbeat.ports.broker import Broker, Delivery, Push
    from offbeat.ports.clock import Clock
    from offbeat.ports.ledger import Enqueuing, Ledger
    from offbeat.ports.ledger_mail import Mail, Post, Recorded
    from offbeat.ports.ledger_values import Claim, Runner
    from offbeat.ports.stop import Stop
    from offbeat.runners.site import Site

T = TypeVar("T")
MARGIN = 2.0  # seconds before the end of its lease at which a runner stops publishing (ledger rule 8)
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
    """Sends by the fused step. until: monotonic; what was not tried by then, or before `stop` was set, is told as not tried."""

    broker: Broker
    enqueuing: Enqueuing
    runner: Runner
    clock: Clock
    until: float
    stop: Stop

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
            if self.stop.is_set or self.clock.monotonic() >= self.until:
                return sent
            self._push(posts[start : start + SCRIPT], sent)
        if others and (left := self.until - self.clock.monotonic()) > 0:
            for n, delivery in zip(others, self.broker.publish([_plain(messages[n]) for n in others], left), strict=True):
                sent.deliveries[n] = delivery
        return sent

    def _push(self, step: Sequence[tuple[int, Post]], sent: Sent) -> None:
        from offbeat.ports.broker import Delivery

        posts = [post for _, post in step]
        for (n, _), answer in zip(step, _twice(lambda: self.enqueuing.enqueue(self.runner, posts)), strict=True):
            if answer == FENCED:  # its lease ended: whoever has it now sends it
                sent.fenced += 1
                sent.settled.add(n)
                continue
            sent.deliveries[n] = Delivery(error=answer)
            if not answer:
                sent.settled.add(n)


@dataclass(slots=True, kw_only=True)
class Ahead:
    """Messages made before their rows are there, so that recording and pushing is one step. until: by the ledger's clock.

    letters: the claims of the draft for which there is a message, in the order of the posts.
    """

    site: Site
    runner: Runner
    until: Instant
    letters: list[tuple[Claim, Message]] = field(default_factory=list)
    _enqueuing: Enqueuing = field(init=False)
    _mail: Mail = field(init=False)

    def prepare(self, portion: Portion, windows: Sequence[Window], shut: Collection[str]) -> bool:
        """Make the messages of what is due now; False where there is none, or ledger and broker are not one server.

        shut: queues that failed lately: what is for them is recorded, and then tried with more care. So is whatever may have to
        be skipped before `until`, and what one push is not enough for.
        """
        from offbeat.ports.broker import Delivery, Push
        from offbeat.ports.ledger_mail import Mail

        part = self.site.ledger.enqueuing()
        draft = part.draft(portion, windows) if part else None
        claims = [claim for claim in draft.claims if self._may_go(claim, draft.now, shut)] if draft else []
        if draft is None or not claims:
            return False
        try:
            broker = self.site.broker()
        except ConfigError:  # no address: told when it is sent
            return False
        enqueuing = one_server(self.site.ledger, broker)
        if enqueuing is None or isinstance(enqueuing, Delivery):
            return False
        project, host = self.site.project, self.runner.host
        messages = [letter(claim, project=project, host=host, atomic=True, now=draft.now) for claim in claims]
        posts = []
        for claim, message, found in zip(claims, messages, broker.prepare(messages), strict=True):
            if isinstance(found, Push):
                self.letters.append((claim, message))
                posts.append(_post(claim, message, found))
        self._enqueuing, self._mail = enqueuing, Mail(mark=draft.mark, until=self.until, posts=tuple(posts))
        return bool(posts)

    def _may_go(self, claim: Claim, now: Instant, shut: Collection[str]) -> bool:
        """Return whether a claim is a task's, and no decision is against it from now to the end of the step's time."""
        if not isinstance(claim.call, TaskCall) or claim.call.queue in shut:
            return False
        return not reason_of(claim, now) and not reason_of(claim, self.until)

    def record(self, windows: Sequence[Window], revision: int) -> Recorded:
        """Record, push and settle; what is told for the second time pushes nothing. Raises: LedgerError."""
        return _twice(lambda: self._enqueuing.record_and_push(self.runner, windows, revision, self._mail))


def _post(claim: Claim, message: Message, push: Push) -> Post:
    from offbeat.ports.ledger_mail import Post
    from offbeat.ports.ledger_values import Outcome

    outcome = Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED, task_id=message.task_id)
    return Post(outcome=outcome, push=push)


def _twice(ask: Callable[[], T]) -> T:
    """Ask the ledger; once more when the reply is lost: what was pushed is not pushed again."""
    try:
        return ask()
    except LedgerError:
        return ask()


def _plain(message: Message) -> Message:
    """Return the message without the promise that it is sent once."""
    return replace(message, headers={name: value for name, value in message.headers.items() if name != ATOMIC})
