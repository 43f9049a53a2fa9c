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
