"""What a worker tells the ledger, and how it hears that nobody answers. Python 3.8: users' workers may be old.

Imports nothing of offbeat's.
"""

from __future__ import annotations

from typing import NamedTuple

RANK = {
    "waiting": 0,
    "pending": 0,
    "claimed": 1,
    "undelivered": 2,
    "skipped": 2,
    "dispatched": 2,
    "started": 3,
    "retrying": 3,
    "succeeded": 4,
    "failed": 4,
    "revoked": 4,
}
WRITTEN, KEPT, REFUSED = "written", "kept", "refused"
CONNECT = 2.0  # seconds to reach the ledger
ANSWER = 2.0  # seconds for it to answer: a task waits for this


class NoAnswer(Exception):
    """The ledger did not answer, or not as a ledger does. str() says why, and has no password in it."""


class Row(NamedTuple):
    """The key of an occurrence's row."""

    eno: int
    due_at: int
    kind: str
    kind_id: str


class Said(NamedTuple):
    """What became of an occurrence: started, retrying, succeeded, failed or revoked.

    admitted: the ledger has let this very attempt start, so it counts although the row may be at a later attempt by now.
    """

    row: Row
    attempt: int
    state: str
    reason: str = ""
    note: str = ""
    admitted: bool = False


PASSED, REFUSED_ATTEMPT, ENDED, ALIVE = "passed", "refused", "ended", "alive"


class Ask(NamedTuple):
    """A delivery of an attempt at an occurrence, whose task wants to start.

    keep: seconds to remember it, where the store does not keep it longer by itself. turn: how often Celery has retried it.
    again: the broker says that it was delivered before. owner: the worker, if somebody may ask whether it still runs, else "".
    patience: seconds without a sign of life after which its first delivery counts as lost; 0: at once.
    """

    occurrence: str
    attempt: int
    keep: int
    turn: int = 0
    again: bool = False
    owner: str = ""
    patience: float = 0.0


class Held(NamedTuple):
    """Who runs, or ran, the admitted attempt. owner: "" when nobody does any more, or nobody was noted. silent: in seconds."""

    turn: int
    again: bool
    owner: str
    silent: float
    ended: bool


def judge_again(ask: Ask, held: Held) -> str:
    """Judge a delivery of the very attempt that was admitted: PASSED, ENDED or ALIVE. In doubt it passes.

    Two copies of which neither was delivered before are two messages: somebody has sent it anew, and passes.

    >>> ran = Held(turn=0, again=False, owner="w1", silent=5.0, ended=False)
    >>> copy = Ask("id", 1, 60, again=True, owner="w2", patience=90.0)
    >>> judge_again(copy, ran), judge_again(copy, ran._replace(ended=True)), judge_again(copy, ran._replace(silent=91.0))
    ('alive', 'ended', 'passed')
    >>> judge_again(copy._replace(turn=1), ran), judge_again(copy._replace(again=False), ran)
    ('passed', 'passed')
    """
    if not (ask.again or held.again) or ask.turn > held.turn:
        return PASSED
    if ask.turn < held.turn or held.ended:
        return ENDED
    return ALIVE if held.owner and abs(held.silent) < ask.patience else PASSED  # a clock may have been set back


def owner_text(ask: Ask) -> str:
    """Return how a store that has one column for it writes down who runs an attempt: "turn:again:owner"; "" for nobody."""
    return f"{ask.turn:d}:{ask.again:d}:{ask.owner}" if ask.owner else ""


def held_of(text: str, silent: float, ended: bool) -> Held:
    """Return who runs an attempt by `owner_text`, and what the store says of it.

    >>> held_of("2:1:web1:7:worker:abcd", 3.0, False)
    Held(turn=2, again=True, owner='web1:7:worker:abcd', silent=3.0, ended=False)
    >>> held_of("", 3.0, True)
    Held(turn=0, again=False, owner='', silent=3.0, ended=True)
    """
    turn, _, rest = text.partition(":")
    again, _, owner = rest.partition(":")
    return Held(int(turn) if turn.isdigit() else 0, again == "1", owner, silent, ended)


def judge(held: str, why: str, state: str, mine: bool) -> str:
    """Judge a report as core.transitions.judge_report does. why: the row's reason. mine: this worker spoke of it last."""
    lost = held == "failed" and why == "runner_died"
    if held == state and not lost:
        return KEPT if mine else REFUSED
    if held == "skipped":
        return REFUSED
    if {held, state} == {"started", "retrying"}:
        return WRITTEN
    if lost:
        return WRITTEN if RANK[state] == RANK["failed"] else REFUSED
    return WRITTEN if RANK[state] > RANK[held] else REFUSED


class Me(NamedTuple):
    """A worker: all processes of its pool together. version: of its offbeat."""

    id: str  # host:pid:worker
    host: str
    pid: int
    version: str
