"""Simulated workers: the real guard in front of tasks that are slow, fail, are tried again, or die with their worker.

What a broker hands out again and what Celery tries again are deliveries of one publication; the checker counts the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from celery.exceptions import Ignore
from kombu.exceptions import OperationalError
from tests.simulation.doors import LedgerDoor
from tests.simulation.faults import out_of_reach
from tests.simulation.world import Clock, Crash, Process

from offbeat.core.message import Message
from offbeat.errors import LedgerError
from offbeat.ports.worker_values import Me, NoAnswer, Said
from offbeat.worker import guard
from offbeat.worker.life import Life
from offbeat.worker.link import Link
from offbeat.worker.message import of_request
from offbeat.worker.settings import REFUSE, RUN, Settings

if TYPE_CHECKING:
    from tests.simulation.scenario import Run

VISIBILITY = 45.0  # seconds after which a broker hands out again what nobody acknowledged
WORKERS = 3
SLOW = (0.0, 0.0, 0.3, 2.0)  # seconds that a ledger which is away takes to say nothing
MOST_RETRIES = 2


@dataclass(slots=True, kw_only=True)
class Publication:
    """One message that the broker took. copies: more of it are about than one, since nobody answered who put it back."""

    number: int
    message: Message
    copies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One time that a worker gets it. retries: how often Celery has tried the task again."""

    publication: Publication
    retries: int = 0


class Workers:
    """Takes what the broker took. on_error: what the guard does while the ledger does not answer."""

    def __init__(self, run: Run, *, deadly: float, again: float, slowest: float) -> None:
        draw = run.world.draw
        self.run, self.deadly, self.again, self.slowest = run, deadly, again, slowest
        self.late_acknowledged = draw.random() < 0.5
        self.lossy = draw.choice((0.0, 0.0, 0.3))  # chance of each fate of a report: lost, told twice
        self.settings = Settings("redis://simulated", "sim", draw.choice((RUN, REFUSE)), draw.choice((2.0, 10.0)), [])
        self._stranded: dict[str, list[Delivery]] = {}
        self.made = self._published = self._count = 0
        self.here = [Worker(self) for _ in range(WORKERS if run.guarded else 0)]

    @property
    def runs_anyway(self) -> bool:
        return self.settings.on_error == RUN

    def take(self, message: Message, server: str) -> None:
        """Queue a message that was published; it lies there while the workers listen to another server."""
        if not self.here:
            return
        self._published += 1
        delivery = Delivery(publication=Publication(number=self._published, message=message))
        if server == self.run.broker_server:
            self._queued(delivery)
        else:
            self._stranded.setdefault(server, []).append(delivery)

    def listen(self, server: str) -> None:
        """Listen to another server from now on."""
        for delivery in self._stranded.pop(server, ()):
            self._queued(delivery)

    def _queued(self, delivery: Delivery) -> None:
        """Hand it out; sometimes it comes out twice, as after a visibility timeout."""
        draw = self.run.world.draw
        self.deliver(delivery, draw.choice((0.0, 0.01, 0.3, 3.0)))
        if draw.random() < self.again and not self.run.faults.healed:
            self.deliver(delivery, VISIBILITY * draw.random())

    def deliver(self, delivery: Delivery, after: float) -> None:
        """Let one of the workers have it, so many seconds from now."""
        self._count += 1
        worker = self.run.world.draw.choice(self.here)
        process = Process(self.run.world, f"{worker.name}.task{self._count}", Clock(self.run.world), worker.work(delivery))
        process.start(after)

    def kill_one(self) -> None:
        """Kill a worker: what it had in hand comes again if nobody has acknowledged it, what it was still to tell is lost."""
        spot = self.run.world.draw.randrange(len(self.here))
        dead = self.here[spot]
        self.here[spot] = Worker(self)
        for process in [process for process in self.run.world.processes if process.role == dead.name]:
            process.kill()


class Worker:
    """One worker, all processes of its pool together: it shares one view of the ledger."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.run = workers, workers.run
        workers.made += 1
        self.name = f"worker{workers.made}"
        self.life = LifeHere(self)

    def work(self, delivery: Delivery) -> Any:
        """Return the body of the process that carries out a delivery."""

        def body(process: Process) -> None:
            process.role, process.hand["life"] = self.name, self.life
            task = TaskHere(self.workers, process, delivery)
            try:
                self._carry_out(process, task)
            except Crash:
                if self.workers.late_acknowledged or not task.is_begun:  # nobody acknowledged it
                    self.workers.deliver(delivery, VISIBILITY if self.run.world.draw.random() < 0.7 else 0.1)
                raise

        return body

    def _carry_out(self, process: Process, task: TaskHere) -> None:
        draw, request = self.run.world.draw, task.request
        if task.has_expired():
            guard.on_revoked(request=request, expired=True)
            return
        try:
            guard.check(task)
        except Ignore:
            return
        task.is_begun = True
        is_asked = process.hand.get("answered", False) or "offbeat_atomic" in request.headers
        self.run.checker.saw_start(process, task.delivery, is_silent=not is_asked)
        process.pause(draw.random() * self.workers.slowest)
        if draw.random() < self.workers.deadly and not self.run.faults.healed:
            raise Crash
        if request.retries < MOST_RETRIES and draw.random() < 0.1:
            guard.on_postrun(task=task, state="RETRY", retval=None)
            again = Delivery(publication=task.delivery.publication, retries=request.retries + 1)
            self.workers.deliver(again, draw.choice((0.5, 20.0)))
            return
        state = draw.choice(("SUCCESS", "SUCCESS", "FAILURE"))
        guard.on_postrun(task=task, state=state, retval=ValueError() if state == "FAILURE" else None)


class TaskHere:
    """A task as the guard sees it, and the request that it is called with."""

    app = None

    def __init__(self, workers: Workers, process: Process, delivery: Delivery) -> None:
        self.workers, self.process, self.delivery = workers, process, delivery
        message = delivery.publication.message
        self.request = SimpleNamespace(id=message.task_id, headers=dict(message.headers), retries=delivery.retries)
        self.ignore_result = False
        self.is_begun = False

    def has_expired(self) -> bool:
        found = of_request(self.request)
        return found is not None and 0 < found.expires_at <= self.process.clock.now()

    def signature_from_request(self, request: Any, **_: Any) -> Any:
        return SimpleNamespace(apply_async=self._put_back)

    def _put_back(self) -> None:
        run, publication = self.workers.run, self.delivery.publication
        self.process.pause(run.world.latency())
        if run.faults.broker_down:
            raise OperationalError("connection refused")
        run.world.note(self.process, "put back", publication.number)
        self.workers.deliver(self.delivery, self.workers.settings.pause)
        if run.world.draw.random() < run.faults.unconfirmed:
            publication.copies = True
            raise OperationalError("connection reset before the confirm came")


class LifeHere(Life):
    """The real Life, whose ledger is the world's, and whose reports may be lost or told twice."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(Clock(worker.run.world))
        self._worker = worker
        self.settings = worker.workers.settings
        self._is_open = True
        self._me = Me(worker.name, worker.name, 1, "")
        self._here = Link(lambda: StoreHere(worker.run), self.clock)

    def link(self, project: str) -> Link:
        return self._here

    def say(self, said: Said, project: str) -> None:
        workers = self._worker.workers
        chance = self._worker.run.world.draw.random()
        if chance < workers.lossy / 2 and not workers.run.faults.healed:
            return
        super().say(said, project)
        if chance > 1 - workers.lossy:
            super().say(said, project)

    def complain(self, code: str, what: str, why: str) -> None:
        current = self._worker.run.world.current
        self._worker.run.world.note(current, "complains", code)


@dataclass(slots=True, kw_only=True)
class OfCurrent:
    """Stands for the Life of whichever worker it is whose turn it is."""

    run: Any = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run.world.current.hand["life"], name)


class StoreHere:
    """A worker's connection to the world's ledger."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def admit(self, occurrence: str, attempt: int, keep: int) -> bool:
        answer = bool(self._asked("admit", occurrence, attempt))
        self._process().hand["answered"] = True
        return answer

    def report(self, me: Me, said: Said) -> bool:
        return bool(self._asked("tell", me, said))

    def beat(self, me: Me) -> None:
        return

    def close(self) -> None:
        return

    def _asked(self, op: str, *args: Any) -> Any:
        try:
            if self._run.faults.workers_cut:
                raise out_of_reach()
            return getattr(LedgerDoor(self._run, self._process()), op)(*args)
        except LedgerError as error:
            self._process().pause(self._run.world.draw.choice(SLOW))
            raise NoAnswer("the ledger did not answer") from error

    def _process(self) -> Process:
        current = self._run.world.current
        assert current is not None
        return current


@contextmanager
def guards_of(run: Run) -> Iterator[None]:
    """Let the guard find the world's workers instead of this process'."""
    with patch.object(guard, "life", OfCurrent(run=run)):
        yield
