"""The SQLite ledger, for people and for the compile step."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from math import floor

from offbeat.core.model import (
    PUNCTUAL,
    SHARD,
    Cause,
    CommandCall,
    DueTime,
    Entry,
    Instant,
    Key,
    Kind,
    Lane,
    Reason,
    Schedule,
    TaskCall,
    Timing,
)
from offbeat.core.transitions import Span, boundary, bounds, compare, is_in, is_stale, just_passed, next_due, queue_of
from offbeat.ports.ledger_claims import pauses_of
from offbeat.ports.ledger_sqlite.claims import (
    all_pauses,
    belief_of,
    claims,
    held_by,
    key_of,
    key_tuple,
    meta_of,
    policy_columns,
)
from offbeat.ports.ledger_sqlite.mending import SET_GROUP, soonest_of
from offbeat.ports.ledger_sqlite.pausing import COVERED, PRESENT, PausingSqlite, known
from offbeat.ports.ledger_sqlite.planning import ADD_ROW, ADD_SKIP, LAST_DUE
from offbeat.ports.ledger_sqlite.revisions import origin_to_json, rules_of
from offbeat.ports.ledger_sqlite.slots import begin
from offbeat.ports.ledger_values import COMPILED, Origin, Runner, Slot, clock_not_believed, require_rules, unknown_entry

OPEN = """
SELECT e.name, v.vno, v.gid, v.valid_from, v.recurrence, v.zone, v.starts_at, v.ends_at, v.enabled, v.definition
FROM versions v JOIN entries e ON e.eno = v.eno WHERE v.valid_until IS NULL ORDER BY v.eno"""
CLOSE = "UPDATE versions SET valid_until = ?, last = ? WHERE vno = ?"
REDEFINE = """
UPDATE versions SET queue = ?, expires = ?, command = ?, catch_up = ?, grace = ?, jitter = ?, overlap = ?,
  max_runtime = ?, definition = ? WHERE vno = ?"""
ADD_VERSION = """
INSERT INTO versions (queue, expires, command, catch_up, grace, jitter, overlap, max_runtime, definition, eno, rev, gid,
  recurrence, zone, starts_at, ends_at, enabled, valid_from, first, last)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
ROOM = """
SELECT gid, cursor, next_due FROM groups WHERE recurrence = ? AND zone = ? AND members < ? ORDER BY gid LIMIT 1"""
ADD_GROUP = """
INSERT INTO groups (recurrence, zone, shard, cursor)
VALUES (?1, ?2, (SELECT count(*) FROM groups WHERE recurrence = ?1 AND zone = ?2), ?3)"""
JOIN = "UPDATE groups SET members = members + 1, next_due = min(coalesce(next_due, ?1), coalesce(?1, next_due)) WHERE gid = ?2"

FIRED = """
SELECT eno, due_at, kind, kind_id FROM outbox WHERE kind <> 'schedule' AND kind_id = ?1 AND eno = ?2 AND kind = 'manual'
UNION ALL
SELECT eno, due_at, kind, kind_id FROM history WHERE kind <> 'schedule' AND kind_id = ?1 AND eno = ?2 AND kind = 'manual'"""
BORN = """
INSERT INTO outbox (eno, due_at, kind, kind_id, send_at, lane, cause, next_try_at, recorded_rev, recorded_at,
  call, queue, expires, command)
VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?5, (SELECT active_rev FROM meta), ?7, ?8, ?9, ?10, ?11)"""


STAMP = "UPDATE meta SET stamp = ?, problems = ?, refused_whole = 0, deployed = max(deployed, ?)"
ADD_REVISION = """
INSERT INTO revisions (rev, digest, activated_at, settings, text, origin, entries) VALUES (?, ?, ?, ?, ?, ?, ?)"""


class OperatingSqlite(PausingSqlite):
    """activate, refuse, fire, slot."""

    def activate(
        self, schedule: Schedule, stamp: str, problems: str = "", *, known: str | None = None, origin: Origin = COMPILED
    ) -> int:
        from offbeat.core.serial import schedule_to_json, settings_to_json

        with self.writing() as db:
            now = self.clock.now()
            meta = meta_of(db)
            if not belief_of(meta).holds(now):
                raise clock_not_believed(self.where)
            if (meta[5] and not origin.deployed) or is_stale(meta[3], stamp, known):
                return 0
            revision = int(meta[0])
            old = rules_of(db)
            require_rules(schedule.rules, old, origin, self.where)
            db.execute(STAMP, (stamp, problems, origin.deployed))
            active = db.execute("SELECT digest FROM revisions WHERE rev = ?", (revision,)).fetchone()
            if schedule.digest and active == (schedule.digest,):
                if origin.deployed:
                    db.execute("UPDATE revisions SET origin = ? WHERE rev = ?", (origin_to_json(origin), revision))
                return revision
            compilation = Compilation(db, revision + 1, now)
            if schedule.rules != old:
                compilation.work_out_anew()
            compilation.run(schedule)
            told = (origin_to_json(origin), len(schedule.entries))
            text = (schedule.digest, now, settings_to_json(schedule), schedule_to_json(schedule))
            db.execute(ADD_REVISION, (revision + 1, *text, *told))
            db.execute("UPDATE meta SET active_rev = ?", (revision + 1,))
            return revision + 1

    def refuse(self, stamp: str, problems: str, *, known: str | None = None) -> None:
        with self.writing() as db:
            if not is_stale(meta_of(db)[3], stamp, known):
                db.execute("UPDATE meta SET stamp = ?, problems = ?, refused_whole = 1", (stamp, problems))

    def fire(self, runner: Runner, name: str, token: str, call: TaskCall | CommandCall | None = None) -> Slot:
        with self.writing() as db:
            now = self.clock.now()
            if call is None and not db.execute(PRESENT, (name,)).fetchone():
                raise unknown_entry(name, self.where)
            eno = number_of(db, name)
            fired = db.execute(FIRED, (token, eno)).fetchone()
            if fired and (found := known(db, key_of(fired))):
                return _held(db, found, runner, now)
            key = Key(eno=eno, due_at=floor(now), kind=Kind.MANUAL, kind_id=token)
            return _born(db, runner, key, Cause.MANUAL, call=call, now=now)

    def slot(self, runner: Runner, name: str, due_at: DueTime) -> Slot:
        with self.writing() as db:
            now = self.clock.now()
            key = Key(eno=self.present(db, name), due_at=due_at)
            if found := known(db, key):
                return _held(db, found, runner, now)
            db.execute(LAST_DUE, (due_at, key.eno))
            return _born(db, runner, key, Cause.CATCH_UP if now - due_at > PUNCTUAL else Cause.SCHEDULE, call=None, now=now)


def number_of(db: sqlite3.Connection, name: str) -> int:
    """Return the entry's number; a new name gets one."""
    db.execute("INSERT INTO entries (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    return int(db.execute("SELECT eno FROM entries WHERE name = ?", (name,)).fetchone()[0])


def _held(db: sqlite3.Connection, found: Slot, runner: Runner, now: Instant) -> Slot:
    """Return what is known already, with its claim if the runner holds it."""
    held = claims(db, held_by(db, runner, [found.key], now), meta_of(db)[0], now)
    return replace(found, claim=held[0]) if held else found


def _born(
    db: sqlite3.Connection, runner: Runner, key: Key, cause: Cause, *, call: TaskCall | CommandCall | None, now: Instant
) -> Slot:
    from offbeat.core.serial import call_to_json

    revision = meta_of(db)[0]
    special = (None, "", None, 0) if call is None else (call_to_json(call), *_columns(call))
    db.execute(BORN, (*key_tuple(key), min(key.due_at, floor(now)), str(cause), now, *special))
    db.execute("UPDATE meta SET seq = seq + 1")
    begun = begin(db, runner, [key], now)
    found = known(db, key)
    assert found is not None
    return replace(found, claim=claims(db, begun, revision, now)[0]) if begun else found


def _columns(call: TaskCall | CommandCall) -> tuple[str, int | None, bool]:
    """Return queue, expires, command."""
    return queue_of(call), call.expires if isinstance(call, TaskCall) else None, isinstance(call, CommandCall)


class _Open:
    """An open version, as OPEN reads it."""

    __slots__ = ("definition", "gid", "timing", "valid_from", "vno")

    def __init__(self, row: tuple[int, int | None, int, str, str, int | None, int | None, int, str]) -> None:
        self.vno, self.gid, self.valid_from, recurrence, zone, starts_at, ends_at, enabled, self.definition = row
        self.timing = Timing(recurrence=recurrence, zone=zone, starts_at=starts_at, ends_at=ends_at, enabled=bool(enabled))


class Compilation:
    """One activation: the entries of the new revision become versions and groups, in the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, revision: int, now: Instant) -> None:
        self.db = db
        self.revision = revision
        self.now = now
        self.touched: set[int] = set()

    def run(self, schedule: Schedule) -> None:
        """Make the changes, and raise the version of each group that lost or gained a member."""
        present = {row[0]: _Open(row[1:]) for row in self.db.execute(OPEN).fetchall()}
        changes = compare({name: version.timing for name, version in present.items()}, schedule.entries)
        for name in changes.removed:
            self._close(present[name])
        for entry in changes.kept:
            self._redefine(present[entry.name], entry)
        for entry in changes.opened:
            self._open(entry, present.get(entry.name))
        self.db.executemany("UPDATE groups SET version = version + 1 WHERE gid = ?", [(gid,) for gid in self.touched])

    def work_out_anew(self) -> None:
        """Find the next due time of every group by the rules of this host, and raise its version."""
        for gid, cursor in self.db.execute("SELECT gid, cursor FROM groups").fetchall():
            self.db.execute(SET_GROUP, (cursor, soonest_of(self.db, gid, cursor), 1, gid))

    def _definition(self, entry: Entry) -> tuple[object, ...]:
        from offbeat.core.serial import entry_to_json

        return (*_columns(entry.call), *policy_columns(entry.policy), entry_to_json(entry))

    def _redefine(self, version: _Open, entry: Entry) -> None:
        definition = self._definition(entry)
        if definition[-1] != version.definition:
            self.db.execute(REDEFINE, (*definition, version.vno))

    def _close(self, version: _Open) -> DueTime:
        cursor = None
        if version.gid is not None:
            self.touched.add(version.gid)
            (cursor,) = self.db.execute("SELECT cursor FROM groups WHERE gid = ?", (version.gid,)).fetchone()
            self.db.execute("UPDATE groups SET members = members - 1 WHERE gid = ?", (version.gid,))
        valid_until = boundary(self.now, cursor, version.valid_from - 1)
        self._end(version, valid_until)
        return valid_until

    def _end(self, version: _Open, valid_until: DueTime) -> None:
        _, last = bounds(version.timing, version.valid_from, valid_until)
        self.db.execute(CLOSE, (valid_until, last, version.vno))

    def _open(self, entry: Entry, old: _Open | None) -> None:
        if old:
            self._close(old)
        eno = number_of(self.db, entry.name)
        gid, cursor = self._group_with_room(entry.timing) if entry.timing.enabled else (None, None)
        ended = self.db.execute("SELECT max(valid_until) - 1 FROM versions WHERE eno = ?", (eno,)).fetchone()[0]
        valid_from = boundary(self.now, cursor, ended)
        if old:
            self._end(old, valid_from)
        timing = entry.timing
        first, last = bounds(timing, valid_from, None)
        what = (timing.recurrence, timing.zone, timing.starts_at, timing.ends_at, timing.enabled)
        self.db.execute(ADD_VERSION, (*self._definition(entry), eno, self.revision, gid, *what, valid_from, first, last))
        if gid is not None:
            span = Span(recurrence=timing.recurrence, zone=timing.zone, first=first, last=last)
            self.db.execute(JOIN, (next_due([span], valid_from - 1), gid))
            self.touched.add(gid)
        if self.revision > 1:
            self._record_passed(eno, timing)

    def _group_with_room(self, timing: Timing) -> tuple[int, DueTime]:
        """Return (gid, cursor) of a group of this recurrence with room, made anew where there is none."""
        found = self.db.execute(ROOM, (timing.recurrence, timing.zone, SHARD)).fetchone()
        if found is None:
            added = self.db.execute(ADD_GROUP, (timing.recurrence, timing.zone, floor(self.now)))
            assert added.lastrowid is not None
            return added.lastrowid, floor(self.now)
        gid, cursor, soonest = found
        if (soonest is None or soonest > self.now) and cursor < self.now:  # nothing is due in between
            cursor = floor(self.now)
            self.db.execute("UPDATE groups SET cursor = ? WHERE gid = ?", (cursor, gid))
        return gid, cursor

    def _record_passed(self, eno: int, timing: Timing) -> None:
        for due_at in just_passed(timing, self.now):
            if self.db.execute(COVERED, (eno, due_at)).fetchone():
                continue
            paused = is_in(pauses_of(all_pauses(self.db), eno, due_at), due_at)
            row = (eno, due_at, due_at, int(Lane.LIVE), str(Cause.SCHEDULE), self.revision, self.now)
            if self.db.execute(*((ADD_SKIP, (*row, str(Reason.PAUSED))) if paused else (ADD_ROW, row))).rowcount:
                self.db.execute("UPDATE meta SET seq = seq + 1")
                self.db.execute(LAST_DUE, (due_at, eno))
