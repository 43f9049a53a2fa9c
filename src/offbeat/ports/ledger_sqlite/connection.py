"""The file itself: opened, made, checked and migrated; read and written in short transactions.

Its authority is the ledger's design: WAL, synchronous FULL, always BEGIN IMMEDIATE behind the queue of writers.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from offbeat.errors import ConfigError
from offbeat.ports.clock import Clock
from offbeat.ports.ledger_problems import NEWER, OLDER, UPGRADE, ProblemText, refuse
from offbeat.ports.ledger_sqlite.mounts import NETWORK, file_system_of
from offbeat.ports.ledger_sqlite.problems import CORRUPT, FOREIGN, Lost, no_turn, told
from offbeat.ports.ledger_sqlite.schema import APPLICATION_ID, MIGRATIONS, Migrations, migrate
from offbeat.ports.ledger_sqlite.sharing import PRIVATE, Share, Sharing
from offbeat.ports.ledger_sqlite.turnstile import Turnstile, TurnTimeout

MOST_ROWS = 5000  # of occurrences in one transaction
MOUNTINFO = "/proc/self/mountinfo"
NEW = "INSERT INTO meta (one, project, owner) VALUES (1, ?, ?)"  # before the later steps, which write into it


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which file, and for whom. owner: the tree and host that it belongs to, "" to ask no question. patience: seconds."""

    path: str
    project: str
    owner: str = ""
    read_only: bool = False
    adopt: bool = False
    patience: float = 10.0
    share: Share = PRIVATE


class Store:
    """An open file. Every public operation of the stores built on this is one `reading` or `writing` block."""

    MIGRATIONS: ClassVar[Migrations] = MIGRATIONS

    def __init__(self, place: Place, *, clock: Clock) -> None:
        self.clock = clock
        self.place = place
        self.path = str(Path(place.path).absolute())
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of what _db has open
        self._is_still = False  # nobody writes it while we have it open, or it counts as lost
        self._is_lost = False  # the file at our path is another one by now
        self._turnstile: Turnstile | None = None
        self._sharing = Sharing(place.share)
        try:
            with told(self.path):
                self._refuse_bad_places()
                self._open()
        except BaseException:
            self.close()
            raise

    @property
    def where(self) -> str:
        """Return the address, as a person would write it."""
        return f"sqlite:///{self.path}"

    def close(self) -> None:
        """Release the file and the queue. Safe to call twice."""
        db, self._db = self._db, None
        turnstile, self._turnstile = self._turnstile, None
        if db is not None:
            db.close()
        if turnstile is not None:
            turnstile.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give one consistent view for the block."""
        with told(self.path), self._left_when_lost():
            db = self._open_db()
            db.execute("BEGIN")
            try:
                yield db
            finally:
                _leave(db)
            if self._is_still:
                self._refuse_if_lost()

    def data_version(self) -> int:
        """Return a number that changes when another connection writes."""
        with told(self.path), self._left_when_lost():
            db = self._open_db()
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the one writer's transaction for the block: it is on disk when the block ends, or nothing of it is."""
        with told(self.path), self._left_when_lost():
            db = self._open_db()
            with self._turn(), self._transaction(db):
                yield db

    @contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Iterator[None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            self._refuse_if_lost()
            yield
            db.execute("COMMIT")
        except BaseException:
            _leave(db)
            raise

    def _open_db(self) -> sqlite3.Connection:
        if self._is_lost:
            raise Lost
        assert self._db is not None, "the ledger was closed"
        self._refuse_if_lost()
        return self._db

    def _refuse_if_lost(self) -> None:
        """Raise Lost when the file at our path is not the one that we have open: what we write there nobody would see."""
        if _identity(self.path) != self._file or (self._is_still and self._has_wal()):
            raise Lost

    def _has_wal(self) -> bool:
        return Path(f"{self.path}-wal").exists()

    @contextmanager
    def _left_when_lost(self) -> Iterator[None]:
        """Close for good when the block finds the file lost."""
        try:
            yield
        except Lost:
            self._is_lost = True
            self.close()
            raise

    @contextmanager
    def _turn(self) -> Iterator[Turnstile]:
        if self._turnstile is None:
            self._turnstile = Turnstile(self.path, patience=self.place.patience)
            for name in self._turnstile.files:
                self._sharing.give(name)
        try:
            with self._turnstile.turn():
                yield self._turnstile
        except TurnTimeout as error:
            raise no_turn(self.path, self.place.patience, self._turnstile.holder()) from error

    def _refuse_bad_places(self) -> None:
        if Path(self.path).is_dir():
            raise refuse(
                self.path,
                ProblemText(
                    "L208",
                    "the ledger is to be a file, but this is a folder",
                    f"use sqlite:///{self.path}/ledger.sqlite3",
                ),
            )
        if Path(self.path).exists() and not Path(self.path).is_file():  # a FIFO would keep us for ever
            raise refuse(
                self.path,
                ProblemText(
                    "L208",
                    "the ledger is to be a plain file, but this is a device, a pipe or a socket",
                    "give OFFBEAT_LEDGER the address of a plain file, or of none yet",
                ),
            )
        try:
            mounts = Path(MOUNTINFO).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return  # not Linux
        kind = file_system_of(os.path.realpath(self.path), mounts)
        if kind in NETWORK:
            raise refuse(
                self.path,
                ProblemText(
                    "L211",
                    f"the ledger is on a network file system ({kind})",
                    "set OFFBEAT_LEDGER to a file on a disk of this host",
                ),
                why="SQLite's locks do not hold there: two runners would send the same occurrence, so the ledger is not used",
            )

    def _open(self) -> None:
        if self.place.read_only:
            db = self._connect("ro")
            if self._version(db) < self.schema_known:
                raise refuse(self.path, ProblemText("L214", OLDER, "offbeat tick"))
            self._give_what_lies_beside()
        else:
            self._make_file()
            with self._turn() as turnstile:
                turnstile.drop_strange_wal(self.path)
                db = self._connect("rw")
                if self._version(db) < self.schema_known:
                    self._bring_up_to_date(db)
                self._give_what_lies_beside()
                turnstile.note_wal(self.path)
        self._refuse_strangers(db)

    def _make_file(self) -> None:
        """Make the file where there is none. One that is there is not opened: closing it would free SQLite's locks on it."""
        path = Path(self.path)
        self._sharing.make_folder(path.parent)
        if not path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._sharing.give(self.path)
        if not _may(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _give_what_lies_beside(self) -> None:
        """Give the group what SQLite made: with the file's mode, but with the group of whoever made it."""
        for suffix in ("-wal", "-shm"):
            try:
                self._sharing.give(self.path + suffix)
            except ConfigError:
                if not self.place.read_only:
                    raise

    def _connect(self, mode: str) -> sqlite3.Connection:
        """Open what is at our path now, and remember which file that is."""
        before = _identity(self.path)
        # SQLite makes files beside a WAL database even to read it; where it cannot, and nobody writes, it needs none.
        self._is_still = mode == "ro" and not _may(Path(self.path).parent, os.W_OK) and not self._has_wal()
        address = f"file:{quote(self.path)}?mode={mode}{'&immutable=1' if self._is_still else ''}"
        self._db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=self.place.patience)
        self._file = before
        self._refuse_if_lost()
        self._db.execute("PRAGMA synchronous = FULL")
        return self._db

    def _version(self, db: sqlite3.Connection) -> int:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        mark = int(db.execute("PRAGMA application_id").fetchone()[0])
        is_used = version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != APPLICATION_ID and is_used:
            raise refuse(self.path, FOREIGN, "another program's SQLite database")
        if version <= 0 and is_used:
            raise refuse(self.path, CORRUPT, f"its tables are of schema {version}, which never was")
        if version > self.schema_known and self._oldest(db) > self.schema_known:
            raise refuse(
                self.path,
                ProblemText("L210", NEWER, UPGRADE),
                f"its schema is {version}, this offbeat knows {self.schema_known}",
                why="a newer offbeat has written it, and this one would misread it; nothing is recorded or sent",
            )
        return version

    @property
    def schema_known(self) -> int:
        """Return the newest schema that this code knows."""
        return self.MIGRATIONS[-1][0]

    def _oldest(self, db: sqlite3.Connection) -> int:
        """Return the oldest schema whose code may use a ledger that is newer than this code."""
        (said,) = db.execute("SELECT count(*) FROM pragma_table_info('meta') WHERE name = 'oldest'").fetchone()
        found = db.execute("SELECT oldest FROM meta").fetchone() if said else None
        return int(found[0]) if found else self.schema_known + 1

    def _bring_up_to_date(self, db: sqlite3.Connection) -> None:
        """Make or migrate the tables. It is our turn."""
        if not self._version(db):  # journal_mode cannot change inside a transaction
            db.execute("PRAGMA journal_mode = WAL")
        with self._transaction(db):
            present = self._version(db)
            if not present:
                migrate(db, present, self.MIGRATIONS[:1])
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(NEW, (self.place.project, self.place.owner))
                present = self.MIGRATIONS[0][0]
            migrate(db, present, self.MIGRATIONS)

    def _refuse_strangers(self, db: sqlite3.Connection) -> None:
        found = db.execute("SELECT project, owner FROM meta").fetchone()
        if found is None:
            raise refuse(self.path, CORRUPT, "it does not say whose it is")
        project, owner = found
        if self.place.project and project != self.place.project:
            raise refuse(
                self.path,
                ProblemText(
                    "L213",
                    f'the ledger is of project "{project}", not of "{self.place.project}"',
                    "give each project a ledger of its own (OFFBEAT_LEDGER), or set OFFBEAT_PROJECT to the ledger's project",
                ),
                why="ids of messages are made from the project, so the same occurrences would be sent again",
            )
        if self.place.owner and owner != self.place.owner and not self.place.read_only:
            if not (self.place.adopt or not owner):
                raise refuse(
                    self.path,
                    ProblemText(
                        "L212",
                        f'the ledger belongs to another tree: "{owner}"',
                        "if the tree has moved: `offbeat tick --adopt`; else set OFFBEAT_LEDGER to another file",
                    ),
                    why=f'two trees would undo each other\'s schedule; nothing was recorded for "{self.place.owner}"',
                )
            with self.writing() as writer:
                writer.execute("UPDATE meta SET owner = ?", (self.place.owner,))


def _leave(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _identity(path: str) -> tuple[int, int] | None:
    """Return which file is at `path`: device and inode, None when there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
