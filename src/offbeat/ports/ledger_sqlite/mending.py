"""The SQLite ledger: the ways back from a wrong future, and from an older state."""

from __future__ import annotations

import sqlite3
from math import floor

from offbeat.core.marks import lost
from offbeat.core.model import DueTime, Instant, Timing
from offbeat.core.transitions import Span, as_far_back, bounds, next_due, set_back
from offbeat.ports.ledger_sqlite.claims import ONE, belief_of, meta_of
from offbeat.ports.ledger_sqlite.connection import Store
from offbeat.ports.ledger_values import Runner, Told, clock_not_believed

SO_FAR = "SELECT pruned_through, (SELECT min(valid_from) FROM versions) FROM meta"
AHEAD = """
SELECT vno, gid, valid_from, valid_until, recurrence, zone, starts_at, ends_at FROM versions
WHERE valid_from > ?1 OR valid_until > ?1"""
SET_VERSION = "UPDATE versions SET valid_from = ?, valid_until = ?, first = ?, last = ? WHERE vno = ?"
SPANS = """
SELECT recurrence, zone, first, last FROM versions WHERE gid = ? AND (last IS NULL OR (last >= first AND last > ?))"""
SET_GROUP = "UPDATE groups SET cursor = ?, next_due = ?, version = version + ? WHERE gid = ?"
UNDO = (
    "DELETE FROM outbox WHERE due_at > ?1 AND kind = 'schedule' AND attempt = 0",
    "DELETE FROM history WHERE due_at > ?1 AND kind = 'schedule' AND attempt = 0",
    "DELETE FROM gaps WHERE after_at >= ?1",
    "UPDATE gaps SET until_at = ?1 WHERE until_at > ?1",
    "UPDATE entries SET last_due = ?1 WHERE last_due > ?1",
    "UPDATE meta SET pruned_through = min(pruned_through, ?1), seq = seq + 1",
)
REWOUND = "UPDATE meta SET last_seen = ?1, suspect_at = NULL, rewound_at = ?1, rewound_to = ?2, rewound_by = ?3"

NOT_SENT = """
INSERT INTO history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at,
  owner, command, note)
SELECT eno, due_at, kind, kind_id, send_at, cause, 'skipped', 'restored', attempt, recorded_rev,
  (SELECT active_rev FROM meta), recorded_at, owner, command, last_error
FROM outbox WHERE send_at <= ?"""
LET_GO = (
    "DELETE FROM slots WHERE (eno, due_at, kind, kind_id) IN (SELECT eno, due_at, kind, kind_id FROM outbox WHERE send_at <= ?)"
)
FORGOTTEN = """
INSERT INTO gaps (gid, eno, after_at, until_at, reason, who, recorded_at) VALUES (?, NULL, ?, ?, 'restored', ?, ?)"""


class MendingSqlite(Store):
    """rewind, restored."""

    def rewind(self, to: DueTime, who: str) -> int:
        with self.writing() as db:
            pruned_through, began = db.execute(SO_FAR).fetchone()
            to = as_far_back(to, pruned_through, began, self.clock.now())
            moved = {gid for (gid,) in db.execute("SELECT gid FROM groups WHERE cursor > ?", (to,))}
            for gid in moved | _set_versions_back(db, to, self.clock.now()):
                (cursor,) = db.execute("SELECT cursor FROM groups WHERE gid = ?", (gid,)).fetchone()
                cursor = min(cursor, to)
                db.execute(SET_GROUP, (cursor, soonest_of(db, gid, cursor), 1, gid))
            for statement in UNDO:
                db.execute(statement, (to,))
            db.execute(REWOUND, (self.clock.now(), to, who))
        return len(moved)

    def restored(self, runner: Runner, told: Told, *, skip: bool) -> bool:
        with self.writing() as db:
            now = self.clock.now()
            meta = meta_of(db)
            if not lost(told.marks, {ONE: meta[4]}):
                return False
            if skip and not belief_of(meta).holds(now):
                raise clock_not_believed(self.where)
            db.execute("UPDATE meta SET seq = ?, restored_at = ?", (told.marks.get(ONE, meta[4]) + 1, now))
            if skip:
                until = floor(min(now, told.heard_at))
                for statement in (NOT_SENT, LET_GO, "DELETE FROM outbox WHERE send_at <= ?"):
                    db.execute(statement, (until,))
                _forget(db, runner, until, now)
        return True


def _set_versions_back(db: sqlite3.Connection, to: DueTime, now: Instant) -> set[int]:
    """Let what began or ended in the wrong future do so at `to` + 1; return the groups whose members changed."""
    touched = set()
    for vno, gid, valid_from, valid_until, recurrence, zone, starts_at, ends_at in db.execute(AHEAD, (to + 1,)).fetchall():
        validity = valid_from, valid_until
        valid_from, valid_until = set_back(validity, to, now)
        if (valid_from, valid_until) == validity:
            continue
        timing = Timing(recurrence=recurrence, zone=zone, starts_at=starts_at, ends_at=ends_at)
        db.execute(SET_VERSION, (valid_from, valid_until, *bounds(timing, valid_from, valid_until), vno))
        if gid is not None:
            touched.add(gid)
    return touched


def soonest_of(db: sqlite3.Connection, gid: int, cursor: DueTime) -> DueTime | None:
    """Return the group's first due time after `cursor`, None when there is none."""
    spans = [Span(recurrence=r, zone=z, first=f, last=x) for r, z, f, x in db.execute(SPANS, (gid, cursor))]
    return next_due(spans, cursor)


def _forget(db: sqlite3.Connection, runner: Runner, until: DueTime, now: Instant) -> None:
    """Close every group's (cursor, until] with a gap, where anything was due in it."""
    due = db.execute("SELECT gid, cursor FROM groups WHERE cursor < ?1 AND next_due <= ?1", (until,)).fetchall()
    for gid, cursor in due:
        db.execute(FORGOTTEN, (gid, cursor, until, runner.id, now))
        db.execute(SET_GROUP, (until, soonest_of(db, gid, until), 0, gid))
    db.execute("UPDATE groups SET cursor = ?1 WHERE cursor < ?1", (until,))
