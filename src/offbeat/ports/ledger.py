"""The ledger's interface: what is recorded, claimed and settled, by the batch.

One Protocol for each kind of user: Planning and Dispatching (runners), Operating (people), Reporting (whoever runs what was
sent), Reading (pages and commands). A store implements all of them. The text of each method is the specification
that tests/ports/test_ledger*.py hold every store to. Two laws hold for all:

- every operation repeated after a lost reply leaves the same state, and answers alike where the answer still matters;
- every operation is one transaction: it happens whole or not at all, and is as durable as the store before it returns.
  Thousands of rows may be several: `record` is then cut between windows, `settle` and `report` between rows.

`now` is never an argument: the store's own clock (for SQLite and memory a Clock given when it is opened) is the horizon.

Overlap (ledger rule 11): the slot of an entry whose policy says skip or wait is taken wherever a row of kind schedule or
backfill becomes claimed (record, slot, claim), in the same transaction, until now + max_runtime. When another occurrence
has it: with skip the row becomes skipped(overlap) at once; with wait it becomes WAITING until that time, and what waited
before becomes skipped(overlap), so that the newest waits. So it does, too, when one that is due later takes the free slot
before the one that waited was claimed (a tick records first): nothing waits for ever. Taking it twice for the same occurrence
is fine. A settle other than DISPATCHED frees it; DISPATCHED, and the report of the start, hold it until max_runtime from
then; the report of the end frees it. What waits stays WAITING until it is claimed, at once when the slot is free, but never
before its send_at. The slot keeps the until that it was taken with: a max_runtime that is made shorter frees it no earlier,
one that is made longer holds it by as much longer. A time further ahead than it was taken for is of a wrong clock, and does
not hold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from offbeat.core.model import (
    BrokerSettings,
    CommandCall,
    DueTime,
    Entry,
    Instant,
    Key,
    LedgerSettings,
    Schedule,
    State,
    TaskCall,
)
from offbeat.ports.ledger_values import (
    COMPILED,
    Claim,
    HistoryRow,
    LedgerStatus,
    Origin,
    Outcome,
    Outlook,
    Paused,
    Report,
    Revision,
    Runner,
    Slot,
    Told,
)

if TYPE_CHECKING:
    from offbeat.core.plan import Portion, Window
    from offbeat.ports.ledger_mail import Draft, Mail, Post, Recorded

FENCED = "the claim is not ours any more"
KEEP = LedgerSettings()


class Planning(Protocol):
    """For runners: from due groups to recorded decisions."""

    def look(self, runner: Runner) -> Outlook:
        """Write the runner's heartbeat, with its revision, skew and version, and answer the one indexed question: when to wake.

        Commands that are dispatched or started, and whose owner has given no sign of life for a minute, become
        failed(runner_died). The first look at a new ledger is believed. A clock that goes back raises nothing.
        """

    def changed(self) -> bool:
        """Return whether others may have written since it was asked last; True where a store cannot tell. Writes nothing."""

    def take(self, limit: int) -> Portion:
        """Return due groups (next_due <= now) with their members, oldest next_due first, one or more while members < `limit`.

        Of members that may have a backlog (core/backlog.py) it says how many of their rows are pending in lane CATCH_UP.

        Changes nothing. Empty when nothing is due, when the clock is not believed, or before the first revision.
        """

    def record(self, runner: Runner, windows: Sequence[Window], revision: int) -> Sequence[Claim]:
        """Write what was planned, and move each group's cursor, by compare and set. Return the due-now rows, claimed.

        A window counts only if its group still has the cursor and version it was planned from, the revision is the active
        one, and its end is not after the store's clock; the others are left out in silence (someone else was first, or will
        be asked again). A row whose key exists already, in whatever state, is left as it is. Rows with send_at <= now and
        lane 0 are born claimed, attempt 1, and returned; the rest become pending with next_try_at = send_at. Skips go
        straight into history, gaps into gaps. A repeat by the same runner returns the claims that it still holds of these
        windows. A window that ends where it begins (a backlog has no room) may be recorded any number of times: it returns
        only what is new, since a later pass cannot be told from a repeat, and what is held may be on its way.
        """


class Dispatching(Protocol):
    """For runners: from rows to settled rows."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        """Hand out rows whose next_try_at has come, or whose lease has ended, each with attempt + 1 and a new lease.

        WAITING rows, too, when the slot that they wait for is free again and their send_at has come.
        So too what was held in a wrong future: more than two LEASEs or one LONGEST_WAIT from now, when its send_at has come.

        Lane 0 first; but while others wait, at least a tenth of `limit` (one at least) is theirs; oldest next_try_at first
        within a lane. Rows whose queue is in closed_queues stay; that of commands is "". Nothing while the clock is not
        believed.

        A row of kind backfill whose entry is paused now (or all are) is not handed out: it becomes PENDING, its send_at moved
        by core/recheck.held_back, so that it is neither lost nor too late when somebody resumes.
        """

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        """Write what became of claims; return the keys that were accepted (or had been, with the same outcome).

        Accepted from the current attempt only, and only if the state's rank rises (PENDING from CLAIMED aside). Of a row that
        another runner holds only DISPATCHED, and SKIPPED of a command (by its supervisor), are accepted: a ledger that was put
        back counts attempts anew. A row that is
        STARTED or further already keeps its state, and gets dispatched_at and task_id. A command that is DISPATCHED may still
        become SKIPPED: only its supervisor knows whether its slot was free. What is handed back waits for its send_at at least.
        """

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        """Remove up to `limit` settled rows, gaps and outputs that are too old or too many; return how many went.

        By age (keep_seconds), by count (the oldest of more than keep_rows settled rows) and by size (the oldest while the
        ledger is larger than keep_bytes, as the store measures itself). A row is as old as its due time, but of kind backfill
        as old as its record: else it went as soon as it is sent, and the same backfill said again would send it again.

        Raises pruned_through first, never above the smallest next_due less 7 days (what is before that is decided in every
        group, also in those whose cursor rests). An output goes with its row. last_due of an entry stays. Nothing while the
        clock is not believed.
        """


class Enqueuing(Protocol):
    """A store that holds the queues of the broker too: recording and sending is one step there."""

    def server_id(self) -> str:
        """Return which server this is, as Broker.server_id does; asked anew on every connection."""

    def enqueue(self, runner: Runner, posts: Sequence[Post]) -> Sequence[str]:
        """Push and settle each post, or neither; return for each "" or why it was not pushed. At most 500 are one transaction.

        Pushed only if the row is still claimed under the outcome's attempt and its lease has not ended; else the answer is
        FENCED. Settled so already, by a message that came twice: "", and nothing is pushed again. What the server says
        against a push (its key is no list, say) is the answer, and the row stays claimed.
        """

    def draft(self, portion: Portion, windows: Sequence[Window]) -> Draft:
        """Return the rows of these windows that `record` would hand out, as claims of attempt 1. Writes nothing, keeps nothing.

        portion: what the windows were planned from; the rows due by its `now`, by the definitions that the store knows now.
        A claim is `paused`, too, by a pause that was made after `now`: it is then decided at its real claim.
        """

    def record_and_push(self, runner: Runner, windows: Sequence[Window], revision: int, mail: Mail) -> Recorded:
        """Do what Planning.record does, and in the same step push and settle the rows for which `mail` has a message.

        At most 500 rows, and fewer of large messages, are one transaction; what a window has beyond that is claimed, and left
        to `enqueue`. Pushed is what would be born claimed and returned, if definitions and pauses still are those of mail.mark
        (so the decisions that were made upon the draft hold) and it is not later than mail.until; else the row is claimed and
        returned as by `record`. What the server says against a push (its key is no list, say) is the answer, and the row is
        claimed and returned, too. FENCED is the answer for all else: the row is among the claims, is skipped or waits for its
        slot, or is somebody else's.

        A repeat by the same runner pushes nothing, and answers "" again for what was settled, while no other window of the
        group has been recorded since. No push is of attempt 2.
        """


class Operating(Protocol):
    """For people and for the compile step."""

    def activate(
        self, schedule: Schedule, stamp: str, problems: str = "", *, known: str | None = None, origin: Origin = COMPILED
    ) -> int:
        """Make `schedule` the active revision from the store's now on; return its number.

        Equal digest: only stamp and problems are written, the number stays. Otherwise: entries not in it are removed, a
        changed Timing opens a new version of the entry (valid from the next whole second, the old one until then), other
        changes apply in place; groups gain and lose members under a raised version; new groups start with cursor = now.
        An `at` of a new version, not more than PUNCTUAL seconds past, is recorded by the activation itself, as pending, or as
        skipped(paused) where it is in a pause (not by the very first one of a ledger, which plans nothing). Raises LedgerError
        while the clock is not believed: a change would count from a wrong instant.

        origin: kept with the revision; of an equal digest it replaces the old one when it is deployed. After the first that is
        deployed, one that is not answers 0 and changes nothing: the ledger is the truth then.

        Other rules than the active revision's: next_due of every group is worked out anew after its cursor, under a raised
        version. Older ones (core/rules.older_in) are refused with LedgerError L313, unless the origin lowers them.

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
        """End the entry's pauses now; time spent paused is not missed. A `skip` stays. ConfigError for an unknown name."""

    def skip(self, name: str, due_at: DueTime, who: str, note: str) -> Slot:
        """Skip exactly one occurrence, past, pending or still to come; return how its row stands then.

        Unless the ledger knows it already (as in `slot`), a row skipped(by_hand) is written, and the pause [due_at, due_at + 1)
        with it, so that no other occurrence is coalesced into it. What is PENDING or WAITING becomes skipped(by_hand); anything
        else stays as it is. The row's note is who and why. ConfigError for a name that is no entry of the active revision.

        A past due time at which no version of the entry was in force (before the schedule began, say), and of which there is
        no row: nothing is written, whatever last_due is, and the answer is SKIPPED without a reason. (`slot` sends such a one,
        unless last_due is not before it: it may have been sent by hand, and its row pruned.)
        """

    def backfill(self, name: str, token: str, rows: Sequence[tuple[DueTime, DueTime]]) -> int:
        """Record (due_at, send_at) rows of kind backfill, kind_id `token`, in their lane, pending; return how many were new.

        Rows that are there already stay, so a backfill that was cut off goes on by being said again. At most 5,000 at once.
        ConfigError for a name that is no entry of the active revision.
        """

    def cancel(self, name: str, who: str, note: str, limit: int, token: str = "") -> int:
        """Let up to `limit` rows of kind backfill of `name` that are PENDING or WAITING become skipped(by_hand).

        Return how many. token: of this backfill only, "" for all of them. The rows' note is who and why. What is claimed or
        sent stays as it is. It is said until it returns 0; a repeat is the next step of that. ConfigError: an unknown name.
        """

    def rewind(self, to: DueTime, who: str) -> int:
        """Set back what was decided after `to`, the way home from a wrong future; return how many groups were set back.

        It goes no further back than what was pruned, since nobody knows any more what was sent of that, nor than the
        beginning of the oldest version; the rest of this text, and `rewound` of the status, mean the instant to which it
        goes. Cursors after `to` become `to`, under a raised version, and
        next_due follows. Rows of kind schedule due after `to` go if nobody ever claimed them (attempt 0: pending,
        waiting, skipped). All others stay as they are: a message of one may be out, so no attempt of it is ever counted
        anew. Gaps are cut at `to`. Versions of entries that began in a wrong future begin at `to + 1`, those that began
        by now stay: nothing is due before it was in force, and each instant still has one version. last_due and
        pruned_through are at most `to` then, and the clock is believed as it is now. Status tells of it, with `who`,
        until the next one.
        """

    def restored(self, runner: Runner, told: Told, *, skip: bool) -> bool:
        """Say what this ledger told; where a mark of its own is lower now, it went back to an older state: return True.

        Raises its marks to those. With skip: what is pending, waiting or claimed and was to be sent by
        told.heard_at becomes skipped(restored), of each group all that is in (cursor, heard_at] becomes a gap(restored), and
        the cursor is there; what came due later nobody can have sent, and it is planned like any downtime. Without skip
        everything is. False, and nothing is changed, when no mark is lower: somebody else was first.
        """


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

    def schedule(self, revision: int | None = None) -> Schedule | None:
        """Return the active revision, or the one of this number; None when there is none."""

    def revisions(self, limit: int) -> Sequence[Revision]:
        """Return the newest revisions, newest first."""

    def pauses(self) -> Sequence[Paused]:
        """Return the pauses that hold or are still to come, by name and begin."""

    def broker_settings(self) -> BrokerSettings | None:
        """Return the active revision's broker settings without reading its entries."""

    def ledger_settings(self) -> LedgerSettings:
        """Return the active revision's ledger settings without reading its entries; the defaults before the first."""

    def rules(self) -> str:
        """Return the active revision's rules without reading its entries; "" before the first, and of one that has none."""

    def entries(self) -> Sequence[tuple[Entry, DueTime | None]]:
        """Return the active entries by name, each with its last due time that was recorded (None: none yet)."""

    def history(
        self, name: str = "", limit: int = 100, since: DueTime | None = None, *, states: Collection[State] = ()
    ) -> Sequence[HistoryRow]:
        """Return rows and gaps of one entry (or all), newest due time first, at most `limit`, not before `since`.

        states: only rows in one of these, and gaps if SKIPPED is among them; () for all. Those of TROUBLE are found without a
        look at any other row.
        """

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        """Return rows that failed after `since` (by finished_at), oldest first, at most `limit`."""

    def peek(self, limit: int) -> tuple[Portion, Sequence[Claim]]:
        """Return what take and claim would hand out now (attempt not raised), changing nothing: for `offbeat plan`."""

    def output(self, key: Key) -> bytes | None:
        """Return the kept output of a command, None when there is none."""


class Ledger(Planning, Dispatching, Operating, Reporting, Reading, Protocol):
    """A whole store."""

    def enqueuing(self) -> Enqueuing | None:
        """Return the part that pushes and settles in one step, None where the store holds no queues."""

    def told(self) -> Told:
        """Return what replies told of its marks since this was asked last: the next look must not be below. Empty: none did.

        Always empty from a store that loses nothing of what it acknowledged unless its whole file is exchanged.
        """

    def close(self) -> None:
        """Release files and connections. Safe to call twice."""
