"""A place of its own in a Redis for one test, swept afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from offbeat.core.model import State
from offbeat.core.plan import plan
from offbeat.ports.broker import Push
from offbeat.ports.ledger_mail import Mail, Post
from offbeat.ports.ledger_redis import LedgerRedis, Place
from offbeat.ports.ledger_values import Claim, Outcome, Runner


@contextmanager
def own_place(address: str, database: int = 0) -> Iterator[Place]:
    """Yield a place under a prefix that nobody else has."""
    import redis

    prefix = f"t{uuid4().hex[:12]}"
    yield Place(address=f"{address}/{database}?prefix={prefix}", project="shop", owner="host:/tree")
    with redis.Redis.from_url(f"{address}/{database}") as client:
        for key in client.scan_iter(f"{{{prefix}:*", count=1000):
            client.delete(key)


def post(claim: Claim, queue: str) -> Post:
    """Return the claim's message for a queue next to the ledger, each with a text of its own."""
    text = f"{claim.name} {claim.key.due_at} {claim.key.kind_id}"
    outcome = Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED)
    return Post(outcome=outcome, push=Push(database=0, key=queue, payload=text.encode()))


def record_and_push(ledger: LedgerRedis, who: Runner, queue: str, *, every: int = 1) -> Sequence[Claim]:
    """Record what is due, pushing each `every`-th of what is due now in the same step; return what is left."""
    portion = ledger.take(10_000)
    windows = plan(portion)
    draft = ledger.draft(portion, windows)
    posts = tuple(post(claim, queue) for claim in draft.claims[::every])
    return ledger.record_and_push(
        who, windows, portion.revision, Mail(mark=draft.mark, until=draft.now + 8, posts=posts)
    ).claims
