"""Transactions on a ledger in PostgreSQL: begun with the server's clock, repeated after a deadlock or a lost connection.

Keeps no state in the session: no LISTEN, no advisory lock, no SET but SET LOCAL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from offbeat.core.marks import lost, parse_marks, slot_of
from offbeat.core.model import DueTime, Instant
from offbeat.core.transitions import Belief
from offbeat.ports.clock import Clock
from offbeat.ports.ledger_postgres.address import Place
from offbeat.ports.ledger_postgres.line import Line, Rows, Texts, all_rows, as_arrays, connect
from offbeat.ports.ledger_postgres.migrating import Foundation
from offbeat.ports.ledger_postgres.problems import (
    BROKEN,
    NEWER,
    SILENT,
    WENT_BACK,
    Silent,
    of_connecting,
    of_server,
)
from offbeat.ports.ledger_postgres.schema import NOW, STEPS, Step
from offbeat.ports.ledger_problems import Unreadable, refuse
from offbeat.ports.ledger_values import Told

T = TypeVar("T")

MOST_ROWS = 5000  # of occurrences in one transaction
REPEATS = 6  # times that a transaction which lost a deadlock is begun anew

# Whatever role, database or server have set. A runner that stands still in the middle of a transaction holds up what it has
# locked for less than a lease.
LIMITS = """
SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '4500ms'; SET LOCAL idle_in_transaction_session_timeout = '5s';
SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL extra_float_digits = 1; SET LOCAL array_nulls = on;"""
DURABLE = """
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');"""
STANDING = f"""
SELECT {NOW}, m.schema, m.oldest, m.active_rev, m.stamp, m.deployed, m.born, m.project, m.pruned_through, b.newest,
  b.suspect_at, EXISTS (SELECT 1 FROM {{s}}.slots)
FROM {{s}}.meta m, {{s}}.belief b"""
# Batches find their rows by keys, whatever the planner believes of tables that grow and shrink within a minute.
BY_KEYS = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
WRITE = f"{BEGIN} {LIMITS} {BY_KEYS} {DURABLE} {{lock}} {STANDING}"
READ = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LIMITS} {STANDING}"
# KEY SHARE lets everybody record and claim together, and keeps out who takes it FOR UPDATE: a change of the revision.
TOGETHER = "SELECT one FROM {s}.meta FOR KEY SHARE;"
ALONE = "SELECT one FROM {s}.meta FOR UPDATE;"
MARK = """
INSERT INTO {s}.marks AS m (slot, seq) VALUES (%d, 1) ON CONFLICT (slot) DO UPDATE SET seq = m.seq + 1 RETURNING seq;"""
MARKS = "SELECT coalesce(string_agg(slot || ':' || seq, ','), '') FROM {s}.marks"

_LOST_RACES = (errors.DeadlockDetected, errors.SerializationFailure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """How the ledger stands at the beginning of a transaction."""

    schema: int
    oldest: int
    revision: int
    stamp: str
    deployed: bool
    born: str
    project: str
    pruned_through: DueTime | None
    belief: Belief
    has_slots: bool  # some entry's overlap is skip or wait


class Tx:
    """An open transaction. now: of the store's clock, at its beginning.

    is_idle: it has locked and found nothing to do, so it is rolled back: a commit would wait for the disk for nothing.
    """

    __slots__ = ("_later", "_line", "_texts", "is_idle", "marked", "meta", "now")

    def __init__(self, line: Line, texts: Texts, meta: Meta, now: Instant) -> None:
        self._line = line
        self._texts = texts
        self.meta = meta
        self.now = now
        self.marked = ""
        self.is_idle = False
        self._later: list[bytes] = []

    @property
    def believed(self) -> bool:
        """Return whether `now` may be acted on."""
        return self.meta.belief.holds(self.now)

    def rows(self, text: str, /, **values: Any) -> Rows:
        """Run a statement and return its rows."""
        if self._later:
            return self.together((text, values))[0]
        return self._line.execute(self._texts.of(text, with_values=True), as_arrays(values)).fetchall()

    def row(self, text: str, /, **values: Any) -> tuple[Any, ...] | None:
        """Run a statement and return its first row."""
        return next(iter(self.rows(text, **values)), None)

    def run(self, text: str, /, **values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        self.together()
        return self._line.execute(self._texts.of(text, with_values=True), as_arrays(values)).rowcount

    def later(self, text: str, /, **values: Any) -> None:
        """Run a statement before the next one, or the commit: in the same message, so that nobody waits for its answer."""
        self._later.append(self._line.whole(self._texts.of(text, with_values=True), values))

    def together(self, *statements: tuple[str, dict[str, Any]]) -> list[Rows]:
        """Run statements in one message; return the rows of each."""
        texts = self.left()
        if not texts and not statements:
            return []
        wholes = [self._line.whole(self._texts.of(text, with_values=True), values) for text, values in statements]
        answers = all_rows(self._line.execute(b";".join([*texts, *wholes])))
        return answers[len(texts) :]

    def left(self) -> list[bytes]:
        """Return what is still to be run, and forget it."""
        texts, self._later = self._later, []
        return texts

    def mark(self, who: str) -> None:
        """Let the marks rise when the transaction is committed."""
        self.marked = who


class Store:
    """A ledger that is open. Every public operation of the stores built on this is `read` or `write`, or some of them."""

    def __init__(self, place: Place, *, horizon: Clock | None = None, steps: Sequence[Step] = STEPS) -> None:
        self.place = place
        self.horizon = horizon
        self.newest = steps[-1].version
        self.texts = Texts(place.schema)
        self.clock_now: Instant = 0.0  # of the newest transaction
        self._marked = Told()  # by what was committed here since `told`
        self._mine: dict[int, int] = {}  # the marks that were committed here since a look
        self._is_checked = True  # whether they were found again on this connection
        self._line: Line | None = None
        self._foundation = Foundation(place, self.texts, steps)
        self._is_founded = False
        try:
            self._told(lambda: self._repeated(self._found))
        except BaseException:
            self.close()
            raise

    @property
    def where(self) -> str:
        """Return the address, as it may be shown."""
        return self.place.where

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def told(self) -> Told:
        """Return the marks of what was committed here since this was asked last. See Ledger.told."""
        told, self._marked = self._marked, Told()
        return told

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one consistent view, which cannot write."""
        return self._told(lambda: self._repeated(lambda: self._transaction(READ, work)))

    def ask(self, work: Callable[[Rows], T], text: str, /, **values: Any) -> T:
        """Return what `work` makes of the rows of one statement, which cannot write: all of it is one message."""

        def once() -> T:
            line = self._opened()
            begin, whole = self.texts.of(READ, with_values=False), self.texts.of(text, with_values=True)
            *_, standing, rows, _ = all_rows(line.execute(b";".join([begin, line.whole(whole, values), b"COMMIT"])))
            self._meta(standing[0] if standing else None)
            return work(rows)

        return self._told(lambda: self._repeated(once))

    def write(self, work: Callable[[Tx], T], lock: str = "") -> T:
        """Run `work` in one transaction that is on disk when this returns. It is run again when it lost a deadlock.

        lock: TOGETHER or ALONE, taken before the clock is read.
        """
        return self._told(lambda: self._repeated(lambda: self._transaction(WRITE.replace("{lock}", lock), work)))

    def alter(self, text: str) -> None:
        """Run statements without values in a transaction of their own. Raises what psycopg does."""
        self._opened().execute(self.texts.of(f"{BEGIN} {LIMITS} {text}; COMMIT", with_values=False))

    def rollback(self) -> None:
        """Leave a transaction that failed; a connection that cannot is closed."""
        line = self._line
        if line is None:
            return
        with suppress(psycopg.Error, Silent):
            if not line.closed and line.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                line.execute("ROLLBACK")
        if line.closed or line.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.close()

    def _found(self) -> None:
        line = self._opened()
        if not self._is_founded:
            self._foundation.lay(line)
            self._is_founded = True

    def _opened(self) -> Line:
        if self._line is None:
            try:
                self._line = connect(self.place)
                self._is_checked = not self._mine
            except psycopg.Error as error:
                raise of_connecting(self.where, error, self.place.secrets) from None
        return self._line

    def _transaction(self, begin: str, work: Callable[[Tx], T]) -> T:
        line = self._opened()
        rows = all_rows(line.execute(self.texts.of(begin, with_values=False)))[-1]
        tx = Tx(line, self.texts, *self._meta(rows[0] if rows else None))
        if not self._is_checked:
            self._check(tx)
        answer = work(tx)
        slot = slot_of(tx.marked)
        end = f"{MARK % slot if tx.marked else ''} {'ROLLBACK' if tx.is_idle else 'COMMIT'}"
        done = all_rows(line.execute(b";".join([*tx.left(), self.texts.of(end, with_values=False)])))
        if tx.marked:
            self._mine[slot] = done[-2][0][0]
            self._marked = self._marked.and_then({slot: self._mine[slot]}, tx.now)
        return answer

    def look_afresh(self) -> None:
        """Forget the marks that were committed here: whoever looks now judges what the ledger tells of them."""
        self._mine.clear()

    def _check(self, tx: Tx) -> None:
        """Refuse to go on with a ledger that lost what was committed here: a standby that lagged, say, is the primary now."""
        found = parse_marks(next(iter(tx.rows(MARKS)))[0])
        if gone := lost(self._mine, found):
            raise refuse(self.where, WENT_BACK, f"{gone} of the writes of this runner are gone")
        self._is_checked = True

    def _meta(self, standing: tuple[Any, ...] | None) -> tuple[Meta, Instant]:
        if standing is None:
            raise Unreadable("it does not say how it stands")
        now, schema, oldest, revision, stamp, deployed, born, project, pruned, newest, suspect_at, has_slots = standing
        if oldest > self.newest:
            raise refuse(self.where, NEWER, f"its schema {schema} is not for schema {self.newest}")
        meta = Meta(
            schema=schema,
            oldest=oldest,
            revision=revision,
            stamp=stamp,
            deployed=deployed,
            born=born,
            project=project,
            pruned_through=pruned,
            belief=Belief(newest=newest, suspect_at=suspect_at),
            has_slots=has_slots,
        )
        self.clock_now = now if self.horizon is None else self.horizon.now()
        return meta, self.clock_now

    def _repeated(self, once: Callable[[], T]) -> T:
        """Run it again after a lost race, and once on a new connection when the old one is gone."""
        for left in reversed(range(REPEATS)):
            was_open = self._line is not None
            try:
                return once()
            except psycopg.Error as error:
                self.rollback()
                if isinstance(error, errors.ReadOnlySqlTransaction):  # it was a primary once
                    self.close()
                is_new = was_open and self._line is None
                if not left or not (is_new or isinstance(error, _LOST_RACES)):
                    raise
            except Silent:
                self.close()
                raise
            except BaseException:
                self.rollback()
                raise
        raise AssertionError("the last time raises")

    def _told(self, work: Callable[[], T]) -> T:
        """Turn what the server, or the lack of one, raises inside into a LedgerError."""
        try:
            return work()
        except psycopg.Error as error:
            raised = of_server(self.where, error, self.place.secrets)
            if raised is error:
                raise
            raise raised from None
        except Silent as error:
            raise refuse(self.where, SILENT, str(error)) from None
        except Unreadable as error:
            raise refuse(self.where, BROKEN, str(error)) from error
