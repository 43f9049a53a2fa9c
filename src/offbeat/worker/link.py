"""The connections of a process to the ledger: taken, given back, dropped when they fail, never shared over a fork.

Never decides what follows when the ledger does not answer.
"""

from __future__ import annotations

import os
import threading
from typing import Callable, TypeVar

from offbeat.ports.clock import Clock
from offbeat.ports.worker_store import WorkerStore
from offbeat.ports.worker_values import NoAnswer

T = TypeVar("T")
SPARED = 5.0  # times as long as the failure took, nobody else tries: else every task waits for a host that is gone
LONGEST_SPARED = 10.0  # seconds

_inherited: list[WorkerStore] = []  # of the process that we were forked from: not ours to use, nor to close


class Link:
    """As many connections as there are tasks at the same time, and no more."""

    def __init__(self, connect: Callable[[], WorkerStore], clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[WorkerStore] = []
        self._silent_until = 0.0
        self._why = ""

    def ask(self, question: Callable[[WorkerStore], T]) -> T:
        """Return what the ledger answers. The question may be asked twice. Raises: NoAnswer."""
        if self._owner != os.getpid():
            self._start_anew()
        if self._clock.monotonic() < self._silent_until:
            raise NoAnswer(self._why)
        began = self._clock.monotonic()
        try:
            return self._answered(question)
        except NoAnswer as error:
            now = self._clock.monotonic()
            self._silent_until = now + min(SPARED * (now - began), LONGEST_SPARED)
            self._why = str(error)
            raise

    def _answered(self, question: Callable[[WorkerStore], T]) -> T:
        """Return the answer. Raises NoAnswer, also where a library could not make out an address, a question or an answer."""
        try:
            return self._asked(question)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise NoAnswer(f"the ledger cannot be asked: {type(error).__name__}") from error

    def _asked(self, question: Callable[[WorkerStore], T]) -> T:
        with self._lock:
            store = self._idle.pop() if self._idle else None
        if store is not None:  # its server may have been restarted since
            try:
                return self._used(store, question)
            except NoAnswer:
                with self._lock:
                    stale, self._idle = self._idle, []
                for each in stale:
                    each.close()
        return self._used(self._connect(), question)

    def _used(self, store: WorkerStore, question: Callable[[WorkerStore], T]) -> T:
        try:
            answer = question(store)
        except BaseException:  # a time limit may strike in the middle of an answer
            store.close()
            raise
        with self._lock:
            self._idle.append(store)
        return answer

    def _start_anew(self) -> None:
        _inherited.extend(self._idle)
        self._owner, self._lock, self._idle, self._silent_until = os.getpid(), threading.Lock(), [], 0.0

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for store in idle:
            store.close()
