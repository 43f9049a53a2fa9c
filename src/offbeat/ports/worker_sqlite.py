"""A worker's side of the SQLite ledger: the same file, the same queue of writers, short transactions. Python 3.8.

Never makes the file: a runner does. Authority: ports/ledger_sqlite/ (schema, turnstile, reporting).
"""

from __future__ import annotations

import fcntl
import os
import select
import sqlite3
from contextlib import contextmanager
from typing import Iterator, Sequence
from urllib.parse import quote

from offbeat.ports.clock import SystemClock
from offbeat.ports.worker_values import (
    ANSWER,
    PASSED,
    RANK,
    REFUSED,
    REFUSED_ATTEMPT,
    WRITTEN,
    Ask,
    Held,
    Me,
    NoAnswer,
    Said,
    held_of,
    judge,
    judge_again,
    owner_text,
)

APPLICATION_ID = 0x0FFBEA70
SCHEMA = 5  # the ledger's schema that this file was written for
SET_BACK = 60.0  # seconds by which a clock may have been set back: core.slots
POLL = 0.002  # seconds between two tries for a turn

ADMIT = "INSERT OR IGNORE INTO admitted (occurrence, attempt, admitted_at, owner, alive_at) VALUES (?, ?, ?, ?, ?)"
ADMITTED = "SELECT attempt, owner, alive_at, finished FROM admitted WHERE occurrence = ?"
WATCH = "UPDATE admitted SET owner = ?, alive_at = ?, finished = ? WHERE occurrence = ?"
SEEN = "UPDATE runners SET seen_at = ? WHERE id = ?"
NEW = "INSERT INTO runners (id, host, pid, version, role, seen_at) VALUES (?, ?, ?, ?, 'worker', ?)"


THIS = "eno = ? AND due_at = ? AND kind = ? AND kind_id = ?"
UNSETTLED = f"SELECT state, '', attempt, owner FROM outbox WHERE {THIS}"
SETTLED = f"SELECT state, reason, attempt, owner FROM history WHERE {THIS}"
MOVE = f"""
INSERT INTO history (eno, due_at, kind, kind_id, send_at, cause, state, reason, attempt, recorded_rev, rev, recorded_at,
  owner, command, note)
SELECT eno, due_at, kind, kind_id, send_at, cause, state, '', attempt, recorded_rev, (SELECT active_rev FROM meta),
  recorded_at, owner, command, last_error
FROM outbox WHERE {THIS}"""
LEAVE = f"DELETE FROM outbox WHERE {THIS}"
TELL = f"""
UPDATE history SET state = ?, reason = ?, note = CASE ? WHEN '' THEN note ELSE ? END, owner = ?,
  started_at = coalesce(started_at, ?), finished_at = coalesce(?, finished_at)
WHERE {THIS}"""
RUNTIME = """
SELECT max_runtime FROM versions WHERE eno = ? AND valid_until IS NULL AND overlap <> 'allow' AND max_runtime IS NOT NULL"""
TAKE = """
INSERT INTO slots (eno, due_at, kind, kind_id, until_at, seconds) VALUES (?1, ?2, ?3, ?4, ?5 + ?6, ?6)
ON CONFLICT (eno) DO UPDATE SET due_at = ?2, kind = ?3, kind_id = ?4, until_at = ?5 + ?6, seconds = ?6
WHERE (due_at = ?2 AND kind = ?3 AND kind_id = ?4 AND until_at <= ?5 + ?6)
  OR until_at + max(0, ?6 - coalesce(seconds, ?6)) <= ?5 OR until_at > ?5 + ?7 + coalesce(seconds, ?6)"""
FREE = f"DELETE FROM slots WHERE {THIS}"
WAIT_ON = "UPDATE outbox SET next_try_at = ? WHERE eno = ? AND state = 'waiting'"
WAKE = "UPDATE outbox SET next_try_at = max(?, send_at) WHERE eno = ? AND state = 'waiting'"


class WorkerSqlite:
    """The open file, for one thread at a time."""

    def __init__(self, address: str) -> None:
        if not address.startswith("sqlite:///"):
            raise NoAnswer("the ledger's address is not right: it is sqlite:////absolute/path")
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
            self._refuse_strangers(self._db)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise NoAnswer(f"{self.path}: {error}") from error
        except NoAnswer:
            self.close()
            raise

    def _refuse_strangers(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise NoAnswer(f"{self.path} is no ledger, or no runner has used it yet")
        if db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
            raise NoAnswer(f"{self.path} is of an older offbeat; it is brought up to date by its next `offbeat tick`")
        if db.execute("SELECT oldest FROM meta").fetchone()[0] > SCHEMA:
            raise NoAnswer(f"{self.path} is newer than the offbeat of this worker: upgrade offbeat")

    def admit(self, ask: Ask) -> str:
        return self.admit_all([ask])[0]

    def admit_all(self, asks: Sequence[Ask]) -> list[str]:
        with self._writing() as db:
            now = self._clock.now()
            return [_verdict(db, ask, now) for ask in asks]

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        with self._writing() as db:
            now = self._clock.now()
            return [_admitted(db, ask, now) or _held(db, ask, now)[0] == ask.attempt for ask in asks]

    def winner(self, occurrence: str) -> int:
        with self._writing() as db:
            return int((db.execute(ADMITTED, (occurrence,)).fetchone() or (0,))[0])

    def running(self, asks: Sequence[Ask]) -> None:
        with self._writing() as db:
            now = self._clock.now()
            for ask in asks:
                if _admitted(db, ask, now):
                    continue
                winner, held = _held(db, ask, now)
                if winner == ask.attempt and not held.ended and _is_mine(ask, held, or_nobodys=True):
                    db.execute(WATCH, (owner_text(ask), now, 0, ask.occurrence))

    def ended(self, ask: Ask, done: bool) -> None:
        with self._writing() as db:
            now = self._clock.now()
            _admitted(db, ask, now)
            winner, held = _held(db, ask, now)
            if winner != ask.attempt:
                return
            if held.turn <= ask.turn if done else not held.ended and _is_mine(ask, held, or_nobodys=True):
                db.execute(WATCH, (owner_text(ask) if done else "", now, int(done), ask.occurrence))

    def report(self, me: Me, said: Said) -> bool:
        with self._writing() as db:
            now = self._clock.now()
            _beat(db, me, now)
            found = db.execute(UNSETTLED, said.row).fetchone() or db.execute(SETTLED, said.row).fetchone()
            if found is None:
                return False
            held, why, attempt, owner = found
            if not (attempt == said.attempt or (said.admitted and said.attempt < attempt)):
                return False
            verdict = judge(held, why, said.state, owner == me.id)
            if verdict == WRITTEN:
                _write(db, me, said, RANK[held], now)
            return verdict != REFUSED

    def beat(self, me: Me) -> None:
        with self._writing() as db:
            _beat(db, me, self._clock.now())

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
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(lock, found.st_mode & 0o660)
            return lock


def _verdict(db: sqlite3.Connection, ask: Ask, now: float) -> str:
    if _admitted(db, ask, now):
        return PASSED
    winner, held = _held(db, ask, now)
    if winner != ask.attempt:
        return REFUSED_ATTEMPT
    verdict = judge_again(ask, held)
    if verdict == PASSED and ask.owner:
        db.execute(WATCH, (owner_text(ask), now, 0, ask.occurrence))
    return verdict


def _admitted(db: sqlite3.Connection, ask: Ask, now: float) -> bool:
    """Let the attempt in if nobody has asked for its occurrence yet; return whether that was so."""
    return db.execute(ADMIT, (ask.occurrence, ask.attempt, now, owner_text(ask), now)).rowcount == 1


def _held(db: sqlite3.Connection, ask: Ask, now: float) -> tuple[int, Held]:
    """Return the attempt that was let in, and who runs it."""
    winner, owner, alive_at, finished = db.execute(ADMITTED, (ask.occurrence,)).fetchone()
    return winner, held_of(owner, now - alive_at, bool(finished))


def _is_mine(ask: Ask, held: Held, or_nobodys: bool) -> bool:
    if not held.owner:
        return or_nobodys
    return (held.turn, held.again, held.owner) == (ask.turn, ask.again, ask.owner)


def _beat(db: sqlite3.Connection, me: Me, now: float) -> None:
    if db.execute(SEEN, (now, me.id)).rowcount == 0:
        db.execute(NEW, (*me, now))


def _write(db: sqlite3.Connection, me: Me, said: Said, rank: int, now: float) -> None:
    """Write an accepted report; rank: of the state that the row had."""
    ended = RANK[said.state] >= RANK["succeeded"]
    if rank <= RANK["claimed"]:
        db.execute(MOVE, said.row)
        db.execute(LEAVE, said.row)
    instants = (None, now) if ended else (now, None)
    db.execute(TELL, (said.state, said.reason, said.note, said.note, me.id, *instants, *said.row))
    if ended:
        if db.execute(FREE, said.row).rowcount:
            db.execute(WAKE, (now, said.row.eno))
        return
    found = db.execute(RUNTIME, (said.row.eno,)).fetchone()
    if found and said.row.kind != "manual":
        until = now + found[0]
        if db.execute(TAKE, (*said.row, now, found[0], SET_BACK)).rowcount:
            db.execute(WAIT_ON, (until, said.row.eno))


def _name(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
