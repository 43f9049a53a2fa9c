"""The ledger in memory that has the broker's queues beside it: recording, pushing and settling is one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from offbeat.core.model import RANK, Instant, Key, State
from offbeat.ports.broker import Push
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_mail import Draft, Mail, Post, Recorded
from offbeat.ports.ledger_values import Claim, Runner

if TYPE_CHECKING:
    from offbeat.core.plan import Portion, Window
    from offbeat.ports.ledger_memory import LedgerMemory
    from offbeat.ports.ledger_memory.shelves import Row

NOBODY = Runner(id="", host="", pid=0, role="tick")  # a draft is nobody's claim yet
MOST = 500  # messages of one transaction


class Wire(Protocol):
    """What takes pushes: BrokerMemory does."""

    def accept(self, push: Push) -> str:
        """Take the push; return "" or why it was not taken."""


class EnqueuingMemory:
    """server_id, enqueue, draft, record_and_push."""

    def __init__(self, ledger: LedgerMemory, wire: Wire, server_id: str) -> None:
        self._ledger = ledger
        self._wire = wire
        self._server_id = server_id

    def server_id(self) -> str:
        return self._server_id

    def enqueue(self, runner: Runner, posts: Sequence[Post]) -> Sequence[str]:
        now = self._ledger.clock.now()
        return [self._enqueued(post, now) for post in posts]

    def _enqueued(self, post: Post, now: Instant) -> str:
        row = self._ledger.rows.get(post.outcome.key)
        if row is None or row.attempt != post.outcome.attempt:
            return FENCED
        if _is_out(row):
            return ""
        if row.state is not State.CLAIMED or row.lease_until <= now:
            return FENCED
        error = self._wire.accept(post.push)
        if not error:
            self._ledger.write(row, post.outcome, now)
        return error

    def draft(self, portion: Portion, windows: Sequence[Window]) -> Draft:
        return Draft(mark=self._mark(), now=portion.now, claims=tuple(self._ledger.drafted(windows, NOBODY, portion.now)))

    def _mark(self) -> str:
        """Return what changes with the definitions and the pauses."""
        return f"{self._ledger.revision} {self._ledger.intervals}"

    def record_and_push(self, runner: Runner, windows: Sequence[Window], revision: int, mail: Mail) -> Recorded:
        ledger, now = self._ledger, self._ledger.clock.now()
        posts = {post.outcome.key: post for post in mail.posts} if mail.mark == self._mark() and now <= mail.until else {}
        left: list[Row] = []
        answers: dict[Key, str] = {}
        for window in windows:
            born = ledger.recorded(runner, window, revision, now)
            if born is None:
                left += ledger.held_in(runner, window, now)
                answers |= self._pushed_before(runner, window, mail.posts)
                continue
            ledger.letters[window.gid] = (window.after, window.until, runner.id, now)
            pushed = {row.key: self._enqueued(posts[row.key], now) for row in born[:MOST] if row.key in posts}
            answers |= pushed
            left += [row for row in born if pushed.get(row.key) != ""]
        said = (answers.get(post.outcome.key, FENCED) if post.outcome.attempt == 1 else FENCED for post in mail.posts)
        return Recorded(claims=tuple(self._claims(left, now)), answers=tuple(said))

    def _claims(self, rows: Iterable[Row], now: Instant) -> Sequence[Claim]:
        return self._ledger.claims([row for row in rows if row.state is State.CLAIMED], now)

    def _pushed_before(self, runner: Runner, window: Window, posts: Iterable[Post]) -> dict[Key, str]:
        """Return the answer to the posts of a window that this runner has recorded before, where they are settled."""
        known = self._ledger.letters.get(window.gid)
        if known is None or known[:3] != (window.after, window.until, runner.id):
            return {}
        planned = {(row.eno, row.due_at) for row in window.rows}
        mine = (post.outcome.key for post in posts if (post.outcome.key.eno, post.outcome.key.due_at) in planned)
        rows = {key: row for key in mine if (row := self._ledger.rows.get(key)) and row.attempt == 1 and _is_out(row)}
        at = known[3]  # what was sent at another instant is somebody else's
        return {key: "" for key, row in rows.items() if row.recorded_at == row.dispatched_at == at}


def _is_out(row: Row) -> bool:
    return RANK[row.state] >= RANK[State.DISPATCHED] and row.state not in (State.SKIPPED, State.UNDELIVERED)
