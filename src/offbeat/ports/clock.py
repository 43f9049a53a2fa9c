"""Time: the only file that reads a clock or sleeps.

`now` is wall time (seconds since the epoch, UTC); `monotonic` never goes back and is for leases and time limits only.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import Protocol


class Clock(Protocol):
    """What runners know of time."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""

    def sleep_until(self, instant: float) -> None:
        """Return when `now()` has reached `instant`, or earlier after `wake`. Never raises."""

    def wake(self) -> None:
        """End the present or the next `sleep_until` at once. Safe in a signal handler."""


class SystemClock:
    """The clock of this machine."""

    def __init__(self) -> None:
        self._woken = False
        self._pipe: tuple[int, int] | None = (
            None  # opened by the first sleep: a signal handler can write into it, and nothing else
        )

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep_until(self, instant: float) -> None:
        if self._pipe is None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
        # In slices, and by the monotonic clock too: a wall clock that is set must not make the sleep longer than it was asked
        # for, nor hide that the instant has come.
        end = time.monotonic() + instant - time.time()
        while not self._woken and (left := min(instant - time.time(), end - time.monotonic())) > 0:
            if _is_readable(self._pipe[0], min(left, 1.0)):
                os.read(self._pipe[0], 512)
                break
        self._woken = False

    def wake(self) -> None:
        self._woken = True
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe[1], b".")


def _is_readable(line: int, seconds: float) -> bool:
    """Return whether there is something to read within that time. select() itself knows no number beyond 1023."""
    if not hasattr(select, "poll"):
        return bool(select.select((line,), (), (), seconds)[0])
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class FakeClock:
    """A clock that moves only when told; `sleep_until` jumps and remembers what it was asked for."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.wall = now
        self.mono = 1000.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.mono += seconds

    def sleep_until(self, instant: float) -> None:
        self.sleeps.append(instant)
        if instant > self.wall:
            self.advance(instant - self.wall)

    def wake(self) -> None:
        self.sleeps.append(self.wall)
