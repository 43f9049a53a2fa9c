"""Simulated workers: they ask the guard, start a task, tell how it ended, or die and get the same message again.

The guard is the ledger's own `admit`; what a worker starts is what the checker counts as a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.doors import LedgerDoor
from tests.simulation.world import Clock, Crash, Process

from offbeat.core.message import Message
from offbeat.core.model import State
from offbeat.errors import LedgerError
from offbeat.ports.ledger_values import Report, Runner

if TYPE_CHECKING:
    from tests.simulation.scenario import Run

VISIBILITY = 45.0  # seconds after which a broker hands out again what nobody acknowledged
TRIES = 12


class Workers:
    """Takes what the broker took. reporting: tells the ledger of starts and ends."""

    def __init__(self, run: Run, *, reporting: bool, deadly: float, again: float, slowest: float) -> None:
        self.run, self.reporting, self.deadly, self.again, self.slowest = run, reporting, deadly, again, slowest
        self._count = 0

    def take(self, message: Message) -> None:
        """Queue a message; when again: it comes out twice, as after a visibility timeout."""
        if not self.run.guarded:
            return
        draw = self.run.world.draw
        self._deliver(message, draw.choice((0.0, 0.01, 0.3, 3.0)))
        if draw.random() < self.again and not self.run.faults.healed:
            self._deliver(message, VISIBILITY * draw.random())

    def _deliver(self, message: Message, after: float) -> None:
        self._count += 1
        name = f"worker{self._count}"
        Process(self.run.world, name, Clock(self.run.world), lambda process: self._work(process, message)).start(after)

    def _work(self, process: Process, message: Message) -> None:
        key = self.run.checker.key_of(message)
        attempt = message.headers["offbeat_attempt"]
        assert isinstance(attempt, int)
        door = LedgerDoor(self.run, process)
        try:
            if not self._asked(process, lambda: door.admit(message.task_id, attempt)):
                return
            self.run.checker.saw_start(process, message)
            self._report(process, door, Report(key=key, attempt=attempt, state=State.STARTED))
            process.pause(self.run.world.draw.random() * self.slowest)
            if self.run.world.draw.random() < self.deadly and not self.run.faults.healed:
                raise Crash
            ended = self.run.world.draw.choice((State.SUCCEEDED, State.SUCCEEDED, State.FAILED))
            self._report(process, door, Report(key=key, attempt=attempt, state=ended))
        except Crash:
            self._deliver(message, VISIBILITY)  # nobody acknowledged it
            raise

    def _report(self, process: Process, door: LedgerDoor, report: Report) -> None:
        if self.reporting:
            who = Runner(id=process.name, host="worker", pid=1, role="worker")
            self._asked(process, lambda: door.report(who, [report]))

    def _asked(self, process: Process, ask: Any) -> Any:
        """Ask until the ledger answers: the guard's policy is to refuse and to try again later."""
        for _ in range(TRIES):
            try:
                return ask()
            except LedgerError:
                process.pause(5.0)
        return False
