"""A worker's side of the SQLite ledger: the same file, the same queue of writers, short transactions. Python 3.8.

Never makes the file: a runner does. Authority: ports/ledger_sqlite/ (schema, turnstile, reporting).
"""

from __future__ import annotations

import fcntl
import os
import select
import sqlite3
from contextlib import contextmanager
from typing import Iterator
from urllib.parse import quote

from offbeat.ports.clock import SystemClock
from offbeat.ports.worker_values import ANSWER, Me, NoAnswer, Said

APPLICATION_ID = 0x0FFBEA70
POLL = 0.002  # seconds between two tries for a turn

ADMIT = "INSERT OR IGNORE INTO admitted (occurrence, attempt, admitted_at) VALUES (?, ?, ?)"
ADMITTED = "SELECT attempt FROM admitted WHERE occurrence = ?"
SEEN = "UPDATE runners SET seen_at = ? WHERE id = ?"
NEW = "INSERT INTO runners (id, host, pid, role, seen_at) VALUES (?, ?, ?, 'worker', ?)"


class WorkerSqlite:
    """The open file, for one thread at a time."""

    def __init__(self, address: str) -> None:
        self.path = os.path.abspath(address.split("?", 1)[0][len("sqlite:///") :])
        self._clock = SystemClock()
        self._db: sqlite3.Connection | None = None
        self._locks: list[int] = []
        self._file = _name(self.path)
        if not self._file:
            raise NoAnswer(f"there is no ledger at {self.path} yet")
        try:
            self._locks = [self._lock_file(suffix) for suffix in ("-queue", "-turn")]
            where = f"file:{quote(self.path)}?mode=rw"
            self._db = sqlite3.connect(where, uri=True, isolation_level=None, timeout=ANSWER, check_same_thread=False)
            self._db.execute("PRAGMA synchronous = FULL")
            if self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise NoAnswer(f"{self.path} is no ledger, or no runner has used it yet")
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise NoAnswer(f"{self.path}: {error}") from error
        except NoAnswer:
            self.close()
            raise

    def admit(self, occurrence: str, attempt: int, keep: int) -> bool:
        with self._writing() as db:
            if db.execute(ADMIT, (occurrence, attempt, self._clock.now())).rowcount == 1:
                return True
            return bool(db.execute(ADMITTED, (occurrence,)).fetchone()[0] == attempt)

    def report(self, me: Me, said: Said) -> bool:
        raise NotImplementedError

    def beat(self, me: Me) -> None:
        with self._writing() as db:
            now = self._clock.now()
            if db.execute(SEEN, (now, me.id)).rowcount == 0:
                db.execute(NEW, (me.id, me.host, me.pid, now))

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
        locks, self._locks = self._locks, []
        for lock in locks:
            os.close(lock)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give the one writer's transaction for the block: it is on disk when the block ends, or nothing of it is."""
        if self._db is None or _name(self.path) != self._file:
            self.close()
            raise NoAnswer(f"{self.path}: another file lies there now")
        try:
            with self._turn():
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise NoAnswer(f"{self.path}: {error}") from error
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Queue with the runners: who wants to write takes the queue, then the turn, then leaves the queue."""
        waiting, turn = self._locks
        tries = self._taken(waiting, int(ANSWER / POLL))
        try:
            self._taken(turn, tries)
        finally:
            fcntl.flock(waiting, fcntl.LOCK_UN)
        try:
            yield
        finally:
            if self._locks:
                fcntl.flock(turn, fcntl.LOCK_UN)

    def _taken(self, lock: int, tries: int) -> int:
        for left in range(tries, 0, -1):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                select.select((), (), (), POLL)
            else:
                return left
        raise OSError(f"no turn to write within {ANSWER:g} s")

    def _lock_file(self, suffix: str) -> int:
        """Open a lock file beside the ledger; one that we make may be used by whoever may use the ledger."""
        path, found = self.path + suffix, os.stat(self.path)
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(lock, found.st_mode & 0o660)
            return lock


def _name(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
