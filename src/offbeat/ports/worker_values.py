"""What a worker tells the ledger, and how it hears that nobody answers. Python 3.8: users' workers may be old.

Imports nothing of offbeat's.
"""

from __future__ import annotations

from typing import NamedTuple

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


class Me(NamedTuple):
    """A worker: all processes of its pool together. version: of its offbeat."""

    id: str  # host:pid:worker
    host: str
    pid: int
    version: str
