"""The ledgers that a world can have: each with the worker's side of it, and a way to put a backup back.

The memory twin is what every seed runs on; SQLite tells whether a real store keeps to the same promises.
"""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from typing import Any

from offbeat.core.model import Key, Kind, Reason, State
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import Report, Runner
from offbeat.ports.worker_sqlite import WorkerSqlite
from offbeat.ports.worker_values import (
    PASSED,
    REFUSED_ATTEMPT,
    Ask,
    Held,
    Me,
    Said,
    held_of,
    judge_again,
    owner_text,
)

OUTSIDE = ("clock", "wire", "server_id")  # of a ledger in memory: what no backup holds


def key_of(said: Said) -> Key:
    """Return the key of the row that a worker speaks of."""
    row = said.row
    return Key(eno=row.eno, due_at=row.due_at, kind=Kind(row.kind), kind_id=row.kind_id)


def _is_mine(ask: Ask, held: Held) -> bool:
    return not held.owner or (held.turn, held.again, held.owner) == (ask.turn, ask.again, ask.owner)


class SqliteStore(LedgerSqlite):
    """The ledger in a file, by the world's clock, and the worker's side of it. No backup of it is put back."""

    def __init__(self, path: str, clock: Any) -> None:
        super().__init__(Place(path=path, project="sim", owner="host:/simulated"), clock=clock)
        self._path, self._world_clock = path, clock
        self._worker: WorkerSqlite | None = None

    @property
    def worker(self) -> WorkerSqlite:
        """Return a worker's connection, opened when a runner has made the file."""
        if self._worker is None:
            self._worker = WorkerSqlite(f"sqlite:///{self._path}")
            self._worker._clock = self._world_clock
        return self._worker

    def passes(self, ask: Ask) -> str:
        return self.worker.admit(ask)

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        return self.worker.admit_late(asks)

    def running(self, asks: Sequence[Ask]) -> None:
        self.worker.running(asks)

    def winner(self, occurrence: str) -> int:
        return self.worker.winner(occurrence)

    def ended(self, ask: Ask, done: bool) -> None:
        self.worker.ended(ask, done)

    def tell(self, me: Me, said: Said) -> bool:
        return self.worker.report(me, said)

    def remembered(self) -> Collection[str]:
        """Return the occurrences of which an attempt was admitted."""
        with closing(sqlite3.connect(self._path)) as db:
            return {row[0] for row in db.execute("SELECT occurrence FROM admitted")}


class MemoryStore(LedgerMemory):
    """The ledger in memory, as runners and workers have it."""

    def tell(self, me: Me, said: Said) -> bool:
        """Write what a worker says: of an attempt that was admitted also when the row is at a later one by now."""
        row = self.rows.get(key_of(said))
        if row is None:
            return False
        attempt = row.attempt if said.admitted and said.attempt < row.attempt else said.attempt
        report = Report(key=row.key, attempt=attempt, state=State(said.state), reason=Reason(said.reason), note=said.note)
        return bool(self.report(Runner(id=me.id, host=me.host, pid=me.pid, role="worker"), [report]))

    def passes(self, ask: Ask) -> str:
        """Answer what a worker asks before a task: WorkerStore.admit."""
        is_first, now = ask.occurrence not in self.admitted, self.clock.now()
        if not self.admit(ask.occurrence, ask.attempt):
            return REFUSED_ATTEMPT
        verdict = PASSED if is_first else judge_again(ask, self._copy_of(ask.occurrence, now))
        if is_first or (verdict == PASSED and ask.owner):
            self._note_copy(ask, now, done=False)
        return verdict

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        """Write down what was started unasked."""
        return [self.admit(ask.occurrence, ask.attempt) for ask in asks]

    def running(self, asks: Sequence[Ask]) -> None:
        """Take a sign of life of what a worker runs."""
        now = self.clock.now()
        for ask in asks:
            held = self._copy_of(ask.occurrence, now)
            if self.admit(ask.occurrence, ask.attempt) and not held.ended and _is_mine(ask, held):
                self._note_copy(ask, now, done=False)

    def winner(self, occurrence: str) -> int:
        """Return the attempt that was admitted, 0 for none."""
        return self.admitted.get(occurrence, 0)

    def ended(self, ask: Ask, done: bool) -> None:
        """Write down that a delivery runs no more."""
        now = self.clock.now()
        held = self._copy_of(ask.occurrence, now)
        if self.admit(ask.occurrence, ask.attempt) and (
            held.turn <= ask.turn if done else _is_mine(ask, held) and not held.ended
        ):
            self._note_copy(ask if done else ask._replace(owner=""), now, done=done)

    def _copy_of(self, occurrence: str, now: float) -> Held:
        text, alive_at, is_done = self._copies().get(occurrence, ("", now, False))
        return held_of(text, now - alive_at, is_done)

    def _note_copy(self, ask: Ask, now: float, *, done: bool) -> None:
        self._copies()[ask.occurrence] = owner_text(ask), now, done

    def _copies(self) -> dict[str, tuple[str, float, bool]]:
        """Return who runs what was admitted, since when a sign of it was seen, and whether it has ended."""
        found: dict[str, tuple[str, float, bool]] = vars(self).setdefault("watched", {})
        return found

    def backup(self) -> dict[str, Any]:
        """Return all that the ledger knows."""
        return copy.deepcopy({name: value for name, value in vars(self).items() if name not in OUTSIDE})

    def put_back(self, kept: dict[str, Any]) -> None:
        """Let the ledger know what it knew then, and nothing else."""
        vars(self).update(copy.deepcopy(kept))

    def remembered(self) -> Collection[str]:
        """Return the occurrences of which an attempt was admitted."""
        return self.admitted.keys()
