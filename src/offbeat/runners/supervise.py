"""The supervisor of one order of commands: marks each one started, then runs it, then says how it ended.

Never runs a command again: one whose end nobody reported is failed(runner_died) once the heartbeat is over. Its authority is
rule 12 of the ledger's design.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from offbeat.core.model import Reason, State
from offbeat.errors import LedgerError, OffbeatError
from offbeat.ports.clock import Clock
from offbeat.ports.command import Order, Step
from offbeat.ports.command_process import CommandProcess, Ended, NotStarted, Signals, bare_environment, start_words
from offbeat.ports.command_start import Errand, parse_errand
from offbeat.ports.ledger import Dispatching, Outcome, Planning, Report, Reporting, Runner

HOLD = 60.0  # seconds that a slot stays taken after the last heartbeat
TRIES = 60  # how often, a second apart, a ledger that does not answer is asked again


class Books(Planning, Dispatching, Reporting, Protocol):
    """What a supervisor needs of a ledger."""


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Carries out one order. run: starts a step's command and returns when it has ended; stopping: who asked us to end."""

    ledger: Books
    runner: Runner
    clock: Clock
    run: Callable[[Step], Ended]
    stopping: Callable[[], str]
    _slot: str = field(default="", init=False)
    _owner: str = field(default="", init=False)

    def supervise(self, order: Order) -> None:
        """Run the steps that are still ours, one after the other; skip them all while their slot is taken.

        A request to end stops the present command and fails it and the rest with reason runner_died; a note says so.
        Raises LedgerError when the ledger stays out of reach; what was marked started ends as runner_died then.
        """
        self._slot, self._owner = order.slot, owner(order)
        self._ask(lambda: self.ledger.look(self.runner))
        if not self._ask(self._occupy):
            self._settle(order.steps, State.SKIPPED, Reason.OVERLAP)
            return
        # Before anything is run; those of a newer attempt are left to whoever has it, and so is the slot.
        steps = self._settle(order.steps, State.DISPATCHED)
        if not steps:
            return
        for step in steps:
            self._carry_out(step)
        if self._slot:
            self._ask(lambda: self.ledger.vacate(self._slot, self._owner))

    def beat(self) -> None:
        """Say that we are alive, and keep the slot. A ledger that does not answer now is told with the next beat."""
        try:
            self.ledger.look(self.runner)
            self._occupy()
        except LedgerError:
            pass

    def _carry_out(self, step: Step) -> None:
        if name := self.stopping():
            self._report(step, State.FAILED, Ended(reason=Reason.RUNNER_DIED, note=f"not run: its supervisor got {name}"))
            return
        if not self._ask(self._occupy):
            note = "not run: its supervisor was away for so long that the slot went to the next one"
            self._report(step, State.FAILED, Ended(reason=Reason.OVERLAP, note=note))
            return
        if not self._report(step, State.STARTED, Ended()):
            return
        ended = self.run(step)
        self._report(step, State.FAILED if ended.reason else State.SUCCEEDED, ended)

    def _occupy(self) -> bool:
        return not self._slot or self.ledger.occupy(self._slot, self._owner, HOLD)

    def _settle(self, steps: Sequence[Step], state: State, reason: Reason = Reason.NONE) -> list[Step]:
        outcomes = [Outcome(key=step.key, attempt=step.attempt, state=state, reason=reason) for step in steps]
        accepted = set(self._ask(lambda: self.ledger.settle(self.runner, outcomes)))
        return [step for step in steps if step.key in accepted]

    def _report(self, step: Step, state: State, ended: Ended) -> bool:
        report = Report(
            key=step.key,
            attempt=step.attempt,
            state=state,
            reason=ended.reason,
            note=ended.note,
            exit_status=ended.exit_status,
            output=ended.output,
        )
        return step.key in self._ask(lambda: self.ledger.report(self.runner, [report]))

    def _ask[T](self, question: Callable[[], T]) -> T:
        return question()


def owner(order: Order) -> str:
    """Return who holds the slot: the occurrence of the order, so that a takeover of it does not skip itself."""
    key = order.steps[0].key
    return f"{order.slot} {key.due_at} {key.kind} {key.kind_id}".rstrip()
