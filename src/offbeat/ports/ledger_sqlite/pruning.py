"""The SQLite ledger: what is too old, too many or too large goes, in small steps."""

from __future__ import annotations

import sqlite3
from math import floor

from offbeat.core.model import DueTime, LedgerSettings
from offbeat.core.transitions import never_above, prunable
from offbeat.ports.ledger import KEEP
from offbeat.ports.ledger_sqlite.claims import THIS, belief_of, meta_of
from offbeat.ports.ledger_sqlite.connection import MOST_ROWS, Store
from offbeat.ports.ledger_values import SEEN_LATELY

SOONEST = "SELECT min(next_due) FROM groups WHERE next_due IS NOT NULL"
# What is backfilled is kept from its record on, all else from its due time.
OLD = """
SELECT eno, due_at, kind, kind_id, due_at AS age FROM history WHERE due_at <= ? AND kind <> 'backfill'
ORDER BY age, eno, kind, kind_id LIMIT ?"""
OLD_BACKFILLED = """
SELECT eno, due_at, kind, kind_id, recorded_at AS age FROM history WHERE recorded_at <= ? AND kind = 'backfill'
ORDER BY age, eno, due_at, kind_id LIMIT ?"""
FORGET = (f"DELETE FROM history WHERE {THIS}", f"DELETE FROM outputs WHERE {THIS}")
END_GAPS = "DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE until_at <= ? ORDER BY until_at, id LIMIT ?)"
END_RUNNERS = "DELETE FROM runners WHERE seen_at < ? AND id NOT IN (SELECT owner FROM history WHERE live = 1)"
RAISE = "UPDATE meta SET pruned_through = max(coalesce(pruned_through, ?1), ?1)"
STEP = 20  # rows that go before the size is looked at again


class PruningSqlite(Store):
    """prune."""

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        with self.writing() as db:
            now = self.clock.now()
            if not belief_of(meta_of(db)).holds(now):
                return 0
            limit = min(limit, MOST_ROWS)
            soonest = db.execute(SOONEST).fetchone()[0]
            old, top = prunable(now, soonest, keep.keep_seconds), never_above(now, soonest)
            db.execute(RAISE, (old,))
            gone = _forget(db, old, limit)
            gone += _forget(db, top, min(limit - gone, _too_many(db, keep)))
            while gone < limit and keep.keep_bytes is not None and _size(db) > keep.keep_bytes:
                step = _forget(db, top, min(limit - gone, STEP))
                if not step:
                    break
                gone += step
            gaps = db.execute(END_GAPS, (old, limit - gone)).rowcount
            db.execute("DELETE FROM pauses WHERE until_at <= ?", (old,))
            db.execute("DELETE FROM admitted WHERE admitted_at <= ?", (old,))
            db.execute(END_RUNNERS, (now - SEEN_LATELY,))
            return gone + gaps


def _too_many(db: sqlite3.Connection, keep: LedgerSettings) -> int:
    """Return by how many settled rows there are more than are kept."""
    if keep.keep_rows is None:
        return 0
    return max(0, int(db.execute("SELECT count(*) FROM history").fetchone()[0]) - keep.keep_rows)


def _forget(db: sqlite3.Connection, through: DueTime, limit: int) -> int:
    """Remove the oldest settled rows, as old as `through` or older, at most `limit`; return how many went."""
    if limit <= 0:
        return 0
    old = [row for question in (OLD, OLD_BACKFILLED) for row in db.execute(question, (through, limit))]
    going = sorted(old, key=lambda row: (row[4], row[:4]))[:limit]
    if going:
        db.execute(RAISE, (floor(going[-1][4]),))
    for statement in FORGET:
        db.executemany(statement, [row[:4] for row in going])
    return len(going)


def _size(db: sqlite3.Connection) -> int:
    """Return the bytes of all pages in use; what was freed is used again before the file grows."""
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)
