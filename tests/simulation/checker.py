"""The checker: it sees every call that a port carried out, and says at once what must not have happened.

Keeps a row for every occurrence that was handed out, by the words of ports/ledger.py. audit.py looks at the whole at the end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.simulation.rows import Memory, Row
from tests.simulation.starts import Starts

from offbeat.core.identity import occurrence_id
from offbeat.core.marks import format_marks, lost
from offbeat.core.message import Message
from offbeat.core.model import CatchUp, Key, Kind, Overlap, Reason, State
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Claim, Told

if TYPE_CHECKING:
    from tests.simulation.scenario import Run
    from tests.simulation.world import Process

MARGIN = 2.0  # seconds before the end of its lease from which on a runner publishes nothing
HANDFUL = 3_000  # rows that a runner may have in hand at once
SMALL = 250  # rows of a ledger that is compared with itself after a repeated message


class Checker(Starts):
    """Knows what was handed out, pushed, admitted and started, and every rule that it must keep to."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.violations: list[str] = []
        self.newest = 0.0  # newest instant that the store's clock showed
        self.highest = 0.0  # the same, also when a rewind has taken that back
        self.keys: dict[str, Key] = {}
        self.names: dict[int, str] = {}
        self.pushes: dict[str, list[int]] = {}  # occurrence -> attempts, in order
        self.fused: set[str] = set()  # occurrences that were pushed in one step with their settling
        self.decided: list[tuple[float, float]] = []  # (recorded at, looked at)
        self.by_hand: set[Key] = set()

    def wrong(self, rule: str, what: str, *more: object) -> None:
        """Remember that a rule was broken."""
        text = f"{rule}: {what} {' '.join(map(str, more))}".rstrip()
        self.violations.append(text)
        self.run.world.note(self.run.world.current, "VIOLATION", text)
        self.run.world.is_over = self.run.hasty

    def saw(self, process: Process, op: str, args: Any, kwargs: Any, answer: Any, now: float) -> None:
        """A call to the ledger was carried out. now: by the store's clock."""
        self.newest, self.highest = max(self.newest, now), max(self.highest, now)
        self.counts[op] += 1
        seen = getattr(self, f"_{op}", None)
        if seen is not None:
            seen(process, *args, now=now, answer=answer, **kwargs)

    def repeats(self, process: Process, op: str, args: Any, kwargs: Any, answer: Any) -> None:
        """Let a message arrive twice: nothing may change, and the answer must still serve (I12)."""
        store = self.run.store
        before = store.history(limit=SMALL + 1)
        if len(before) > SMALL or (op == "cancel" and answer == args[3]):  # a repeat would be the next step
            return
        again = getattr(store.enqueuing() if op == "record_and_push" else store, op)(*args, **kwargs)
        if store.history(limit=SMALL + 1) != before:
            self.wrong("I12", f"{op}, repeated, changed the ledger", args)
        if op == "record_and_push":
            if [not said for said in answer.answers] != [not said for said in again.answers]:
                self.wrong("I12", "record_and_push, repeated, answers otherwise", args)
            again, answer, op = again.claims, answer.claims, "record"
        if op == "record" and [c.key for c in again] != [c.key for c in answer]:
            self.wrong("I12", "record, repeated, answers otherwise", args)
        if op == "fire" and again != answer:
            self.wrong("I12", f"{op}, repeated, answers otherwise", args)

    def _look(self, process: Process, runner: Any, *, now: float, answer: Any) -> None:
        if lost(self.memory.marks, answer.marks):
            self.wrong("I2", "marks fell", answer.marks)
        self.memory.marks = answer.marks

    def _take(self, process: Process, limit: int, *, now: float, answer: Any) -> None:
        process.hand["looked"] = answer.now
        for group, _ in answer.groups:
            if group.cursor < self.memory.cursors.get(group.gid, group.cursor):
                self.wrong("I2", "a cursor fell", group)
            self.memory.cursors[group.gid] = group.cursor

    def _record(self, process: Process, runner: Any, windows: Any, revision: int, *, now: float, answer: Any) -> None:
        self.decided.append((now, process.hand.get("looked", now)))
        self.run.world.note(process, "record", len(windows), [(c.name, c.key.due_at) for c in answer])
        if len(answer) > HANDFUL:
            self.wrong("I11", "too many rows in hand", len(answer))
        for claim in answer:
            row = self.memory.rows.get(claim.key)
            if row and (row.claim.attempt, row.state) == (claim.attempt, State.CLAIMED) and claim.key in process.hand:
                continue  # a repeat
            if revision != self.book.revision:
                self.wrong("I10", "recorded by a plan of another revision", claim.name, claim.key, revision)
            self._handed(process, claim, now)

    def _draft(self, process: Process, portion: Any, windows: Any, *, now: float, answer: Any) -> None:
        process.hand["drafts"] = {self._id(claim): claim for claim in answer.claims}

    def _record_and_push(
        self, process: Process, runner: Any, windows: Any, revision: int, mail: Any, *, now: float, answer: Any
    ) -> None:
        """What was pushed was seen while it was; the rest is as after a record."""
        self._record(process, runner, windows, revision, now=now, answer=answer.claims)
        for post, said in zip(mail.posts, answer.answers, strict=True):
            row = self.memory.rows.get(post.outcome.key)
            if not said and row is not None and row.claim.attempt == 1 and row.state is State.CLAIMED:
                self._settled(row, post.outcome, now)

    def _id(self, claim: Claim) -> str:
        return occurrence_id("sim", claim.name, claim.key.due_at, claim.key.kind, claim.key.kind_id)

    def _claim(self, process: Process, runner: Any, limit: int, closed: Any = (), *, now: float, answer: Any) -> None:
        self.run.world.note(process, "claim", [(c.name, c.key.due_at, c.attempt) for c in answer])
        if len(answer) > limit:
            self.wrong("I11", "more rows than asked for", len(answer), limit)
        for claim in answer:
            if getattr(claim.call, "queue", None) in closed:
                self.wrong("I9", "claimed for a queue that was said to be closed", claim.name, claim.key)
            self._handed(process, claim, now)

    def _handed(self, process: Process, claim: Claim, now: float) -> None:
        """A row was handed out: was it anybody's to take?"""
        key, row = claim.key, self.memory.rows.get(claim.key)
        if row and row.is_undone and claim.attempt == 1:
            row = None
        if claim.attempt != (row.claim.attempt if row else 0) + 1:
            self.wrong("I5", "an attempt that does not follow", claim.name, key, claim.attempt)
        if row and row.state not in (State.CLAIMED, State.PENDING, State.WAITING):
            self.wrong("I3", "claimed after it was settled", claim.name, key, row.state)
        if row and row.state is State.CLAIMED and now < row.claim.lease_until <= now + 2 * LEASE:
            self.wrong("I5", "claimed while another's lease holds", claim.name, key)
        if row and row.state is State.PENDING and now < row.next_try_at <= now + LONGEST_WAIT:
            self.wrong("I9", "claimed before it was to be tried again", claim.name, key)
        if self.newest < claim.send_at:
            self.wrong("I4", "claimed before its send time", claim.name, key, claim.send_at - now)
        if row and row.claim.expires_at not in (None, claim.expires_at):
            self.wrong("I10", "its expiry was counted anew", claim.name, key, row.claim.expires_at, claim.expires_at)
        self._bound(claim)
        occurrence = self._id(claim)
        self.keys[occurrence], self.names[key.eno] = key, claim.name
        fresh = Row(claim=claim, claimed_at=now, confirmed=row.confirmed if row else set())
        fresh.busy_until = row.busy_until if row else 0.0
        self._prolong(fresh, now)
        self.memory.rows[key] = process.hand[occurrence] = process.hand[key] = fresh

    def _bound(self, claim: Claim) -> None:
        """What is handed out is what the revision in force says (I10)."""
        entry = self.book.entries.get(claim.name)
        if claim.revision != self.book.revision:
            self.wrong("I10", "a claim of another revision", claim.name, claim.revision, self.book.revision)
        if claim.key.kind is Kind.MANUAL:
            return
        if (claim.call, claim.timing) != ((entry.call, entry.timing) if entry else (None, None)):
            self.wrong("I10", "a claim with another definition", claim.name, claim.key)
        if entry and claim.policy != entry.policy:
            self.wrong("I10", "a claim with another policy", claim.name, claim.key)

    def _settle(self, process: Process, runner: Any, outcomes: Any, *, now: float, answer: Any) -> None:
        accepted = set(answer)
        said = [(self.names.get(o.key.eno), o.key.due_at, o.attempt, str(o.state), str(o.reason)) for o in outcomes]
        self.run.world.note(process, "settle", said, len(accepted))
        for outcome in outcomes:
            row = self.memory.rows.get(outcome.key)
            if row is None:
                continue
            current = row.claim.attempt == outcome.attempt
            mine = not self.run.restores or process.hand.get(outcome.key) is row  # or its number only
            if outcome.key not in accepted:
                if current and mine and row.state is State.CLAIMED and now < row.claim.lease_until:
                    self.wrong("I3", "the outcome of the attempt in force was refused", outcome)
            elif not current:
                self.wrong("I5", "an outcome of an old attempt was accepted", outcome)
            elif row.state is State.CLAIMED:
                self._settled(row, outcome, now)

    def _enqueue(self, process: Process, runner: Any, posts: Any, *, now: float, answer: Any) -> None:
        self.run.world.note(process, "enqueue", list(answer))
        for post, said in zip(posts, answer, strict=True):
            row = self.memory.rows.get(post.outcome.key)
            if row is None or row.claim.attempt != post.outcome.attempt or row.state is not State.CLAIMED:
                continue
            if not said:
                self._settled(row, post.outcome, now)
            elif said == FENCED and now < row.claim.lease_until:
                self.wrong("I5", "fenced under its own lease", post.outcome)

    def _restored(self, process: Process, runner: Any, told: Told, *, skip: bool, now: float, answer: bool) -> None:
        self.run.world.note(process, "restored", format_marks(told.marks), told.heard_at, skip, answer)
        for row in self.memory.rows.values() if answer and skip else ():
            if row.claim.send_at <= told.heard_at and row.state in (State.CLAIMED, State.PENDING, State.WAITING):
                row.state = State.SKIPPED

    def _settled(self, row: Row, outcome: Any, now: float) -> None:
        claim = row.claim
        row.state, row.next_try_at = outcome.state, max(outcome.next_try_at, claim.send_at)
        occurrence = self._id(claim)
        if outcome.state is State.DISPATCHED:
            self._prolong(row, now)
            if not self.pushes.get(occurrence):
                self.wrong("LOSS", "settled as dispatched, never pushed", claim.name, claim.key)
            return
        if outcome.attempt in row.confirmed:
            self.wrong("I5", "not settled as dispatched, though the broker took it", claim.name, outcome)
        if outcome.state is not State.PENDING and not self._is_right(row, outcome.reason):
            self.wrong("LOSS", "skipped without a cause", claim.name, claim.key, outcome.state, outcome.reason)

    def _is_right(self, row: Row, reason: Reason) -> bool:
        """Return whether a claimed row may be skipped for this reason."""
        claim, policy, now = row.claim, row.claim.policy, row.claimed_at
        late = now - claim.send_at > 90
        if reason is Reason.TOO_LATE:
            has_expired = claim.expires_at is not None and claim.expires_at <= now
            return has_expired or _is_out_of_grace(claim, now)
        if reason is Reason.COALESCED:
            usable = self.book.has_usable(claim.name, claim.key.due_at, now, sure=False)
            return policy.catch_up is CatchUp.LATEST and late and usable
        if reason is Reason.MISSED:
            return policy.catch_up is CatchUp.NONE and late
        if reason is Reason.PAUSED:
            return claim.paused
        if reason is Reason.REMOVED:
            return claim.call is None
        if reason is Reason.DISABLED:
            return claim.timing is not None and not claim.timing.enabled
        return reason in (Reason.OVERLAP, Reason.BY_HAND, Reason.RESTORED)

    def key_of(self, message: Message) -> Key:
        """Return the key of a message's row."""
        return self.keys[message.task_id]

    def begins(self, process: Process, message: Message, now: float) -> None:
        """A runner begins to publish a message: not within the last two seconds of its lease, unless it stood still before."""
        row = process.hand.get(message.task_id)
        if row is None or process.hand.get("stalled", 0.0) >= row.claimed_at or self.jumped_at >= row.claimed_at:
            return
        if now > row.claim.lease_until - MARGIN + 0.1:
            self.wrong("I5", "published though its lease is about to end", row.claim.name, row.claim.key)

    def saw_push(self, process: Process, message: Message, now: float, *, is_fused: bool = False) -> None:
        """The broker took a message. is_fused: in the step that settles it, or even records it."""
        occurrence, attempt = message.task_id, message.headers["offbeat_attempt"]
        assert isinstance(attempt, int)
        before = self.pushes.setdefault(occurrence, [])
        draft = process.hand.get("drafts", {}).pop(occurrence, None) if is_fused else None
        if draft is not None and occurrence not in process.hand and not before:
            if any(p.sure and p.holds(now) for p in self.book.pauses if p.name in ("", draft.name)):
                self.wrong("I4", "recorded and pushed though it is paused", draft.name, draft.key)
            self._handed(process, replace(draft, lease_until=now + LEASE), now)
        row = process.hand.get(occurrence)
        self.run.world.note(process, "push", message.headers["offbeat_entry"], message.headers["offbeat_due_at"], attempt)
        self.counts["push"] += 1
        self.counts["repeated push"] += bool(before)
        self.counts["fused push"] += is_fused
        if row is None or row.claim.attempt != attempt:
            self.wrong("I5", "pushed without a claim", message.headers["offbeat_entry"], message.headers["offbeat_due_at"])
        elif before and self._is_once(occurrence, is_fused=is_fused, holds=now < row.claim.lease_until):
            self.wrong("I5", "enqueued twice, though ledger and broker are one server", row.claim.name, row.claim.key)
        elif attempt in before and occurrence not in self.forgotten:
            self.wrong("I5", "pushed twice under one claim", row.claim.name, row.claim.key)
        else:
            self._pushed(row, message, now)
        before.append(attempt)
        if is_fused:
            self.fused.add(occurrence)

    def _is_once(self, occurrence: str, *, is_fused: bool, holds: bool) -> bool:
        """Return whether a second push is wrong, whatever its claim: all is on one server, or it was settled with the first.

        holds: its lease does. Nobody can fence a plain push of a runner that stands still until after its lease.
        """
        if occurrence in self.forgotten or not self.run.plan.fused:
            return False
        return not self.run.is_mixed or (occurrence in self.fused and (is_fused or holds))

    def _pushed(self, row: Row, message: Message, now: float) -> None:
        claim, at = row.claim, row.claimed_at
        policy, name = claim.policy, claim.name
        if self.highest < claim.send_at:
            self.wrong("I4", "pushed before its send time", name, claim.key)
        if claim.call is None or _is_out_of_grace(claim, at):
            self.wrong("I4", "pushed though removed or out of grace at its claim", name, claim.key)
        if claim.call and (message.headers["task"], tuple(message.body[0])) != (claim.call.task, claim.call.args):  # type: ignore[union-attr]
            self.wrong("I10", "pushed something else", name, message.headers["task"])
        if claim.key.kind is Kind.SCHEDULE:
            self._pushed_of_schedule(row)
        if now >= claim.lease_until:  # it stood still between its last look at the clock and the push: no broker can fence that
            self.counts["pushed after its lease"] += 1
        elif policy.overlap is not Overlap.ALLOW and claim.key.kind is not Kind.MANUAL:
            self._alone(row)

    def _pushed_of_schedule(self, row: Row) -> None:
        claim, at = row.claim, row.claimed_at
        late = at - claim.send_at > 90 and not claim.waited  # time spent waiting for another's end is not lateness
        if claim.paused or (claim.timing and not claim.timing.enabled):
            self.wrong("I4", "pushed though paused or disabled at its claim", claim.name, claim.key)
        if late and claim.policy.catch_up is CatchUp.NONE:
            self.wrong("I8", "pushed though it was missed", claim.name, claim.key)
        if late and claim.policy.catch_up is CatchUp.LATEST:
            if self.book.has_usable(claim.name, claim.key.due_at, at, sure=True):
                self.wrong("I8", "pushed late though a newer due time had come", claim.name, claim.key, at)

    def confirmed(self, message: Message) -> None:
        """The broker's answer reached the runner."""
        row = self.memory.rows.get(self.keys.get(message.task_id)) if message.task_id in self.keys else None  # type: ignore[arg-type]
        attempt = message.headers["offbeat_attempt"]
        if row is not None and isinstance(attempt, int):
            row.confirmed.add(attempt)

    def _fire(self, process: Process, runner: Any, name: str, *more: Any, now: float, answer: Any, **kw: Any) -> None:
        self.run.world.note(process, "fire", name, str(answer.state))
        if answer.claim is not None and answer.claim.key not in process.hand:
            self._handed(process, answer.claim, now)

    def _slot(self, process: Process, runner: Any, name: str, due_at: int, *, now: float, answer: Any) -> None:
        self.run.world.note(process, "slot", name, due_at, str(answer.state))
        self.by_hand.add(answer.key)
        if answer.claim is not None and answer.claim.key not in process.hand:
            self._handed(process, answer.claim, now)

    def _skip(self, process: Process, name: str, due_at: int, who: str, note: str, *, now: float, answer: Any) -> None:
        self.run.world.note(process, "skip", name, due_at, str(answer.state))
        if (answer.state, answer.reason) != (State.SKIPPED, Reason.BY_HAND):
            return
        self.by_hand.add(answer.key)
        self.book.skipped.add((name, due_at))
        if answer.key in self.memory.rows:
            self.memory.rows[answer.key].state = State.SKIPPED

    def _activate(self, process: Process, schedule: Any, stamp: str, *more: Any, now: float, answer: int, **kw: Any) -> None:
        self.run.world.note(process, "activate", answer, [entry.name for entry in schedule.entries])
        deployed = "origin" in kw and kw["origin"].deployed
        if answer and self.book.deployed and not deployed:
            self.wrong("TREE", "a tree was compiled though revisions are deployed", answer)
        self.book.deployed |= bool(answer) and deployed
        if not answer or answer == self.book.revision:
            return
        if schedule.digest not in self.run.whole:
            self.wrong("TREE", "half a tree came into force", [entry.name for entry in schedule.entries])
        self.book.activate(schedule, answer, now, self.newest)

    def _rewind(self, process: Process, to: int, who: str, *, now: float, answer: int) -> None:
        self.run.world.note(process, "rewind", to, answer)
        self.memory.cursors.clear()
        self.book.rewind(to, now)
        self.newest, self.jumped_at = now, now
        for key, row in self.memory.rows.items():
            if key.kind is Kind.SCHEDULE and key.due_at > to:
                self.by_hand.add(key)  # what was sent stays, whatever the entry is due at now
                pushed = self.pushes.get(occurrence_id("sim", row.claim.name, key.due_at))
                row.is_undone = not pushed and row.state in (State.PENDING, State.WAITING, State.SKIPPED)

    def _pause(self, process: Process, name: str, who: str, note: str, until: Any = None, *, now: float, answer: Any) -> None:
        self.run.world.note(process, "pause", name, until)
        self.book.pause(name, until, now, sure=self.newest <= now + 1)

    def _cancel(self, process: Process, name: str, who: str, note: str, *more: Any, now: float, answer: Any) -> None:
        self.run.world.note(process, "cancel", name, answer)
        gone = [each.key for each in self.run.store.history(name, limit=SMALL) if each.reason is Reason.BY_HAND and each.key]
        for key in gone:
            if key.kind is Kind.BACKFILL and key in self.memory.rows:
                self.memory.rows[key].state = State.SKIPPED

    def _resume(self, process: Process, name: str, *, now: float, answer: Any) -> None:
        self.run.world.note(process, "resume", name)
        self.book.resume(name, now)

    def restored(self, memory: Memory) -> None:
        """An older ledger was put back: what came since may be unknown to it."""
        for occurrence, key in self.keys.items():
            row, old = self.memory.rows.get(key), memory.rows.get(key)
            if row is not None and (old is None or (old.claim.attempt, old.state) != (row.claim.attempt, row.state)):
                self.forgotten.add(occurrence)
        self.forgotten |= self.admitted.keys() - set(self.run.store.remembered())
        self.memory = memory


def _is_out_of_grace(claim: Claim, at: float) -> bool:
    """Return whether a claim is too late; what a person asked for never is."""
    grace = claim.policy.grace
    return claim.key.kind is Kind.SCHEDULE and grace is not None and claim.send_at + grace < at
