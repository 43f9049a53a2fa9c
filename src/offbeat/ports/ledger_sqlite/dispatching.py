"""The SQLite ledger, for runners: from rows to settled rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from offbeat.core.model import RANK, Instant, Key, Kind, State
from offbeat.core.transitions import Verdict, judge_outcome
from offbeat.ports.ledger_claims import is_paused
from offbeat.ports.ledger_problems import storable
from offbeat.ports.ledger_sqlite.claims import (
    THIS,
    all_pauses,
    belief_of,
    claimable,
    claims,
    key_tuple,
    meta_of,
    move,
)
from offbeat.ports.ledger_sqlite.connection import MOST_ROWS, Store
from offbeat.ports.ledger_sqlite.slots import begin, free, prolong
from offbeat.ports.ledger_values import SETTLES, Claim, Outcome, Runner

UNSETTLED_ROW = f"SELECT state, '', attempt, command, next_try_at, lane, send_at, owner FROM outbox WHERE {THIS}"
SETTLED_ROW = f"SELECT state, reason, attempt, command, 0, 0, send_at, owner FROM history WHERE {THIS}"
HELD = f"UPDATE outbox SET state = 'pending', owner = '', send_at = ?, next_try_at = ? WHERE {THIS}"
HAND_BACK = (
    f"UPDATE outbox SET state = 'pending', owner = '', next_try_at = max(?, send_at), lane = ?, last_error = ? WHERE {THIS}"
)
SETTLE = f"""
UPDATE history SET state = ?, reason = ?, note = ?, task_id = ?, dispatched_at = ?, live = command * ? WHERE {THIS}"""
STAMP = f"""
UPDATE history SET dispatched_at = coalesce(dispatched_at, ?), task_id = CASE ? WHEN '' THEN task_id ELSE ? END WHERE {THIS}"""


class DispatchingSqlite(Store):
    """claim, settle."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        tried: set[Key] = set()
        while True:
            with self.writing() as db:
                now = self.clock.now()
                meta = meta_of(db)
                keys = claimable(db, min(limit, MOST_ROWS), closed_queues, now) if belief_of(meta).holds(now) else []
                if not keys or not tried.isdisjoint(keys):
                    return []
                tried.update(keys)
                db.execute("UPDATE meta SET seq = seq + ?", (len(keys),))
                held = _hold_back(db, keys, now)
                if begun := begin(db, runner, [key for key in keys if key not in held], now):
                    return claims(db, begun, meta[0], now)

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        accepted: list[Key] = []
        for start in range(0, len(outcomes), MOST_ROWS):
            with self.writing() as db:
                now = self.clock.now()
                some = outcomes[start : start + MOST_ROWS]
                verdicts = [_settled(db, runner, outcome, now) for outcome in some]
                changed = sum(verdict in (Verdict.WRITTEN, Verdict.STAMPED) for verdict in verdicts)
                if changed:
                    db.execute("UPDATE meta SET seq = seq + ?", (changed,))
                pairs = zip(some, verdicts, strict=True)
                accepted.extend(outcome.key for outcome, verdict in pairs if verdict is not Verdict.REFUSED)
        return accepted


def _hold_back(db: sqlite3.Connection, keys: Sequence[Key], now: Instant) -> set[Key]:
    """Let the rows of backfills that a pause holds be looked at again later; return them."""
    from offbeat.core.recheck import held_back

    filled = [key for key in keys if key.kind is Kind.BACKFILL]
    pauses = all_pauses(db) if filled else []
    held = {key for key in filled if is_paused(pauses, key.eno, now)}
    for key in held:
        (send_at,) = db.execute(f"SELECT send_at FROM outbox WHERE {THIS}", key_tuple(key)).fetchone()
        later = held_back(send_at, now)
        db.execute(HELD, (later, later, *key_tuple(key)))
    return held


def _settled(db: sqlite3.Connection, runner: Runner, outcome: Outcome, now: Instant) -> Verdict:
    assert outcome.state in SETTLES, outcome.state
    key = key_tuple(outcome.key)
    row = db.execute(UNSETTLED_ROW, key).fetchone() or db.execute(SETTLED_ROW, key).fetchone()
    if row is None or row[2] != outcome.attempt or not outcome.attempt:
        return Verdict.REFUSED
    held = State(row[0])
    same = row[1] == outcome.reason
    if outcome.state is State.PENDING:
        same = (row[4], row[5]) == (max(outcome.next_try_at, row[6]), outcome.lane)
    verdict = judge_outcome(held, outcome.state, same=same, is_command=bool(row[3]), mine=row[7] == runner.id)
    if verdict is Verdict.WRITTEN:
        _write(db, outcome, held, now)
    elif verdict is Verdict.STAMPED:
        db.execute(STAMP, (now, outcome.task_id, outcome.task_id, *key))
    return verdict


def _write(db: sqlite3.Connection, outcome: Outcome, held: State, now: Instant) -> None:
    key, words = key_tuple(outcome.key), storable(outcome.error)
    if outcome.state is State.PENDING:
        db.execute(HAND_BACK, (outcome.next_try_at, int(outcome.lane), words, *key))
        free(db, outcome.key, now)
        return
    if RANK[held] <= RANK[State.CLAIMED]:
        move(db, outcome.key)
    sent = outcome.state is State.DISPATCHED
    told = (str(outcome.state), str(outcome.reason), words, outcome.task_id if sent else "", now if sent else None)
    db.execute(SETTLE, (*told, sent, *key))
    (prolong if sent else free)(db, outcome.key, now)
