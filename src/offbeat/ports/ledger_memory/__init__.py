"""The ledger in memory, for tests and for looking at a tree that has no ledger yet. It forgets everything at the end.

Plain dictionaries and loops: the reading that the other stores are compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.core.model import DueTime, Instant
from offbeat.ports.clock import Clock
from offbeat.ports.ledger import Enqueuing
from offbeat.ports.ledger_memory.mending import MendingMemory
from offbeat.ports.ledger_memory.operating import OperatingMemory
from offbeat.ports.ledger_memory.pruning import PruningMemory
from offbeat.ports.ledger_memory.reading import ReadingMemory
from offbeat.ports.ledger_memory.reporting import ReportingMemory
from offbeat.ports.ledger_values import Told

if TYPE_CHECKING:
    from offbeat.ports.ledger_memory.enqueuing import Wire

__all__ = ["LedgerMemory"]


class LedgerMemory(ReadingMemory, OperatingMemory, MendingMemory, PruningMemory, ReportingMemory):
    """A whole store: `LedgerMemory(clock=FakeClock(), project="difio")`.

    wire: takes pushes (BrokerMemory does); with it the ledger enqueues, on the server that `server_id` names.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        project: str = "",
        owner: str = "",
        where: str = "memory:",
        wire: Wire | None = None,
        server_id: str = "",
    ) -> None:
        super().__init__(clock=clock, project=project, owner=owner, where=where)
        self.wire = wire
        self.server_id = server_id
        self.letters: dict[int, tuple[DueTime, DueTime, str, Instant]] = {}  # by group: (after, until], who recorded it, when

    def enqueuing(self) -> Enqueuing | None:
        if self.wire is None:
            return None
        from offbeat.ports.ledger_memory.enqueuing import EnqueuingMemory

        return EnqueuingMemory(self, self.wire, self.server_id)

    def told(self) -> Told:
        """Return nothing: nobody takes back what was acknowledged but with the whole object."""
        return Told()

    def close(self) -> None:
        """Do nothing; what was recorded stays for the next user of this object."""
