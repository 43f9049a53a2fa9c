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
from pathlib import Path

POLL = 0.002  # seconds between two tries, for everybody alike: a wait that grows would punish those who wait


class TurnTimeout(Exception):
    """Nobody let us in for as long as we were ready to wait."""


class Turnstile:
    """The two lock files beside `path`. patience: seconds to wait for a turn.

    The turn's file also notes which file's WAL lies beside `path`: SQLite would read it with any other that was put there.
    """

    def __init__(self, path: str, *, patience: float) -> None:
        self.files = (path + "-queue", path + "-turn")
        self._tries = max(1, int(patience / POLL))
        self._queue = _Lock(path + "-queue")
        try:
            self._turn = _Lock(path + "-turn")
        except OSError:
            self._queue.close()
            raise

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, have it for the block, and give it up. Raises: TurnTimeout."""
        tries = self._wait(self._queue, self._tries)
        try:
            self._wait(self._turn, tries)
        finally:
            self._queue.leave()
        try:
            yield
        finally:
            self._turn.leave()

    def _wait(self, lock: _Lock, tries: int) -> int:
        """Return how many tries are left."""
        for left in range(tries, 0, -1):
            if lock.take():
                return left
            select.select((), (), (), POLL)  # counted, not timed: what we wait for is another process, not an instant
        raise TurnTimeout

    def holder(self) -> int:
        """Return the process that has the turn, 0 where the system does not say, or nobody has it any more."""
        try:
            locks = Path("/proc/locks").read_text("ascii", "replace")
        except OSError:
            return 0
        mark = self._turn.mark()
        found = (line.split() for line in locks.splitlines() if "FLOCK" in line and "->" not in line)
        return next((int(words[4]) for words in found if words[5] == mark and words[4].isdecimal()), 0)

    def note_wal(self, path: str) -> None:
        """Note whose WAL lies beside `path` now. It is our turn, and the file is open."""
        self._turn.write(f"{_name(path)} {_name(path + '-wal')}")

    def drop_strange_wal(self, path: str) -> None:
        """Remove the WAL beside `path` if it was noted as that of a file that lay there before. It is our turn.

        Those who have the former file open keep what they have open, and find out when they use it next.
        """
        whose, _, wal = self._turn.read().partition(" ")
        if wal and wal == _name(path + "-wal") and whose != _name(path):
            for suffix in ("-shm", "-wal"):
                Path(path + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close both files."""
        self._queue.close()
        self._turn.close()


class _Lock:
    """A lock file. One that was removed or replaced is opened again, so that all who come now lock the same one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = self._opened()

    def _opened(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def take(self) -> bool:
        """Return whether it is ours now; do not wait."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _name(self._path) == _name(self._file):
            return True
        stale, self._file = self._file, self._opened()
        os.close(stale)
        return False

    def leave(self) -> None:
        """Give it up."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def mark(self) -> str:
        """Return what the system calls it in its list of locks."""
        found = os.fstat(self._file)
        return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"

    def read(self) -> str:
        """Return what `write` left in it."""
        return os.pread(self._file, 200, 0).decode("ascii", "replace")

    def write(self, text: str) -> None:
        """Leave a line for those who have it next."""
        if text != self.read():
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode("ascii"), 0)

    def close(self) -> None:
        """Close the file, and give it up."""
        os.close(self._file)


def _name(file: str | int) -> str:
    """Return what tells a file from all others that are there now, "" when it is not there."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"
