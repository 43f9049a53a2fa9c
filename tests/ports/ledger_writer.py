"""A runner of its own, for the tests that kill it: `python ledger_writer.py FILE NAME CLOCK PASSES DIES`.

It goes on from wherever the ledger stands: plans, records, claims and settles, and prints a line after each pass. Its clock is
a file that the test writes, so that nobody waits for a minute to pass. It kills itself before the SQL statement number DIES.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from offbeat.core.model import State
from offbeat.core.plan import plan
from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import Outcome, Runner


class WrittenClock(SystemClock):
    """A clock whose time is in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def now(self) -> float:
        return float(self.path.read_text())


class Fuse:
    """Kills this process, as `kill -9` does, before the statement with this number (0: never)."""

    def __init__(self, dies: int) -> None:
        self.left = dies

    def __call__(self, _: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(path: str, name: str, clock: str, *, passes: int, dies: int) -> None:
    runner = Runner(id=f"host:{name}:run", host="host", pid=1, role="run")
    ledger = LedgerSqlite(Place(path=path, project="shop"), clock=WrittenClock(Path(clock)))
    ledger._open_db().set_trace_callback(Fuse(dies))
    for number in range(passes):
        ledger.look(runner)
        portion = ledger.take(5)
        claims = [*ledger.record(runner, plan(portion, burst=7), portion.revision), *ledger.claim(runner, 5)]
        ledger.settle(runner, [Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED) for claim in claims])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    ledger.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], passes=int(sys.argv[4]), dies=int(sys.argv[5]))
