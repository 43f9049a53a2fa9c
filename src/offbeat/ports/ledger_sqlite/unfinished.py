"""Operations of the interface that this store does not have yet."""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.core.model import DueTime, LedgerSettings
from offbeat.ports.ledger import Enqueuing
from offbeat.ports.ledger_values import Paused, Revision, Runner, Slot


class Unfinished:
    """To be written."""

    def skip(self, name: str, due_at: DueTime, who: str, note: str) -> Slot:
        raise NotImplementedError

    def backfill(self, name: str, token: str, rows: Sequence[tuple[DueTime, DueTime]]) -> int:
        raise NotImplementedError

    def rewind(self, to: DueTime, who: str) -> int:
        raise NotImplementedError

    def restored(self, runner: Runner, seq: int, *, skip: bool) -> bool:
        raise NotImplementedError

    def revisions(self, limit: int) -> Sequence[Revision]:
        raise NotImplementedError

    def pauses(self) -> Sequence[Paused]:
        raise NotImplementedError

    def ledger_settings(self) -> LedgerSettings:
        return LedgerSettings()

    def enqueuing(self) -> Enqueuing | None:
        return None
