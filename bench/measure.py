"""Runs one command and says what it cost: wall seconds, CPU seconds, peak resident KiB, exit status.

Imports os and time only: a child's peak starts with what its parent held at the fork, so the parent has to be smaller than it.
"""

from __future__ import annotations

import os
import sys
import time


def main(argv: list[str]) -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    begun = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, quiet, 0), (os.POSIX_SPAWN_DUP2, quiet, 1)]
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - begun
    sys.stdout.write(f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss} {os.waitstatus_to_exitcode(status)}\n")


main(sys.argv[1:])
