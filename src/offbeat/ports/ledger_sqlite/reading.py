"""The SQLite ledger, for pages and commands. Changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from offbeat.core.model import TROUBLE, DueTime, Entry, Instant, Key, Reason, State
from offbeat.core.transitions import Span
from offbeat.ports.ledger_claims import entry_of
from offbeat.ports.ledger_sqlite.claims import THIS, belief_of, claimable, claims, key_tuple, meta_of
from offbeat.ports.ledger_sqlite.dispatching import DispatchingSqlite
from offbeat.ports.ledger_sqlite.planning import PlanningSqlite
from offbeat.ports.ledger_sqlite.revisions import RevisionsSqlite, origin_from_json
from offbeat.ports.ledger_values import (
    SEEN_LATELY,
    Claim,
    HistoryRow,
    LedgerStatus,
    Rewound,
    Runner,
    SeenRunner,
)

if TYPE_CHECKING:
    from offbeat.core.plan import Portion
    from offbeat.ports.ledger_lines import StoredGap, Stretch

SUMMARY = """
SELECT m.project, m.owner, m.active_rev, coalesce(r.digest, ''), r.activated_at, m.problems, m.refused_whole,
  (SELECT min(next_due) FROM groups WHERE next_due IS NOT NULL),
  (SELECT count(*) FROM outbox WHERE state = 'pending'),
  (SELECT count(*) FROM outbox WHERE state = 'claimed'),
  (SELECT count(*) FROM history WHERE state = 'undelivered'),
  (SELECT count(*) FROM outbox WHERE state = 'waiting'),
  (SELECT min(send_at) FROM outbox WHERE state IN ('pending', 'waiting') AND send_at <= ?),
  coalesce(r.origin, ''), m.deployed, m.restored_at,
  m.rewound_at, m.rewound_to, m.rewound_by
FROM meta m LEFT JOIN revisions r ON r.rev = m.active_rev"""
RUNNERS = "SELECT id, role, host, pid, rev, skew, version, seen_at FROM runners WHERE seen_at > ? ORDER BY seen_at DESC, id"
ENTRIES = """
SELECT v.definition, e.last_due FROM versions v JOIN entries e ON e.eno = v.eno WHERE v.valid_until IS NULL ORDER BY e.name"""

SETTLED = """\
e.name, h.due_at, h.kind, h.state, h.reason, h.cause, h.attempt, h.task_id, h.recorded_at, h.dispatched_at,
    h.started_at, h.finished_at, h.note, h.exit_status, NULL, h.send_at, h.eno, h.kind_id
  FROM history h JOIN entries e ON e.eno = h.eno"""
# The newest `limit` of each table, and all that are due with the last of them: the order among those is worked out here.
ROWS = """
SELECT e.name, o.due_at, o.kind, o.state, '', o.cause, o.attempt, '', o.recorded_at, NULL, NULL, NULL, o.last_error, NULL,
  CASE o.state WHEN 'pending' THEN o.next_try_at END, o.send_at, o.eno, o.kind_id
FROM outbox o JOIN entries e ON e.eno = o.eno WHERE o.due_at >= coalesce(
  (SELECT o.due_at FROM outbox o WHERE {which_o} ORDER BY o.due_at DESC LIMIT 1 OFFSET ?3 - 1), ?1) AND {which_o}
UNION ALL
SELECT {settled} WHERE h.due_at >= coalesce(
  (SELECT h.due_at FROM history h WHERE {which_h} ORDER BY h.due_at DESC LIMIT 1 OFFSET ?3 - 1), ?1) AND {which_h}"""
OF_TROUBLE = "h.state IN ('failed', 'revoked', 'undelivered')"  # in the words of the index history_trouble
FAILED = f"SELECT {SETTLED} WHERE h.state = 'failed' AND h.finished_at > ? ORDER BY h.finished_at, h.eno, h.due_at LIMIT ?"
GAPS = """
SELECT g.until_at, g.after_at, e.eno, e.name, v.recurrence, v.zone, v.first, v.last, g.reason, g.recorded_at
FROM gaps g JOIN versions v ON v.gid = g.gid AND (g.eno IS NULL OR g.eno = v.eno) JOIN entries e ON e.eno = v.eno
WHERE g.until_at >= ?1 AND {whose} AND v.first <= g.until_at AND (v.last IS NULL OR v.last > g.after_at)
ORDER BY g.until_at DESC, e.name"""

ROWS_BETWEEN = """
SELECT (SELECT count(*) FROM outbox WHERE eno = ?1 AND due_at BETWEEN ?2 AND ?3 AND kind = 'schedule')
  + (SELECT count(*) FROM history WHERE eno = ?1 AND due_at BETWEEN ?2 AND ?3 AND kind = 'schedule')"""


class ReadingSqlite(PlanningSqlite, DispatchingSqlite, RevisionsSqlite):
    """status, entries, history, failures, peek, output."""

    def status(self) -> LedgerStatus:
        with self.reading() as db:
            now = self.clock.now()
            meta = meta_of(db)
            project, owner, revision, digest, activated_at, refused, whole, *counts = db.execute(SUMMARY, (now,)).fetchone()
            runners = db.execute(RUNNERS, (now - SEEN_LATELY,)).fetchall()
        return LedgerStatus(
            where=self.where,
            project=project,
            owner=owner,
            schema=self.schema_known,
            revision=revision,
            digest=digest,
            activated_at=activated_at,
            now=now,
            next_due=counts[0],
            pending=counts[1],
            claimed=counts[2],
            undelivered=counts[3],
            runners=tuple(
                SeenRunner(
                    runner=Runner(id=id_, host=host, pid=pid, role=role, revision=revision_, skew=skew, version=version),
                    seen_at=seen_at,
                )
                for id_, role, host, pid, revision_, skew, version, seen_at in runners
            ),
            refused=refused,
            refused_whole=bool(whole),
            ahead=belief_of(meta).ahead(now),
            waiting=counts[4],
            waits_since=counts[5],
            origin=origin_from_json(counts[6]),
            deployed=bool(counts[7]),
            restored_at=counts[8],
            rewound=None if counts[9] is None else Rewound(at=counts[9], to=counts[10], who=counts[11]),
            looked_at=belief_of(meta).newest,
        )

    def entries(self) -> Sequence[tuple[Entry, DueTime | None]]:
        with self.reading() as db:
            return [(entry_of(definition), last_due) for definition, last_due in db.execute(ENTRIES)]

    def history(
        self, name: str = "", limit: int = 100, since: DueTime | None = None, *, states: Collection[State] = ()
    ) -> Sequence[HistoryRow]:
        from offbeat.ports.ledger_lines import NEVER, has_gaps, line_of, newest_lines

        with self.reading() as db:
            found = db.execute("SELECT eno FROM entries WHERE name = ?", (name,)).fetchone() if name else (None,)
            if found is None or limit < 1:
                return []
            eno, after = found[0], NEVER if since is None else since
            rows = map(line_of, db.execute(_rows(eno, states), (after, eno, limit, *map(str, states))))
            gaps = _gaps(db, eno, after) if has_gaps(states) else ()
            return newest_lines(rows, gaps, partial(_rows_between, db), limit=limit, since=after)

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        from offbeat.ports.ledger_lines import line_of

        with self.reading() as db:
            return [line_of(row) for row in db.execute(FAILED, (since, limit))]

    def peek(self, limit: int) -> tuple[Portion, Sequence[Claim]]:
        with self.reading() as db:
            portion = self.portion(db, limit)
            meta = meta_of(db)
            keys = claimable(db, limit, (), portion.now) if belief_of(meta).holds(portion.now) else []
            return portion, claims(db, keys, meta[0], portion.now)

    def output(self, key: Key) -> bytes | None:
        with self.reading() as db:
            row = db.execute(f"SELECT output FROM outputs WHERE {THIS}", key_tuple(key)).fetchone()
        return row[0] if row else None


def _rows(eno: int | None, states: Collection[State]) -> str:
    """Return the question for the newest rows: ?1 not before, ?2 whose, ?3 how many, ?4... in which states."""
    which = ["{0}.due_at >= ?1", "?2 IS NULL" if eno is None else "{0}.eno = ?2"]
    if states:
        which.append("{0}.state IN (" + ", ".join(f"?{number}" for number in range(4, 4 + len(states))) + ")")
    only = [*which, OF_TROUBLE] if states and TROUBLE.issuperset(states) else which
    return ROWS.format(settled=SETTLED, which_o=" AND ".join(which).format("o"), which_h=" AND ".join(only).format("h"))


def _gaps(db: sqlite3.Connection, eno: int | None, after: DueTime) -> Iterator[StoredGap]:
    """Yield the gaps for each entry in them, newest end first."""
    from offbeat.ports.ledger_lines import StoredGap

    question = GAPS.format(whose="v.eno = ?2" if eno is not None else "?2 IS NULL")
    for until_at, after_at, whose, name, recurrence, zone, first, last, reason, recorded_at in db.execute(
        question, (after, eno)
    ):
        yield StoredGap(
            eno=whose,
            name=name,
            after=after_at,
            until=until_at,
            span=Span(recurrence=recurrence, zone=zone, first=first, last=last),
            reason=Reason(reason),
            recorded_at=recorded_at,
        )


def _rows_between(db: sqlite3.Connection, stretches: Sequence[Stretch]) -> list[int]:
    return [db.execute(ROWS_BETWEEN, stretch).fetchone()[0] for stretch in stretches]
