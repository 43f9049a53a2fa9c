"""The connections of a process to the ledger: taken, given back, dropped when they fail, never shared over a fork.

Never decides what follows when the ledger does not answer.
"""

from __future__ import annotations

import os
import threading
from typing import Callable, TypeVar

from offbeat.ports.clock import Clock
from offbeat.ports.worker_store import WorkerStore
from offbeat.ports.worker_values import Ask, NoAnswer
from offbeat.worker.crowd import Crowd

T = TypeVar("T")
PROBED = 30.0  # seconds after which nobody relies on a probe of which nothing was heard: its thread is gone, perhaps
QUICK = 0.05  # seconds: who is told "no" so soon may ask for himself, the next time

_inherited: list[WorkerStore] = []  # of the process that we were forked from: not ours to use, nor to close


class Link:
    """As many connections as there are tasks at the same time, and no more.

    aside: somebody else, who calls what he is given again and again until it returns True: he tries to reach a silent ledger,
    so that no task waits for it. lanes: how many admissions are asked for at once before those who come are gathered.
    """

    def __init__(
        self, connect: Callable[[], WorkerStore], clock: Clock, aside: Callable[[Callable[[], bool]], None], *, lanes: int = 1
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._aside = aside
        self._lanes = lanes
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[WorkerStore] = []
        self._why = ""  # what the ledger is silent about, while somebody probes it: nobody else asks
        self._is_probed = False
        self._heard_at = 0.0  # when the probe was heard of last, by the monotonic clock
        self._is_closed = False
        self._crowd = self._new_crowd()

    def ask(self, question: Callable[[WorkerStore], T]) -> T:
        """Return what the ledger answers. The question may be asked twice. Raises: NoAnswer."""
        if self._owner != os.getpid():
            self._start_anew()
        began = self._clock.monotonic()
        if self._is_probed and began - self._heard_at < PROBED:
            raise NoAnswer(self._why)
        try:
            return self._answered(question)
        except NoAnswer as error:
            if self._clock.monotonic() - began > QUICK:
                self._begin_to_probe(str(error))
            raise

    def admit(self, ask: Ask) -> str:
        """Return the ledger's verdict; whoever asks at the same time is asked for together. Raises: NoAnswer."""
        if self._owner != os.getpid():
            self._start_anew()
        return self._crowd.admit(ask)

    def _new_crowd(self) -> Crowd:
        return Crowd(lambda asks: self.ask(lambda store: store.admit_all(asks)), self._lanes)

    def _begin_to_probe(self, why: str) -> None:
        """Let one try again and again until it is answered: else every task would wait for a host that is gone."""
        with self._lock:
            self._why = why
            now = self._clock.monotonic()
            if self._is_closed or (self._is_probed and now - self._heard_at < PROBED):
                return
            self._is_probed, self._heard_at = True, now
        try:
            self._aside(self.is_over)
        except RuntimeError:  # no thread can be started: this process is ending, perhaps
            self._is_probed = False

    def is_over(self) -> bool:
        """Try to reach a silent ledger, once; return whether it need not be tried again. Then everybody may ask."""
        if self._is_closed or self._owner != os.getpid():
            return True
        self._heard_at = self._clock.monotonic()
        try:
            self._answered(lambda store: store.running(()))  # as far as a question goes, and asks nothing
        except NoAnswer as error:
            self._why = str(error)
            return False
        self._is_probed = False
        return True

    def _answered(self, question: Callable[[WorkerStore], T]) -> T:
        """Return the answer. Raises NoAnswer, also where a library could not make out an address, a question or an answer."""
        try:
            return self._asked(question)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError) as error:
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
        self._owner, self._lock, self._idle, self._is_probed = os.getpid(), threading.Lock(), [], False
        self._crowd = self._new_crowd()

    def close(self) -> None:
        """Close what is idle, and probe no more."""
        self._is_closed = True
        if self._owner != os.getpid():
            self._start_anew()
        with self._lock:
            idle, self._idle = self._idle, []
        for store in idle:
            store.close()
