"""What the workers of one user on one host have started, in a small file: asked while the ledger is silent. Python 3.8.

Never decides for other hosts, and may be lost with the host: the ledger is told of what it holds as soon as it answers.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import tempfile
import threading
from contextlib import suppress
from typing import Any, Callable, Collection, NamedTuple, Sequence, TypeVar

from offbeat.ports.clock import Clock

T = TypeVar("T")
KEPT = 6 * 3600.0  # seconds for which a start is remembered
MOST = 50_000  # starts that are remembered: about 10 MB
PRUNE_EACH = 500  # starts of one process
BUSY = 1.0  # seconds to wait for another process that writes

TABLES = """
CREATE TABLE IF NOT EXISTS started (
  id INTEGER PRIMARY KEY, project TEXT NOT NULL, occurrence TEXT NOT NULL, attempt INTEGER NOT NULL, started_at REAL NOT NULL,
  keep INTEGER NOT NULL, untold INTEGER NOT NULL, UNIQUE (project, occurrence))"""
INDEX = "CREATE INDEX IF NOT EXISTS untold ON started (id) WHERE untold = 1"
NOTE = "INSERT OR IGNORE INTO started (project, occurrence, attempt, started_at, keep, untold) VALUES (?, ?, ?, ?, ?, ?)"
FIND = "SELECT attempt FROM started WHERE project = ? AND occurrence = ?"
UNTOLD = """
SELECT project, occurrence, attempt, keep FROM started WHERE untold = 1 AND project NOT IN ({}) AND started_at >= ?
ORDER BY id LIMIT ?"""
TOLD = "UPDATE started SET untold = 0 WHERE project = ? AND occurrence = ?"
PRUNE = "DELETE FROM started WHERE id <= (SELECT max(id) FROM started) - ? OR started_at < ?"


class Started(NamedTuple):
    """An occurrence that a process of this host has started, and by which attempt."""

    project: str
    occurrence: str
    attempt: int
    keep: int


class HostRecord:
    """One file for each ledger. Whatever is wrong with it makes every method answer as if there were none."""

    def __init__(self, ledger: str, clock: Clock) -> None:
        self.why = ""  # why it cannot be used, "" while it can
        self._name = hashlib.sha256(ledger.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._clock = clock
        self._pid = 0
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._inherited: list[Any] = []  # of the process that we were forked from: not ours to use, nor to close
        self._path = self._owed = ""
        self._file: tuple[int, int] | None = None
        self._notes = 0

    def winner(self, project: str, occurrence: str) -> int:
        """Return the attempt that this host has started, 0 for none."""
        return self._do(lambda db: (db.execute(FIND, (project, occurrence)).fetchone() or (0,))[0], 0)

    def note(self, one: Started, told: bool) -> int:
        """Write down a start, unless another one is there; return the attempt that is. told: the ledger knows it."""

        def work(db: sqlite3.Connection) -> int:
            db.execute(NOTE, (one.project, one.occurrence, one.attempt, self._clock.now(), one.keep, not told))
            self._prune(db)
            return int(db.execute(FIND, (one.project, one.occurrence)).fetchone()[0])

        winner = self._do(lambda db: _written(db, work), one.attempt)
        if not told:
            self.owe()
        return winner

    def owe(self) -> None:
        """Let what is untold be asked for, by whichever worker of this host looks next."""
        if self._owed:
            with suppress(OSError):
                os.close(os.open(self._owed, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def owes(self) -> bool:
        """Return whether something was started that the ledger may not know. Costs next to nothing."""
        return self._do(lambda db: True, False) and os.path.exists(self._owed)

    def untold(self, limit: int, but: Collection[str] = ()) -> list[Started]:
        """Return what the ledger is to be told, oldest first. Whoever cannot tell all of it calls `owe` again.

        but: projects that are left out, since their ledger does not answer.
        """
        with suppress(OSError):
            os.unlink(self._owed)  # first: what is noted from now on puts it there again
        words, since = UNTOLD.format(", ".join("?" * len(but))), self._clock.now() - KEPT
        return self._do(lambda db: [Started(*row) for row in db.execute(words, (*but, since, limit))], [])

    def told(self, some: Sequence[Started]) -> None:
        """Remember that the ledger knows these."""
        rows = [(one.project, one.occurrence) for one in some]
        self._do(lambda db: _written(db, lambda db: db.executemany(TOLD, rows)), None)

    def _do(self, work: Callable[[sqlite3.Connection], T], without: T) -> T:
        if self._pid != os.getpid():
            self._inherited.append(self._db)
            self._pid, self._db, self._lock, self.why = os.getpid(), None, threading.Lock(), ""
        with self._lock:
            if self.why:
                return without
            try:
                return work(self._opened())
            except sqlite3.OperationalError:  # busy, full: the next one may do
                return without
            except sqlite3.DatabaseError:  # a power failure has left half a file
                self._forget(remove=True)
            except (OSError, ValueError, AttributeError, sqlite3.Error) as error:  # no task fails for this
                self.why = str(error) or type(error).__name__
            return without

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None and _place(self._path) == self._file:
            return self._db
        self._forget()
        folder = own_folder()
        self._path = os.path.join(folder, f"{self._name}.sqlite3")
        db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY, check_same_thread=False)
        # It need not outlive the host.
        for words in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF", TABLES, INDEX):
            db.execute(words)
        self._owed = os.path.join(folder, f"{self._name}.owed")
        self._db, self._file = db, _place(self._path)
        return db

    def _forget(self, remove: bool = False) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
        for suffix in ("", "-wal", "-shm") if remove else ():
            with suppress(OSError):
                os.unlink(self._path + suffix)

    def _prune(self, db: sqlite3.Connection) -> None:
        self._notes += 1
        if self._notes % PRUNE_EACH == 1:
            db.execute(PRUNE, (MOST, self._clock.now() - KEPT))


def own_folder() -> str:
    """Return the folder for what the processes of this user share: in XDG_RUNTIME_DIR, else in the temporary one.

    Raises: OSError when somebody else made it, or may look into it.
    """
    place = os.environ.get("XDG_RUNTIME_DIR", "")
    home = place if os.path.isabs(place) and _is_own(place) else tempfile.gettempdir()
    folder = os.path.join(home, f"offbeat-worker-{os.geteuid()}")
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user's alone (mode 0700)")
    return folder


def _is_own(place: str) -> bool:
    """Return whether the folder is ours: in somebody else's, whose variables we run with, he could put what he likes."""
    try:
        return os.stat(place).st_uid == os.geteuid() and os.access(place, os.W_OK)
    except OSError:
        return False


def _written(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `work` does in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        done = work(db)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return done


def _place(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
