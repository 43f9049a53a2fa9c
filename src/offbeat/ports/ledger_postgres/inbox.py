"""What workers have said, and who has fallen silent: applied by whichever runner looks next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from offbeat.core.model import Instant, Key, Kind, Reason, State
from offbeat.core.transitions import HEARTBEAT
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.days import Days
from offbeat.ports.ledger_postgres.rows import RUNNING, clean, find, key_of, rounds, save
from offbeat.ports.ledger_postgres.telling import Heard, report_all
from offbeat.ports.ledger_values import Report, Runner

AT_ONCE = 1000  # reports that one look applies

SILENT = (
    f"%(now)s - greatest(l.alive_at, coalesce((SELECT r.seen_at FROM {{s}}.runners r WHERE r.id = l.owner), 0)) > {HEARTBEAT}"
)
# Answers whether others have fallen silent, and whether workers have said something.
BEAT = f"""
INSERT INTO {{s}}.runners AS mine (id, host, pid, role, revision, skew, version, seen_at)
VALUES (%(id)s, %(host)s, %(pid)s, %(role)s, %(revision)s, %(skew)s, %(version)s, %(now)s)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, host = excluded.host, pid = excluded.pid, role = excluded.role,
  revision = excluded.revision, skew = excluded.skew, version = excluded.version
RETURNING EXISTS (SELECT 1 FROM {{s}}.live l WHERE {SILENT}), EXISTS (SELECT 1 FROM {{s}}.reports)"""
DEAD = f"SELECT l.eno, l.due_at, l.kind, l.kind_id FROM {{s}}.live l WHERE {SILENT}"
EMPTY = f"""
DELETE FROM {{s}}.reports WHERE id IN (SELECT id FROM {{s}}.reports ORDER BY id LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED)
RETURNING id, eno, due_at, kind, kind_id, attempt, state, reason, note, admitted, runner, host, pid, version, reported_at"""
SEEN = """
INSERT INTO {s}.runners (id, host, pid, role, revision, skew, version, seen_at)
SELECT k.id, k.host, k.pid, 'worker', 0, 0, k.version, k.seen_at
FROM unnest(%(ids)s::text[], %(hosts)s::text[], %(pids)s::integer[], %(versions)s::text[], %(seens)s::float8[])
  AS k(id, host, pid, version, seen_at) ORDER BY k.id
ON CONFLICT (id) DO UPDATE SET seen_at = greatest(runners.seen_at, excluded.seen_at),
  version = CASE excluded.version WHEN '' THEN runners.version ELSE excluded.version END"""


class Inbox(Days):
    """Signs of life, and reports that wait."""

    def beat(self, tx: Tx, runner: Runner) -> None:
        """Write the runner's heartbeat."""
        tx.later(BEAT, **self.life(tx, runner))

    def life(self, tx: Tx, runner: Runner) -> dict[str, Any]:
        """Return the values for BEAT."""
        return {
            "id": runner.id,
            "host": clean(runner.host),
            "pid": runner.pid,
            "role": runner.role,
            "revision": runner.revision,
            "skew": runner.skew,
            "version": runner.version,
            "now": tx.now,
        }

    def give_up_the_dead(self, tx: Tx) -> None:
        """Let commands fail whose supervisor has given no sign of life for HEARTBEAT seconds."""
        rows = find(tx, [key_of(row) for row in tx.rows(DEAD, now=tx.now)])
        for row in rows.values():
            if row.state in RUNNING:
                row.state, row.reason, row.finished_at, row.is_changed = State.FAILED, Reason.RUNNER_DIED, tx.now, True
        save(tx, rows.values())

    def empty(self, tx: Tx) -> None:
        """Apply what workers have said, in the order in which they said it."""
        said = sorted(tx.rows(EMPTY))
        _see(tx, said)
        heard = [each for each in map(self._heard, said) if each is not None]
        for some in rounds(heard, [each.report.key for each in heard], AT_ONCE):
            report_all(tx, some[0].owner, some)

    def _heard(self, row: tuple[Any, ...]) -> Heard | None:
        _, eno, due_at, kind, kind_id, attempt, state, reason, note, admitted, owner, _, _, _, at = row
        if not WORKER.fullmatch(owner):
            return None
        try:
            report = Report(
                key=Key(eno=eno, due_at=due_at, kind=Kind(kind), kind_id=kind_id),
                attempt=attempt,
                state=State(state),
                reason=Reason(reason),
                note=note,
            )
        except ValueError:  # a sign of life, or of a worker that knows more words than we do
            return None
        if report.state not in WORKER_SAYS:
            return None
        at = _past(at, self.clock_now) if self.horizon is None else self.clock_now
        return Heard(report=report, owner=owner, at=at, admitted=admitted)


WORKER = re.compile(r".+:\d+:worker(:[0-9a-f]+)?", re.DOTALL)  # the id of one: nobody else speaks through the inbox
WORKER_SAYS = (State.STARTED, State.RETRYING, State.SUCCEEDED, State.FAILED, State.REVOKED)


def _see(tx: Tx, said: Sequence[tuple[Any, ...]]) -> None:
    last = {row[10]: row for row in said if WORKER.fullmatch(row[10])}
    if last:
        tx.run(
            SEEN,
            ids=list(last),
            hosts=[row[11] for row in last.values()],
            pids=[row[12] for row in last.values()],
            versions=[row[13] for row in last.values()],
            seens=[_past(row[14], tx.now) for row in last.values()],
        )


def _past(at: Instant, now: Instant) -> Instant:
    """Return `at` if it may be true, else `now`: who may write into the inbox may write NaN."""
    return at if 0 <= at <= now else now
