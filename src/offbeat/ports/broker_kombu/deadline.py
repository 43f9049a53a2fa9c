"""Waits for work on a network, and no longer than it may take: what hangs is cut off, or left behind. Reads no clock.

A name server, a handshake or a farewell may block for longer than any socket's timeout says; hence a thread for each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from offbeat.ports.stop import HURRY, Stop

T = TypeVar("T")
CUT = 0.5  # seconds for work to end by itself once its sockets are cut
SLICE = 0.2  # seconds between two looks whether we are told to stop


def within(
    seconds: float,
    work: Callable[[], T],
    *,
    cut: Callable[[], None] | None = None,
    late: Callable[[T], None] | None = None,
    stop: Stop | None = None,
) -> T:
    """Return what `work` returns, or raise what it raises, if it is done in `seconds`.

    cut: ends what work waits for; called when the time is over, and when the wait is interrupted. late: is given what work
    returns when nobody waits for it any more, on work's own thread; to be thrown away. stop: once it is set, HURRY is all.
    Raises: TimeoutError when the time is over (CUT more at most), even if work ended by being cut.
    """
    job = _Job(work, late)
    try:
        if _is_done(job, max(0.0, seconds), stop):
            return job.result()
        if cut is not None:
            cut()
            job.wait(CUT)
        if job.leave() and job.error is None:
            return job.result()
    except BaseException:
        if not job.leave() and cut is not None:  # the wait was interrupted
            cut()
        raise
    raise TimeoutError(f"no answer within {seconds:.1f} s") from job.error


def _is_done(job: _Job[T], left: float, stop: Stop | None) -> bool:
    """Wait for so many seconds, or fewer once we are told to stop; return whether it has ended."""
    is_hurried = stop is None
    while not job.wait(min(left, SLICE) if stop else left):
        left -= SLICE if stop else left
        if stop and stop.is_set and not is_hurried:
            left, is_hurried = min(left, HURRY), True
        if left <= 0:
            return False
    return True


class _Job(Generic[T]):
    """One piece of work on a daemon thread, so that a process that ends does not wait for it."""

    def __init__(self, work: Callable[[], T], late: Callable[[T], None] | None) -> None:
        self._work = work
        self._late = late
        self._lock = threading.Lock()
        self._left = False
        self._value: Any = None
        self.error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="offbeat-broker", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return self._ended

    def leave(self) -> bool:
        """Say that nobody waits any more; return whether it had ended before."""
        with self._lock:
            self._left = True
            return self._ended

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        value: T = self._value
        return value

    def _run(self) -> None:
        value, error = None, None
        try:
            value = self._work()
        except BaseException as exc:  # noqa: BLE001 - it is raised where it is waited for
            error = exc
        with self._lock:
            self._value, self.error, self._ended = value, error, True
            left = self._left
        if left and error is None and self._late is not None and value is not None:
            with suppress(Exception):
                self._late(value)
