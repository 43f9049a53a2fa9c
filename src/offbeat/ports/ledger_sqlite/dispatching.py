"""The SQLite ledger, for runners: from rows to settled rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from offbeat.core.model import RANK, Instant, Key, LedgerSettings, State
from offbeat.core.transitions import Verdict, judge_outcome, prunable
from offbeat.ports.ledger import KEEP
from offbeat.ports.ledger_sqlite.claims import THIS, belief_of, claimable, claims, hold, key_of, key_tuple, meta_of, move
from offbeat.ports.ledger_sqlite.connection import MOST_ROWS, Store
from offbeat.ports.ledger_values import SEEN_LATELY, SETTLES, Claim, Outcome, Runner

UNSETTLED_ROW = f"SELECT state, '', attempt, command, next_try_at, lane, send_at FROM outbox WHERE {THIS}"
SETTLED_ROW = f"SELECT state, reason, attempt, command, 0, 0, send_at FROM history WHERE {THIS}"
HAND_BACK = (
    f"UPDATE outbox SET state = 'pending', owner = '', next_try_at = max(?, send_at), lane = ?, last_error = ? WHERE {THIS}"
)
SETTLE = f"""
UPDATE history SET state = ?, reason = ?, note = ?, task_id = ?, dispatched_at = ?, live = command * ? WHERE {THIS}"""
STAMP = f"""
UPDATE history SET dispatched_at = coalesce(dispatched_at, ?), task_id = CASE ? WHEN '' THEN task_id ELSE ? END WHERE {THIS}"""

OLD = """
SELECT eno, due_at, kind, kind_id FROM history WHERE due_at <= ? ORDER BY due_at, eno, kind, kind_id LIMIT ?"""
FORGET = (f"DELETE FROM history WHERE {THIS}", f"DELETE FROM outputs WHERE {THIS}")
END_GAPS = "DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE until_at <= ? ORDER BY until_at, id LIMIT ?)"
END_RUNNERS = "DELETE FROM runners WHERE seen_at < ? AND id NOT IN (SELECT owner FROM history WHERE live = 1)"


class DispatchingSqlite(Store):
    """claim, settle, prune."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        with self.writing() as db:
            now = self.clock.now()
            meta = meta_of(db)
            if not belief_of(meta).holds(now):
                return []
            keys = claimable(db, min(limit, MOST_ROWS), closed_queues, now)
            hold(db, runner, keys, now)
            return claims(db, keys, meta[0], now)

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        accepted: list[Key] = []
        for start in range(0, len(outcomes), MOST_ROWS):
            with self.writing() as db:
                now = self.clock.now()
                some = outcomes[start : start + MOST_ROWS]
                accepted.extend(outcome.key for outcome in some if _settled(db, outcome, now))
        return accepted

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        with self.writing() as db:
            now = self.clock.now()
            if not belief_of(meta_of(db)).holds(now):
                return 0
            through = prunable(now, db.execute("SELECT min(next_due) FROM groups WHERE next_due IS NOT NULL").fetchone()[0])
            db.execute("UPDATE meta SET pruned_through = max(coalesce(pruned_through, ?1), ?1)", (through,))
            (through,) = db.execute("SELECT pruned_through FROM meta").fetchone()
            old = [key_tuple(key_of(row)) for row in db.execute(OLD, (through, min(limit, MOST_ROWS)))]
            for statement in FORGET:
                db.executemany(statement, old)
            gaps = db.execute(END_GAPS, (through, min(limit, MOST_ROWS) - len(old))).rowcount
            db.execute("DELETE FROM pauses WHERE until_at <= ?", (through,))
            db.execute("DELETE FROM admitted WHERE admitted_at <= ?", (through,))
            db.execute(END_RUNNERS, (now - SEEN_LATELY,))
            return len(old) + gaps


def _settled(db: sqlite3.Connection, outcome: Outcome, now: Instant) -> bool:
    assert outcome.state in SETTLES, outcome.state
    key = key_tuple(outcome.key)
    row = db.execute(UNSETTLED_ROW, key).fetchone() or db.execute(SETTLED_ROW, key).fetchone()
    if row is None or row[2] != outcome.attempt or not outcome.attempt:
        return False
    held = State(row[0])
    same = row[1] == outcome.reason
    if outcome.state is State.PENDING:
        same = (row[4], row[5]) == (max(outcome.next_try_at, row[6]), outcome.lane)
    verdict = judge_outcome(held, outcome.state, same=same, is_command=bool(row[3]))
    if verdict is Verdict.WRITTEN:
        _write(db, outcome, held, now)
    elif verdict is Verdict.STAMPED:
        db.execute(STAMP, (now, outcome.task_id, outcome.task_id, *key))
    return verdict is not Verdict.REFUSED


def _write(db: sqlite3.Connection, outcome: Outcome, held: State, now: Instant) -> None:
    key = key_tuple(outcome.key)
    if outcome.state is State.PENDING:
        db.execute(HAND_BACK, (outcome.next_try_at, int(outcome.lane), outcome.error, *key))
        return
    if RANK[held] <= RANK[State.CLAIMED]:
        move(db, outcome.key)
    sent = outcome.state is State.DISPATCHED
    told = (str(outcome.state), str(outcome.reason), outcome.error, outcome.task_id if sent else "", now if sent else None)
    db.execute(SETTLE, (*told, sent, *key))
