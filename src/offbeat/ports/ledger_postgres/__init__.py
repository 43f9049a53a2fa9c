"""The ledger in PostgreSQL, for any number of runners on any hosts.

A small outbox that rows leave, and history by the day. Nothing is open while messages are published.
"""

from __future__ import annotations

from offbeat.ports.clock import Clock
from offbeat.ports.ledger_postgres.address import place_of
from offbeat.ports.ledger_postgres.migrating import NotThere
from offbeat.ports.ledger_postgres.operating import OperatingPostgres
from offbeat.ports.ledger_postgres.pruning import PruningPostgres
from offbeat.ports.ledger_postgres.reading import ReadingPostgres
from offbeat.ports.ledger_postgres.reporting import ReportingPostgres

__all__ = ["LedgerPostgres", "NotThere", "open_postgres"]


class LedgerPostgres(ReadingPostgres, OperatingPostgres, PruningPostgres, ReportingPostgres):
    """A whole store: `LedgerPostgres(place_of("postgresql:///shop", project="shop"))`. horizon: a clock for tests."""

    def enqueuing(self) -> None:
        """Return None: no broker keeps its queues here."""


def open_postgres(address: str, *, project: str, read_only: bool = False, horizon: Clock | None = None) -> LedgerPostgres:
    """Open the ledger at `address`. Raises: LedgerError; NotThere where there is none and it is to be read only."""
    return LedgerPostgres(place_of(address, project=project, read_only=read_only), horizon=horizon)
