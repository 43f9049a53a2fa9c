"""The PostgreSQL ledger, for runners: what was planned is written, by compare and set for each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from offbeat.core.batches import batches
from offbeat.core.model import Key, Lane
from offbeat.ports.ledger_postgres.claims import claims, held_by, hold
from offbeat.ports.ledger_postgres.codes import CODES
from offbeat.ports.ledger_postgres.connection import MOST_ROWS, TOGETHER, Tx
from offbeat.ports.ledger_postgres.planning import PlanningPostgres
from offbeat.ports.ledger_postgres.rows import find, save
from offbeat.ports.ledger_postgres.slots import GOES, Slots
from offbeat.ports.ledger_values import LEASE, Claim, Runner

if TYPE_CHECKING:
    from offbeat.core.plan import PlannedRow, Window

# A group that somebody holds is left out, as if its compare-and-set were lost: nobody waits for a runner that stands still.
LOCK_GROUPS = """
SELECT gid, cursor, version FROM {s}.groups WHERE gid = ANY(%(gids)s::bigint[])
ORDER BY gid FOR NO KEY UPDATE SKIP LOCKED"""
MOVE_CURSORS = """
UPDATE {s}.groups g SET cursor = k.cursor, next_due = k.next_due
FROM unnest(%(gids)s::bigint[], %(cursors)s::bigint[], %(nexts)s::bigint[]) AS k(gid, cursor, next_due) WHERE g.gid = k.gid"""
LAST_DUE = """
WITH mine AS MATERIALIZED (
  SELECT k.eno, k.due_at FROM unnest(%(enos)s::bigint[], %(dues)s::bigint[]) AS k(eno, due_at)
  CROSS JOIN LATERAL (SELECT 1 FROM {s}.entries e WHERE e.eno = k.eno FOR NO KEY UPDATE) e)
UPDATE {s}.entries e SET last_due = greatest(e.last_due, mine.due_at) FROM mine WHERE e.eno = mine.eno"""
ADD_GAPS = """
INSERT INTO {s}.gaps (gid, eno, after_at, until_at, reason, who, recorded_at)
SELECT k.*, %(who)s, %(now)s FROM unnest(%(gids)s::bigint[], %(enos)s::bigint[], %(afters)s::bigint[], %(untils)s::bigint[],
  %(reasons)s::text[]) AS k(gid, eno, after_at, until_at, reason)"""
# Whoever moves one of these rows from the outbox to history just now is waited for, so that the next statement sees it there.
MEET = """
SELECT 1 FROM unnest(%(enos)s::bigint[], %(dues)s::bigint[]) AS k(eno, due_at)
CROSS JOIN LATERAL (SELECT 1 FROM {s}.outbox o
  WHERE o.eno = k.eno AND o.due_at = k.due_at AND o.kind = {schedule} AND o.kind_id = '' FOR KEY SHARE) o"""
ADD_ROWS = """
INSERT INTO {s}.outbox (eno, due_at, kind, kind_id, send_at, lane, cause, next_try_at, recorded_rev, recorded_at,
  state, owner, attempt, lease_until, expires_at, command)
SELECT k.eno, k.due_at, {schedule}, '', k.send_at, k.lane, k.cause, k.send_at, %(rev)s, %(now)s,
  CASE WHEN k.held THEN {claimed} ELSE {pending} END, CASE WHEN k.held THEN %(owner)s::text ELSE '' END,
  CASE WHEN k.held THEN 1 ELSE 0 END, CASE WHEN k.held THEN %(lease)s::float8 ELSE 0 END,
  CASE WHEN k.held THEN %(now)s::float8 + v.expires END, k.held AND coalesce(v.command, false)
FROM unnest(%(enos)s::bigint[], %(dues)s::bigint[], %(sends)s::bigint[], %(lanes)s::smallint[], %(causes)s::smallint[],
  %(holds)s::boolean[]) AS k(eno, due_at, send_at, lane, cause, held)
LEFT JOIN LATERAL (SELECT * FROM {s}.versions v WHERE v.eno = k.eno AND v.valid_until IS NULL LIMIT 1) v ON true
LEFT JOIN LATERAL (SELECT true AS is_there FROM {s}.history h WHERE h.eno = k.eno AND h.due_at = k.due_at
  AND h.kind = {schedule} AND h.kind_id = '' AND h.due_at BETWEEN %(low)s AND %(high)s LIMIT 1) h ON true
WHERE h.is_there IS NULL
ON CONFLICT DO NOTHING RETURNING eno, due_at"""
ADD_SKIPS = """
INSERT INTO {s}.history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, recorded_at)
SELECT k.eno, k.due_at, {schedule}, '', nullif(k.send_at, k.due_at), k.cause, {skipped}, k.reason, 0, %(rev)s, %(now)s
FROM unnest(%(enos)s::bigint[], %(dues)s::bigint[], %(sends)s::bigint[], %(causes)s::smallint[], %(reasons)s::smallint[])
  AS k(eno, due_at, send_at, cause, reason)
LEFT JOIN LATERAL (SELECT true AS is_there FROM {s}.outbox o WHERE o.eno = k.eno AND o.due_at = k.due_at
  AND o.kind = {schedule} AND o.kind_id = '' LIMIT 1) o ON true
WHERE o.is_there IS NULL
ON CONFLICT DO NOTHING RETURNING eno, due_at"""


class RecordingPostgres(PlanningPostgres):
    """record."""

    def record(self, runner: Runner, windows: Sequence[Window], revision: int) -> Sequence[Claim]:
        claimed: list[Claim] = []
        for some in batches(windows, MOST_ROWS):
            self.ensure(row.due_at for window in some for row in window.rows)
            claimed.extend(self.write(lambda tx, some=some: _record(tx, runner, some, revision), TOGETHER))  # type: ignore[misc]
        return claimed


def _record(tx: Tx, runner: Runner, windows: Sequence[Window], revision: int) -> list[Claim]:
    accepted = _accepted(tx, windows) if tx.meta.revision == revision and tx.believed else []
    mine = {id(window) for window in accepted}
    born: set[Key] = set()
    if accepted:
        tx.mark(runner.id)
        _move(tx, accepted)
        _add_gaps(tx, runner, accepted)
        born = add_planned(tx, runner, [row for window in accepted for row in window.rows])
    others = [_key(row) for window in windows if id(window) not in mine for row in window.rows]
    held = set(held_by(tx, runner, others))
    tx.is_idle = not accepted
    return claims(tx, [key for window in windows for key in map(_key, window.rows) if key in born or key in held])


def _key(row: PlannedRow) -> Key:
    return Key(eno=row.eno, due_at=row.due_at)


def _accepted(tx: Tx, windows: Sequence[Window]) -> list[Window]:
    """Lock the groups and return the windows that are still as they were planned."""
    gids = sorted({window.gid for window in windows})
    standing = {gid: (cursor, version) for gid, cursor, version in tx.rows(LOCK_GROUPS, gids=gids)}
    accepted = []
    for window in windows:
        if standing.get(window.gid) == (window.after, window.version) and window.after <= window.until <= tx.now:
            standing[window.gid] = (window.until, window.version)
            accepted.append(window)
    return accepted


def _move(tx: Tx, windows: Sequence[Window]) -> None:
    last = {window.gid: window for window in windows}
    tx.later(
        MOVE_CURSORS,
        gids=list(last),
        cursors=[window.until for window in last.values()],
        nexts=[window.next_due for window in last.values()],
    )


def _add_gaps(tx: Tx, runner: Runner, windows: Sequence[Window]) -> None:
    gaps = [(window.gid, gap) for window in windows for gap in window.gaps]
    if gaps:
        tx.later(
            ADD_GAPS,
            who=runner.id,
            now=tx.now,
            gids=[gid for gid, _ in gaps],
            enos=[gap.eno for _, gap in gaps],
            afters=[gap.after for _, gap in gaps],
            untils=[gap.until for _, gap in gaps],
            reasons=[str(gap.reason) for _, gap in gaps],
        )


def _meet(tx: Tx, rows: Sequence[PlannedRow]) -> None:
    keys = sorted((row.eno, row.due_at) for row in rows)
    tx.later(MEET, enos=[eno for eno, _ in keys], dues=[due_at for _, due_at in keys])


def add_planned(tx: Tx, runner: Runner, rows: Sequence[PlannedRow]) -> set[Key]:
    """Write planned rows whose keys are new; return those that are the runner's now."""
    if not rows:
        return set()
    last: dict[int, int] = {}
    for row in rows:
        last[row.eno] = max(row.due_at, last.get(row.eno, row.due_at))
    tx.later(LAST_DUE, enos=sorted(last), dues=[last[eno] for eno in sorted(last)])
    sends, skips = [row for row in rows if not row.reason], [row for row in rows if row.reason]
    slots = Slots(tx, (row.eno for row in sends))
    _meet(tx, rows)
    if skips:
        tx.later(ADD_SKIPS, **_common(tx, skips, tx.meta.revision), reasons=[CODES[row.reason] for row in skips])
    return _add_sends(tx, runner, sends, slots) if sends else set()


def add_unclaimed(tx: Tx, rows: Sequence[PlannedRow], revision: int) -> None:
    """Write rows whose keys are new, as pending, or skipped where they have a reason."""
    _meet(tx, rows)
    sends, skips = [row for row in rows if not row.reason], [row for row in rows if row.reason]
    added: list[tuple[int, int]] = []
    if skips:
        added = tx.rows(ADD_SKIPS, **_common(tx, skips, revision), reasons=[CODES[row.reason] for row in skips])
    if sends:
        dues = [row.due_at for row in sends]
        unclaimed = {"lanes": [int(row.lane) for row in sends], "holds": [False] * len(sends), "owner": "", "lease": 0.0}
        added += tx.rows(ADD_ROWS, **_common(tx, sends, revision), **unclaimed, low=min(dues), high=max(dues))
    last: dict[int, int] = {}
    for eno, due_at in added:
        last[eno] = max(due_at, last.get(eno, due_at))
    tx.later(LAST_DUE, enos=sorted(last), dues=[last[eno] for eno in sorted(last)])


def _common(tx: Tx, rows: Sequence[PlannedRow], revision: int) -> dict[str, Any]:
    return {
        "rev": revision,
        "now": tx.now,
        "enos": [row.eno for row in rows],
        "dues": [row.due_at for row in rows],
        "sends": [row.send_at for row in rows],
        "causes": [CODES[row.cause] for row in rows],
    }


def _add_sends(tx: Tx, runner: Runner, rows: Sequence[PlannedRow], slots: Slots) -> set[Key]:
    due_now = {_key(row) for row in rows if row.lane is Lane.LIVE and row.send_at <= tx.now}
    added = tx.rows(
        ADD_ROWS,
        **_common(tx, rows, tx.meta.revision),
        lanes=[int(row.lane) for row in rows],
        holds=[_key(row) in due_now and row.eno not in slots for row in rows],
        owner=runner.id,
        lease=tx.now + LEASE,
        low=min(row.due_at for row in rows),
        high=max(row.due_at for row in rows),
    )
    new = {Key(eno=eno, due_at=due_at) for eno, due_at in added}
    slotted = [_key(row) for row in rows if row.eno in slots and _key(row) in new & due_now]
    begun = begin(tx, runner, slotted, slots)
    return {key for key in new & due_now if key.eno not in slots} | begun


def begin(tx: Tx, runner: Runner, keys: Sequence[Key], slots: Slots) -> set[Key]:
    """Give rows whose entries have slots to the runner, one after the other; the others are skipped or wait."""
    if not keys:
        return set()
    rows = find(tx, keys)
    slots.join(rows)
    going = [key for key in keys if slots.turn(rows[key]) in GOES]
    save(tx, {**slots.others, **rows}.values())
    slots.save()
    hold(tx, runner, going)
    return set(going)
