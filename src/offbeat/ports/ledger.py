"""The ledger's interface: what is recorded, claimed and settled, by the batch.

Four Protocols, one for each kind of user: Planning and Dispatching (runners), Operating (people), Reporting (whoever runs
what was sent), Reading (pages and commands). A store implements all of them. The text of each method is the specification
that tests/ports/test_ledger*.py hold every store to. Two laws hold for all:

- every operation repeated after a lost reply leaves the same state, and answers alike where the answer still matters;
- every operation is one transaction: it happens whole or not at all, and is as durable as the store before it returns.
  Thousands of rows may be several: `record` is then cut between windows, `settle` and `report` between rows.

`now` is never an argument: the store's own clock (for SQLite and memory a Clock given when it is opened) is the horizon.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from offbeat.core.model import (
    BrokerSettings,
    Cause,
    CommandCall,
    DueTime,
    Entry,
    Instant,
    Key,
    Lane,
    Policy,
    Reason,
    Schedule,
    State,
    TaskCall,
    Timing,
)
from offbeat.errors import ConfigError, LedgerError, Problem

if TYPE_CHECKING:
    from offbeat.core.plan import Portion, Window

LEASE = 10.0  # seconds that a claim holds
LONGEST_HOLD = 600.0  # seconds for which a slot can be asked at most
LONGEST_WAIT = 300.0  # seconds after which what is handed back must be tried again
SEEN_LATELY = 86_400.0  # seconds for which status names a runner after its last sign of life
SETTLES = (State.PENDING, State.DISPATCHED, State.SKIPPED, State.UNDELIVERED)  # what an outcome may say


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Who asks. id: unique for each process, e.g. "web1:4711:tick". now: what its own clock says when it asks."""

    id: str
    host: str
    pid: int
    role: str  # tick | run | fire | supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one look tells.

    now: the store's clock. revision: number of the active revision, 0 before the first. stamp: of the tree that the
    revision was compiled from, or of the newest tree that was refused since (see `refused`). wake_at: the earliest of
    next_due, next_try_at and lease end over everything; infinity when there is nothing. due: something can be taken or
    claimed now. believed: False while the clock has stepped forward by more than an hour and no second look, at least 5 s
    after the first, has confirmed it (ledger rule 6); nothing is taken then and `believe_at` says when to look again.
    failed_at: when the newest of all failed ones ended, 0 for none. ahead: seconds by which a time that was believed once is
    ahead of `now`, if more than an hour, else 0: nothing that was decided until then is decided again.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A row that a runner holds until lease_until, with the definition that applies now (late binding, ledger rule 9).

    name: the entry's, or the task's for a fire of something that is not in the schedule. call, timing: None when the entry
    is not in the active revision any more. next_due: the entry's next usable due time after due_at, by its versions and in
    no pause, None when there is none. expires_at: from the first claim, None without `expires`. revision: the active one.
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
class LedgerStatus:
    """What `offbeat status` prints of the ledger. runners: (id, role, host, seen_at) of those seen lately, newest first."""

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
    runners: tuple[tuple[str, str, str, Instant], ...]
    refused: str  # JSON of the problems of the newest tree, "" when it was accepted whole
    refused_whole: bool  # True when that tree was refused whole and an older revision is in force
    ahead: float = 0.0  # as in Outlook


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


class Planning(Protocol):
    """For runners: from due groups to recorded decisions."""

    def look(self, runner: Runner) -> Outlook:
        """Write the runner's heartbeat and answer the one indexed question: when to wake.

        Commands that are dispatched or started, and whose owner has given no sign of life for a minute, become
        failed(runner_died). The first look at a new ledger is believed. A clock that goes back raises nothing.
        """

    def changed(self) -> bool:
        """Return whether others may have written since it was asked last; True where a store cannot tell. Writes nothing."""

    def take(self, limit: int) -> Portion:
        """Return due groups (next_due <= now) with their members, oldest next_due first, one or more while members < `limit`.

        Changes nothing. Empty when nothing is due, when the clock is not believed, or before the first revision.
        """

    def record(self, runner: Runner, windows: Sequence[Window], revision: int) -> Sequence[Claim]:
        """Write what was planned, and move each group's cursor, by compare and set. Return the due-now rows, claimed.

        A window counts only if its group still has the cursor and version it was planned from, the revision is the active
        one, and its end is not after the store's clock; the others are left out in silence (someone else was first, or will
        be asked again). A row whose key exists already, in whatever state, is left as it is. Rows with send_at <= now and
        lane 0 are born claimed, attempt 1, and returned; the rest become pending with next_try_at = send_at. Skips go
        straight into history, gaps into gaps. A repeat by the same runner returns the claims that it still holds of these
        windows.
        """


class Dispatching(Protocol):
    """For runners: from rows to settled rows."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        """Hand out rows whose next_try_at has come, or whose lease has ended, each with attempt + 1 and a new lease.

        So too what was held in a wrong future: more than two LEASEs or one LONGEST_WAIT from now, when its send_at has come.

        Lane 0 first; but while others wait, at least a tenth of `limit` (one at least) is theirs; oldest next_try_at first
        within a lane. Task rows whose queue is in closed_queues stay. Nothing while the clock is not believed.
        """

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        """Write what became of claims; return the keys that were accepted (or had been, with the same outcome).

        Accepted from the current attempt only, and only if the state's rank rises (PENDING from CLAIMED aside). A row that is
        STARTED or further already keeps its state, and gets dispatched_at and task_id. A command that is DISPATCHED may still
        become SKIPPED: only its supervisor knows whether its slot was free. What is handed back waits for its send_at at least.
        """

    def prune(self, limit: int) -> int:
        """Remove up to `limit` settled rows, gaps and outputs older than the retention; return how many went.

        Raises pruned_through first, never above the smallest next_due less 7 days (what is before that is decided in every
        group, also in those whose cursor rests). An output goes with its row. last_due of an entry stays. Nothing while the
        clock is not believed.
        """


class Operating(Protocol):
    """For people and for the compile step."""

    def activate(self, schedule: Schedule, stamp: str, problems: str = "", *, known: str | None = None) -> int:
        """Make `schedule` the active revision from the store's now on; return its number.

        Equal digest: only stamp and problems are written, the number stays. Otherwise: entries not in it are removed, a
        changed Timing opens a new version of the entry (valid from the next whole second, the old one until then), other
        changes apply in place; groups gain and lose members under a raised version; new groups start with cursor = now.
        An `at` of a new version, not more than PUNCTUAL seconds past, is recorded by the activation itself, as pending (not
        by the very first one of a ledger, which plans nothing). Raises LedgerError while the clock is not believed: a change
        would count from a wrong instant.

        known: the ledger's stamp ("" for none yet) as `look` told it before the tree was read. If it is another one by now,
        and not `stamp` itself, somebody has read a newer tree: nothing is written and the answer is 0. Look and read again.
        """

    def refuse(self, stamp: str, problems: str, *, known: str | None = None) -> None:
        """Remember that the tree with this stamp was refused whole, and why. The active revision stays in force.

        known: as in `activate`; nothing is written when the ledger's stamp is another by now. The caller's next look tells.
        """

    def fire(self, runner: Runner, name: str, token: str, call: TaskCall | CommandCall | None = None) -> Slot:
        """Record a manual row for `name`, due now, born claimed. token makes the key: a repeat with it finds the same row.

        A repeat by the runner that still holds the row returns the claim again; any other, only how the row stands.
        call: overrides the entry's; required when `name` is not an entry of the active revision (ConfigError else).
        """

    def slot(self, runner: Runner, name: str, due_at: DueTime) -> Slot:
        """Record the scheduled occurrence (name, due_at) now, born claimed, unless the ledger knows it already.

        Known: a row with this key, in any state, a gap that covers it, or entries.last_due >= due_at (then the state is
        DISPATCHED, without an instant: its row was pruned long ago). A repeat by the runner that still holds the row returns
        the claim again. ConfigError when `name` is not an entry of the active revision.
        """

    def pause(self, name: str, who: str, note: str, until: Instant | None = None) -> None:
        """Pause an entry ("" for all) from now on. An interval is kept until every cursor has passed it.

        While it is paused already, until, who and note are written into the same interval. ConfigError for an unknown name.
        """

    def resume(self, name: str) -> None:
        """End the entry's pauses now; time spent paused is not missed."""


class Reporting(Protocol):
    """For whoever runs what was sent."""

    def report(self, runner: Runner, reports: Sequence[Report]) -> Sequence[Key]:
        """Write started and ended; return the keys accepted. Rank only rises; of another attempt than the row's: ignored.

        Also a sign of life of the runner, even with no report in it. DISPATCHED says "I have it and have not started it": the
        row then lives by this runner's signs of life. STARTED and RETRYING may follow each other. The same state again is
        accepted from whoever said it first, and from nobody else: of two supervisors one may start. How a command ended is
        accepted after runner_died too, if its supervisor is alive after all.
        """

    def occupy(self, name: str, owner: str, seconds: float) -> bool:
        """Take or prolong the slot `name` for `owner`. False while another owner's time has not run out.

        seconds: at most LONGEST_HOLD. A time further ahead is of a clock that was wrong, and does not hold.
        """

    def vacate(self, name: str, owner: str) -> None:
        """Free the slot if `owner` has it."""

    def admit(self, occurrence: str, attempt: int) -> bool:
        """Let one attempt of an occurrence start: the first to ask wins, and passes again whenever it asks."""


class Reading(Protocol):
    """For pages and commands. Changes nothing."""

    def status(self) -> LedgerStatus:
        """Return one summary."""

    def schedule(self) -> Schedule | None:
        """Return the active revision, None before the first."""

    def broker_settings(self) -> BrokerSettings | None:
        """Return the active revision's broker settings without reading its entries."""

    def entries(self) -> Sequence[tuple[Entry, DueTime | None]]:
        """Return the active entries by name, each with its last due time that was recorded (None: none yet)."""

    def history(self, name: str = "", limit: int = 100, since: DueTime | None = None) -> Sequence[HistoryRow]:
        """Return rows and gaps of one entry (or all), newest due time first, at most `limit`, not before `since`."""

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        """Return rows that failed after `since` (by finished_at), oldest first, at most `limit`."""

    def peek(self, limit: int) -> tuple[Portion, Sequence[Claim]]:
        """Return what take and claim would hand out now (attempt not raised), changing nothing: for `offbeat plan`."""

    def output(self, key: Key) -> bytes | None:
        """Return the kept output of a command, None when there is none."""


class Ledger(Planning, Dispatching, Operating, Reporting, Reading, Protocol):
    """A whole store."""

    def close(self) -> None:
        """Release files and connections. Safe to call twice."""
