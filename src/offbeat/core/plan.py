"""Planning: due groups, what the ledger knows of them and `now` give one decision for every occurrence that is due.

Pure and total: every due time of every member in the window is in exactly one row or gap. Its authority is the ledger's
design: coalescing is local, so how a span is cut, and how often anybody ticks, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from offbeat.core.model import Cause, DueTime, Instant, Lane, Policy, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A recurrence and its zone, in one shard. Every due time <= cursor is decided; version rises with its membership."""

    gid: int
    recurrence: str
    zone: str
    cursor: DueTime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heir:
    """A later version of the same entry: what it is due by in [first, last] (last None: open)."""

    recurrence: str
    zone: str
    first: DueTime
    last: DueTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One version of an entry in a group.

    first, last: its due times count in [first, last], both ends closed (its validity and starts_at, ends_at taken together;
    last None: open). gone: REMOVED or DISABLED when the entry has no open version that is enabled, NONE else; then all of its
    due times are skipped with that reason. pauses: (from, until) instants, half open [from, until), until None: still paused.
    heirs: its later versions, oldest first.
    """

    eno: int
    name: str
    first: DueTime
    last: DueTime | None
    policy: Policy
    gone: Reason = Reason.NONE
    pauses: tuple[tuple[Instant, Instant | None], ...] = ()
    heirs: tuple[Heir, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Due groups with their members, as one `take` hands them out. now: the store's clock."""

    now: Instant
    revision: int
    groups: tuple[tuple[Group, tuple[Member, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """The decision for one occurrence. reason NONE: dispatch at send_at; else: skip."""

    eno: int
    due_at: DueTime
    send_at: DueTime
    lane: Lane = Lane.LIVE
    cause: Cause = Cause.SCHEDULE
    reason: Reason = Reason.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Equal skips in a row: every due time in (after, until] of one member, or of all of the group (eno None)."""

    eno: int | None
    after: DueTime
    until: DueTime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is decided of one group: everything in (after, until]. after, version: as they were read, for compare and set.

    next_due: the first due time after `until` that counts for some member, None when there is none.
    """

    gid: int
    version: int
    after: DueTime
    until: DueTime
    next_due: DueTime | None
    rows: tuple[PlannedRow, ...]
    gaps: tuple[Gap, ...]
