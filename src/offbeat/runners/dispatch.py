"""Dispatch: claimed rows go to the broker, or to a supervisor, and are settled.

Never holds anything open in the ledger while it publishes; stops before its lease ends and hands back the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.core.model import CommandCall, Lane, Reason, State, TaskCall
from offbeat.core.recheck import decide_at_claim
from offbeat.errors import ConfigError, Problem
from offbeat.ports.command import Step, by_slot
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import LEASE, Claim, Outcome, Runner
from offbeat.runners.backoff import Backoff, delay

if TYPE_CHECKING:
    from offbeat.core.message import Message
    from offbeat.ports.broker import Delivery
    from offbeat.runners.site import Site

MARGIN = 2.0  # seconds before the end of its lease at which a runner stops publishing (ledger rule 8)
BATCH = 500
log = logging.getLogger("offbeat")


@dataclass(slots=True)
class Tally:
    """What a pass did, in counts."""

    dispatched: int = 0
    skipped: int = 0
    retried: int = 0
    undelivered: int = 0
    started: int = 0  # commands handed to a supervisor
    error: str = ""  # the newest words of the broker, or why no supervisor could be started
    problems: tuple[Problem, ...] = ()  # what stopped all of it, where that is known in full


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Sends what was claimed. One for each runner process: it remembers what the broker said and how fast it was."""

    site: Site
    runner: Runner
    backoff: Backoff = field(default_factory=Backoff)
    tally: Tally = field(default_factory=Tally)
    batch: int = BATCH

    @property
    def ledger(self) -> Ledger:
        return self.site.ledger

    def dispatch(self, claims: Sequence[Claim], since: float) -> None:
        """Decide again, send, and settle. since: monotonic time before the claims were asked for."""
        if not claims:
            return
        now = claims[0].lease_until - LEASE
        skips = [(claim, reason) for claim in claims if (reason := _reason(claim, now))]
        skipped = {claim.key for claim, _ in skips}
        left = [claim for claim in claims if claim.key not in skipped]
        self._settle_skips(skips)
        self._publish([claim for claim in left if isinstance(claim.call, TaskCall)], now, since)
        self._start([claim for claim in left if isinstance(claim.call, CommandCall)], now, since)

    def _settle_skips(self, skips: Sequence[tuple[Claim, Reason]]) -> None:
        outcomes = []
        for claim, reason in skips:
            undelivered = reason is Reason.TOO_LATE and bool(claim.last_error)
            state = State.UNDELIVERED if undelivered else State.SKIPPED
            outcomes.append(Outcome(key=claim.key, attempt=claim.attempt, state=state, reason=reason, error=claim.last_error))
            self.tally.undelivered += undelivered
            self.tally.skipped += not undelivered
            level, event = (logging.WARNING, Event.UNDELIVERED) if undelivered else (logging.INFO, Event.SKIPPED)
            _say(level, event, claim, reason=str(reason), error=claim.last_error)
        if outcomes:
            self.ledger.settle(self.runner, outcomes)

    def _start(self, claims: Sequence[Claim], now: float, since: float) -> None:
        steps = [
            Step(key=c.key, attempt=c.attempt, name=c.name, call=c.call) for c in claims if isinstance(c.call, CommandCall)
        ]
        if not steps:
            return
        commands, by_key = self.site.commands(), {claim.key: claim for claim in claims}
        for order in by_slot(steps):
            together = [by_key[step.key] for step in order.steps]
            if self.site.clock.monotonic() >= since + LEASE - MARGIN:
                self.ledger.settle(self.runner, [_back(claim, now) for claim in together])
                continue
            error = commands.start(order)
            if error:
                self.tally.error = error
                self._wait(together, error, now)
                continue
            self.tally.started += len(together)
            for claim in together:
                _say(logging.INFO, Event.COMMAND_STARTED, claim, directory=order.slot)

    def _publish(self, claims: Sequence[Claim], now: float, since: float) -> None:
        if not claims:
            return
        clock = self.site.clock
        began = clock.monotonic()
        if self.backoff.is_down() and not self.backoff.may_probe(began):
            self._wait(claims, self.backoff.error, now)
            return
        try:
            broker = self.site.broker()
        except ConfigError as error:  # no address: rows wait, as for a broker that is down
            self._went_down(error.problems[0].what if error.problems else str(error), error.problems)
            self._wait(claims, self.backoff.error, now)
            return
        messages = [self._message(claim) for claim in claims]
        deliveries = broker.publish(messages, since + LEASE - MARGIN - began)
        took = clock.monotonic() - began
        now += clock.monotonic() - since
        outcomes = [
            self._outcome(claim, message, delivery, now)
            for claim, message, delivery in zip(claims, messages, deliveries, strict=True)
        ]
        self.ledger.settle(self.runner, outcomes)
        if lost := next((delivery for delivery in deliveries if delivery.down), None):
            self._went_down(lost.error, ())
        if took > 0 and all(delivery.taken for delivery in deliveries):
            self.batch = max(1, min(BATCH, int(len(claims) / took * LEASE / 4)))

    def _message(self, claim: Claim) -> Message:
        from offbeat.core.identity import occurrence_id
        from offbeat.core.message import build

        assert isinstance(claim.call, TaskCall)
        key = claim.key
        return build(
            call=claim.call,
            entry=claim.name,
            occurrence=occurrence_id(self.site.project, claim.name, key.due_at, key.kind, key.kind_id),
            due_at=key.due_at,
            cause=claim.cause,
            attempt=claim.attempt,
            origin=f"offbeat@{self.runner.host}",
            expires_at=claim.expires_at,
        )

    def _outcome(self, claim: Claim, message: Message, delivery: Delivery, now: float) -> Outcome:
        queue = claim.call.queue if isinstance(claim.call, TaskCall) else ""
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
            self.backoff.close_queue(queue, self.site.clock.monotonic())
        return self._later(claim, delivery.error, now)

    def _went_down(self, error: str, problems: tuple[Problem, ...]) -> None:
        self.tally.error, self.tally.problems = error, problems
        if self.backoff.went_down(error, self.site.clock.monotonic()):
            log.error("broker_down", extra={"event": Event.BROKER_DOWN, "fields": {"error": error}})

    def _wait(self, claims: Sequence[Claim], error: str, now: float) -> None:
        """Hand back claims that cannot go out now, none of them tried by itself."""
        self.ledger.settle(self.runner, [self._later(claim, error, now) for claim in claims])

    def _later(self, claim: Claim, error: str, now: float) -> Outcome:
        """Hand a claim back, to be tried again, at the latest when its grace has ended."""
        next_try_at = now + delay(claim.attempt)
        if claim.policy.grace is not None:
            next_try_at = min(next_try_at, claim.send_at + claim.policy.grace + 1)
        self.tally.retried += 1
        _say(logging.INFO, Event.RETRIED, claim, error=error, next_try_at=next_try_at)
        return Outcome(
            key=claim.key, attempt=claim.attempt, state=State.PENDING, error=error, next_try_at=next_try_at, lane=Lane.CATCH_UP
        )


def _back(claim: Claim, now: float) -> Outcome:
    """Hand back a claim that was not tried, for whoever is free."""
    return Outcome(key=claim.key, attempt=claim.attempt, state=State.PENDING, next_try_at=now, lane=claim.lane)


def _reason(claim: Claim, now: float) -> Reason:
    if claim.call is None:
        return Reason.REMOVED
    return decide_at_claim(
        kind=claim.key.kind,
        due_at=claim.key.due_at,
        send_at=claim.send_at,
        policy=claim.policy,
        next_due=claim.next_due,
        enabled=claim.timing.enabled if claim.timing else None,
        paused=claim.paused,
        now=now,
    )


def _say(level: int, event: Event, claim: Claim, **fields: object) -> None:
    if log.isEnabledFor(level):
        told = {"entry": claim.name, "due_at": claim.key.due_at, "cause": str(claim.cause), "attempt": claim.attempt, **fields}
        log.log(level, event, extra={"event": event, "fields": told})
