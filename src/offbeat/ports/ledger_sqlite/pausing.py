"""The SQLite ledger, for people: what is not to be sent for a while, or once, and what is to be sent later."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from offbeat.core.model import DueTime, Instant, Key, Reason, State
from offbeat.core.transitions import by_whom
from offbeat.ports.ledger_sqlite.claims import THIS, key_of, key_tuple, move
from offbeat.ports.ledger_sqlite.connection import Store
from offbeat.ports.ledger_values import MOST_BACKFILLED, Paused, Slot, unknown_entry

PRESENT = "SELECT e.eno FROM entries e JOIN versions v ON v.eno = e.eno AND v.valid_until IS NULL WHERE e.name = ?"
COVERED = """
SELECT g.reason FROM versions v JOIN gaps g ON g.gid = v.gid AND (g.eno IS NULL OR g.eno = v.eno)
WHERE v.eno = ?1 AND v.first <= ?2 AND (v.last IS NULL OR ?2 <= v.last) AND g.after_at < ?2 AND ?2 <= g.until_at
ORDER BY g.id LIMIT 1"""
IN_FORCE = """
SELECT 1 FROM versions WHERE eno = ?1 AND gid IS NOT NULL AND first <= ?2 AND (last IS NULL OR ?2 <= last)"""
KNOWN = f"""
SELECT state, '', NULL FROM outbox WHERE {THIS} UNION ALL SELECT state, reason, dispatched_at FROM history WHERE {THIS}"""

PAUSED = "eno IS ? AND NOT once AND from_at <= ? AND (until_at IS NULL OR until_at > ?)"
ADD_PAUSE = "INSERT INTO pauses (eno, from_at, until_at, who, note, once) VALUES (?, ?, ?, ?, ?, ?)"
PAUSES = """
SELECT coalesce(e.name, ''), p.from_at, p.until_at, p.who, p.note, p.once FROM pauses p LEFT JOIN entries e ON e.eno = p.eno
WHERE p.until_at IS NULL OR p.until_at > ? ORDER BY coalesce(e.name, ''), p.from_at, p.id"""

BY_HAND = f"UPDATE history SET state = 'skipped', reason = 'by_hand', note = ? WHERE {THIS}"
ADD_BY_HAND = """
INSERT INTO history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at, note)
SELECT ?1, ?2, 'schedule', '', ?2, 'schedule', 'skipped', 'by_hand', 0, active_rev, active_rev, ?3, ?4 FROM meta"""
ADD_BACKFILL = """
INSERT INTO outbox (eno, due_at, kind, kind_id, send_at, lane, cause, next_try_at, recorded_rev, recorded_at)
SELECT ?1, ?2, 'backfill', ?3, ?4, 2, 'backfill', ?4, (SELECT active_rev FROM meta), ?5
WHERE NOT EXISTS (SELECT 1 FROM history WHERE eno = ?1 AND due_at = ?2 AND kind = 'backfill' AND kind_id = ?3)
ON CONFLICT DO NOTHING"""

TO_CANCEL = """
SELECT eno, due_at, kind, kind_id FROM outbox
WHERE eno = ?1 AND kind = 'backfill' AND (?2 = '' OR kind_id = ?2) AND +state IN ('pending', 'waiting')
ORDER BY due_at LIMIT ?3"""


class PausingSqlite(Store):
    """pause, resume, skip, pauses, backfill, cancel."""

    def pause(self, name: str, who: str, note: str, until: Instant | None = None) -> None:
        with self.writing() as db:
            now = self.clock.now()
            eno = self._whom(db, name)
            held = db.execute(
                f"UPDATE pauses SET until_at = ?, who = ?, note = ? WHERE {PAUSED}", (until, who, note, eno, now, now)
            )
            if not held.rowcount:
                db.execute(ADD_PAUSE, (eno, now, until, who, note, 0))

    def resume(self, name: str) -> None:
        with self.writing() as db:
            now = self.clock.now()
            eno = self._whom(db, name)
            db.execute(f"UPDATE pauses SET until_at = ? WHERE {PAUSED}", (now, eno, now, now))

    def _whom(self, db: sqlite3.Connection, name: str) -> int | None:
        if not name:
            return None
        found = db.execute("SELECT eno FROM entries WHERE name = ?", (name,)).fetchone()
        if not found:
            raise unknown_entry(name, self.where)
        return int(found[0])

    def present(self, db: sqlite3.Connection, name: str) -> int:
        """Return the number of an entry of the active revision. Raises: ConfigError."""
        found = db.execute(PRESENT, (name,)).fetchone()
        if not found:
            raise unknown_entry(name, self.where)
        return int(found[0])

    def skip(self, name: str, due_at: DueTime, who: str, note: str) -> Slot:
        with self.writing() as db:
            now = self.clock.now()
            key = Key(eno=self.present(db, name), due_at=due_at)
            found = _row(db, key)
            if found is None:
                if due_at <= now and not db.execute(IN_FORCE, (key.eno, due_at)).fetchone():
                    return Slot(key=key, claim=None, state=State.SKIPPED)
                found = _rowless(db, key)
            if found is not None and found.state not in (State.PENDING, State.WAITING):
                return found
            why = by_whom(who, note)
            if found is None:
                db.execute(ADD_BY_HAND, (key.eno, due_at, now, why))
            else:
                move(db, key)
                db.execute(BY_HAND, (why, *key_tuple(key)))
            db.execute(ADD_PAUSE, (key.eno, due_at, due_at + 1, who, note, 1))
            db.execute("UPDATE meta SET seq = seq + 1")
            return Slot(key=key, claim=None, state=State.SKIPPED, reason=Reason.BY_HAND)

    def pauses(self) -> Sequence[Paused]:
        with self.reading() as db:
            return [
                Paused(name=name, from_at=from_at, until_at=until_at, who=who, note=note, once=bool(once))
                for name, from_at, until_at, who, note, once in db.execute(PAUSES, (self.clock.now(),))
            ]

    def backfill(self, name: str, token: str, rows: Sequence[tuple[DueTime, DueTime]]) -> int:
        assert len(rows) <= MOST_BACKFILLED, len(rows)
        with self.writing() as db:
            now = self.clock.now()
            eno = self.present(db, name)
            new = sum(db.execute(ADD_BACKFILL, (eno, due_at, token, send_at, now)).rowcount for due_at, send_at in rows)
            db.execute("UPDATE meta SET seq = seq + ?", (new,))
            return new

    def cancel(self, name: str, who: str, note: str, limit: int, token: str = "") -> int:
        with self.writing() as db:
            if (eno := self._whom(db, name)) is None:
                raise unknown_entry(name, self.where)
            keys = [key_of(row) for row in db.execute(TO_CANCEL, (eno, token, limit)).fetchall()]
            for key in keys:
                move(db, key)
                db.execute(BY_HAND, (by_whom(who, note), *key_tuple(key)))
            db.execute("UPDATE meta SET seq = seq + ?", (len(keys),))
            return len(keys)


def known(db: sqlite3.Connection, key: Key) -> Slot | None:
    """Return how an occurrence stands that the ledger knows already."""
    return _row(db, key) or _rowless(db, key)


def _row(db: sqlite3.Connection, key: Key) -> Slot | None:
    row = db.execute(KNOWN, key_tuple(key) * 2).fetchone()
    return row and Slot(key=key, claim=None, state=State(row[0]), reason=Reason(row[1]), dispatched_at=row[2])


def _rowless(db: sqlite3.Connection, key: Key) -> Slot | None:
    if gap := db.execute(COVERED, (key.eno, key.due_at)).fetchone():
        return Slot(key=key, claim=None, state=State.SKIPPED, reason=Reason(gap[0]))
    (last_due,) = db.execute("SELECT last_due FROM entries WHERE eno = ?", (key.eno,)).fetchone()
    if last_due is not None and key.due_at <= last_due:
        return Slot(key=key, claim=None, state=State.DISPATCHED)
    return None
