"""A place of its own in a Redis for one test, swept afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from offbeat.ports.ledger_redis import Place


@contextmanager
def own_place(address: str, database: int = 0) -> Iterator[Place]:
    """Yield a place under a prefix that nobody else has."""
    import redis

    prefix = f"t{uuid4().hex[:12]}"
    yield Place(address=f"{address}/{database}?prefix={prefix}", project="shop", owner="host:/tree")
    with redis.Redis.from_url(f"{address}/{database}") as client:
        for key in client.scan_iter(f"{{{prefix}:*", count=1000):
            client.delete(key)
