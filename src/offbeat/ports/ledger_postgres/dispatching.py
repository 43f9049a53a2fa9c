"""The PostgreSQL ledger, for runners: from rows to settled rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from offbeat.core.model import Key, Kind, Lane
from offbeat.core.recheck import HELD_BACK
from offbeat.core.transitions import shares
from offbeat.ports.ledger_claims import is_paused
from offbeat.ports.ledger_postgres.claims import all_pauses, claims, four, hold
from offbeat.ports.ledger_postgres.connection import MOST_ROWS, TOGETHER, Tx
from offbeat.ports.ledger_postgres.planning import STILL_HELD
from offbeat.ports.ledger_postgres.recording import RecordingPostgres, begin
from offbeat.ports.ledger_postgres.rows import KEYS, ON_KEY, key_of, rounds
from offbeat.ports.ledger_postgres.slots import Slots
from offbeat.ports.ledger_postgres.telling import settle_all
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Claim, Outcome, Runner

_CANDIDATES = """
(SELECT o.eno, o.due_at, o.kind, o.kind_id, o.next_try_at, o.lane,
  coalesce(v.overlap <> 'allow', false) AND o.kind <> {manual}
FROM {s}.outbox o
LEFT JOIN LATERAL (SELECT * FROM {s}.versions v WHERE v.eno = o.eno AND v.valid_until IS NULL LIMIT 1) v ON true
WHERE {which}
  AND coalesce(CASE WHEN o.call IS NOT NULL THEN o.queue ELSE v.queue END, '') <> ALL (%(closed)s::text[])
ORDER BY o.next_try_at, o.eno, o.due_at LIMIT %(limit)s {lock})"""
_WHICH = (
    *(f"o.state = {{pending}} AND o.lane = {int(lane)} AND o.next_try_at <= %(now)s" for lane in Lane),
    "o.state = {pending} AND o.next_try_at > o.send_at AND o.send_at <= %(now)s"
    f" AND o.next_try_at > %(now)s + {LONGEST_WAIT}",
    "o.state = {claimed} AND o.lease_until <= %(now)s",
    f"o.state = {{claimed}} AND o.lease_until > %(now)s + {2 * LEASE} AND o.send_at <= %(now)s",
    f"o.state = {{waiting}} AND o.send_at <= %(now)s AND NOT ({STILL_HELD})",
)


_LATER = f"o.send_at + {HELD_BACK} * (floor((%(now)s - o.send_at) / {HELD_BACK})::bigint + 1)"  # recheck.held_back
HELD = f"""
UPDATE {{s}}.outbox o SET state = {{pending}}, owner = '', send_at = {_LATER}, next_try_at = {_LATER}
FROM {KEYS} AS k(eno, due_at, kind, kind_id) WHERE {ON_KEY.format("o")}"""


def _union(lock: str) -> str:
    parts = (_CANDIDATES.replace("{which}", which).replace("{lock}", lock) for which in _WHICH)
    return " UNION ALL ".join(f"SELECT * FROM {part} AS c{number}" for number, part in enumerate(parts))


LOOK_AT = _union("")
LOCK = _union("FOR UPDATE OF o SKIP LOCKED")


class DispatchingPostgres(RecordingPostgres):
    """claim, settle."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        most, others = min(limit, MOST_ROWS), frozenset[Key]()
        while True:
            found, more = self.write(lambda tx, others=others: _claim(tx, runner, most, closed_queues, others), TOGETHER)  # type: ignore[misc]
            if found or not more:
                return found
            others |= more

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        self.ensure(outcome.key.due_at for outcome in outcomes)
        accepted: list[Key] = []
        for some in rounds(outcomes, [outcome.key for outcome in outcomes], MOST_ROWS):
            accepted.extend(self.write(lambda tx, some=some: settle_all(tx, runner.id, some)))  # type: ignore[misc]
        return accepted


def _claim(
    tx: Tx, runner: Runner, limit: int, closed_queues: Collection[str], others: Collection[Key]
) -> tuple[list[Claim], frozenset[Key]]:
    """Return what the runner has now, and what was looked at. others: what was looked at before, and left as it stood then."""
    rows = claimable(tx, limit, closed_queues, lock=True) if tx.believed else []
    chosen = [pair for pair in rows if pair[0] not in others]
    tx.is_idle = not chosen
    if not chosen:
        return [], frozenset()
    tx.mark(runner.id)
    held = _hold_back(tx, [key for key, _ in chosen])
    slotted = [key for key, has_slot in chosen if has_slot and key not in held]
    slots = Slots(tx, (key.eno for key in slotted), wait=False)
    plain = [key for key, has_slot in chosen if not has_slot and key not in held]
    begun = begin(tx, runner, [key for key in slotted if key.eno in slots], slots) | set(plain)
    hold(tx, runner, plain)
    return claims(tx, [key for key, _ in chosen if key in begun]), frozenset(key for key, _ in chosen)


def _hold_back(tx: Tx, keys: Sequence[Key]) -> set[Key]:
    """Let the rows of backfills that a pause holds be looked at again later; return them."""
    filled = [key for key in keys if key.kind is Kind.BACKFILL]
    pauses = all_pauses(tx) if filled else []
    held = [key for key in filled if is_paused(pauses, key.eno, tx.now)]
    if held:
        tx.run(HELD, **four(held), now=tx.now)
    return set(held)


def claimable(tx: Tx, limit: int, closed_queues: Collection[str], *, lock: bool) -> list[tuple[Key, bool]]:
    """Return what would be claimed now, lane by lane, and whether it needs its entry's slot.

    lock: the rows are locked, and those that others have locked are left out.
    """
    closed = list(closed_queues)
    rows = tx.rows(LOCK if lock else LOOK_AT, now=tx.now, limit=limit, closed=closed)
    lanes: dict[int, list[tuple[float, Key, bool]]] = {int(lane): [] for lane in Lane}
    for row in {_key_columns(row): row for row in rows}.values():
        lanes[row[5]].append((row[4], key_of(row), row[6]))
    for found in lanes.values():
        found.sort(key=lambda each: each[:2])
    given = shares(limit, [len(found) for found in lanes.values()])
    return [each[1:] for found, count in zip(lanes.values(), given, strict=True) for each in found[:count]]


def _key_columns(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:4]
