"""The ledger in a SQLite file, for all runners of one host.

Every write is one short transaction; nothing is open while messages are published.
"""

from __future__ import annotations

from offbeat.ports.ledger_sqlite.connection import Place
from offbeat.ports.ledger_sqlite.operating import OperatingSqlite
from offbeat.ports.ledger_sqlite.reading import ReadingSqlite
from offbeat.ports.ledger_sqlite.reporting import ReportingSqlite
from offbeat.ports.ledger_sqlite.unfinished import Unfinished

__all__ = ["LedgerSqlite", "Place"]


class LedgerSqlite(ReadingSqlite, OperatingSqlite, ReportingSqlite, Unfinished):
    """A whole store: `LedgerSqlite(Place(path="/state/ledger.sqlite3", project="difio"), clock=SystemClock())`."""
