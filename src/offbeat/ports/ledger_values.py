"""What the ledger's operations take and answer: runners, claims, outcomes, reports, and lines to read. No store's own.

Instants are by the store's clock. ports/ledger.py has the operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from offbeat.core.marks import Marks, merged
from offbeat.core.model import (
    Cause,
    CommandCall,
    DueTime,
    Instant,
    Key,
    Lane,
    Policy,
    Reason,
    State,
    TaskCall,
    Timing,
)
from offbeat.errors import ConfigError, LedgerError, Problem

LEASE = 10.0  # seconds that a claim holds
LONGEST_HOLD = 600.0  # seconds for which a slot can be asked at most
LONGEST_WAIT = 300.0  # seconds after which what is handed back must be tried again
MOST_BACKFILLED = 5_000  # rows of one backfill that are recorded at once
SEEN_LATELY = 86_400.0  # seconds for which status names a runner after its last sign of life
SETTLES = (State.PENDING, State.DISPATCHED, State.SKIPPED, State.UNDELIVERED)  # what an outcome may say


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Who asks. id: unique for each process, e.g. "web1:4711:tick:9f3c01aa"; host and pid are not, in containers.

    revision: that it works by, 0 for none yet. skew: seconds by which its clock was ahead of the store's when it looked last.
    version: of its offbeat.
    """

    id: str
    host: str
    pid: int
    role: str  # tick | run | supervisor | worker, or the command that a person gave: fire, pause, skip, backfill, ...
    revision: int = 0
    skew: float = 0.0
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a revision comes from. deployed: by `offbeat deploy` or `rollback`; from the first on, trees are not compiled.

    commit, author: as git says them, "" outside of a repository. dirty: the tree had changes that were not committed.
    note: a sentence for `offbeat log`, such as "rollback to 3". lowers: it may be by older rules than those in force.
    """

    commit: str = ""
    author: str = ""
    dirty: bool = False
    note: str = ""
    deployed: bool = False
    lowers: bool = False


COMPILED = Origin()  # compiled from a runner's own tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How far a ledger was by what it told. heard_at: by its clock, when it told of the newest write among them."""

    marks: Marks = field(default_factory=dict)
    heard_at: Instant = 0.0

    def and_then(self, marks: Marks, now: Instant) -> Told:
        """Return the same with what was told at `now`."""
        both = merged(self.marks, marks)
        return self if both == self.marks else Told(marks=both, heard_at=max(now, self.heard_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one look tells.

    now: the store's clock. revision: number of the active revision, 0 before the first. stamp: of the tree that the
    revision was compiled from, or of the newest tree that was refused since (see `refused`). wake_at: the earliest of
    next_due, next_try_at and lease end over everything; infinity when there is nothing. due: something can be taken or
    claimed now. believed: False while the clock has stepped forward by more than an hour and no second look, at least 5 s
    after the first, has confirmed it (ledger rule 6); nothing is taken then and `believe_at` says when to look again.
    failed_at: when the newest of all failed ones ended, 0 for none. ahead: seconds by which a time that was believed once is
    ahead of `now`, if more than an hour, else 0: nothing that was decided until then is decided again. deployed: revisions
    come from `offbeat deploy`, so trees are not compiled. marks: rise with every write that records, claims or settles; a
    slot that is lower than it was means that the ledger was restored from an older state. born: names this very ledger;
    another one at the same address has another.
    """

    now: Instant
    revision: int
    stamp: str
    wake_at: Instant
    due: bool
    believed: bool = True
    believe_at: Instant = 0.0
    failed_at: Instant = 0.0
    ahead: float = 0.0
    deployed: bool = False
    marks: Marks = field(default_factory=dict)
    born: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A row that a runner holds until lease_until, with the definition that applies now (late binding, ledger rule 9).

    name: the entry's, or the task's for a fire of something that is not in the schedule. call, timing: None when the entry
    is not in the active revision any more. next_due: the entry's next usable due time after due_at, by its versions and in
    no pause, None when there is none. expires_at: from the first claim, None without `expires`. revision: the active one.
    waited: it has waited for the end of another occurrence of its entry (overlap = "wait").
    """

    key: Key
    name: str
    send_at: DueTime
    lane: Lane
    cause: Cause
    attempt: int
    lease_until: Instant
    revision: int
    call: TaskCall | CommandCall | None
    timing: Timing | None
    policy: Policy
    next_due: DueTime | None = None
    expires_at: Instant | None = None
    last_error: str = ""
    paused: bool = False  # a pause of the entry, or of all, holds now
    waited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a claim.

    state: DISPATCHED, SKIPPED, UNDELIVERED (final), or PENDING (hand back: retry at next_try_at in `lane`).
    error: the broker's words, no secret in them, kept with the row. task_id: the message's id, for DISPATCHED tasks.
    next_try_at: at most LONGEST_WAIT from now; one further ahead is of a wrong clock, and does not hold.
    """

    key: Key
    attempt: int
    state: State
    reason: Reason = Reason.NONE
    error: str = ""
    next_try_at: Instant = 0.0
    lane: Lane = Lane.CATCH_UP
    task_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a supervisor (later a worker) says of an occurrence: started, succeeded, failed.

    output: the last bytes that it wrote (the caller cuts them), kept until pruned. exit_status: of a command.
    """

    key: Key
    attempt: int
    state: State
    reason: Reason = Reason.NONE
    note: str = ""
    exit_status: int | None = None
    output: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What `slot` and `fire` answer. claim is None when the row was there already; then state and reason tell how it stands."""

    key: Key
    claim: Claim | None
    state: State
    reason: Reason = Reason.NONE
    dispatched_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One line of `offbeat history`: a row, or a gap (then `until` is its last due time and due_at its first)."""

    entry: str
    due_at: DueTime
    kind: str
    state: State
    reason: Reason
    cause: Cause
    attempt: int
    task_id: str = ""
    recorded_at: Instant | None = None
    dispatched_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    note: str = ""
    exit_status: int | None = None
    until: DueTime | None = None  # set for a gap only
    count: int = 1  # occurrences that a gap stands for
    next_try_at: Instant | None = None
    send_at: DueTime | None = None
    key: Key | None = None  # of the row, for `output`; None for a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRunner:
    """A runner, or a worker with the guard, and its last sign of life."""

    runner: Runner
    seen_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """A pause [from_at, until_at), until_at None: open. name: the entry's, "" for all. once: a `skip` of one due time."""

    name: str
    from_at: Instant
    until_at: Instant | None
    who: str
    note: str
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision as it is kept. active: the one in force."""

    number: int
    digest: str
    activated_at: Instant
    origin: Origin
    entries: int
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewound:
    """The newest rewind: when it was done, back to which due time, and by whom."""

    at: Instant
    to: DueTime
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatus:
    """What `offbeat status` prints of the ledger. runners: those seen lately, newest first. waiting: for another's end.

    origin: of the active revision. waits_since: the oldest send_at of all that is pending or waiting and should be out by now.
    restored_at: when it was last found to have gone back to an older state. looked_at: when a runner of any kind looked last,
    however long ago; None before the first.
    """

    where: str
    project: str
    owner: str
    schema: int
    revision: int
    digest: str
    activated_at: Instant | None
    now: Instant
    next_due: Instant | None
    pending: int
    claimed: int
    undelivered: int
    runners: tuple[SeenRunner, ...]
    refused: str  # JSON of the problems of the newest tree, "" when it was accepted whole
    refused_whole: bool  # True when that tree was refused whole and an older revision is in force
    ahead: float = 0.0  # as in Outlook
    waiting: int = 0
    waits_since: Instant | None = None
    origin: Origin = COMPILED
    deployed: bool = False  # as in Outlook
    restored_at: Instant | None = None
    rewound: Rewound | None = None
    looked_at: Instant | None = None


def newest_first(row: HistoryRow) -> tuple[int, Instant, str, str, DueTime, str]:
    """Return what history is sorted by: newest due time first (a gap counts from its last one), then newest record."""
    newest = row.due_at if row.until is None else row.until
    return (-newest, -(row.recorded_at or 0.0), row.entry, row.kind, row.due_at, row.key.kind_id if row.key else "")


def unknown_entry(name: str, where: str) -> ConfigError:
    """Return the error for a name that the ledger does not know as an entry."""
    return ConfigError(
        Problem(
            code="C301",
            file=where,
            entry=name,
            what=f'entry "{name}" is not in the active schedule',
            why="nothing was recorded and nothing is sent",
            fix="use a name that `offbeat list` prints",
        )
    )


def require_rules(mine: str, theirs: str, origin: Origin, where: str) -> None:
    """Raise LedgerError when `mine` are older than `theirs`, those in force, unless the origin may lower them."""
    from offbeat.core.rules import older_in

    if older := older_in(mine, theirs):
        if not origin.lowers:
            raise LedgerError(older_rules(mine, theirs, older, where))


def older_rules(mine: str, theirs: str, older: Sequence[str], where: str) -> Problem:
    """Return what to tell of a host whose data for due times is older than what the ledger was compiled with."""
    names = " and ".join(older)
    return Problem(
        code="L313",
        file=where,
        what=f"this host's {names} {'is' if len(older) == 1 else 'are'} older than the ledger's: {mine} here, {theirs} there",
        why="it may work out other due times than others, so it decides nothing; what others have recorded it still sends",
        fix=f"update {names} on this host; if no host is to have the newer again: offbeat tick --adopt",
    )


def clock_not_believed(where: str) -> LedgerError:
    """Return the error for a change that would count from an instant which nobody has confirmed."""
    return LedgerError(
        Problem(
            code="L301",
            file=where,
            what="the clock went forward by more than an hour since it was last looked at",
            why="the schedule is not changed before a second look, 5 seconds later, has confirmed the new time",
            fix="wait 5 seconds and do the same again; if the clock is wrong, set it right first",
        )
    )
