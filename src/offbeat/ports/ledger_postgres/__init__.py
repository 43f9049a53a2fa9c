"""The ledger in PostgreSQL, for any number of runners on any hosts.

A small outbox that rows leave, and history by the day. Nothing is open while messages are published.
"""

from __future__ import annotations

from offbeat.ports.ledger_postgres.address import Place, place_of
from offbeat.ports.ledger_postgres.migrating import NotThere
from offbeat.ports.ledger_postgres.operating import OperatingPostgres
from offbeat.ports.ledger_postgres.pruning import PruningPostgres
from offbeat.ports.ledger_postgres.reading import ReadingPostgres
from offbeat.ports.ledger_postgres.reporting import ReportingPostgres

__all__ = ["LedgerPostgres", "NotThere", "Place", "place_of"]


class LedgerPostgres(ReadingPostgres, OperatingPostgres, PruningPostgres, ReportingPostgres):
    """A whole store: `LedgerPostgres(place_of("postgresql:///shop", project="shop"))`. horizon: a clock for tests."""

    def enqueuing(self) -> None:
        """Return None: no broker keeps its queues here."""
