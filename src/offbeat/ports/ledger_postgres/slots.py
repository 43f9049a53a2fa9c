"""Which occurrence has its entry's slot (overlap), and what waits for it: locked, judged, written back by the batch.

Slots are locked before rows, in the order of their entries, by everybody; a claim never waits for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from offbeat.core.model import Key, Kind, Overlap, Policy, Reason, State
from offbeat.core.slots import Hold, Turn, judge_slot, slot_seconds, taken
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.rows import Row, find, key_of

LOCK = """
SELECT t.eno, t.due_at, t.kind, t.kind_id, t.until_at, t.seconds, v.overlap, v.max_runtime
FROM {s}.slots t LEFT JOIN {s}.versions v ON v.eno = t.eno AND v.valid_until IS NULL
WHERE t.eno = ANY(%(enos)s::bigint[]) ORDER BY t.eno FOR UPDATE OF t"""
WAITING = "SELECT eno, due_at, kind, kind_id FROM {s}.outbox WHERE state = {waiting} AND eno = ANY(%(enos)s::bigint[])"
SAVE = """
UPDATE {s}.slots t SET due_at = k.due_at, kind = k.kind, kind_id = k.kind_id, until_at = k.until_at,
  seconds = k.seconds
FROM unnest(%(slots)s::bigint[], %(dues)s::bigint[], %(kinds)s::text[], %(ids)s::text[], %(untils)s::float8[],
  %(seconds)s::float8[]) AS k(eno, due_at, kind, kind_id, until_at, seconds)
WHERE t.eno = k.eno"""
GOES = (Turn.GO, Turn.OVERTAKE)


@dataclass(slots=True, kw_only=True)
class _Slot:
    policy: Policy | None
    holder: Hold | None
    waiting: Key | None = None
    is_changed: bool = False


class Slots:
    """The slots of some entries, locked for the transaction. Entries without one (overlap = "allow") are no trouble."""

    def __init__(self, tx: Tx, enos: Iterable[int], *, wait: bool = True) -> None:
        self._tx = tx
        self._slots: dict[int, _Slot] = {}
        self.others: dict[Key, Row] = {}  # rows that wait for these slots
        wanted = sorted(set(enos)) if tx.meta.has_slots else []
        if not wanted:
            return
        for eno, due_at, kind, kind_id, until_at, seconds, overlap, runtime in tx.rows(
            LOCK + ("" if wait else " SKIP LOCKED"), enos=wanted
        ):
            key = None if due_at is None else Key(eno=eno, due_at=due_at, kind=Kind(kind), kind_id=kind_id)
            holder = None if key is None else Hold(key=key, until=until_at, seconds=seconds)
            policy = None if overlap is None else Policy(overlap=Overlap(overlap), max_runtime=runtime)
            self._slots[eno] = _Slot(policy=policy, holder=holder)

    def __contains__(self, eno: int) -> bool:
        return eno in self._slots

    def join(self, rows: dict[Key, Row]) -> None:
        """Lock what waits for these slots. rows: what the transaction has locked already; a row is one object."""
        if not self._slots:
            return
        waiting = [key_of(row) for row in self._tx.rows(WAITING, enos=list(self._slots))]
        self.others = find(self._tx, [key for key in waiting if key not in rows])
        for key in waiting:
            row = rows.get(key) or self.others.get(key)
            if row is not None and row.state is State.WAITING:
                self._slots[key.eno].waiting = key
        self.others |= {key: rows[key] for key in waiting if key in rows}

    def turn(self, row: Row) -> Turn:
        """Judge whether a row may be claimed now; what may takes the slot, what must not becomes skipped or waiting."""
        slot = self._slots.get(row.key.eno)
        if slot is None:
            return Turn.GO
        if row.state is State.SKIPPED:  # a newer one of this batch goes, or waits, in its place
            return Turn.SKIP
        turn = judge_slot(row.key, slot.policy, holder=slot.holder, waiting=slot.waiting, now=self._tx.now)
        if turn in (Turn.OVERTAKE, Turn.WAIT) and slot.waiting is not None and slot.waiting != row.key:
            _skip(self.others[slot.waiting])
            slot.waiting = None
        if turn in GOES:
            self._take(slot, row.key)
        elif turn is Turn.WAIT and slot.holder is not None:
            row.state, row.owner, row.waited, row.is_changed = State.WAITING, "", True, True
            row.next_try_at = slot.holder.ends(slot_seconds(slot.policy, row.key.kind))
            slot.waiting = row.key
            self.others[row.key] = row
        else:
            _skip(row)
        if slot.waiting == row.key and turn is not Turn.WAIT:
            slot.waiting = None
        return turn

    def prolong(self, row: Row) -> None:
        """Hold the slot until max_runtime from now, unless another occurrence has it; what waits waits as long."""
        slot = self._slots.get(row.key.eno)
        if slot is None:
            return
        turn = judge_slot(row.key, slot.policy, holder=slot.holder, waiting=None, now=self._tx.now)
        if turn is not Turn.GO:
            return
        self._take(slot, row.key)
        if slot.waiting is not None and slot.holder is not None:
            other = self.others[slot.waiting]
            other.next_try_at, other.is_changed = slot.holder.until, True

    def free(self, row: Row) -> None:
        """Free the slot if the row has it; what waits for it is to be claimed now."""
        slot = self._slots.get(row.key.eno)
        if slot is None or slot.holder is None or slot.holder.key != row.key:
            return
        slot.holder, slot.is_changed = None, True
        if slot.waiting is not None:
            other = self.others[slot.waiting]
            other.next_try_at, other.is_changed = max(self._tx.now, other.send_at), True

    def save(self) -> None:
        """Write the slots; the rows of `others` are the caller's to save."""
        changed = [(eno, slot.holder) for eno, slot in self._slots.items() if slot.is_changed]
        if changed:
            self._tx.run(SAVE, slots=[eno for eno, _ in changed], **_columns([holder for _, holder in changed]))

    def _take(self, slot: _Slot, key: Key) -> None:
        seconds = slot_seconds(slot.policy, key.kind)
        if seconds:
            slot.holder, slot.is_changed = taken(key, seconds, slot.holder, self._tx.now), True


def _skip(row: Row) -> None:
    row.state, row.reason, row.is_changed = State.SKIPPED, Reason.OVERLAP, True


def _columns(holders: Sequence[Hold | None]) -> dict[str, object]:
    return {
        "dues": [holder.key.due_at if holder else None for holder in holders],
        "kinds": [str(holder.key.kind) if holder else None for holder in holders],
        "ids": [holder.key.kind_id if holder else None for holder in holders],
        "untils": [holder.until if holder else None for holder in holders],
        "seconds": [holder.seconds if holder else None for holder in holders],
    }
