"""The PostgreSQL ledger: what is too old, too many, too large goes: by the row in small steps, by the day where it is much."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Any

from offbeat.core.model import DueTime, LedgerSettings
from offbeat.core.transitions import KEPT_BEHIND, never_above, prunable
from offbeat.ports.ledger import KEEP
from offbeat.ports.ledger_postgres.claims import four
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.days import DAY, Days, days_present
from offbeat.ports.ledger_postgres.rows import KEYS, NO_TROUBLE, NOT_LIVE, ON_KEY, key_columns, key_of
from offbeat.ports.ledger_values import SEEN_LATELY

ROW_BYTES = 250  # that a row counts for, besides its output
DROP = 10_000  # rows of a day that goes as a whole: its partition is dropped, however many rows were asked for
LARGE = 4_000_000  # bytes of a partition that counts as large as its files

SOONEST = "SELECT min(next_due) FROM {s}.groups WHERE next_due IS NOT NULL"
RAISE = "UPDATE {s}.meta SET pruned_through = greatest(pruned_through, %(through)s)"
# What is backfilled is kept from its record on, all else from its due time; that is the last column.
OLDEST = """
SELECT eno, due_at, kind, kind_id, coalesce(octet_length(output), 0), due_at::float8 FROM {s}.history h
WHERE due_at <= %(top)s AND kind <> {backfill} ORDER BY h.due_at, h.eno, h.kind, h.kind_id LIMIT %(limit)s"""
OLDEST_BACKFILLED = """
SELECT eno, due_at, kind, kind_id, coalesce(octet_length(output), 0), recorded_at FROM {s}.history h
WHERE recorded_at <= %(top)s AND kind = {backfill} ORDER BY h.recorded_at, h.eno, h.due_at, h.kind_id LIMIT %(limit)s"""
FORGET = f"""
DELETE FROM {{s}}.history h USING {KEYS} AS k(eno, due_at, kind, kind_id)
WHERE {ON_KEY.format("h")} AND h.due_at BETWEEN %(low)s AND %(high)s"""
END_GAPS = """
DELETE FROM {s}.gaps WHERE id IN (SELECT id FROM {s}.gaps WHERE until_at <= %(old)s ORDER BY until_at, id LIMIT %(limit)s)"""
END_OTHERS = (
    "DELETE FROM {s}.pauses WHERE until_at <= %(old)s",
    # An attempt is remembered for as long as its message may still come.
    f"""
    DELETE FROM {{s}}.admitted WHERE admitted_at <= least(%(old)s, %(now)s - (SELECT {KEPT_BEHIND} +
      greatest(0, max(v.grace), max(v.expires)) FROM {{s}}.versions v))""",
    f"""
    DELETE FROM {{s}}.runners r WHERE r.seen_at < %(now)s - {SEEN_LATELY}
      AND NOT EXISTS (SELECT 1 FROM {{s}}.live l WHERE l.owner = r.id)""",
)
PARTITIONS = """
SELECT c.relname, greatest(c.reltuples, 0)::bigint, pg_relation_size(c.oid), pg_total_relation_size(c.oid)
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %(history)s::regclass"""
COUNT = "SELECT count(*), coalesce(sum(octet_length(output)), 0)::bigint FROM {s}.%(name)s"
IN_OUTBOX = "SELECT count(*) FROM {s}.outbox"
# A day goes as a whole only if nothing in it is younger than the day, and than all that is too old.
YOUNGER = "kind = {backfill} AND recorded_at > %(age)d"
IS_MUCH = f"""
SELECT NOT EXISTS (SELECT 1 FROM {{s}}.history_d%(day)d WHERE {YOUNGER}) AND
  (SELECT count(*) > {DROP} FROM (SELECT 1 FROM {{s}}.history_d%(day)d LIMIT {DROP} + 1) AS counted)"""
IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM {s}.history_d%(day)d)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """What may go: up to `top` at all; up to `old`, or the `many` oldest, or while `bytes` is above `most`."""

    top: DueTime
    old: DueTime
    many: int
    size: int
    most: int | None


class PruningPostgres(Days):
    """prune."""

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        whole = self.write(lambda tx: self._whole_day(tx, keep))
        if whole is not None and self.drop_day(whole[0], YOUNGER % {"age": whole[1]}):
            return DROP
        gone = self.write(lambda tx: self._prune(tx, limit, keep))
        for empty in self.read(lambda tx: self._empty_days(tx)):
            self.drop_day(empty, "true")
        return gone

    def _limits(self, tx: Tx, keep: LedgerSettings) -> _Limits:
        row = tx.row(SOONEST)
        soonest = None if row is None else row[0]
        count, size = self._measure(tx) if keep.keep_rows is not None or keep.keep_bytes is not None else (0, 0)
        return _Limits(
            top=never_above(tx.now, soonest),
            old=prunable(tx.now, soonest, keep.keep_seconds),
            many=0 if keep.keep_rows is None else count - keep.keep_rows,
            size=size,
            most=keep.keep_bytes,
        )

    def _measure(self, tx: Tx) -> tuple[int, int]:
        """Return how many settled rows there are, and how many bytes in all: counted where it is little, else estimated."""
        outbox = tx.row(IN_OUTBOX)
        rows, size = 0, ROW_BYTES * (outbox[0] if outbox else 0)
        for name, estimate, heap, total in tx.rows(PARTITIONS, history=f"{self.texts.schema}.history"):
            if heap > LARGE and estimate:
                rows, size = rows + estimate, size + total
                continue
            count, outputs = tx.rows(COUNT.replace("%(name)s", _plain(name)))[0]
            rows, size = rows + count, size + count * ROW_BYTES + outputs
        return rows, size

    def _whole_day(self, tx: Tx, keep: LedgerSettings) -> tuple[int, DueTime] | None:
        """Return the oldest day that goes as a whole and is much, and how old all of it is at least."""
        if not tx.believed:
            return None
        limits = self._limits(tx, keep)
        excess = (limits.most is not None and limits.size > limits.most) or limits.many > DROP
        for day in sorted(days_present(tx, self.texts.schema)):
            last = (day + 1) * DAY - 1
            if last > limits.top or not (last <= limits.old or excess):
                return None
            age = max(last, limits.old)
            if tx.rows(IS_MUCH % {"day": day, "age": age})[0][0]:
                tx.run(RAISE, through=age)
                return day, age
            if last > limits.old:  # of what is not too old the oldest goes first
                return None
        return None

    def _prune(self, tx: Tx, limit: int, keep: LedgerSettings) -> int:
        if not tx.believed:
            return 0
        limits = self._limits(tx, keep)
        old = [row for question in (OLDEST, OLDEST_BACKFILLED) for row in tx.rows(question, top=limits.top, limit=limit)]
        going = _going(limits, sorted(old, key=lambda row: (row[5], row[:4]))[:limit])
        tx.run(RAISE, through=max([limits.old, *(floor(row[5]) for row in going)]))
        if going:
            tx.run("SET LOCAL enable_hashjoin = on")  # all rows of a span go: better than one look for each
            keys = [key_of(row) for row in going]
            tx.run(FORGET, **key_columns(keys))
            tx.run(NO_TROUBLE, **four(keys))
            tx.run(NOT_LIVE, **four(keys))
        gaps = tx.run(END_GAPS, old=limits.old, limit=limit - len(going))
        for statement in END_OTHERS:
            tx.run(
                statement,
                **{name: value for name, value in (("old", limits.old), ("now", tx.now)) if f"%({name})s" in statement},
            )
        return len(going) + gaps

    def _empty_days(self, tx: Tx) -> list[int]:
        """Return the oldest days that have lost their last row, and will not get another."""
        through = tx.meta.pruned_through
        days = sorted(days_present(tx, self.texts.schema)) if through is not None else []
        old = [day for day in days if through is not None and (day + 1) * DAY - 1 <= through]
        return [day for day in old[:8] if tx.rows(IS_EMPTY % {"day": day})[0][0]]


def _going(limits: _Limits, oldest: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return those of the oldest rows that go: the first that stays keeps all that are younger."""
    going = []
    left = limits.size
    for number, row in enumerate(oldest):
        too_large = limits.most is not None and left > limits.most
        if not (row[5] <= limits.old or number < limits.many or too_large):
            break
        left -= ROW_BYTES + row[4]
        going.append(row)
    return going


def _plain(name: str) -> str:
    """Return a partition's name, which is of our own making."""
    assert name.replace("_", "").replace("-", "").isalnum(), name
    return name
