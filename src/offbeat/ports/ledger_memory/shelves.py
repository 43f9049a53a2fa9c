"""What the ledger in memory keeps, and the few questions that several of its operations ask."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from offbeat.core.marks import slot_of
from offbeat.core.model import (
    Cause,
    CommandCall,
    DueTime,
    Entry,
    Instant,
    Key,
    Kind,
    Lane,
    Policy,
    Reason,
    Schedule,
    State,
    TaskCall,
)
from offbeat.core.slots import Hold
from offbeat.core.transitions import Belief, Span, bounds, expiry, is_empty, queue_of, usable_after
from offbeat.ports.clock import Clock
from offbeat.ports.ledger_values import LEASE, Claim, Origin, Rewound, Runner

UNSETTLED = (State.PENDING, State.WAITING, State.CLAIMED)


@dataclass(slots=True, kw_only=True)
class Row:
    """One occurrence, settled or not."""

    key: Key
    send_at: DueTime
    cause: Cause
    recorded_at: Instant
    state: State = State.PENDING
    reason: Reason = Reason.NONE
    lane: Lane = Lane.LIVE
    next_try_at: Instant = 0.0
    owner: str = ""
    attempt: int = 0
    lease_until: Instant = 0.0
    expires_at: Instant | None = None
    call: TaskCall | CommandCall | None = None  # of a fire, instead of the entry's
    is_command: bool = False
    task_id: str = ""
    dispatched_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    note: str = ""
    exit_status: int | None = None
    waited: bool = False  # for the end of another occurrence
    output: bytes | None = None


@dataclass(slots=True, kw_only=True)
class Version:
    """One version of an entry, valid in [valid_from, valid_until). gid None: disabled, never due."""

    eno: int
    entry: Entry
    gid: int | None
    valid_from: DueTime
    valid_until: DueTime | None = None

    @property
    def span(self) -> Span:
        """Return what it is due by."""
        first, last = bounds(self.entry.timing, self.valid_from, self.valid_until)
        return Span(recurrence=self.entry.timing.recurrence, zone=self.entry.timing.zone, first=first, last=last)

    @property
    def yields(self) -> bool:
        """Return whether anything can be due in it."""
        span = self.span
        return self.gid is not None and not is_empty(span.first, span.last)


@dataclass(slots=True, kw_only=True)
class Shard:
    """A group as it is kept."""

    gid: int
    recurrence: str
    zone: str
    cursor: DueTime
    next_due: DueTime | None = None
    version: int = 0
    open: int = 0  # versions of it that are in force
    versions: list[Version] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class KeptGap:
    """A gap as it is kept."""

    gid: int
    eno: int | None
    after: DueTime
    until: DueTime
    reason: Reason
    recorded_at: Instant


@dataclass(slots=True, kw_only=True)
class Pause:
    """An interval [from_at, until_at) in which an entry, or all (eno None), is paused."""

    eno: int | None
    from_at: Instant
    until_at: Instant | None
    who: str
    note: str
    once: bool = False  # a skip of one due time

    def holds(self, now: Instant) -> bool:
        """Return whether it holds now."""
        return self.from_at <= now and (self.until_at is None or now < self.until_at)


@dataclass(slots=True, kw_only=True)
class Seen:
    """A runner's last sign of life."""

    runner: Runner
    seen_at: Instant


@dataclass(slots=True, kw_only=True)
class Kept:
    """A revision as it is kept. Its number is its place, from 1."""

    schedule: Schedule
    activated_at: Instant
    origin: Origin


class Shelves:
    """The state. Numbers of entries, versions and groups count from 1, in the order in which they came."""

    def __init__(self, *, clock: Clock, project: str = "", owner: str = "", where: str = "memory:") -> None:
        self.clock = clock
        self.project = project
        self.owner = owner
        self.where = where
        self.born = os.urandom(8).hex()
        self.kept: list[Kept] = []  # revisions, oldest first; the newest is in force
        self.deployed = False
        self.restored_at: Instant | None = None
        self.rewound: Rewound | None = None
        self.stamp = ""
        self.problems = ""
        self.refused_whole = False
        self.belief = Belief()
        self.marks: dict[int, int] = {}
        self.pruned_through: DueTime | None = None
        self.enos: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.last_due: dict[int, DueTime] = {}
        self.versions: dict[int, list[Version]] = {}  # by entry, oldest first
        self.groups: dict[int, Shard] = {}
        self.shards: dict[tuple[str, str], list[Shard]] = {}
        self.rows: dict[Key, Row] = {}
        self.gaps: list[KeptGap] = []
        self.intervals: list[Pause] = []
        self.seen: dict[str, Seen] = {}
        self.slots: dict[int, Hold] = {}  # by entry: who has it, until when
        self.busy: dict[str, tuple[str, Instant]] = {}
        self.admitted: dict[str, int] = {}

    @property
    def revision(self) -> int:
        """Return the number of the active revision, 0 before the first."""
        return len(self.kept)

    @property
    def active(self) -> Schedule | None:
        """Return the active revision's schedule."""
        return self.kept[-1].schedule if self.kept else None

    def rules(self) -> str:
        return self.active.rules if self.active else ""

    def mark(self, who: str, by: int = 1) -> None:
        """Let the marks rise in the slot of `who`."""
        if by:
            self.marks[slot_of(who)] = self.marks.get(slot_of(who), 0) + by

    def number_of(self, name: str) -> int:
        """Return the entry's number; a new name gets one."""
        if name not in self.enos:
            self.enos[name] = len(self.enos) + 1
            self.names[self.enos[name]] = name
        return self.enos[name]

    def versions_of(self, eno: int | None) -> list[Version]:
        """Return the versions of an entry, oldest first."""
        return self.versions.get(eno, []) if eno is not None else []

    def open_version(self, eno: int | None) -> Version | None:
        """Return the version in force, None when the entry is not in the active revision."""
        newest = self.versions_of(eno)[-1:]
        return newest[0] if newest and newest[0].valid_until is None else None

    def was_in_force(self, eno: int, due_at: DueTime) -> bool:
        """Return whether a version of the entry has the due time to decide."""
        spans = [version.span for version in self.versions_of(eno) if version.gid is not None]
        return any(span.first <= due_at and (span.last is None or due_at <= span.last) for span in spans)

    def decided_in_gap(self, eno: int, due_at: DueTime) -> KeptGap | None:
        """Return the gap that the due time of the entry fell into."""
        for gap in self.gaps:
            if gap.eno in (None, eno) and gap.after < due_at <= gap.until:
                for version in self.versions_of(eno):
                    span = version.span
                    if version.gid == gap.gid and span.first <= due_at and (span.last is None or due_at <= span.last):
                        return gap
        return None

    def is_paused(self, eno: int, now: Instant) -> bool:
        """Return whether a pause of the entry, or of all, holds now; a skip of one due time pauses no other one."""
        return any(pause.holds(now) for pause in self.intervals if pause.eno in (None, eno) and not pause.once)

    def pauses_of(self, eno: int, after: DueTime) -> tuple[tuple[Instant, Instant | None], ...]:
        """Return the pauses of the entry, and of all, that reach beyond `after`, in the order in which they were made."""
        mine = [pause for pause in self.intervals if pause.eno in (None, eno)]
        return tuple((p.from_at, p.until_at) for p in mine if p.until_at is None or p.until_at > after)

    def soonest_due(self) -> DueTime | None:
        """Return the smallest next_due of all groups."""
        return min((group.next_due for group in self.groups.values() if group.next_due is not None), default=None)

    def call_of(self, row: Row) -> TaskCall | CommandCall | None:
        """Return what is sent for the row now: late binding."""
        version = self.open_version(row.key.eno)
        return row.call or (version.entry.call if version else None)

    def queue_of(self, row: Row) -> str:
        """Return the queue that the row waits for now, "" for none."""
        call = self.call_of(row)
        return queue_of(call) if call else ""

    def hold(self, row: Row, runner: Runner, now: Instant) -> Row:
        """Give the row to the runner: a new attempt, a new lease."""
        call = self.call_of(row)
        row.state, row.owner, row.attempt, row.lease_until = State.CLAIMED, runner.id, row.attempt + 1, now + LEASE
        row.expires_at = expiry(call, now) if row.expires_at is None else row.expires_at
        row.is_command = isinstance(call, CommandCall) if call else row.is_command
        return row

    def claims(self, rows: Iterable[Row], now: Instant) -> Sequence[Claim]:
        """Return the rows as claims, with the definition that applies now."""
        return [self._claim(row, now) for row in rows]

    def _claim(self, row: Row, now: Instant) -> Claim:
        version = self.open_version(row.key.eno)
        return Claim(
            key=row.key,
            name=self.names[row.key.eno],
            send_at=row.send_at,
            lane=row.lane,
            cause=row.cause,
            attempt=row.attempt,
            lease_until=row.lease_until,
            revision=self.revision,
            call=self.call_of(row),
            timing=version.entry.timing if version else None,
            policy=version.entry.policy if version else Policy(),
            next_due=self._next_due(row.key) if version else None,
            expires_at=row.expires_at,
            last_error=row.note,
            paused=self.is_paused(row.key.eno, now),
            waited=row.waited,
        )

    def _next_due(self, key: Key) -> DueTime | None:
        if key.kind is not Kind.SCHEDULE:
            return None
        spans = [version.span for version in self.versions_of(key.eno) if version.yields]
        return usable_after(spans, key.due_at, self.pauses_of(key.eno, key.due_at))

    def held_by(self, runner: Runner, keys: Iterable[Key], now: Instant) -> Iterator[Row]:
        """Yield the rows of these keys that the runner holds."""
        for key in keys:
            row = self.rows.get(key)
            if row and row.state is State.CLAIMED and row.owner == runner.id and row.lease_until > now:
                yield row

    def beat(self, runner: Runner, now: Instant) -> None:
        """Remember that the runner is alive."""
        self.seen[runner.id] = Seen(runner=runner, seen_at=now)
