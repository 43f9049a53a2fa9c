"""A queue of writers in front of the file, so that a busy one cannot starve the others. Never reads a clock.

Two lock files: who wants to write takes the queue, then the turn, then leaves the queue. Whoever has just written must queue
again, and finds it taken by the one who waits for the turn. The system frees both when a writer dies.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

POLL = 0.002  # seconds between two tries, for everybody alike: a wait that grows would punish those who wait


class TurnTimeout(Exception):
    """Nobody let us in for as long as we were ready to wait."""


class Turnstile:
    """The two lock files beside `path`, opened once. patience: seconds to wait for a turn."""

    def __init__(self, path: str, *, patience: float) -> None:
        self._tries = max(1, int(patience / POLL))
        self._queue = os.open(path + "-queue", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._turn = os.open(path + "-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            os.close(self._queue)
            raise

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, have it for the block, and give it up. Raises: TurnTimeout."""
        tries = self._wait(self._queue, self._tries)
        try:
            self._wait(self._turn, tries)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _wait(self, lock: int, tries: int) -> int:
        """Return how many tries are left."""
        for left in range(tries, 0, -1):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                select.select((), (), (), POLL)  # counted, not timed: what we wait for is another process, not an instant
            else:
                return left
        raise TurnTimeout

    def close(self) -> None:
        """Close both files."""
        os.close(self._queue)
        os.close(self._turn)
