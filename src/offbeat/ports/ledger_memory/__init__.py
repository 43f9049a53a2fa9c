"""The ledger in memory, for tests and for looking at a tree that has no ledger yet. It forgets everything at the end.

Plain dictionaries and loops: the reading that the other stores are compared with.
"""

from __future__ import annotations

from offbeat.ports.ledger_memory.operating import OperatingMemory
from offbeat.ports.ledger_memory.reading import ReadingMemory
from offbeat.ports.ledger_memory.reporting import ReportingMemory
from offbeat.ports.ledger_memory.unfinished import Unfinished

__all__ = ["LedgerMemory"]


class LedgerMemory(ReadingMemory, OperatingMemory, ReportingMemory, Unfinished):
    """A whole store: `LedgerMemory(clock=FakeClock(), project="difio")`."""

    def close(self) -> None:
        """Do nothing; what was recorded stays for the next user of this object."""
