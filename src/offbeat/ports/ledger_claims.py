"""Claims, alike for the stores in SQL: what columns say of a row, its entry and its pauses, as the definition applies now.

Never asks a store. Its authority is late binding, ledger rule 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from offbeat.core.model import (
    CatchUp,
    Cause,
    CommandCall,
    DueTime,
    Entry,
    Instant,
    Key,
    Lane,
    Overlap,
    Policy,
    TaskCall,
    Timing,
)
from offbeat.ports.ledger_problems import read_back
from offbeat.ports.ledger_values import Claim

if TYPE_CHECKING:
    from offbeat.core.plan import Pauses

PauseRow: TypeAlias = tuple[int | None, Instant, Instant | None, int]  # whose (None: all), from, until, of one due time
PolicyColumns: TypeAlias = tuple[str, int | None, int, int, str, int | None]  # in the order of Policy's fields


@lru_cache(maxsize=2048)
def entry_of(definition: str) -> Entry:
    """Return the entry that a definition tells. Raises: Unreadable."""
    from offbeat.core.serial import entry_from_json

    with read_back():
        return entry_from_json(definition)


@lru_cache(maxsize=256)
def policy_of(columns: PolicyColumns) -> Policy:
    """Return the policy of a version's columns."""
    catch_up, grace, jitter, percent, overlap, max_runtime = columns
    return Policy(
        catch_up=CatchUp(catch_up),
        grace=grace,
        jitter=jitter,
        jitter_percent=percent,
        overlap=Overlap(overlap),
        max_runtime=max_runtime,
    )


def pauses_of(pauses: Iterable[PauseRow], eno: int, after: DueTime) -> Pauses:
    """Return those of the entry, and of all, that reach beyond `after`."""
    return tuple((start, end) for whose, start, end, _ in pauses if whose in (None, eno) and (end is None or end > after))


def is_paused(pauses: Iterable[PauseRow], eno: int, now: Instant) -> bool:
    """Return whether a pause of the entry, or of all, holds now; a skip of one due time pauses no other one."""
    return any(p[0] in (None, eno) and not p[3] and p[1] <= now and (p[2] is None or now < p[2]) for p in pauses)


def call_of(call: str | None, definition: str | None) -> TaskCall | CommandCall | None:
    """Return what is sent: the row's own call where it has one, else its entry's. Raises: Unreadable."""
    if call is not None:
        from offbeat.core.serial import call_from_json

        with read_back():
            return call_from_json(call)
    return entry_of(definition).call if definition is not None else None


def claim_of(
    key: Key, columns: Sequence[Any], *, policy: Policy, revision: int, next_due: DueTime | None, paused: bool
) -> Claim:
    """Return the claim of a row that is held.

    columns: name, send_at, lane, cause, attempt, lease_until, expires_at, last_error, call, waited, and of its entry's version
    in force (None without): definition, recurrence, zone, starts_at, ends_at, enabled. policy: of that version.
    """
    name, send_at, lane, cause, attempt, lease_until, expires_at, last_error, call, waited = columns[:10]
    definition, recurrence, zone, starts_at, ends_at, enabled = columns[10:]
    timing = None
    if definition is not None:
        timing = Timing(recurrence=recurrence, zone=zone, starts_at=starts_at, ends_at=ends_at, enabled=bool(enabled))
    return Claim(
        key=key,
        name=name,
        send_at=send_at,
        lane=Lane(lane),
        cause=Cause(cause),
        attempt=attempt,
        lease_until=lease_until,
        revision=revision,
        call=call_of(call, definition),
        timing=timing,
        policy=policy,
        next_due=next_due,
        expires_at=expires_at,
        last_error=last_error,
        paused=paused,
        waited=bool(waited),
    )
