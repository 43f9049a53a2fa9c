"""The ledger in a SQLite file, for all runners of one host.

Every write is one short transaction; nothing is open while messages are published.
"""

from __future__ import annotations

from offbeat.ports.ledger import Enqueuing
from offbeat.ports.ledger_sqlite.connection import Place
from offbeat.ports.ledger_sqlite.mending import MendingSqlite
from offbeat.ports.ledger_sqlite.operating import OperatingSqlite
from offbeat.ports.ledger_sqlite.pruning import PruningSqlite
from offbeat.ports.ledger_sqlite.reading import ReadingSqlite
from offbeat.ports.ledger_sqlite.reporting import ReportingSqlite
from offbeat.ports.ledger_sqlite.sharing import share_of
from offbeat.ports.ledger_values import Told

__all__ = ["LedgerSqlite", "Place", "share_of"]


class LedgerSqlite(ReadingSqlite, OperatingSqlite, MendingSqlite, PruningSqlite, ReportingSqlite):
    """A whole store: `LedgerSqlite(Place(path="/state/ledger.sqlite3", project="difio"), clock=SystemClock())`."""

    def enqueuing(self) -> Enqueuing | None:
        """Return None: there are no queues in a file."""
        return None

    def told(self) -> Told:
        """Return nothing: nobody takes back what was acknowledged but with the whole file."""
        return Told()
