"""The ledger in memory: what is too old, too many or too large goes, in small steps."""

from __future__ import annotations

from math import floor

from offbeat.core.model import Instant, Kind, LedgerSettings
from offbeat.core.transitions import never_above, prunable
from offbeat.ports.ledger import KEEP
from offbeat.ports.ledger_memory.shelves import UNSETTLED, Row, Shelves

ROW_BYTES = 250  # that a row counts for, besides its output


class PruningMemory(Shelves):
    """prune."""

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        now = self.clock.now()
        if not self.belief.holds(now):
            return 0
        soonest = self.soonest_due()
        old = prunable(now, soonest, keep.keep_seconds)
        settled = sorted(
            (row for row in self.rows.values() if row.state not in UNSETTLED), key=lambda row: (_age(row), row.key)
        )
        too_old = sum(_age(row) <= old for row in settled)
        too_many = 0 if keep.keep_rows is None else len(settled) - keep.keep_rows
        sizes = [ROW_BYTES + len(row.output or b"") for row in settled]
        too_large, left = 0, sum(sizes) + ROW_BYTES * (len(self.rows) - len(settled))
        while keep.keep_bytes is not None and left > keep.keep_bytes and too_large < len(settled):
            left -= sizes[too_large]
            too_large += 1
        top = never_above(now, soonest)
        going = [row for row in settled[: max(too_old, too_many, too_large)] if _age(row) <= top][:limit]
        self._raise(max([old, *(floor(_age(row)) for row in going)]))
        for row in going:
            del self.rows[row.key]
        past = sorted((gap for gap in self.gaps if gap.until <= old), key=lambda gap: gap.until)[: limit - len(going)]
        self.gaps = [gap for gap in self.gaps if gap not in past]
        self.intervals = [pause for pause in self.intervals if pause.until_at is None or pause.until_at > old]
        return len(going) + len(past)

    def _raise(self, through: int) -> None:
        self.pruned_through = through if self.pruned_through is None else max(self.pruned_through, through)


def _age(row: Row) -> Instant:
    """Return the instant from which a settled row is kept."""
    return row.recorded_at if row.key.kind is Kind.BACKFILL else row.key.due_at
