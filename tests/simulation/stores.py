"""The ledgers that a world can have: each with the worker's side of it, and a way to put a backup back.

The memory twin is what every seed runs on; SQLite and Redis tell whether a real store keeps to the same promises.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from offbeat.core.model import Key, Kind, Reason, State
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import Report, Runner
from offbeat.ports.worker_values import Me, Said

OUTSIDE = ("clock", "wire", "server_id")  # of a ledger in memory: what no backup holds


def key_of(said: Said) -> Key:
    """Return the key of the row that a worker speaks of."""
    row = said.row
    return Key(eno=row.eno, due_at=row.due_at, kind=Kind(row.kind), kind_id=row.kind_id)


class MemoryStore(LedgerMemory):
    """The ledger in memory, as runners and workers have it."""

    def tell(self, me: Me, said: Said) -> bool:
        """Write what a worker says: of an attempt that was admitted also when the row is at a later one by now."""
        row = self.rows.get(key_of(said))
        if row is None:
            return False
        attempt = row.attempt if said.admitted and said.attempt < row.attempt else said.attempt
        report = Report(key=row.key, attempt=attempt, state=State(said.state), reason=Reason(said.reason), note=said.note)
        return bool(self.report(Runner(id=me.id, host=me.host, pid=me.pid, role="worker"), [report]))

    def backup(self) -> dict[str, Any]:
        """Return all that the ledger knows."""
        return copy.deepcopy({name: value for name, value in vars(self).items() if name not in OUTSIDE})

    def put_back(self, kept: dict[str, Any]) -> None:
        """Let the ledger know what it knew then, and nothing else."""
        vars(self).update(copy.deepcopy(kept))

    def remembered(self) -> Collection[str]:
        """Return the occurrences of which an attempt was admitted."""
        return self.admitted.keys()
