"""The ledger in Redis or Valkey, for runners of any number of hosts.

Every operation that writes is one script: it happens whole or not at all, at one instant of the server's clock.
"""

from __future__ import annotations

from offbeat.ports.ledger import Enqueuing
from offbeat.ports.ledger_redis.mending import MendingRedis
from offbeat.ports.ledger_redis.operating import OperatingRedis
from offbeat.ports.ledger_redis.reading import ReadingRedis
from offbeat.ports.ledger_redis.reporting import ReportingRedis
from offbeat.ports.ledger_redis.store import Place

__all__ = ["LedgerRedis", "Place"]


class LedgerRedis(ReadingRedis, OperatingRedis, MendingRedis, ReportingRedis):
    """A whole store: `LedgerRedis(Place(address="redis://127.0.0.1:6379/0", project="difio"))`."""

    def enqueuing(self) -> Enqueuing:
        """Return this very store: a Redis holds the queues of a broker too."""
        return self
