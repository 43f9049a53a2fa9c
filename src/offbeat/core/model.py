"""The words of offbeat as data: entry, schedule, occurrence, row, and the closed lists of states and reasons.

Never computes a due time and never touches the world. Instants are seconds since the epoch, UTC: `int` where they are due
times (whole seconds), `float` where a clock said them (docs/adr/0005). Faces turn them into text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TypeAlias

DueTime: TypeAlias = int  # whole seconds since the epoch, UTC
Instant: TypeAlias = float  # seconds since the epoch, UTC, as the store's clock says them
Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"

PUNCTUAL = 90  # seconds; a due time that is later than this is late (ledger rule 4)
DIRECTORIES = ("minutely", "hourly", "daily", "weekly", "monthly")  # of the tree, in this order
SHARD = 500  # most entries of one group (ledger rule 1)


class Kind(StrEnum):
    """What brought a row into being; part of its key."""

    SCHEDULE = "schedule"  # its recurrence
    MANUAL = "manual"  # a person, through fire
    BACKFILL = "backfill"  # a person, for a span in the past


class Cause(StrEnum):
    """Why a message was sent: the header `offbeat_cause`."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch_up"  # its recurrence, but more than PUNCTUAL late when it was recorded
    MANUAL = "manual"
    BACKFILL = "backfill"


class State(StrEnum):
    """Where an occurrence stands. `RANK` says which may follow which."""

    PENDING = "pending"  # recorded, to be claimed at next_try_at
    WAITING = "waiting"  # recorded, outside the claim index until it is woken
    CLAIMED = "claimed"  # a runner has it, until its lease ends
    UNDELIVERED = "undelivered"  # grace ended before the broker took it
    DISPATCHED = "dispatched"  # the broker (or the supervisor of commands) has it
    STARTED = "started"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVOKED = "revoked"
    SKIPPED = "skipped"  # will not be dispatched; its reason says why


RANK: Mapping[State, int] = {
    State.WAITING: 0,
    State.PENDING: 0,
    State.CLAIMED: 1,
    State.UNDELIVERED: 2,
    State.SKIPPED: 2,
    State.DISPATCHED: 2,
    State.STARTED: 3,
    State.RETRYING: 3,
    State.SUCCEEDED: 4,
    State.FAILED: 4,
    State.REVOKED: 4,
}


TROUBLE = frozenset({State.FAILED, State.REVOKED, State.UNDELIVERED})  # what a person must see; ledgers index it


class Reason(StrEnum):
    """Why an occurrence was not dispatched, or a command failed. A closed list; docs/reference/reasons.md has them."""

    NONE = ""
    COALESCED = "coalesced"  # late, and a newer due time of the entry has come (catch_up = "latest")
    MISSED = "missed"  # late, and catch_up = "none"
    TOO_LATE = "too_late"  # its grace ended before it was sent; what the broker said is in the note
    REMOVED = "removed"  # the entry is no longer in the schedule
    DISABLED = "disabled"  # the entry says enabled = false
    PAUSED = "paused"  # a person paused the entry, or all of them
    OVERLAP = "overlap"  # the previous occurrence of the entry, or slot of its directory, was still running
    BY_HAND = "by_hand"  # a person skipped this one occurrence
    RESTORED = "restored"  # the ledger went back to an older state, and after_restore = "skip"
    EXIT_STATUS = "exit_status"  # the command ended with another status than 0
    TIMED_OUT = "timed_out"  # the command was stopped at its time limit
    RUNNER_DIED = "runner_died"  # the supervisor of the command is gone
    NOT_STARTED = "not_started"  # the command could not be executed at all
    REFUSED = "refused"  # the message cannot be built or was refused for good


class Lane(IntEnum):
    """Order of claims: lower first, but each of the others gets at least a tenth (ledger rule 10)."""

    LIVE = 0
    CATCH_UP = 1  # late ones and retries
    BACKFILL = 2


class CatchUp(StrEnum):
    """What becomes of due times that passed while nothing ran."""

    LATEST = "latest"  # the newest one is sent, the others are coalesced
    ALL = "all"  # each is sent
    NONE = "none"  # those more than PUNCTUAL late are missed


class Overlap(StrEnum):
    """What becomes of an occurrence while an earlier one of its entry still runs (ledger rule 11)."""

    ALLOW = "allow"
    SKIP = "skip"  # it is skipped
    WAIT = "wait"  # it waits for the end of the other; of several the newest waits


class AfterRestore(StrEnum):
    """What becomes of the time that a restored ledger has forgotten."""

    SKIP = "skip"  # nothing of it is sent: it may have been
    SEND = "send"  # it is planned like any downtime: what was sent may be sent again, with the same id


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What yields an entry's due times. A change of it opens a new version of the entry (ledger rule 3).

    recurrence: resolved text as core.recurrences.recurrence.compile_recurrence reads it ("cron 30 4 * * 1", "every 2700 0",
    "at 1767225600"). zone: IANA name. starts_at, ends_at: only due times in [starts_at, ends_at] count.
    """

    recurrence: str
    zone: str = "UTC"
    starts_at: DueTime | None = None
    ends_at: DueTime | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How lateness is treated. All durations are seconds."""

    catch_up: CatchUp = CatchUp.LATEST
    grace: int | None = None  # how late it may still go out, from its send time; None: no limit
    jitter: int = 0  # at most this much after the due time, by a hash; never past the next due time
    jitter_percent: int = 0  # instead: at most so much of the time to the next due time
    overlap: Overlap = Overlap.ALLOW
    max_runtime: int | None = None  # after which a slot counts as free whatever was reported; set unless overlap is ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCall:
    """A Celery task to publish by name. queue is resolved: routes and default_queue are applied already."""

    task: str
    args: tuple[Json, ...] = ()
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    queue: str = "celery"
    exchange: str = ""
    routing_key: str = ""  # "" means: the queue's name
    priority: int | None = None
    expires: int | None = None  # seconds from the first publish
    headers: Mapping[str, Json] = field(default_factory=dict)
    serializer: str = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCall:
    """A command to run under a supervisor.

    argv: first the program, a path relative to the tree's folder ("hourly/rotate-logs.sh") for a file of a directory; for an
    entry of schedule.toml ("sh", "-c", text). cwd: relative to the repository's root. directory: "hourly", ... when it is a
    file of a directory: those due together run in byte order under one supervisor, which skips the slot while its
    predecessor is still running. "" else. time_limit: seconds, then the whole process group is killed.
    """

    argv: tuple[str, ...]
    cwd: str = "."
    directory: str = ""
    time_limit: int = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the schedule: a name, when it is due, what is sent. file, line: where it is written."""

    name: str
    timing: Timing
    call: TaskCall | CommandCall
    policy: Policy = Policy()
    description: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """How to reach the broker as schedule.toml says it. No address and no secret is ever in here."""

    broker_env: str = ""  # name of the variable that has the URL
    env_file: str = ""  # relative to the repository's root; read for addresses and secrets
    transport_options: Mapping[str, Json] = field(default_factory=dict)
    ssl: Mapping[str, Json] | bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """What schedule.toml says of the ledger: how long, how many, how many bytes of settled rows are kept (None: no limit)."""

    keep_seconds: int = 90 * 86_400
    keep_rows: int | None = None
    keep_bytes: int | None = None
    after_restore: AfterRestore = AfterRestore.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """All entries of one revision, and what is common to them. digest: of everything in it, hex.

    rules: the versions of the data that due times are worked out with (core/rules.py), "" where nobody asked.
    """

    project: str
    timezone: str
    entries: tuple[Entry, ...]
    task_prefix: str = ""
    default_queue: str = "celery"
    routes: tuple[tuple[str, str], ...] = ()
    broker: BrokerSettings = BrokerSettings()
    ledger: LedgerSettings = LedgerSettings()
    rules: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """Identity of a row in the ledger. kind_id: "" for kind schedule, else a token of its own."""

    eno: int
    due_at: DueTime
    kind: Kind = Kind.SCHEDULE
    kind_id: str = ""
