"""How an occurrence stands that is in no row: in a gap, or pruned long ago."""

from __future__ import annotations

from offbeat.core.model import DueTime, Key, Reason, State
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_values import Slot

COVERED = """
SELECT g.reason FROM {s}.versions v JOIN {s}.gaps g ON g.gid = v.gid AND (g.eno IS NULL OR g.eno = v.eno)
WHERE v.eno = %(eno)s AND v.first <= %(due)s AND (v.last IS NULL OR %(due)s <= v.last) AND g.after_at < %(due)s
  AND %(due)s <= g.until_at
ORDER BY g.id LIMIT 1"""
IN_FORCE = """
SELECT 1 FROM {s}.versions WHERE eno = %(eno)s AND gid IS NOT NULL AND first <= %(due)s AND (last IS NULL OR %(due)s <= last)
LIMIT 1"""
# The entry's row is the turnstile of whoever adds a row of the entry by hand: it keeps out `record`, too.
LOCK_ENTRY = "SELECT last_due FROM {s}.entries WHERE eno = %(eno)s FOR NO KEY UPDATE"


def covered(tx: Tx, eno: int, due_at: DueTime) -> Reason | None:
    """Return why the due time was skipped in a gap, None when it is in none."""
    row = tx.row(COVERED, eno=eno, due=due_at)
    return None if row is None else Reason(row[0])


def was_in_force(tx: Tx, key: Key) -> bool:
    """Return whether a version of the entry has the due time to decide."""
    return tx.row(IN_FORCE, eno=key.eno, due=key.due_at) is not None


def lock_entry(tx: Tx, eno: int) -> DueTime | None:
    """Lock the entry; return its last due time that was recorded."""
    row = tx.row(LOCK_ENTRY, eno=eno)
    return None if row is None else row[0]


def rowless(tx: Tx, key: Key, last_due: DueTime | None) -> Slot | None:
    """Return how the occurrence stands, None when the ledger does not know it. last_due: of its entry."""
    reason = covered(tx, key.eno, key.due_at)
    if reason is not None:
        return Slot(key=key, claim=None, state=State.SKIPPED, reason=reason)
    if last_due is not None and key.due_at <= last_due:
        return Slot(key=key, claim=None, state=State.DISPATCHED)
    return None
