"""Writers for the test that kills them: `python ledger_forks.py FILE`, one writer for each line on standard input.

A line is the instant at which the writer's clock begins. The answer is "pid N", then "sent ENO DUE_AT" for each row whose
settle has returned, then "ended STATUS" when the writer has died. Forked, since starting 200 interpreters takes a minute.
"""

from __future__ import annotations

import os
import sys

from offbeat.core.model import State
from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import Outcome, Runner


def say(line: str) -> None:
    """Write a line at once; short enough never to be cut in two."""
    os.write(1, line.encode("ascii") + b"\n")


def write_on(path: str, now: float) -> None:
    """Plan, record, claim and settle, a second later each time, until somebody kills us."""
    clock = FakeClock(now)
    runner = Runner(id=f"host:{os.getpid()}:run", host="host", pid=os.getpid(), role="run")
    ledger = LedgerSqlite(Place(path=path, project="shop"), clock=clock)
    while True:
        clock.advance(1)
        ledger.look(runner)
        portion = ledger.take(100)
        claims = [*ledger.record(runner, plan(portion, burst=5), portion.revision), *ledger.claim(runner, 5)]
        said = [Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED) for claim in claims]
        for key in ledger.settle(runner, said):
            say(f"sent {key.eno} {key.due_at}")


def main(path: str) -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            write_on(path, float(line))
        say(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(sys.argv[1])
