"""A time limit that also ends what hangs: a socket, a file system, a library that waits for ever.

Never the normal end of a step, which looks at its deadline by itself; this is for what does not come back.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 3.0  # seconds from the interruption to the end of the process
EXIT_CODE = 3  # as for a ledger or a broker out of reach


class TimeIsUp(BaseException):
    """The limit has passed. No Exception, so that nobody takes it for a fault of a broker or a ledger and goes on."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in the main thread after `seconds`, and each second after; end the process GRACE later if it hangs still.

    Everything in the ledger is safe then: what this process held is taken over when its lease ends. Elsewhere than in the
    main thread only the process's end remains. Not to be nested.
    """
    end = threading.Timer(seconds + GRACE, _end, (seconds,))
    end.daemon = True
    end.start()
    if threading.current_thread() is not threading.main_thread():
        try:
            yield
        finally:
            end.cancel()
        return
    before = signal.signal(signal.SIGALRM, _interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # somebody else's, as it was
        end.cancel()


def shorten(seconds: float) -> None:
    """Let the limit that is under way, if there is one, end in so many seconds, if not before. Safe in a signal handler."""
    if signal.getsignal(signal.SIGALRM) is _interrupt and signal.getitimer(signal.ITIMER_REAL)[0] > seconds:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise TimeIsUp


def _end(seconds: float) -> None:
    sys.stderr.write(f"offbeat: something hung for more than {seconds:g} s and could not be interrupted; this process ends\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
