"""The SQLite ledger, for whoever runs what was sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from offbeat.core.model import RANK, Instant, Key, Reason, State
from offbeat.core.transitions import Verdict, judge_report
from offbeat.ports.ledger_problems import storable
from offbeat.ports.ledger_sqlite.claims import THIS, key_tuple, move
from offbeat.ports.ledger_sqlite.connection import MOST_ROWS, Store
from offbeat.ports.ledger_sqlite.planning import beat
from offbeat.ports.ledger_sqlite.slots import free, prolong
from offbeat.ports.ledger_values import LONGEST_HOLD, Report, Runner

UNSETTLED_ROW = f"SELECT state, '', attempt, owner FROM outbox WHERE {THIS}"
SETTLED_ROW = f"SELECT state, reason, attempt, owner FROM history WHERE {THIS}"
TELL = f"""
UPDATE history SET state = ?, reason = ?, note = CASE ? WHEN '' THEN note ELSE ? END, owner = ?, live = command * ?,
  dispatched_at = coalesce(dispatched_at, ?), started_at = coalesce(started_at, ?),
  finished_at = coalesce(?, finished_at), exit_status = coalesce(?, exit_status)
WHERE {THIS}"""
KEEP_OUTPUT = "INSERT OR REPLACE INTO outputs (eno, due_at, kind, kind_id, output) VALUES (?, ?, ?, ?, ?)"

ADMIT = "INSERT INTO admitted (occurrence, attempt, admitted_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
OCCUPY = """
INSERT INTO busy (name, owner, until_at) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET owner = ?2, until_at = ?3 WHERE busy.owner = ?2 OR busy.until_at <= ?4
  OR busy.until_at > ?5"""


class ReportingSqlite(Store):
    """report, occupy, vacate, admit."""

    def report(self, runner: Runner, reports: Sequence[Report]) -> Sequence[Key]:
        accepted: list[Key] = []
        for start in range(0, len(reports) or 1, MOST_ROWS):
            with self.writing() as db:
                now = self.clock.now()
                beat(db, runner, now)
                some = reports[start : start + MOST_ROWS]
                accepted.extend(report.key for report in some if _reported(db, runner, report, now))
        return accepted

    def occupy(self, name: str, owner: str, seconds: float) -> bool:
        with self.writing() as db:
            now = self.clock.now()
            return db.execute(OCCUPY, (name, owner, now + seconds, now, now + LONGEST_HOLD)).rowcount == 1

    def vacate(self, name: str, owner: str) -> None:
        with self.writing() as db:
            db.execute("DELETE FROM busy WHERE name = ? AND owner = ?", (name, owner))

    def admit(self, occurrence: str, attempt: int) -> bool:
        with self.writing() as db:
            db.execute(ADMIT, (occurrence, attempt, self.clock.now()))
            winner = db.execute("SELECT attempt FROM admitted WHERE occurrence = ?", (occurrence,)).fetchone()[0]
        return bool(winner == attempt)


def _reported(db: sqlite3.Connection, runner: Runner, report: Report, now: Instant) -> bool:
    key = key_tuple(report.key)
    row = db.execute(UNSETTLED_ROW, key).fetchone() or db.execute(SETTLED_ROW, key).fetchone()
    if row is None or row[2] != report.attempt or not report.attempt:
        return False
    held = State(row[0])
    verdict = judge_report(held, Reason(row[1]), report.state, mine=row[3] == runner.id)
    if verdict is Verdict.WRITTEN:
        if RANK[held] <= RANK[State.CLAIMED]:
            move(db, report.key)
        _tell(db, runner, report, now)
        (free if RANK[report.state] >= RANK[State.SUCCEEDED] else prolong)(db, report.key, now)
    return verdict is not Verdict.REFUSED


def _tell(db: sqlite3.Connection, runner: Runner, report: Report, now: Instant) -> None:
    ended = RANK[report.state] >= RANK[State.SUCCEEDED]
    waiting = report.state is State.DISPATCHED
    note = storable(report.note)
    told = (str(report.state), str(report.reason), note, note, runner.id, not ended)
    instants = (now if waiting else None, None if waiting or ended else now, now if ended else None)
    db.execute(TELL, (*told, *instants, report.exit_status if ended else None, *key_tuple(report.key)))
    if report.output:
        db.execute(KEEP_OUTPUT, (*key_tuple(report.key), report.output))
