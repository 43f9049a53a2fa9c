"""Rows of outbox and history, found and locked by their keys, and written back by the batch. Shared by the operations.

What becomes of a row is decided elsewhere; here it is only moved to where its state belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from offbeat.core.identity import fingerprint
from offbeat.core.model import TROUBLE, DueTime, Instant, Key, Reason, State
from offbeat.ports.ledger_postgres.codes import CODES, kind_of, reason_of, state_of
from offbeat.ports.ledger_postgres.connection import Tx

T = TypeVar("T")

UNSETTLED = (State.PENDING, State.WAITING, State.CLAIMED)
RUNNING = (State.DISPATCHED, State.STARTED, State.RETRYING)

_KEY_ARRAYS = "%(enos)s::bigint[], %(dues)s::bigint[], %(kinds)s::smallint[], %(ids)s::text[]"
KEYS = f"unnest({_KEY_ARRAYS})"
ON_KEY = "{0}.eno = k.eno AND {0}.due_at = k.due_at AND {0}.kind = k.kind AND {0}.kind_id = k.kind_id"
BETWEEN = "h.due_at BETWEEN %(low)s AND %(high)s"  # tells the planner which partitions there are to look at

# Subqueries that lock are not joined in another order: each key, in the order of the keys, is one look into an index, however
# little the planner knows of a table that was made this minute.
IN_OUTBOX = f"""
SELECT o.eno, o.due_at, o.kind, o.kind_id, o.state, NULL, o.attempt, o.command, o.send_at, o.lane, o.next_try_at, o.owner,
  NULL, o.waited, o.last_error, NULL, NULL, NULL, NULL, NULL, e.name
FROM {KEYS} AS k(eno, due_at, kind, kind_id)
CROSS JOIN LATERAL (SELECT * FROM {{s}}.outbox o WHERE {ON_KEY.format("o")} FOR UPDATE) o
JOIN {{s}}.entries e ON e.eno = o.eno"""
IN_HISTORY = f"""
SELECT h.eno, h.due_at, h.kind, h.kind_id, h.state, h.reason, coalesce(h.attempt, 1), coalesce(h.command, false),
  coalesce(h.send_at, h.due_at), 0, 0, '', h.teller, false, coalesce(h.note, ''), h.task_id, h.dispatched_at, h.started_at,
  h.finished_at, h.exit_status, ''
FROM {KEYS} AS k(eno, due_at, kind, kind_id)
CROSS JOIN LATERAL (SELECT * FROM {{s}}.history h WHERE {ON_KEY.format("h")} AND {BETWEEN} FOR UPDATE) h"""

_SETTLED = f"""\
unnest({_KEY_ARRAYS}, %(states)s::smallint[], %(reasons)s::smallint[], %(notes)s::text[], %(tasks)s::text[],
  %(tellers)s::bigint[], %(dispatched)s::float8[], %(started)s::float8[], %(finished)s::float8[], %(exits)s::integer[],
  %(outputs)s::bytea[]) AS k(eno, due_at, kind, kind_id, state, reason, note, task_id, teller, dispatched_at, started_at,
  finished_at, exit_status, output)"""
MOVE = f"""
WITH gone AS (
  DELETE FROM {{s}}.outbox o USING {_SETTLED} WHERE {ON_KEY.format("o")}
  RETURNING o.eno, o.due_at, o.kind, o.kind_id, o.send_at, o.cause, k.state, k.reason, o.attempt, o.recorded_rev,
    o.recorded_at, k.dispatched_at, k.started_at, k.finished_at, k.task_id, k.teller, o.command, k.note, k.exit_status,
    k.output)
INSERT INTO {{s}}.history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev,
  recorded_at, dispatched_at, started_at, finished_at, task_id, teller, command, note, exit_status, output)
SELECT eno, due_at, kind, kind_id, nullif(send_at, due_at), cause, state, reason, nullif(attempt, 1), recorded_rev,
  nullif(%(rev)s, recorded_rev), recorded_at, dispatched_at, started_at, finished_at, task_id, teller, nullif(command, false),
  note, exit_status, output FROM gone"""
# The rows are there, and locked: this never inserts. It is an UPDATE that finds each row by its key, whatever is estimated.
TELL = f"""
INSERT INTO {{s}}.history AS h (eno, due_at, kind, kind_id, cause, state, reason, recorded_rev, recorded_at, dispatched_at,
  started_at, finished_at, task_id, teller, note, exit_status, output)
SELECT eno, due_at, kind, kind_id, 0, state, reason, 0, 0, dispatched_at, started_at, finished_at, task_id, teller,
  note, exit_status, output
FROM {_SETTLED}
ON CONFLICT (eno, due_at, kind, kind_id) DO UPDATE SET state = excluded.state, reason = excluded.reason, note = excluded.note,
  task_id = excluded.task_id, teller = excluded.teller, dispatched_at = excluded.dispatched_at,
  started_at = excluded.started_at, finished_at = excluded.finished_at, exit_status = excluded.exit_status,
  output = coalesce(excluded.output, h.output)"""
KEEP = f"""
UPDATE {{s}}.outbox o SET state = k.state, owner = k.owner, next_try_at = k.next_try_at, lane = k.lane, waited = k.waited,
  last_error = k.note
FROM unnest({_KEY_ARRAYS}, %(states)s::smallint[], %(owners)s::text[], %(tries)s::float8[], %(lanes)s::smallint[],
  %(waiteds)s::boolean[], %(notes)s::text[])
  AS k(eno, due_at, kind, kind_id, state, owner, next_try_at, lane, waited, note)
WHERE {ON_KEY.format("o")}"""
NO_TROUBLE = f"DELETE FROM {{s}}.trouble t USING {KEYS} AS k(eno, due_at, kind, kind_id) WHERE {ON_KEY.format('t')}"
TROUBLED = f"""
INSERT INTO {{s}}.trouble (eno, due_at, kind, kind_id, state, at)
SELECT * FROM unnest({_KEY_ARRAYS}, %(states)s::smallint[], %(instants)s::float8[])
ON CONFLICT (eno, due_at, kind, kind_id) DO UPDATE SET state = excluded.state, at = excluded.at"""
NOT_LIVE = f"DELETE FROM {{s}}.live t USING {KEYS} AS k(eno, due_at, kind, kind_id) WHERE {ON_KEY.format('t')}"
LIVE = f"""
INSERT INTO {{s}}.live AS l (eno, due_at, kind, kind_id, owner, alive_at)
SELECT * FROM unnest({_KEY_ARRAYS}, %(owners)s::text[], %(instants)s::float8[])
ON CONFLICT (eno, due_at, kind, kind_id)
DO UPDATE SET owner = coalesce(nullif(excluded.owner, ''), l.owner), alive_at = excluded.alive_at"""


@dataclass(slots=True, kw_only=True)
class Row:
    """A row as it is found and as it is to become. was: its state as it was found. output: None to leave what there is.

    owner: who holds it, "" where it is found in history. teller: who gave the last report. name: of the entry, of a row in
    the outbox. task_id: None where it is none, or what follows from the occurrence.
    """

    key: Key
    was: State
    state: State
    reason: Reason
    attempt: int
    is_command: bool
    send_at: DueTime
    lane: int
    next_try_at: Instant
    owner: str
    teller: int | None
    waited: bool
    note: str
    task_id: str | None
    dispatched_at: Instant | None
    started_at: Instant | None
    finished_at: Instant | None
    exit_status: int | None
    name: str
    in_outbox: bool
    output: bytes | None = None
    is_changed: bool = False


def key_of(values: Sequence[Any]) -> Key:
    """Return the key that a row's first four values are."""
    eno, due_at, kind, kind_id = values[:4]
    return Key(eno=eno, due_at=due_at, kind=kind_of(kind), kind_id=kind_id)


def key_columns(keys: Iterable[Key]) -> dict[str, Any]:
    """Return the values for KEYS, and what BETWEEN asks."""
    keys = list(keys)
    dues = [key.due_at for key in keys]
    return {
        "enos": [key.eno for key in keys],
        "dues": dues,
        "kinds": [CODES[key.kind] for key in keys],
        "ids": [key.kind_id for key in keys],
        "low": min(dues, default=0),
        "high": max(dues, default=0),
    }


@lru_cache(maxsize=1024)
def teller_of(owner: str) -> int:
    """Return the number by which history remembers who gave a report: their ids are long, and only ever compared."""
    return int(fingerprint(owner.encode("utf-8", "surrogateescape"))[:16], 16) - 2**63


def clean(text: str) -> str:
    """Return text as PostgreSQL can keep it: without NUL, and no half of a pair of surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def find(tx: Tx, keys: Sequence[Key]) -> dict[Key, Row]:
    """Lock the rows of these keys, wherever they are, and return them. Waits for whoever moves one of them just now."""
    keys = sorted(keys)
    found = {key_of(row): _row(row, in_outbox=True) for row in tx.rows(IN_OUTBOX, **_only(key_columns(keys)))}
    missing = [key for key in keys if key not in found]
    if missing:
        found |= {key_of(row): _row(row, in_outbox=False) for row in tx.rows(IN_HISTORY, **key_columns(missing))}
    return found


def _only(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in ("enos", "dues", "kinds", "ids")}


def _row(values: Sequence[Any], *, in_outbox: bool) -> Row:
    state, reason, attempt, command, send_at, lane, next_try_at, owner, teller, waited, note, task_id, *others = values[4:]
    return Row(
        key=key_of(values),
        was=state_of(state),
        state=state_of(state),
        reason=reason_of(reason),
        attempt=attempt,
        is_command=command,
        send_at=send_at,
        lane=lane,
        next_try_at=next_try_at,
        owner=owner,
        teller=teller,
        waited=waited,
        note=note,
        task_id=task_id,
        dispatched_at=others[0],
        started_at=others[1],
        finished_at=others[2],
        exit_status=others[3],
        name=others[4],
        in_outbox=in_outbox,
    )


def save(tx: Tx, rows: Iterable[Row]) -> None:
    """Write the changed ones back: into the outbox, from there into history, or in history."""
    changed = [row for row in rows if row.is_changed]
    kept = [row for row in changed if row.state in UNSETTLED]
    moved = [row for row in changed if row.in_outbox and row.state not in UNSETTLED]
    told = [row for row in changed if not row.in_outbox]
    if kept:
        tx.later(KEEP, **_kept(kept))
    if moved:
        tx.later(MOVE, **_settled(moved), rev=tx.meta.revision)
    if told:
        tx.later(TELL, **_settled(told))
    _note_trouble(tx, moved + told)
    _note_life(tx, moved + told)


def _kept(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        **_only(key_columns(row.key for row in rows)),
        "states": [CODES[row.state] for row in rows],
        "owners": [row.owner for row in rows],
        "tries": [float(row.next_try_at) for row in rows],
        "lanes": [int(row.lane) for row in rows],
        "waiteds": [row.waited for row in rows],
        "notes": [clean(row.note) for row in rows],
    }


def _settled(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        **_only(key_columns(row.key for row in rows)),
        "states": [CODES[row.state] for row in rows],
        "reasons": [CODES[row.reason] for row in rows],
        "notes": [clean(row.note) or None for row in rows],
        "tasks": [row.task_id for row in rows],
        "tellers": [row.teller for row in rows],
        "dispatched": [row.dispatched_at for row in rows],
        "started": [row.started_at for row in rows],
        "finished": [row.finished_at for row in rows],
        "exits": [row.exit_status for row in rows],
        "outputs": [row.output for row in rows],
    }


def _note_trouble(tx: Tx, rows: Sequence[Row]) -> None:
    """Keep the list of what failed or was not delivered."""
    over = [row.key for row in rows if row.was in TROUBLE and row.state not in TROUBLE]
    if over:
        tx.later(NO_TROUBLE, **_only(key_columns(over)))
    new = [row for row in rows if row.state in TROUBLE]
    if new:
        instants = [row.finished_at or tx.now for row in new]
        columns = _only(key_columns(row.key for row in new))
        tx.later(TROUBLED, **columns, states=[CODES[row.state] for row in new], instants=instants)


def _note_life(tx: Tx, rows: Sequence[Row]) -> None:
    """Keep the list of commands that were sent and have not ended."""
    over = [row.key for row in rows if row.is_command and row.was in RUNNING and row.state not in RUNNING]
    if over:
        tx.later(NOT_LIVE, **_only(key_columns(over)))
    new = [row for row in rows if row.is_command and row.state in RUNNING]
    if new:
        instants = [max(row.dispatched_at or 0.0, row.started_at or 0.0) for row in new]
        columns = _only(key_columns(row.key for row in new))
        tx.later(LIVE, **columns, owners=[row.owner for row in new], instants=instants)


def rounds(items: Sequence[T], keys: Sequence[Key], most: int) -> Iterator[list[T]]:
    """Yield the items in batches of at most `most`, no key twice in one, so that the second finds what the first wrote."""
    batch: list[T] = []
    seen: set[Key] = set()
    for item, key in zip(items, keys, strict=True):
        if key in seen or len(batch) >= most:
            yield batch
            batch, seen = [], set()
        batch.append(item)
        seen.add(key)
    if batch:
        yield batch
