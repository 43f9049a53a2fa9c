"""The supervisor of an order of commands: marks each one started, then runs it, then says how it ended.

Never runs a command again: one whose end nobody reported is failed(runner_died) once the heartbeat is over. Its authority is
rule 12 of the ledger's design.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from offbeat.core.identity import format_due_at, occurrence_id
from offbeat.core.model import Key, Reason, State
from offbeat.errors import LedgerError, OffbeatError
from offbeat.ports.clock import Clock
from offbeat.ports.command import ABREAST, Order, Step
from offbeat.ports.command_process import CommandProcess, Ended, NotStarted, Running, Signals, bare_environment, start_words
from offbeat.ports.command_start import Errand, parse_errand
from offbeat.ports.ledger import Dispatching, Planning, Reading, Reporting
from offbeat.ports.ledger_values import Outcome, Report, Runner
from offbeat.ports.process import runner_here

HOLD = 60.0  # seconds that a slot stays taken after the last heartbeat
TRIES = 60  # how often, a second apart, a ledger that does not answer is asked again


T = TypeVar("T")


class Books(Planning, Dispatching, Reporting, Protocol):
    """What a supervisor needs of a ledger."""


class Hands(Protocol):
    """Who runs commands; each that is begun has an end."""

    def begin(self, step: Step) -> None:
        """Start the step's command and return at once."""

    def wait(self) -> Sequence[tuple[Step, Ended]]:
        """Return those that have ended, as soon as there is one. To be asked only while one has not been told yet."""


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Carries out one order. stopping: who asked us to end, "" for nobody."""

    ledger: Books
    runner: Runner
    clock: Clock
    hands: Hands
    stopping: Callable[[], str]
    _slot: str = field(default="", init=False)
    _owner: str = field(default="", init=False)

    def supervise(self, order: Order) -> None:
        """Run the steps that are still ours; skip them all while their slot is taken.

        Those of a slot run one after the other, those of none side by side, ABREAST at most. A request to end stops what
        runs, and fails it and the rest with reason runner_died; a note says so.
        Raises LedgerError when the ledger stays out of reach; what was marked started ends as runner_died then.
        """
        self._slot, self._owner = order.slot, owner(order)
        self._ask(lambda: self.ledger.look(self.runner))
        if not self._ask(self._occupy):
            self._skip(order.steps)
            return
        # Before anything is run: they are ours now, and live by our heartbeat. Those of a newer attempt are left to whoever
        # has it, and so is the slot.
        taken = self._report([Report(key=step.key, attempt=step.attempt, state=State.DISPATCHED) for step in order.steps])
        steps = [step for step in order.steps if step.key in taken]
        if not steps:
            return
        self._carry_out(deque(steps))
        if self._slot:
            self._ask(lambda: self.ledger.vacate(self._slot, self._owner))

    def beat(self) -> None:
        """Say that we are alive, and keep the slot. A ledger that does not answer now is told with the next beat."""
        try:
            self.ledger.look(self.runner)
            self._occupy()
        except LedgerError:
            pass

    def _carry_out(self, waiting: deque[Step]) -> None:
        abreast, running, error = 1 if self._slot else ABREAST, 0, None
        while waiting or running:
            try:
                while waiting and running < abreast:
                    if self._may_begin(step := waiting.popleft()):
                        self.hands.begin(step)
                        running += 1
            except LedgerError as exc:  # nothing more is begun; those that run are waited for
                error = exc
                waiting.clear()
            for step, ended in self.hands.wait() if running else ():
                running -= 1
                try:
                    self._end(step, ended)
                except LedgerError as exc:
                    error = exc
                    waiting.clear()
        if error:
            raise error

    def _may_begin(self, step: Step) -> bool:
        """Mark the step started and return True; or say why it is not run, unless somebody else has it."""
        if name := self.stopping():
            self._end(step, Ended(reason=Reason.RUNNER_DIED, note=f"not run: its supervisor got {name}"))
            return False
        if not self._ask(self._occupy):
            note = "not run: its supervisor was away for so long that the slot went to the next one"
            self._end(step, Ended(reason=Reason.OVERLAP, note=note))
            return False
        return step.key in self._report([Report(key=step.key, attempt=step.attempt, state=State.STARTED)])

    def _end(self, step: Step, ended: Ended) -> None:
        report = Report(
            key=step.key,
            attempt=step.attempt,
            state=State.FAILED if ended.reason else State.SUCCEEDED,
            reason=ended.reason,
            note=ended.note,
            exit_status=ended.exit_status,
            output=ended.output,
        )
        self._report([report])

    def _occupy(self) -> bool:
        return not self._slot or self.ledger.occupy(self._slot, self._owner, HOLD)

    def _skip(self, steps: Sequence[Step]) -> None:
        reason = Reason.OVERLAP
        outcomes = [Outcome(key=step.key, attempt=step.attempt, state=State.SKIPPED, reason=reason) for step in steps]
        self._ask(lambda: self.ledger.settle(self.runner, outcomes))

    def _report(self, reports: Sequence[Report]) -> Collection[Key]:
        return set(self._ask(lambda: self.ledger.report(self.runner, reports)))

    def _ask(self, question: Callable[[], T]) -> T:
        """Return the ledger's answer; ask again while it is out of reach, at most TRIES times, a second apart."""
        for _ in range(TRIES - 1):
            try:
                return question()
            except LedgerError:
                self.clock.sleep_until(self.clock.now() + 1.0)
        return question()


def owner(order: Order) -> str:
    """Return who holds the slot: the occurrence of the order, so that a takeover of it does not skip itself."""
    key = order.steps[0].key
    return f"{order.slot} {key.due_at} {key.kind} {key.kind_id}".rstrip()


def environment(environ: Mapping[str, str], errand: Errand, step: Step) -> dict[str, str]:
    """Return what a command finds in its environment: the runner's, what cron left out, and which occurrence it is.

    Addresses and their passwords stay in it: the team's scripts need them. They are taken out of the kept output instead.
    """
    key = step.key
    return {
        **bare_environment(environ),
        "OFFBEAT_ENTRY": step.name,
        "OFFBEAT_DUE_AT": format_due_at(key.due_at),
        "OFFBEAT_OCCURRENCE": occurrence_id(errand.project, step.name, key.due_at, key.kind, key.kind_id),
    }


def with_env_file(environ: Mapping[str, str], errand: Errand, ledger: Reading) -> dict[str, str]:
    """Return the environment with what env_file adds to it; what is set already stays. An unreadable one adds nothing."""
    settings = ledger.broker_settings()
    if settings is None or not settings.env_file:
        return dict(environ)
    from offbeat.core.envfile import parse_env

    try:
        with open(os.path.join(errand.root, settings.env_file), encoding="utf-8") as file:  # noqa: PTH123 - one import less
            added = parse_env(file.read())
    except (OSError, UnicodeDecodeError):
        return dict(environ)
    return {**added, **{name: text for name, text in environ.items() if text or name not in added}}


def start_step(step: Step, errand: Errand, *, process: CommandProcess, environ: Mapping[str, str]) -> Running | Ended:
    """Start the step's command where the schedule says, and return at once; how it ended when it cannot be started."""
    env = environment(environ, errand, step)
    try:
        argv = start_words(step.call, errand.tree)
    except NotStarted as exc:
        return Ended(reason=Reason.NOT_STARTED, note=str(exc))
    cwd = os.path.normpath(os.path.join(errand.root, step.call.cwd))
    return process.start(argv, cwd, env=env, time_limit=step.call.time_limit)


@dataclass(slots=True, kw_only=True)
class ProcessHands:
    """Runs the commands of an errand as processes."""

    process: CommandProcess
    errand: Errand
    environ: Mapping[str, str]
    _running: list[tuple[Step, Running]] = field(default_factory=list, init=False)
    _ended: list[tuple[Step, Ended]] = field(default_factory=list, init=False)  # those that could not be started

    def begin(self, step: Step) -> None:
        """Start the step's command and return at once."""
        started = start_step(step, self.errand, process=self.process, environ=self.environ)
        if isinstance(started, Ended):
            self._ended.append((step, started))
        else:
            self._running.append((step, started))

    def wait(self) -> Sequence[tuple[Step, Ended]]:
        """Return those that have ended, as soon as there is one."""
        if not self._ended:
            over = self.process.wait([running for _, running in self._running])
            self._ended = [(step, self.process.end(running)) for step, running in self._running if running in over]
            self._running = [pair for pair in self._running if pair[1] not in over]
        told, self._ended = self._ended, []
        return told


def carry_out(errand: Errand, *, ledger: Books, clock: Clock, environ: Mapping[str, str]) -> None:
    """Carry out one errand in this process, which must be the supervisor's own: it takes its signals."""
    runner = runner_here("supervisor")
    with Signals() as signals:
        process = CommandProcess(clock=clock, signals=signals, beat=lambda: supervisor.beat())
        hands = ProcessHands(process=process, errand=errand, environ=environ)
        supervisor = Supervisor(ledger=ledger, runner=runner, clock=clock, hands=hands, stopping=lambda: signals.stopping)
        supervisor.supervise(errand.order)


def main() -> int:
    """Be the supervisor: read the errand from standard input, carry it out, return the exit status."""
    detach()
    errand = parse_errand(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from offbeat.ports.clock import SystemClock
    from offbeat.ports.ledger_open import open_ledger

    clock = SystemClock()
    try:
        with closing(open_ledger(errand.address, clock=clock, project=errand.project, owner=errand.owner)) as ledger:
            carry_out(errand, ledger=ledger, clock=clock, environ=with_env_file(os.environ, errand, ledger))
    except OffbeatError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    return 0


def detach() -> None:
    """Leave the session, the terminal and the open files of whoever started us."""
    try:
        os.setsid()
    except PermissionError:
        pass  # we lead a group already, as when a shell started us
    os.closerange(3, 1024)


if __name__ == "__main__":
    sys.exit(main())
