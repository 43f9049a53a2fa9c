"""The PostgreSQL ledger: the ways back from a wrong future, and from an older state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor
from typing import Any

from offbeat.core.marks import lost, parse_marks
from offbeat.core.model import DueTime, Reason, Timing
from offbeat.core.transitions import Span, as_far_back, bounds, next_due, set_back
from offbeat.ports.ledger_postgres.connection import ALONE, MARKS, MOST_ROWS, Tx
from offbeat.ports.ledger_postgres.pausing import PausingPostgres
from offbeat.ports.ledger_postgres.rows import clean
from offbeat.ports.ledger_values import Runner, Told, clock_not_believed

BEGAN = "SELECT min(valid_from) FROM {s}.versions"
AHEAD = "SELECT gid, cursor FROM {s}.groups WHERE cursor > %(to)s ORDER BY gid FOR UPDATE"
LATER = """
SELECT vno, gid, valid_from, valid_until, recurrence, zone, starts_at, ends_at, enabled FROM {s}.versions
WHERE valid_from > %(to)s + 1 OR valid_until > %(to)s + 1"""
SET_VALIDITY = """
UPDATE {s}.versions v SET valid_from = k.valid_from, valid_until = k.valid_until, first = k.first, last = k.last
FROM unnest(%(vnos)s::bigint[], %(froms)s::bigint[], %(untils)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[])
  AS k(vno, valid_from, valid_until, first, last) WHERE v.vno = k.vno"""
CURSORS = "SELECT gid, least(cursor, %(to)s) FROM {s}.groups WHERE gid = ANY(%(gids)s::bigint[]) ORDER BY gid FOR UPDATE"
EVERY = "SELECT gid, cursor FROM {s}.groups ORDER BY gid FOR UPDATE"
SPANS = """
SELECT gid, recurrence, zone, first, last FROM {s}.versions
WHERE gid = ANY(%(gids)s::bigint[]) AND (last IS NULL OR last >= first) ORDER BY vno"""
SET_GROUPS = """
UPDATE {s}.groups g SET cursor = k.cursor, next_due = k.next_due, version = g.version + %(raised)s
FROM unnest(%(gids)s::bigint[], %(cursors)s::bigint[], %(nexts)s::bigint[]) AS k(gid, cursor, next_due) WHERE g.gid = k.gid"""
UNDO = (
    "DELETE FROM {s}.outbox WHERE due_at > %(to)s AND kind = {schedule} AND attempt = 0",
    "DELETE FROM {s}.history WHERE due_at > %(to)s AND kind = {schedule} AND attempt = 0",
    "DELETE FROM {s}.gaps WHERE after_at >= %(to)s",
    "UPDATE {s}.gaps SET until_at = %(to)s WHERE until_at > %(to)s",
    "UPDATE {s}.entries SET last_due = %(to)s WHERE last_due > %(to)s",
    "UPDATE {s}.meta SET pruned_through = %(to)s WHERE pruned_through > %(to)s",
    "UPDATE {s}.belief SET newest = %(now)s, suspect_at = NULL",
)
REWOUND = "UPDATE {s}.meta SET rewound_at = %(now)s, rewound_to = %(to)s, rewound_by = %(who)s"

RAISE = """
INSERT INTO {s}.marks AS m (slot, seq) SELECT * FROM unnest(%(slots)s::integer[], %(seqs)s::bigint[])
ON CONFLICT (slot) DO UPDATE SET seq = greatest(m.seq, excluded.seq)"""
RESTORED = "UPDATE {s}.meta SET restored_at = %(now)s"
LET_GO = """
UPDATE {s}.slots t SET due_at = NULL, kind = NULL, kind_id = NULL, until_at = NULL FROM {s}.outbox o
WHERE o.eno = t.eno AND o.due_at = t.due_at AND o.kind_id = t.kind_id AND o.send_at <= %(until)s
  AND o.kind = CASE t.kind WHEN 'schedule' THEN {schedule} WHEN 'manual' THEN {manual} ELSE {backfill} END"""
FORGET_ROWS = f"""
WITH gone AS (
  DELETE FROM {{s}}.outbox o
  USING (SELECT eno, due_at, kind, kind_id FROM {{s}}.outbox WHERE send_at <= %(until)s LIMIT {MOST_ROWS}) k
  WHERE o.eno = k.eno AND o.due_at = k.due_at AND o.kind = k.kind AND o.kind_id = k.kind_id
  RETURNING o.eno, o.due_at, o.kind, o.kind_id, o.send_at, o.cause, o.attempt, o.recorded_rev, o.recorded_at, o.command,
    o.last_error)
INSERT INTO {{s}}.history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at,
  command, note)
SELECT eno, due_at, kind, kind_id, nullif(send_at, due_at), cause, {{skipped}}, {{restored}}, nullif(attempt, 1), recorded_rev,
  nullif(%(rev)s, recorded_rev), recorded_at, nullif(command, false), nullif(last_error, '') FROM gone"""
BEHIND = "SELECT gid, next_due FROM {s}.groups WHERE cursor < %(until)s ORDER BY gid FOR UPDATE"
FORGET_SPANS = """
INSERT INTO {s}.gaps (gid, eno, after_at, until_at, reason, who, recorded_at)
SELECT gid, NULL, cursor, %(until)s, %(reason)s, %(who)s, %(now)s FROM {s}.groups
WHERE cursor < %(until)s AND next_due <= %(until)s ORDER BY gid"""
CATCH_UP = "UPDATE {s}.groups SET cursor = %(until)s WHERE cursor < %(until)s"


class MendingPostgres(PausingPostgres):
    """rewind, restored."""

    def rewind(self, to: DueTime, who: str) -> int:
        def work(tx: Tx) -> int:
            ((began,),) = tx.rows(BEGAN)
            return _rewound(tx, as_far_back(to, tx.meta.pruned_through, began, tx.now), who)

        return self.write(work, ALONE)

    def restored(self, runner: Runner, told: Told, *, skip: bool) -> bool:
        def work(tx: Tx) -> bool:
            if not lost(told.marks, parse_marks(tx.rows(MARKS)[0][0])):
                return False
            if skip and not tx.believed:
                raise clock_not_believed(self.where)
            tx.run(RAISE, slots=list(told.marks), seqs=list(told.marks.values()))
            tx.mark(runner.id)
            tx.run(RESTORED, now=tx.now)
            if skip:
                _forget(tx, runner, floor(min(tx.now, told.heard_at)))
            return True

        return self.write(work, ALONE)


def _rewound(tx: Tx, to: DueTime, who: str) -> int:
    moved = {gid for gid, _ in tx.rows(AHEAD, to=to)}
    touched = sorted(moved | _set_versions_back(tx, to))
    cursors: dict[int, DueTime] = dict(tx.rows(CURSORS, gids=touched, to=to)) if touched else {}
    _set_groups(tx, cursors, raised=1)
    for statement in UNDO:
        tx.run(statement, **({"to": to} if "%(to)s" in statement else {"now": tx.now}))
    tx.run(REWOUND, now=tx.now, to=to, who=clean(who))
    tx.mark(who)
    return len(moved)


def _set_versions_back(tx: Tx, to: DueTime) -> set[int]:
    """Set the validity of later versions back; return their groups."""
    rows = tx.rows(LATER, to=to)
    changed: list[tuple[int, int, int | None, int, int | None]] = []
    gids = set()
    for vno, gid, valid_from, valid_until, recurrence, zone, starts_at, ends_at, enabled in rows:
        timing = Timing(recurrence=recurrence, zone=zone, starts_at=starts_at, ends_at=ends_at, enabled=enabled)
        validity = set_back((valid_from, valid_until), to, tx.now)
        if validity == (valid_from, valid_until):
            continue
        gids |= {gid} - {None}
        changed.append((vno, *validity, *bounds(timing, *validity)))
    if changed:
        columns = zip(("vnos", "froms", "untils", "firsts", "lasts"), zip(*changed, strict=True), strict=True)
        tx.run(SET_VALIDITY, **{name: list(values) for name, values in columns})
    return gids


def _set_groups(tx: Tx, cursors: dict[int, DueTime], *, raised: int) -> None:
    """Move the groups to these cursors; next_due follows from their versions."""
    if not cursors:
        return
    spans: dict[int, list[Span]] = {gid: [] for gid in cursors}
    for gid, recurrence, zone, first, last in tx.rows(SPANS, gids=list(cursors)):
        spans[gid].append(Span(recurrence=recurrence, zone=zone, first=first, last=last))
    nexts = [next_due(spans[gid], cursor) for gid, cursor in cursors.items()]
    tx.run(SET_GROUPS, gids=list(cursors), cursors=list(cursors.values()), nexts=nexts, raised=raised)


def work_out_anew(tx: Tx) -> None:
    """Find the next due time of every group by the rules of this host, and raise its version."""
    _set_groups(tx, dict(tx.rows(EVERY)), raised=1)


def _forget(tx: Tx, runner: Runner, until: DueTime) -> None:
    """Skip what is in the outbox, and what is due and not decided, if it was to be sent by `until`."""
    tx.run(LET_GO, until=until)
    while tx.run(FORGET_ROWS, rev=tx.meta.revision, until=until) == MOST_ROWS:
        pass
    behind: Iterable[Sequence[Any]] = tx.rows(BEHIND, until=until)
    due = {gid: until for gid, soonest in behind if soonest is not None and soonest <= until}
    tx.run(FORGET_SPANS, until=until, reason=str(Reason.RESTORED), who=runner.id, now=tx.now)
    tx.run(CATCH_UP, until=until)
    _set_groups(tx, due, raised=0)
