"""Claims: rows held under a lease, with the definition that applies now. Shared by the operations of this store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from offbeat.core.model import (
    DueTime,
    Key,
    Kind,
    Policy,
)
from offbeat.core.transitions import Span
from offbeat.ports.ledger_claims import PauseRow, claim_of, is_paused, pauses_of, policy_of
from offbeat.ports.ledger_postgres.codes import cause_of
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.line import Rows
from offbeat.ports.ledger_postgres.rows import KEYS, ON_KEY, key_columns, key_of
from offbeat.ports.ledger_values import LEASE, Claim, Runner

HOLD = f"""
UPDATE {{s}}.outbox o SET state = {{claimed}}, owner = %(owner)s, attempt = o.attempt + 1, lease_until = %(lease)s,
  expires_at = coalesce(o.expires_at, %(now)s + CASE WHEN o.call IS NOT NULL THEN o.expires ELSE v.expires END),
  command = CASE WHEN o.call IS NOT NULL THEN o.command ELSE coalesce(v.command, o.command) END
FROM {KEYS} AS k(eno, due_at, kind, kind_id)
LEFT JOIN LATERAL (SELECT * FROM {{s}}.versions v WHERE v.eno = k.eno AND v.valid_until IS NULL LIMIT 1) v ON true
WHERE {ON_KEY.format("o")}"""
CLAIMS = f"""
SELECT o.eno, o.due_at, o.kind, o.kind_id, e.name, o.send_at, o.lane, o.cause, o.attempt, o.lease_until, o.expires_at,
  o.last_error, o.call, o.waited, v.definition, v.recurrence, v.zone, v.starts_at, v.ends_at, v.enabled, v.catch_up, v.grace,
  v.jitter, v.jitter_percent, v.overlap, v.max_runtime
FROM {KEYS} WITH ORDINALITY
  AS k(eno, due_at, kind, kind_id, place)
CROSS JOIN LATERAL (SELECT * FROM {{s}}.outbox o WHERE {ON_KEY.format("o")} LIMIT 1) o
JOIN {{s}}.entries e ON e.eno = o.eno
LEFT JOIN LATERAL (SELECT * FROM {{s}}.versions v WHERE v.eno = o.eno AND v.valid_until IS NULL LIMIT 1) v ON true
ORDER BY k.place"""
HELD = f"""
SELECT o.eno, o.due_at, o.kind, o.kind_id
FROM {KEYS} AS k(eno, due_at, kind, kind_id)
CROSS JOIN LATERAL (SELECT * FROM {{s}}.outbox o WHERE {ON_KEY.format("o")} LIMIT 1) o
WHERE o.state = {{claimed}} AND o.owner = %(owner)s AND o.lease_until > %(now)s"""
SPANS = """
SELECT eno, recurrence, zone, first, last FROM {s}.versions
WHERE eno = ANY(%(enos)s::bigint[]) AND gid IS NOT NULL AND (last IS NULL OR (last >= first AND last > %(after)s))
ORDER BY vno"""
PAUSES = "SELECT eno, from_at, until_at, once FROM {s}.pauses ORDER BY id"


def four(keys: Iterable[Key]) -> dict[str, Any]:
    """Return the values for KEYS."""
    columns = key_columns(keys)
    return {name: columns[name] for name in ("enos", "dues", "kinds", "ids")}


def hold(tx: Tx, runner: Runner, keys: Sequence[Key]) -> None:
    """Give the rows to the runner: a new attempt, a new lease."""
    if keys:
        tx.later(HOLD, **four(keys), owner=runner.id, lease=tx.now + LEASE, now=tx.now)


def held_by(tx: Tx, runner: Runner, keys: Sequence[Key]) -> list[Key]:
    """Return those of the keys that the runner holds, in the order in which they are given."""
    if not keys:
        return []
    found = {key_of(row) for row in tx.rows(HELD, **four(keys), owner=runner.id, now=tx.now)}
    return [key for key in keys if key in found]


def all_pauses(tx: Tx) -> list[PauseRow]:
    """Return all pauses, in the order in which they were made."""
    return pauses_in(tx.rows(PAUSES))


def pauses_in(rows: Rows) -> list[PauseRow]:
    """Return the answer to PAUSES."""
    return [(eno, start, end, once) for eno, start, end, once in rows]


def claims(tx: Tx, keys: Sequence[Key]) -> list[Claim]:
    """Return the rows as claims, in the order of the keys, with the definition that applies now."""
    if not keys:
        return []
    scheduled = [key for key in keys if key.kind is Kind.SCHEDULE]
    enos = sorted({key.eno for key in scheduled})
    after = min((key.due_at for key in scheduled), default=0)
    paused, spans, rows = tx.together((PAUSES, {}), (SPANS, {"enos": enos, "after": after}), (CLAIMS, four(keys)))
    pauses = pauses_in(paused)
    upcoming = _Upcoming(spans, pauses)
    return [_claim(tx, row, pauses, upcoming) for row in rows]


def _claim(tx: Tx, row: tuple[Any, ...], pauses: list[PauseRow], upcoming: _Upcoming) -> Claim:
    key = key_of(row)
    name, send_at, lane, cause, *columns = row[4:20]
    present = row[14] is not None
    return claim_of(
        key,
        (name, send_at, lane, cause_of(cause), *columns),
        policy=policy_of(tuple(row[20:])) if present else Policy(),
        revision=tx.meta.revision,
        next_due=upcoming.after(key) if present else None,
        paused=is_paused(pauses, key.eno, tx.now),
    )


class _Upcoming:
    """When the entries of some claims are due next. Entries with equal versions and pauses are worked out once."""

    def __init__(self, spans: Rows, pauses: list[PauseRow]) -> None:
        self._pauses = pauses
        self._spans: dict[int, list[Span]] = {}
        self._known: dict[tuple[object, ...], DueTime | None] = {}
        for eno, recurrence, zone, first, last in spans:
            self._spans.setdefault(eno, []).append(Span(recurrence=recurrence, zone=zone, first=first, last=last))

    def after(self, key: Key) -> DueTime | None:
        """Return the entry's next usable due time after the key's, None without, and for what is not of its schedule."""
        if key.kind is not Kind.SCHEDULE:
            return None
        from offbeat.core.transitions import usable_after

        spans = [span for span in self._spans.get(key.eno, ()) if span.last is None or span.last > key.due_at]
        pauses = pauses_of(self._pauses, key.eno, key.due_at)
        likeness = (tuple(spans), pauses, key.due_at)
        if likeness not in self._known:
            self._known[likeness] = usable_after(spans, key.due_at, pauses)
        return self._known[likeness]
