"""The PostgreSQL ledger, for people: what is not to be sent for a while, or once, and what is to be sent later."""

from __future__ import annotations

from collections.abc import Sequence

from offbeat.core.model import DueTime, Instant, Key, Lane, Reason, State
from offbeat.core.transitions import by_whom
from offbeat.ports.ledger_postgres.connection import TOGETHER, Tx
from offbeat.ports.ledger_postgres.covered import lock_entry, rowless, was_in_force
from offbeat.ports.ledger_postgres.days import Days
from offbeat.ports.ledger_postgres.rows import clean, find, key_of, save
from offbeat.ports.ledger_values import MOST_BACKFILLED, Paused, Slot, unknown_entry

PRESENT = """
SELECT e.eno FROM {s}.entries e JOIN {s}.versions v ON v.eno = e.eno AND v.valid_until IS NULL WHERE e.name = %(name)s"""
ANY_ENTRY = "SELECT eno FROM {s}.entries WHERE name = %(name)s"
PAUSED = """\
eno IS NOT DISTINCT FROM %(eno)s::bigint AND NOT once AND from_at <= %(now)s AND (until_at IS NULL OR until_at > %(now)s)"""
PROLONG = f"UPDATE {{s}}.pauses SET until_at = %(until)s, who = %(who)s, note = %(note)s WHERE {PAUSED}"
PAUSE = """
INSERT INTO {s}.pauses (eno, from_at, until_at, who, note, once)
VALUES (%(eno)s, %(start)s, %(until)s, %(who)s, %(note)s, %(once)s)"""
RESUME = f"UPDATE {{s}}.pauses SET until_at = %(now)s WHERE {PAUSED}"
ALL = """
SELECT coalesce(e.name, ''), p.from_at, p.until_at, p.who, p.note, p.once FROM {s}.pauses p
LEFT JOIN {s}.entries e ON e.eno = p.eno WHERE p.until_at IS NULL OR p.until_at > %(now)s ORDER BY p.id"""
LOCK_META = "SELECT one FROM {s}.meta FOR NO KEY UPDATE"
SKIPPED = """
INSERT INTO {s}.history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at,
  note)
VALUES (%(eno)s, %(due)s, {schedule}, '', NULL, {schedule}, {skipped}, {by_hand}, 0, %(rev)s, NULL, %(now)s, %(note)s)"""
BACKFILL = """
INSERT INTO {s}.outbox (eno, due_at, kind, kind_id, send_at, lane, cause, next_try_at, recorded_rev, recorded_at)
SELECT %(eno)s, k.due_at, {backfill}, %(token)s, k.send_at, %(lane)s, {backfill}, k.send_at, %(rev)s, %(now)s
FROM unnest(%(dues)s::bigint[], %(sends)s::bigint[]) AS k(due_at, send_at)
LEFT JOIN LATERAL (SELECT true AS is_there FROM {s}.history h WHERE h.eno = %(eno)s AND h.due_at = k.due_at
  AND h.kind = {backfill} AND h.kind_id = %(token)s AND h.due_at BETWEEN %(low)s AND %(high)s LIMIT 1) h ON true
WHERE h.is_there IS NULL
ON CONFLICT DO NOTHING"""
TO_CANCEL = """
SELECT eno, due_at, kind, kind_id FROM {s}.outbox WHERE eno = %(eno)s AND kind = {backfill}
  AND (%(token)s = '' OR kind_id = %(token)s) AND state IN ({pending}, {waiting}) ORDER BY due_at LIMIT %(limit)s"""
# Whoever moves one of these rows to history just now is waited for; the others of the backfill may be hundreds of thousands.
MEET = """
SELECT 1 FROM unnest(%(dues)s::bigint[]) AS k(due_at)
CROSS JOIN LATERAL (SELECT 1 FROM {s}.outbox o WHERE o.eno = %(eno)s AND o.due_at = k.due_at AND o.kind = {backfill}
  AND o.kind_id = %(token)s FOR KEY SHARE) o"""


def present(tx: Tx, name: str, where: str) -> int:
    """Return the number of an entry of the active revision. Raises: ConfigError."""
    row = tx.row(PRESENT, name=clean(name))
    if row is None:
        raise unknown_entry(name, where)
    return int(row[0])


class PausingPostgres(Days):
    """pause, resume, skip, pauses, backfill, cancel."""

    def pause(self, name: str, who: str, note: str, until: Instant | None = None) -> None:
        def work(tx: Tx) -> None:
            eno = self._whom(tx, name)
            tx.row(LOCK_META)  # of two who pause at once the second prolongs
            told = {"eno": eno, "until": until, "who": clean(who), "note": clean(note)}
            if not tx.run(PROLONG, **told, now=tx.now):
                tx.run(PAUSE, **told, start=tx.now, once=False)

        self.write(work)

    def resume(self, name: str) -> None:
        self.write(lambda tx: tx.run(RESUME, eno=self._whom(tx, name), now=tx.now))

    def _whom(self, tx: Tx, name: str) -> int | None:
        if not name:
            return None
        row = tx.row(ANY_ENTRY, name=clean(name))
        if row is None:
            raise unknown_entry(name, self.where)
        return int(row[0])

    def skip(self, name: str, due_at: DueTime, who: str, note: str) -> Slot:
        def work(tx: Tx) -> Slot:
            key = Key(eno=present(tx, name, self.where), due_at=due_at)
            return _skip(tx, key, who, note)

        self.ensure([due_at])
        return self.write(work, TOGETHER)

    def pauses(self) -> Sequence[Paused]:
        rows = self.read(lambda tx: tx.rows(ALL, now=tx.now))
        found = [Paused(name=n, from_at=f, until_at=u, who=w, note=t, once=o) for n, f, u, w, t, o in rows]
        return sorted(found, key=lambda pause: (pause.name, pause.from_at))

    def backfill(self, name: str, token: str, rows: Sequence[tuple[DueTime, DueTime]]) -> int:
        assert len(rows) <= MOST_BACKFILLED, len(rows)

        def work(tx: Tx) -> int:
            eno = present(tx, name, self.where)
            lock_entry(tx, eno)
            tx.rows(MEET, token=token, eno=eno, dues=sorted(due_at for due_at, _ in rows))
            tx.mark(token)
            return tx.run(
                BACKFILL,
                eno=eno,
                token=token,
                lane=int(Lane.BACKFILL),
                rev=tx.meta.revision,
                now=tx.now,
                dues=[due_at for due_at, _ in rows],
                sends=[send_at for _, send_at in rows],
                low=min((due_at for due_at, _ in rows), default=0),
                high=max((due_at for due_at, _ in rows), default=0),
            )

        return self.write(work, TOGETHER)

    def cancel(self, name: str, who: str, note: str, limit: int, token: str = "") -> int:
        if not name:
            raise unknown_entry(name, self.where)
        told = self.read(lambda tx: _to_cancel(tx, self._whom(tx, name), token, limit))
        self.ensure(key.due_at for key in told)

        def work(tx: Tx) -> int:
            rows = [row for row in find(tx, told).values() if row.state in (State.PENDING, State.WAITING)]
            for row in rows:
                row.state, row.reason, row.note, row.is_changed = State.SKIPPED, Reason.BY_HAND, by_whom(who, note), True
            save(tx, rows)
            tx.mark(who)
            return len(rows)

        # What a runner has taken meanwhile leaves room for others.
        return 0 if not told else self.write(work, TOGETHER) or self.cancel(name, who, note, limit, token)


def _to_cancel(tx: Tx, eno: int | None, token: str, limit: int) -> list[Key]:
    return [key_of(row) for row in tx.rows(TO_CANCEL, eno=eno, token=clean(token), limit=limit)]


def _skip(tx: Tx, key: Key, who: str, note: str) -> Slot:
    last_due = lock_entry(tx, key.eno)
    row = find(tx, [key]).get(key)
    if row is not None and row.state not in (State.PENDING, State.WAITING):
        return Slot(key=key, claim=None, state=row.state, reason=row.reason, dispatched_at=row.dispatched_at)
    if row is not None:
        row.state, row.reason, row.note, row.is_changed = State.SKIPPED, Reason.BY_HAND, by_whom(who, note), True
        save(tx, [row])
    elif key.due_at <= tx.now and not was_in_force(tx, key):
        return Slot(key=key, claim=None, state=State.SKIPPED)
    elif known := rowless(tx, key, last_due):
        return known
    else:
        tx.run(SKIPPED, eno=key.eno, due=key.due_at, rev=tx.meta.revision, now=tx.now, note=clean(by_whom(who, note)))
    told = {"who": clean(who), "note": clean(note), "once": True}
    tx.run(PAUSE, eno=key.eno, start=float(key.due_at), until=float(key.due_at + 1), **told)
    tx.mark(who)
    return Slot(key=key, claim=None, state=State.SKIPPED, reason=Reason.BY_HAND)
