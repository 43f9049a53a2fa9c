"""Rows on their way: held under a lease, handed out as claims, moved to history. Shared by the operations of this store."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

from offbeat.core.model import (
    DueTime,
    Instant,
    Key,
    Kind,
    Lane,
    Policy,
)
from offbeat.core.slots import SET_BACK
from offbeat.core.transitions import Belief, Span, shares
from offbeat.ports import ledger_claims
from offbeat.ports.ledger_claims import PauseRow, claim_of, is_paused, pauses_of
from offbeat.ports.ledger_problems import Unreadable
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Claim, Runner

KeyTuple: TypeAlias = tuple[int, int, str, str]
Meta: TypeAlias = tuple[int, Instant | None, Instant | None, str, int, int, str]  # the columns of META

POLICY = "v.catch_up, v.grace, v.jitter, v.overlap, v.max_runtime"  # as `policy_of` takes them

THIS = "eno = ? AND due_at = ? AND kind = ? AND kind_id = ?"

ONE = 0  # the slot of all marks: in a file every writer sees what the others wrote
META = "SELECT active_rev, last_seen, suspect_at, stamp, seq, deployed, born FROM meta"

HOLD = f"""
UPDATE outbox SET state = 'claimed', owner = ?, attempt = attempt + 1, lease_until = ?,
  expires_at = coalesce(expires_at, ? + CASE WHEN call IS NOT NULL THEN expires ELSE
    (SELECT v.expires FROM versions v WHERE v.eno = outbox.eno AND v.valid_until IS NULL) END),
  command = CASE WHEN call IS NOT NULL THEN command ELSE
    coalesce((SELECT v.command FROM versions v WHERE v.eno = outbox.eno AND v.valid_until IS NULL), command) END
WHERE {THIS}"""

CLAIM = f"""
SELECT e.name, o.send_at, o.lane, o.cause, o.attempt, o.lease_until, o.expires_at, o.last_error, o.call,
  o.waited, v.definition, v.recurrence, v.zone, v.starts_at, v.ends_at, v.enabled, {POLICY}
FROM outbox o JOIN entries e ON e.eno = o.eno LEFT JOIN versions v ON v.eno = o.eno AND v.valid_until IS NULL
WHERE o.eno = ? AND o.due_at = ? AND o.kind = ? AND o.kind_id = ?"""

HELD = f"SELECT 1 FROM outbox WHERE {THIS} AND state = 'claimed' AND owner = ? AND lease_until > ?"

SPANS = """
SELECT recurrence, zone, first, last FROM versions
WHERE eno = ? AND gid IS NOT NULL AND (last IS NULL OR (last >= first AND last > ?)) ORDER BY vno"""

IS_FREE = """(o.send_at <= {now} AND (v.max_runtime IS NULL OR v.max_runtime = 0 OR v.overlap = 'allow'
  OR o.next_try_at <= {now} OR NOT EXISTS (SELECT 1 FROM slots t
    WHERE t.eno = o.eno AND t.until_at <= {longest} + coalesce(t.seconds, v.max_runtime))))"""  # what a waiting row waits for

CLAIMABLE = """
SELECT o.next_try_at, o.eno, o.due_at, o.kind, o.kind_id
FROM outbox o LEFT JOIN versions v ON v.eno = o.eno AND v.valid_until IS NULL
WHERE {which} AND coalesce(CASE WHEN o.call IS NOT NULL THEN o.queue ELSE v.queue END, '') NOT IN ({closed})
ORDER BY o.next_try_at, o.eno, o.due_at, o.kind, o.kind_id LIMIT ?"""
PENDING = "o.state = 'pending' AND o.next_try_at <= ? AND o.lane = ?"
KEPT = "o.state = 'pending' AND o.next_try_at > o.send_at AND o.next_try_at > ? AND o.send_at <= ? AND +o.lane = ?"
FREED = f"o.state = 'waiting' AND {IS_FREE.format(now='?', longest='?')} AND +o.lane = ?"
LAPSED = "o.state = 'claimed' AND (o.lease_until <= ? OR (o.lease_until > ? AND o.send_at <= ?)) AND +o.lane = ?"

MOVE = f"""
INSERT INTO history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at,
  owner, command, note)
SELECT eno, due_at, kind, kind_id, send_at, cause, state, '', attempt, recorded_rev, (SELECT active_rev FROM meta),
  recorded_at, owner, command, last_error
FROM outbox WHERE {THIS}"""
LEAVE = f"DELETE FROM outbox WHERE {THIS}"


def key_tuple(key: Key) -> KeyTuple:
    """Return the key as SQL takes it."""
    return (key.eno, key.due_at, str(key.kind), key.kind_id)


def key_of(values: Sequence[Any]) -> Key:
    """Return the key that a row's first four values are."""
    eno, due_at, kind, kind_id = values[:4]
    return Key(eno=eno, due_at=due_at, kind=Kind(kind), kind_id=kind_id)


def meta_of(db: sqlite3.Connection) -> Meta:
    """Return the active revision, what is believed of the clock, and so on. Raises: Unreadable without them."""
    row: Meta | None = db.execute(META).fetchone()
    if row is None:
        raise Unreadable("it does not say how it stands")
    return row


def belief_of(meta: Meta) -> Belief:
    """Return what META says of the clock."""
    return Belief(newest=meta[1], suspect_at=meta[2])


def policy_of(catch_up: str, grace: int | None, jitter: int, overlap: str, max_runtime: int | None) -> Policy:
    """Return the policy of a version's columns. jitter: in seconds, or below 0 a percentage of the gap."""
    return ledger_claims.policy_of((catch_up, grace, max(jitter, 0), max(-jitter, 0), overlap, max_runtime))


def policy_columns(policy: Policy) -> tuple[str, int | None, int, str, int | None]:
    """Return the columns that `policy_of` reads."""
    jitter = -policy.jitter_percent or policy.jitter
    return str(policy.catch_up), policy.grace, jitter, str(policy.overlap), policy.max_runtime


def hold(db: sqlite3.Connection, runner: Runner, keys: Iterable[Key], now: Instant) -> None:
    """Give the rows to the runner: a new attempt, a new lease."""
    db.executemany(HOLD, [(runner.id, now + LEASE, now, *key_tuple(key)) for key in keys])


def held_by(db: sqlite3.Connection, runner: Runner, keys: Iterable[Key], now: Instant) -> list[Key]:
    """Return those of the keys that the runner holds."""
    return [key for key in keys if db.execute(HELD, (*key_tuple(key), runner.id, now)).fetchone()]


def all_pauses(db: sqlite3.Connection) -> list[PauseRow]:
    """Return all pauses, in the order in which they were made."""
    return list(db.execute("SELECT eno, from_at, until_at, once FROM pauses ORDER BY id"))


def claims(db: sqlite3.Connection, keys: Iterable[Key], revision: int, now: Instant) -> list[Claim]:
    """Return the rows as claims, with the definition that applies now."""
    pauses = all_pauses(db)
    return [_claim(db, key, revision, pauses, now) for key in keys]


def _claim(
    db: sqlite3.Connection,
    key: Key,
    revision: int,
    pauses: list[PauseRow],
    now: Instant,
) -> Claim:
    row = db.execute(CLAIM, key_tuple(key)).fetchone()
    if row is None:
        raise Unreadable("a row is in its index and not in its table")
    present = row[10] is not None
    return claim_of(
        key,
        row[:16],
        policy=policy_of(*row[16:]) if present else Policy(),
        revision=revision,
        next_due=_next_due(db, key, pauses) if present else None,
        paused=is_paused(pauses, key.eno, now),
    )


def _next_due(db: sqlite3.Connection, key: Key, pauses: list[PauseRow]) -> DueTime | None:
    if key.kind is not Kind.SCHEDULE:
        return None
    from offbeat.core.transitions import usable_after

    spans = [Span(recurrence=r, zone=z, first=f, last=x) for r, z, f, x in db.execute(SPANS, (key.eno, key.due_at))]
    return usable_after(spans, key.due_at, pauses_of(pauses, key.eno, key.due_at))


def claimable(db: sqlite3.Connection, limit: int, closed_queues: Collection[str], now: Instant) -> list[Key]:
    """Return what would be claimed now, lane by lane."""
    closed = list(closed_queues)
    marks = ",".join("?" * len(closed))
    lanes: list[list[Key]] = []
    for lane in Lane:
        rows: list[tuple[float, int, int, str, str]] = []
        for which, instants in (
            (PENDING, (now,)),
            (KEPT, (now + LONGEST_WAIT, now)),
            (LAPSED, (now, now + 2 * LEASE, now)),
            (FREED, (now, now, now + SET_BACK)),
        ):
            question = CLAIMABLE.format(which=which, closed=marks)
            rows.extend(db.execute(question, (*instants, int(lane), *closed, limit)))
        lanes.append([key_of(row[1:]) for row in sorted(rows)])
    given = shares(limit, [len(keys) for keys in lanes])
    return [key for keys, count in zip(lanes, given, strict=True) for key in keys[:count]]


def move(db: sqlite3.Connection, key: Key) -> None:
    """Move a row from the outbox to history; its new state is the caller's to write."""
    db.execute(MOVE, key_tuple(key))
    db.execute(LEAVE, key_tuple(key))
