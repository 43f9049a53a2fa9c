"""The checker's rules for workers: which attempt may start, no start repeated (I6), and one at a time of an entry (I7)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.book import Book
from tests.simulation.rows import Memory, Row
from tests.simulation.stores import key_of

from offbeat.core.model import Kind, Overlap, State
from offbeat.ports.worker_values import PASSED

if TYPE_CHECKING:
    from tests.simulation.scenario import Run
    from tests.simulation.workers import Delivery
    from tests.simulation.world import Process

ENDED = (State.SUCCEEDED, State.FAILED, State.REVOKED)
BUSY = (State.CLAIMED, State.DISPATCHED, State.STARTED, State.RETRYING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A task that was started. publication: the number of the message's. is_silent: the ledger had not answered the guard."""

    publication: int
    attempt: int
    is_silent: bool


class Starts:
    """What workers were allowed, what they started, and what has its entry's slot."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.memory = Memory()
        self.admitted: dict[str, int] = {}
        self.starts: dict[str, list[Start]] = {}
        self.forgotten: set[str] = set()  # occurrences that a restored ledger may not know
        self.counts: Counter[str] = Counter()
        self.jumped_at = 0.0
        self.holders: dict[int, Row] = {}  # by entry: what took its slot last
        self.busy: dict[int, list[Row]] = {}  # pushed rows of entries that must not overlap, the newest last

    @property
    def book(self) -> Book:
        return self.memory.book

    def wrong(self, rule: str, what: str, *more: object) -> None:
        """Remember that a rule was broken."""
        raise NotImplementedError

    def _passes(self, process: Process, ask: Any, *, now: float, answer: str) -> None:
        self.run.world.note(process, "admit", ask.occurrence[:8], ask.attempt, answer)
        self.counts[f"copy {answer}"] += 1
        if answer != PASSED:
            return
        if self.admitted.setdefault(ask.occurrence, ask.attempt) != ask.attempt and ask.occurrence not in self.forgotten:
            self.wrong("I6", "two attempts were admitted", ask.occurrence, self.admitted[ask.occurrence], ask.attempt)

    def saw_start(self, process: Process, delivery: Delivery, *, is_silent: bool) -> None:
        """A worker started a task. Repeated is a start that neither a redelivery nor a retry of one publication caused.

        It may be while the ledger did not answer at one of the two and the guard's policy is to run then; never otherwise.
        """
        message, workers = delivery.publication.message, self.run.workers
        attempt = message.headers["offbeat_attempt"]
        assert isinstance(attempt, int)
        start = Start(publication=delivery.publication.number, attempt=attempt, is_silent=is_silent)
        before = self.starts.setdefault(message.task_id, [])
        self.run.world.note(process, "start", message.headers["offbeat_entry"], message.headers["offbeat_due_at"], attempt)
        self.counts["start"] += 1
        self.counts["silent start"] += is_silent
        self.counts["start again"] += any(other.publication == start.publication for other in before)
        if is_silent and not workers.runs_anyway:
            self.wrong("I6", "started though the ledger did not answer, and the guard is to refuse then", message.task_id)
        others = [other for other in before if other.publication != start.publication]
        if others and message.task_id not in self.forgotten:
            if not is_silent and not any(other.is_silent for other in others):
                self.wrong("I6", "a start was repeated that no redelivery caused", message.task_id, *others, start)
            self.counts["start repeated in silence"] += 1
        before.append(start)

    def _tell(self, process: Process, me: Any, said: Any, *, now: float, answer: bool) -> None:
        self.run.world.note(process, "tell", said.row, said.attempt, said.state, answer)
        row = self.memory.rows.get(key_of(said))
        if not answer or row is None:
            return
        if row.claim.attempt != said.attempt and not (said.admitted and said.attempt < row.claim.attempt):
            self.wrong("I3", "a report of another attempt was accepted", said)
        is_news, row.state = row.state != said.state, State(said.state)
        row.ended = row.state in ENDED
        if is_news and not row.ended:
            self._prolong(row, now)

    def _prolong(self, row: Row, now: float) -> None:
        """An occurrence takes or keeps its entry's slot, by the policy in force, unless another one has it by now."""
        entry, key = self.book.entries.get(row.claim.name), row.claim.key
        if entry is None or entry.policy.overlap is Overlap.ALLOW or key.kind is Kind.MANUAL:
            return
        holder = self.holders.get(key.eno)
        if holder is not None and holder.claim.key != key and now < holder.busy_until and holder.state in BUSY:
            return
        self.holders[key.eno] = row
        row.busy_until = max(row.busy_until, now + (entry.policy.max_runtime or 0))

    def _alone(self, row: Row) -> None:
        """The busy intervals of an entry that must not overlap do not meet (I7)."""
        claim = row.claim
        before = self.busy.setdefault(claim.key.eno, [])
        before[:] = [other for other in before[-50:] if other is not row] + [row]
        for other in before[:-1]:
            key = other.claim.key
            if key == claim.key or other.ended or self.memory.rows.get(key) is not other:
                continue
            clean = other.claim.attempt == 1 and other.claimed_at > self.jumped_at and other.state is not State.PENDING
            out = clean and other.claim.attempt in other.confirmed
            if out and other.claim.policy.overlap is not Overlap.ALLOW and row.claimed_at < other.busy_until:
                self.wrong("I7", "pushed while another one of its entry is busy", claim.name, claim.key, key)
