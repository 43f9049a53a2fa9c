"""The clock of this machine, where the machine is busy."""

from __future__ import annotations

import fcntl
import os
import resource

from offbeat.ports.clock import SystemClock

BEYOND = 1100  # select() knows no descriptor beyond 1023


def test_a_process_with_more_than_a_thousand_open_files_can_sleep_and_be_woken() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, BEYOND + 1), hard))
    clock, (reading, writing) = SystemClock(), os.pipe()
    high = fcntl.fcntl(reading, fcntl.F_DUPFD, BEYOND)
    try:
        clock._pipe = (high, writing)
        os.write(writing, b".")
        clock.sleep_until(clock.now() + 600)
    finally:
        for line in (reading, writing, high):
            os.close(line)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
