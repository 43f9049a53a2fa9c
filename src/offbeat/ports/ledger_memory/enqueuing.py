"""The ledger in memory that has the broker's queues beside it: pushing and settling is one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from offbeat.core.model import RANK, Instant, State
from offbeat.ports.broker import Push
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_memory.dispatching import DispatchingMemory
from offbeat.ports.ledger_values import Post, Runner


class Wire(Protocol):
    """What takes pushes: BrokerMemory does."""

    def accept(self, push: Push) -> str:
        """Take the push; return "" or why it was not taken."""


class EnqueuingMemory:
    """server_id, enqueue."""

    def __init__(self, ledger: DispatchingMemory, wire: Wire, server_id: str) -> None:
        self._ledger = ledger
        self._wire = wire
        self._server_id = server_id

    def server_id(self) -> str:
        return self._server_id

    def enqueue(self, runner: Runner, posts: Sequence[Post]) -> Sequence[str]:
        now = self._ledger.clock.now()
        return [self._enqueued(post, now) for post in posts]

    def _enqueued(self, post: Post, now: Instant) -> str:
        row = self._ledger.rows.get(post.outcome.key)
        if row is None or row.attempt != post.outcome.attempt:
            return FENCED
        if RANK[row.state] >= RANK[State.DISPATCHED] and row.state not in (State.SKIPPED, State.UNDELIVERED):
            return ""
        if row.state is not State.CLAIMED or row.lease_until <= now:
            return FENCED
        error = self._wire.accept(post.push)
        if not error:
            self._ledger.write(row, post.outcome, now)
        return error
