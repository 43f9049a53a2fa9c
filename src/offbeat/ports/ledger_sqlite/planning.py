"""The SQLite ledger, for runners: from due groups to recorded decisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from offbeat.core.model import Instant, Key, Lane, Policy, Reason
from offbeat.core.slots import SET_BACK
from offbeat.core.transitions import HEARTBEAT, look_at_clock
from offbeat.ports.ledger_claims import PauseRow, pauses_of
from offbeat.ports.ledger_sqlite.claims import IS_FREE, ONE, POLICY, all_pauses, belief_of, claims, held_by, meta_of, policy_of
from offbeat.ports.ledger_sqlite.connection import MOST_ROWS, Store
from offbeat.ports.ledger_sqlite.slots import begin
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Claim, Outlook, Runner

if TYPE_CHECKING:
    from offbeat.core.plan import Group, Heir, Member, PlannedRow, Portion, Window

BEAT = """
INSERT INTO runners (id, host, pid, role, rev, skew, version, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, skew = excluded.skew, version = excluded.version,
  seen_at = excluded.seen_at"""

GIVE_UP = """
UPDATE history SET state = 'failed', reason = 'runner_died', finished_at = ?, live = 0
WHERE live = 1 AND ? - max(coalesce(dispatched_at, 0), coalesce(started_at, 0),
  coalesce((SELECT seen_at FROM runners WHERE id = history.owner), 0)) > ?"""

WAKE_AT = f"""
SELECT min(instant) FROM (
  SELECT min(next_due) AS instant FROM groups WHERE next_due IS NOT NULL
  UNION ALL SELECT min(next_try_at) FROM outbox WHERE state = 'pending' AND lane = 0
  UNION ALL SELECT min(next_try_at) FROM outbox WHERE state = 'pending' AND lane = 1
  UNION ALL SELECT min(next_try_at) FROM outbox WHERE state = 'pending' AND lane = 2
  UNION ALL SELECT min(lease_until) FROM outbox WHERE state = 'claimed'
  UNION ALL SELECT ?1 FROM outbox WHERE state = 'claimed' AND lease_until > ?2 AND send_at <= ?1
  UNION ALL SELECT min(next_try_at) FROM outbox WHERE state = 'waiting'
  UNION ALL SELECT ?1 FROM outbox o LEFT JOIN versions v ON v.eno = o.eno AND v.valid_until IS NULL
    WHERE o.state = 'waiting' AND {IS_FREE.format(now="?1", longest="?4")}
  UNION ALL SELECT ?1 FROM outbox
    WHERE state = 'pending' AND next_try_at > send_at AND next_try_at > ?3 AND send_at <= ?1)"""

DUE = """
SELECT gid, recurrence, zone, cursor, version FROM groups WHERE next_due IS NOT NULL AND next_due <= ?
ORDER BY next_due, gid LIMIT ?"""

MEMBERS = f"""
SELECT v.vno, v.eno, e.name, v.first, v.last, v.valid_until IS NULL, {POLICY},
  p.vno, p.enabled, {POLICY.replace("v.", "p.")}
FROM versions v JOIN entries e ON e.eno = v.eno LEFT JOIN versions p ON p.eno = v.eno AND p.valid_until IS NULL
WHERE v.gid = ? AND (v.last IS NULL OR (v.last >= v.first AND v.last > ?)) ORDER BY v.eno, v.vno"""

HEIRS = """
SELECT recurrence, zone, first, last FROM versions
WHERE eno = ? AND vno > ? AND gid IS NOT NULL AND (last IS NULL OR last >= first) ORDER BY vno"""

# The + keeps SQLite from going through all that waits of other entries.
LATE = """
SELECT count(*) FROM (
  SELECT 1 FROM outbox WHERE eno = ? AND kind = 'schedule' AND +state = 'pending' AND +lane = 1 LIMIT ?)"""

MOVE_CURSOR = "UPDATE groups SET cursor = ?, next_due = ? WHERE gid = ? AND cursor = ? AND version = ?"

ADD_GAP = "INSERT INTO gaps (gid, eno, after_at, until_at, reason, who, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?)"

ADD_ROW = """
INSERT INTO outbox (eno, due_at, kind, kind_id, send_at, lane, cause, next_try_at, recorded_rev, recorded_at)
SELECT ?1, ?2, 'schedule', '', ?3, ?4, ?5, ?3, ?6, ?7
WHERE NOT EXISTS (SELECT 1 FROM history WHERE eno = ?1 AND due_at = ?2 AND kind = 'schedule' AND kind_id = '')
ON CONFLICT DO NOTHING"""

ADD_SKIP = """
INSERT INTO history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at)
SELECT ?1, ?2, 'schedule', '', ?3, ?5, 'skipped', ?8, 0, ?6, ?6, ?7
WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE eno = ?1 AND due_at = ?2 AND kind = 'schedule' AND kind_id = '')
ON CONFLICT DO NOTHING"""

LAST_DUE = "UPDATE entries SET last_due = max(coalesce(last_due, ?1), ?1) WHERE eno = ?2"


class PlanningSqlite(Store):
    """look, changed, take, record."""

    _data_version = 0  # SQLite's count of what other connections have written

    def look(self, runner: Runner) -> Outlook:
        with self.writing() as db:
            now = self.clock.now()
            meta = meta_of(db)
            belief = look_at_clock(belief_of(meta), now)
            db.execute("UPDATE meta SET last_seen = ?, suspect_at = ?", (belief.newest, belief.suspect_at))
            beat(db, runner, now)
            believed = belief.holds(now)
            if believed:
                db.execute(GIVE_UP, (now, now, HEARTBEAT))
            wake_at = db.execute(WAKE_AT, (now, now + 2 * LEASE, now + LONGEST_WAIT, now + SET_BACK)).fetchone()[0]
            failed_at = db.execute("SELECT max(finished_at) FROM history WHERE state = 'failed'").fetchone()[0]
        wake_at = inf if wake_at is None else wake_at
        return Outlook(
            now=now,
            revision=meta[0],
            stamp=meta[3],
            wake_at=wake_at,
            due=believed and wake_at <= now,
            believed=believed,
            believe_at=belief.believe_at,
            failed_at=failed_at or 0.0,
            ahead=belief.ahead(now),
            deployed=bool(meta[5]),
            marks={ONE: meta[4]},
            born=meta[6],
        )

    def changed(self) -> bool:
        before, self._data_version = self._data_version, self.data_version()
        return before != self._data_version

    def take(self, limit: int) -> Portion:
        with self.reading() as db:
            return self.portion(db, limit)

    def portion(self, db: sqlite3.Connection, limit: int) -> Portion:
        """Return what is due, in a view that the caller has open."""
        from offbeat.core.backlog import may_be_late, with_waiting
        from offbeat.core.plan import BACKLOG, Group, Portion

        now = self.clock.now()
        meta = meta_of(db)
        due = db.execute(DUE, (now, limit)).fetchall() if belief_of(meta).holds(now) else []
        groups = [Group(gid=g, recurrence=r, zone=z, cursor=c, version=v) for g, r, z, c, v in due]
        pauses = all_pauses(db) if groups else []
        found: list[tuple[Group, tuple[Member, ...]]] = []
        size = 0
        for group in groups:
            found.append((group, tuple(_members(db, group, pauses))))
            size += len(found[-1][1])
            if size >= limit:
                break
        waiting = {eno: db.execute(LATE, (eno, BACKLOG)).fetchone()[0] for eno in may_be_late(found, now)}
        return Portion(now=now, revision=meta[0], groups=with_waiting(found, waiting))

    def record(self, runner: Runner, windows: Sequence[Window], revision: int) -> Sequence[Claim]:
        from offbeat.core.batches import batches

        claimed: list[Claim] = []
        for some in batches(windows, MOST_ROWS):
            with self.writing() as db:
                claimed.extend(self._record(db, runner, some, revision))
        return claimed

    def _record(self, db: sqlite3.Connection, runner: Runner, windows: Sequence[Window], revision: int) -> list[Claim]:
        now = self.clock.now()
        meta = meta_of(db)
        open_ = meta[0] == revision and belief_of(meta).holds(now)
        keys: list[Key] = []
        accepted = 0
        for window in windows:
            if open_ and window.after <= window.until <= now and _moved(db, window):
                accepted += 1
                keys.extend(_write(db, runner, window, revision, now))
            else:
                keys.extend(held_by(db, runner, (Key(eno=row.eno, due_at=row.due_at) for row in window.rows), now))
        if accepted:
            db.execute("UPDATE meta SET seq = seq + ?", (accepted,))
        return claims(db, keys, meta[0], now)


def beat(db: sqlite3.Connection, runner: Runner, now: Instant) -> None:
    """Write that the runner is alive, and what it says of itself."""
    who = (runner.id, runner.host, runner.pid, runner.role)
    db.execute(BEAT, (*who, runner.revision, runner.skew, runner.version, now))


def _members(db: sqlite3.Connection, group: Group, pauses: list[PauseRow]) -> Iterator[Member]:
    from offbeat.core.plan import Member

    for row in db.execute(MEMBERS, (group.gid, group.cursor)).fetchall():
        vno, eno, name, first, last, is_open = row[:6]
        gone = Reason.NONE if is_open or row[12] else (Reason.REMOVED if row[11] is None else Reason.DISABLED)
        policy: Policy = policy_of(*row[6:11]) if row[11] is None else policy_of(*row[13:18])
        yield Member(
            eno=eno,
            name=name,
            first=first,
            last=last,
            policy=policy,
            gone=gone,
            pauses=pauses_of(pauses, eno, group.cursor),
            heirs=() if is_open else tuple(_heirs(db, eno, vno)),
        )


def _heirs(db: sqlite3.Connection, eno: int, vno: int) -> Iterator[Heir]:
    from offbeat.core.plan import Heir

    for recurrence, zone, first, last in db.execute(HEIRS, (eno, vno)):
        yield Heir(recurrence=recurrence, zone=zone, first=first, last=last)


def _moved(db: sqlite3.Connection, window: Window) -> bool:
    found = db.execute(MOVE_CURSOR, (window.until, window.next_due, window.gid, window.after, window.version))
    return found.rowcount == 1


def _write(db: sqlite3.Connection, runner: Runner, window: Window, revision: int, now: Instant) -> list[Key]:
    """Write an accepted window; return the rows born claimed."""
    db.executemany(
        ADD_GAP, [(window.gid, gap.eno, gap.after, gap.until, str(gap.reason), runner.id, now) for gap in window.gaps]
    )
    born: list[Key] = []
    last_due: dict[int, int] = {}
    for row in window.rows:
        last_due[row.eno] = max(row.due_at, last_due.get(row.eno, row.due_at))
        if _added(db, row, revision, now) and row.lane is Lane.LIVE and row.send_at <= now:
            born.append(Key(eno=row.eno, due_at=row.due_at))
    db.executemany(LAST_DUE, [(due_at, eno) for eno, due_at in last_due.items()])
    return begin(db, runner, born, now)


def _added(db: sqlite3.Connection, row: PlannedRow, revision: int, now: Instant) -> bool:
    """Add the row unless its key is there; return whether it is new and to be sent."""
    statement = ADD_SKIP if row.reason else ADD_ROW
    values = (row.eno, row.due_at, row.send_at, int(row.lane), str(row.cause), revision, now, str(row.reason))
    return db.execute(statement, values if row.reason else values[:7]).rowcount == 1 and not row.reason
