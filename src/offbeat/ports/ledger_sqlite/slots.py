"""The SQLite ledger: which occurrence has its entry's slot (overlap), and what waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from offbeat.core.model import Instant, Key, Overlap, Policy
from offbeat.core.slots import Hold, Turn, judge_slot, slot_seconds, taken
from offbeat.ports.ledger_sqlite.claims import hold, key_of, key_tuple, move
from offbeat.ports.ledger_values import Runner

LIMITED = "SELECT overlap, max_runtime FROM versions WHERE eno = ? AND valid_until IS NULL AND overlap <> 'allow'"
HOLDER = "SELECT eno, due_at, kind, kind_id, until_at, seconds FROM slots WHERE eno = ?"
TAKE = """
INSERT INTO slots (eno, due_at, kind, kind_id, until_at, seconds) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (eno) DO UPDATE SET due_at = excluded.due_at, kind = excluded.kind, kind_id = excluded.kind_id,
  until_at = excluded.until_at, seconds = excluded.seconds"""
FREE = "DELETE FROM slots WHERE eno = ? AND due_at = ? AND kind = ? AND kind_id = ?"
# The entry may have thousands of rows that do not wait (a backfill), so the index is named.
WHO_WAITS = "SELECT eno, due_at, kind, kind_id FROM outbox INDEXED BY outbox_waiting WHERE eno = ? AND state = 'waiting'"
WAIT = """
UPDATE outbox SET state = 'waiting', owner = '', waited = 1, next_try_at = ?
WHERE eno = ? AND due_at = ? AND kind = ? AND kind_id = ?"""
WAIT_ON = "UPDATE outbox INDEXED BY outbox_waiting SET next_try_at = ? WHERE eno = ? AND state = 'waiting'"
WAKE = """
UPDATE outbox INDEXED BY outbox_waiting SET next_try_at = max(?, send_at)
WHERE eno = ? AND state = 'waiting'"""
IS_THERE = "SELECT 1 FROM outbox WHERE eno = ? AND due_at = ? AND kind = ? AND kind_id = ?"
OVERLAPS = """
UPDATE history SET state = 'skipped', reason = 'overlap' WHERE eno = ? AND due_at = ? AND kind = ? AND kind_id = ?"""


def begin(db: sqlite3.Connection, runner: Runner, keys: Iterable[Key], now: Instant) -> list[Key]:
    """Give the rows to the runner, one after the other; return those whose turn it is. The others are skipped or wait."""
    begun = []
    for key in keys:
        if _may_go(db, key, now):
            hold(db, runner, [key], now)  # at once: what is held does not wait any more
            begun.append(key)
    return begun


def _policy(db: sqlite3.Connection, key: Key) -> Policy | None:
    """Return the policy of an entry that has a slot, None for any other."""
    found = db.execute(LIMITED, (key.eno,)).fetchone()
    return Policy(overlap=Overlap(found[0]), max_runtime=found[1]) if found else None


def _holder(db: sqlite3.Connection, key: Key) -> Hold | None:
    found = db.execute(HOLDER, (key.eno,)).fetchone()
    return Hold(key=key_of(found), until=found[4], seconds=found[5]) if found else None


def _may_go(db: sqlite3.Connection, key: Key, now: Instant) -> bool:
    """Take the slot, where there is one; else let the row wait or be skipped, and return False."""
    policy = _policy(db, key)
    seconds = slot_seconds(policy, key.kind)
    if not seconds:
        return True
    if not db.execute(IS_THERE, key_tuple(key)).fetchone():  # a newer one of this batch goes, or waits, in its place
        return False
    holder, found = _holder(db, key), db.execute(WHO_WAITS, (key.eno,)).fetchone()
    waiting = key_of(found) if found else None
    turn = judge_slot(key, policy, holder=holder, waiting=waiting, now=now)
    if turn in (Turn.OVERTAKE, Turn.WAIT) and waiting is not None and waiting != key:
        _skip(db, waiting)
    if turn in (Turn.GO, Turn.OVERTAKE):
        _take(db, taken(key, seconds, holder, now))
        return True
    if turn is Turn.WAIT and holder is not None:
        db.execute(WAIT, (holder.ends(seconds), *key_tuple(key)))
    else:
        _skip(db, key)
    return False


def _take(db: sqlite3.Connection, held: Hold) -> None:
    db.execute(TAKE, (*key_tuple(held.key), held.until, held.seconds))


def _skip(db: sqlite3.Connection, key: Key) -> None:
    move(db, key)
    db.execute(OVERLAPS, key_tuple(key))


def prolong(db: sqlite3.Connection, key: Key, now: Instant) -> None:
    """Hold the slot until max_runtime from now, unless another occurrence has it; what waits waits as long."""
    policy = _policy(db, key)
    seconds = slot_seconds(policy, key.kind)
    holder = _holder(db, key)
    if seconds and judge_slot(key, policy, holder=holder, waiting=None, now=now) is Turn.GO:
        held = taken(key, seconds, holder, now)
        _take(db, held)
        db.execute(WAIT_ON, (held.until, key.eno))


def free(db: sqlite3.Connection, key: Key, now: Instant) -> None:
    """Free the slot if the row has it; what waits for it is to be claimed now."""
    if db.execute(FREE, key_tuple(key)).rowcount:
        db.execute(WAKE, (now, key.eno))
