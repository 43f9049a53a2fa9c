"""Dispatch: claimed rows go to the broker, or to a supervisor, and are settled.

Never holds anything open in the ledger while it publishes; stops before its lease ends and hands back the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from offbeat.core.batches import batches
from offbeat.core.events import Event
from offbeat.core.model import CommandCall, Lane, Reason, State, TaskCall
from offbeat.core.recheck import in_grace_until
from offbeat.errors import ConfigError, LedgerError, Problem
from offbeat.ports.command import Step, by_slot
from offbeat.ports.ledger import FENCED, Ledger
from offbeat.ports.ledger_values import LEASE, Claim, Outcome, Runner
from offbeat.runners.backoff import Backoff, delay
from offbeat.runners.fused import MARGIN, SCRIPT, Ahead, Fused, one_server
from offbeat.runners.letter import letter, reason_of

if TYPE_CHECKING:
    from offbeat.core.message import Message
    from offbeat.core.model import Key
    from offbeat.core.plan import Portion, Window
    from offbeat.ports.broker import Broker, Delivery
    from offbeat.ports.ledger import Enqueuing
    from offbeat.ports.ledger_mail import Recorded
    from offbeat.runners.site import Site

BATCH = 500
STEP = 200  # messages sent before they are settled: what a crash may repeat on a broker that does not remember
COMMANDS = ""  # the queue of commands, for `claim`
ASKED = 5.0  # seconds for a broker to say whether it takes messages again
LEFT = 120.0  # seconds for which a runner without a tree leaves commands to those that have it, once it met one
NO_TREE = "commands need the files of the tree, and the runner that was asked has none"
log = logging.getLogger("offbeat")


@dataclass(slots=True)
class Tally:
    """What a pass did, in counts."""

    dispatched: int = 0
    skipped: int = 0
    retried: int = 0
    undelivered: int = 0
    started: int = 0  # commands handed to a supervisor
    fenced: int = 0  # outcomes that came too late: others had taken over
    error: str = ""  # the newest words of the broker, or why no supervisor could be started
    problems: tuple[Problem, ...] = ()  # what stopped all of it, where that is known in full


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A batch in hand. now: the store's clock when it was handed out. since, until: monotonic; nothing is sent after until."""

    now: float
    since: float
    until: float


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Sends what was claimed. One for each runner process: it remembers what the broker said and how fast it was.

    deadline: monotonic; what is in hand by then, or when the site is told to stop, is handed back.
    """

    site: Site
    runner: Runner
    backoff: Backoff = field(default_factory=Backoff)
    tally: Tally = field(default_factory=Tally)
    batch: int = BATCH
    deadline: float = inf
    _left_until: float = field(default=-inf, init=False)  # monotonic; commands are left to others until then

    @property
    def ledger(self) -> Ledger:
        return self.site.ledger

    def is_over(self, until: float = inf) -> bool:
        """Return whether nothing more is to be begun: the deadline or `until` (monotonic) has come, or we are told to stop."""
        return self.site.stop.is_set or self.site.clock.monotonic() >= min(until, self.deadline)

    def closed_queues(self, mono: float) -> frozenset[str]:
        """Return the queues that this runner leaves alone now; commands are one of them where there is no tree."""
        closed = self.backoff.closed_queues(mono)
        return closed | {COMMANDS} if mono < self._left_until else closed

    def may_claim(self, mono: float) -> bool:
        """Return whether there is any use in claiming: the broker is up, or it is time to try it again with one message.

        One that has said that it takes nothing is asked whether it does again, so that no row is claimed for nothing.
        """
        if not self.backoff.is_down():
            return True
        if not self.backoff.may_probe(mono):
            return False
        if not self.backoff.is_blocked:
            return True
        try:
            answer = self.site.broker().reach(ASKED)
        except ConfigError:  # no address any more: told when it is sent
            return True
        if answer.blocked:
            self._went_down(answer.error, (), blocked=True)
        return not answer.blocked

    def record(self, portion: Portion, windows: Sequence[Window], since: float) -> None:
        """Record what was planned, and dispatch what is due now: in one step where ledger and queues are on one server.

        since: monotonic time before the portion was asked for. What is not recorded by the deadline stays due.
        """
        for some in batches(windows, SCRIPT) if self.ledger.enqueuing() else (windows,):
            if self.is_over():
                return
            mono = self.site.clock.monotonic()  # the leases of what is recorded now begin now
            turn = Turn(now=portion.now + mono - since, since=mono, until=min(mono + LEASE - MARGIN, self.deadline))
            claims = self._record_and_push(replace(portion, now=turn.now), some, turn)
            if claims is None:
                claims = self.ledger.record(self.runner, some, portion.revision)
            self.dispatch(claims, mono)

    def _record_and_push(self, portion: Portion, windows: Sequence[Window], turn: Turn) -> Sequence[Claim] | None:
        """Do it in one step; return what is left to dispatch, None where it must be done in two."""
        if self.backoff.is_down():
            return None
        shut = self.backoff.closed_queues(turn.since) | self.backoff.suspects(turn.since)
        ahead = Ahead(site=self.site, runner=self.runner, until=turn.now + turn.until - turn.since)
        if not ahead.prepare(portion, windows, shut):
            return None
        recorded = ahead.record(windows, portion.revision)
        self._settle(self._refused(recorded, ahead, turn), turn)
        done = {claim.key for (claim, _), answer in zip(ahead.letters, recorded.answers, strict=True) if answer != FENCED}
        return [claim for claim in recorded.claims if claim.key not in done]

    def _refused(self, recorded: Recorded, ahead: Ahead, turn: Turn) -> list[Outcome]:
        """Count what was pushed; return the outcomes of what the server refused."""
        from offbeat.ports.broker import Delivery

        outcomes = []
        now = turn.now + self.site.clock.monotonic() - turn.since
        for (claim, message), answer in zip(ahead.letters, recorded.answers, strict=True):
            if answer == FENCED:  # it is left to `dispatch`, or somebody else's
                continue
            outcome = self._outcome(claim, message, Delivery(error=answer), now)
            if answer:
                outcomes.append(outcome)
        return outcomes

    def dispatch(self, claims: Sequence[Claim], since: float) -> None:
        """Decide again, send, and settle. since: monotonic time before the claims were asked for."""
        if not claims:
            return
        turn = Turn(now=claims[0].lease_until - LEASE, since=since, until=min(since + LEASE - MARGIN, self.deadline))
        skips = [(claim, reason) for claim in claims if (reason := reason_of(claim, turn.now))]
        skipped = {claim.key for claim, _ in skips}
        left = [claim for claim in claims if claim.key not in skipped]
        self._settle_skips(skips, turn)
        self._publish([claim for claim in left if isinstance(claim.call, TaskCall)], turn)
        self._start([claim for claim in left if isinstance(claim.call, CommandCall)], turn)

    def _settle(self, outcomes: Sequence[Outcome], turn: Turn) -> Sequence[Key]:
        """Settle; once more when the reply was lost, as long as the lease lasts. Count what others had taken over.

        Return what was accepted.
        """
        if not outcomes:
            return ()
        try:
            accepted = self.ledger.settle(self.runner, outcomes)
        except LedgerError:
            if self.site.clock.monotonic() >= turn.since + LEASE:
                raise
            accepted = self.ledger.settle(self.runner, outcomes)
        self._fenced(len(outcomes) - len(accepted))
        return accepted

    def _fenced(self, count: int) -> None:
        if count:
            self.tally.fenced += count
            log.warning("fenced", extra={"event": Event.FENCED, "fields": {"count": count}})

    def _settle_skips(self, skips: Sequence[tuple[Claim, Reason]], turn: Turn) -> None:
        outcomes = []
        for claim, reason in skips:
            undelivered = reason is Reason.TOO_LATE and bool(claim.last_error)
            state = State.UNDELIVERED if undelivered else State.SKIPPED
            outcomes.append(Outcome(key=claim.key, attempt=claim.attempt, state=state, reason=reason, error=claim.last_error))
            self.tally.undelivered += undelivered
            self.tally.skipped += not undelivered
            level, event = (logging.WARNING, Event.UNDELIVERED) if undelivered else (logging.INFO, Event.SKIPPED)
            _say(level, event, claim, reason=str(reason), error=claim.last_error)
        self._settle(outcomes, turn)

    def _start(self, claims: Sequence[Claim], turn: Turn) -> None:
        if not claims:
            return
        if self.site.from_ledger:
            self._left_until = self.site.clock.monotonic() + LEFT
            self._settle([_leave(claim, turn.now) for claim in claims], turn)
            return
        steps = [
            Step(key=c.key, attempt=c.attempt, name=c.name, call=c.call) for c in claims if isinstance(c.call, CommandCall)
        ]
        commands, by_key = self.site.commands(), {claim.key: claim for claim in claims}
        for order in by_slot(steps):
            together = [by_key[step.key] for step in order.steps]
            if self.is_over(turn.until):
                self._settle([_back(claim, turn.now) for claim in together], turn)
                continue
            error = commands.start(order)
            if error:
                self.tally.error = error
                self._wait(together, error, turn)
                continue
            self.tally.started += len(together)
            for claim in together:
                _say(logging.INFO, Event.COMMAND_STARTED, claim, directory=order.slot)

    def _publish(self, claims: Sequence[Claim], turn: Turn) -> None:
        """Send tasks; of a queue that failed lately one goes first, and the others follow only if it was taken."""
        mono = self.site.clock.monotonic()
        closed, suspects = self.backoff.closed_queues(mono), self.backoff.suspects(mono)
        if not closed and not suspects:
            self._send(claims, turn)
            return
        first, held, probed = [], [], set()
        for claim in claims:
            queue = _queue(claim)
            if queue in closed or queue in probed:
                held.append(claim)
            else:
                first.append(claim)
                probed |= {queue} & suspects
        self._send(first, turn)
        still = {queue for claim in held if self.backoff.error_of(queue := _queue(claim))}
        for queue in still:
            self._wait([claim for claim in held if _queue(claim) == queue], self.backoff.error_of(queue), turn)
        self._send([claim for claim in held if _queue(claim) not in still], turn)

    def _send(self, claims: Sequence[Claim], turn: Turn) -> None:
        if not claims:
            return
        began = self.site.clock.monotonic()
        if self.is_over(turn.until):
            self._settle([_back(claim, turn.now) for claim in claims], turn)
            return
        if self.backoff.is_down() and not self.backoff.may_probe(began):
            self._wait(claims, self.backoff.error, turn)
            return
        try:
            broker = self.site.broker()
        except ConfigError as error:  # no address: rows wait, as for a broker that is down
            self._went_down(error.problems[0].what if error.problems else str(error), error.problems)
            self._wait(claims, self.backoff.error, turn)
            return
        all_taken = self._send_steps(claims, broker, turn)
        took = self.site.clock.monotonic() - began
        if took > 0 and all_taken:
            self.batch = max(1, min(BATCH, int(len(claims) / took * LEASE / 4)))

    def _send_steps(self, claims: Sequence[Claim], broker: Broker, turn: Turn) -> bool:
        """Send and settle some at a time, or all at once where a crash repeats none. Return whether all were taken."""
        from offbeat.ports.broker import Delivery

        enqueuing, all_taken = one_server(self.ledger, broker), True
        if isinstance(enqueuing, Delivery):
            self._went_down(enqueuing.error, ())
            self._wait(claims, enqueuing.error, turn)
            return False
        size = len(claims) if enqueuing or broker.remembers() else STEP
        for start in range(0, len(claims), size):
            if self.site.stop.is_set:
                self._settle([_back(claim, turn.now) for claim in claims[start:]], turn)
                return False
            deliveries = self._deliver(claims[start : start + size], broker, enqueuing, turn)
            all_taken = all_taken and all(delivery.taken for delivery in deliveries)
            if lost := next((delivery for delivery in deliveries if delivery.down), None):
                self._went_down(lost.error, (), blocked=lost.blocked)
                self._wait(claims[start + size :], lost.error, turn)
                break
        return all_taken

    def _deliver(self, claims: Sequence[Claim], broker: Broker, enqueuing: Enqueuing | None, turn: Turn) -> Sequence[Delivery]:
        """Give the claims to the broker and settle them, in one step where ledger and queues are on one server."""
        clock, project, host = self.site.clock, self.site.project, self.runner.host
        now, is_atomic = turn.now + clock.monotonic() - turn.since, enqueuing is not None
        # An earlier attempt may have been published plainly, when the broker was another server: the guard must be asked then.
        messages = [
            letter(claim, project=project, host=host, atomic=is_atomic and claim.attempt == 1, now=now) for claim in claims
        ]
        if enqueuing is None:
            deliveries: Sequence[Delivery] = broker.publish(messages, turn.until - clock.monotonic())
            settled: set[int] = set()
        else:
            fused = Fused(
                broker=broker, enqueuing=enqueuing, runner=self.runner, clock=clock, until=turn.until, stop=self.site.stop
            )
            sent = fused.send(claims, messages)
            deliveries, settled = sent.deliveries, sent.settled
            self._fenced(sent.fenced)
        self._warn(deliveries)
        now = turn.now + clock.monotonic() - turn.since
        outcomes = [
            outcome
            for n, (claim, message, delivery) in enumerate(zip(claims, messages, deliveries, strict=True))
            if (outcome := self._outcome(claim, message, delivery, now)) and n not in settled
        ]
        accepted = set(self._settle(outcomes, turn))
        if known := [each.task_id for each in outcomes if each.state is State.DISPATCHED and each.key in accepted]:
            broker.forget(known)  # not before the ledger has it: what it does not have yet may be tried again
        return deliveries

    def _warn(self, deliveries: Sequence[Delivery]) -> None:
        """Say once that the broker does not remember what it takes, although it could."""
        warning = next((delivery.warning for delivery in deliveries if delivery.warning), "")
        if warning and self.site.is_news("forgetful", warning):
            log.warning("broker_forgetful", extra={"event": Event.BROKER_FORGETFUL, "fields": {"error": warning}})

    def _outcome(self, claim: Claim, message: Message, delivery: Delivery, now: float) -> Outcome:
        queue = _queue(claim)
        if delivery.taken:
            self.tally.dispatched += 1
            self.backoff.open_queue(queue)
            if self.backoff.came_back():
                log.warning("broker_back", extra={"event": Event.BROKER_BACK, "fields": {}})
            _say(logging.INFO, Event.DISPATCHED, claim, task_id=message.task_id)
            return Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED, task_id=message.task_id)
        if not delivery.tried:  # its turn did not come before our lease ends: at once, by whoever is free
            return _back(claim, now)
        self.tally.error = delivery.error
        if not delivery.retry:
            self.tally.undelivered += 1
            _say(logging.ERROR, Event.UNDELIVERED, claim, error=delivery.error)
            return Outcome(
                key=claim.key, attempt=claim.attempt, state=State.UNDELIVERED, reason=Reason.REFUSED, error=delivery.error
            )
        if delivery.unroutable:
            self.backoff.close_queue(queue, delivery.error, self.site.clock.monotonic())
        return self._later(claim, delivery.error, now, blocked=delivery.blocked)

    def _went_down(self, error: str, problems: tuple[Problem, ...], *, blocked: bool = False) -> None:
        self.tally.error, self.tally.problems = error, problems
        if self.backoff.went_down(error, self.site.clock.monotonic(), blocked=blocked):
            log.error("broker_down", extra={"event": Event.BROKER_DOWN, "fields": {"error": error}})

    def _wait(self, claims: Sequence[Claim], error: str, turn: Turn) -> None:
        """Hand back claims that cannot go out now, none of them tried by itself."""
        blocked = self.backoff.is_blocked
        self._settle([self._later(claim, error, turn.now, blocked=blocked) for claim in claims], turn)

    def _later(self, claim: Claim, error: str, now: float, *, blocked: bool = False) -> Outcome:
        """Hand a claim back, to be tried again, at the latest when its grace has ended.

        blocked: the broker took nothing from anybody, and will say when it does again: that is no fault of this row's.
        """
        next_try_at = now + delay(1 if blocked else claim.attempt)
        last_call = in_grace_until(claim.key.kind, claim.send_at, claim.policy)
        if last_call is not None:
            next_try_at = min(next_try_at, last_call + 1)
        self.tally.retried += 1
        _say(logging.INFO, Event.RETRIED, claim, error=error, next_try_at=next_try_at)
        return Outcome(
            key=claim.key, attempt=claim.attempt, state=State.PENDING, error=error, next_try_at=next_try_at, lane=Lane.CATCH_UP
        )


def _back(claim: Claim, now: float) -> Outcome:
    """Hand back a claim that was not tried, for whoever is free."""
    error = claim.last_error  # what was said before stays the reason why it waits
    return Outcome(key=claim.key, attempt=claim.attempt, state=State.PENDING, next_try_at=now, lane=claim.lane, error=error)


def _leave(claim: Claim, now: float) -> Outcome:
    """Hand back a command, for a runner that has the tree; a little later each time, should nobody else ask for it."""
    next_try_at = now if claim.attempt == 1 else now + min(delay(claim.attempt), LEASE / 2)
    return Outcome(
        key=claim.key, attempt=claim.attempt, state=State.PENDING, next_try_at=next_try_at, lane=claim.lane, error=NO_TREE
    )


def _queue(claim: Claim) -> str:
    return claim.call.queue if isinstance(claim.call, TaskCall) else COMMANDS


def _say(level: int, event: Event, claim: Claim, **fields: object) -> None:
    if log.isEnabledFor(level):
        told = {"entry": claim.name, "due_at": claim.key.due_at, "cause": str(claim.cause), "attempt": claim.attempt, **fields}
        log.log(level, event, extra={"event": event, "fields": told})
