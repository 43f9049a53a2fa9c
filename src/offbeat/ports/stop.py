"""Being told to stop, by SIGTERM, Ctrl-C or SIGHUP: a signal sets a flag and wakes who sleeps; each step looks at the flag.

Never ends anything by itself, but a second Ctrl-C, which means at once, and what hangs.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType

from offbeat.ports.alarm import shorten
from offbeat.ports.clock import Clock

HURRY = 3.0  # seconds for a broker to answer to what it was sent before, once we are told to stop
ENDS = 6.0  # seconds for all of it; `docker stop` kills after 10, Kubernetes after 30


@dataclass(slots=True)
class Stop:
    """Set by a signal; looked at between steps. number: which signal, 0 for none."""

    is_set: bool = False
    number: int = 0


def heed(stop: Stop, clock: Clock) -> None:
    """Set `stop` when this process is told to end, and wake the clock. What is ignored (nohup) stays ignored."""

    def ask(number: int, _: FrameType | None) -> None:
        if stop.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.is_set, stop.number = True, number
        shorten(ENDS)
        clock.wake()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background
            signal.signal(number, ask)
