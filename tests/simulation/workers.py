"""Simulated workers: the real guard in front of tasks that are slow, fail, are tried again, or die with their worker.

What a broker hands out again and what Celery tries again are deliveries of one publication; the checker counts the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from offbeat.ports.worker_host import Started
from offbeat.ports.worker_values import Ask, Me, NoAnswer, Said
from offbeat.worker import guard
from offbeat.worker.life import LOOK, Life
from offbeat.worker.link import Link
from offbeat.worker.message import Delivery as HandedOut
from offbeat.worker.message import Occurrence, delivery_of, of_request
from offbeat.worker.settings import REFUSE, RUN, Settings
from offbeat.worker.unasked import Unasked
from offbeat.worker.watch import KEEP, Watch, ask_of

if TYPE_CHECKING:
    from tests.simulation.scenario import Run

VISIBILITY = 45.0  # seconds after which a broker hands out again what nobody acknowledged
WORKERS, HOSTS = 3, 2
SLOW = (0.0, 0.0, 0.3, 2.0)  # seconds that a ledger which is away takes to say nothing
MOST_RETRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Publication:
    """One message that the broker took, and what the workers make of it: retries, copies, what they put back."""

    number: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delivery:
    """One time that a worker gets it. retries: how often Celery has tried the task again. again: the broker handed it out
    before. headers: as whoever put it back has left them, None for those of the message.
    """

    publication: Publication
    retries: int = 0
    again: bool = False
    headers: Mapping[str, Any] | None = None


class Workers:
    """Takes what the broker took. on_error: what the guard does while the ledger does not answer."""

    def __init__(self, run: Run, *, deadly: float, again: float, slowest: float) -> None:
        draw = run.world.draw
        self.run, self.deadly, self.again, self.slowest = run, deadly, again, slowest
        self.acks_late = draw.random() < 0.5
        self.visibility = draw.choice((0.0, VISIBILITY))  # 0: a broker that hands out again when a connection ends
        self.lossy = draw.choice((0.0, 0.0, 0.3))  # chance of each fate of a report: lost, told twice
        self.settings = Settings("redis://simulated", "sim", draw.choice((RUN, REFUSE)), draw.choice((2.0, 10.0)), [])
        self._stranded: dict[str, list[Delivery]] = {}
        self.records = [RecordHere() for _ in range(HOSTS)]
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
        if self.visibility and draw.random() < self.again and not self.run.faults.healed:
            self.deliver(replace(delivery, again=True), self.visibility * draw.random())

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
        self.record = workers.records[workers.made % HOSTS]
        self.running: dict[Delivery, tuple[Occurrence, HandedOut]] = {}
        self._gives_signs = False
        self.life = LifeHere(self)

    def work(self, delivery: Delivery) -> Callable[[Process], None]:
        """Return the body of the process that carries out a delivery."""

        def body(process: Process) -> None:
            process.role, process.hand["life"] = self.name, self.life
            task = TaskHere(self.workers, process, delivery)
            try:
                self._carry_out(process, task)
            except Crash:
                if self.workers.acks_late or not task.is_begun:  # nobody acknowledged it
                    draw = self.run.world.draw
                    pause = self.workers.visibility if self.workers.visibility and draw.random() < 0.7 else 0.1
                    self.workers.deliver(replace(delivery, again=True), pause)
                raise
            finally:
                self.running.pop(delivery, None)

        return body

    def aside(self, work: Callable[[], bool], pause: float) -> None:
        """Do it again and again in a thread of this worker's, until it returns True or the worker is killed."""

        def body(process: Process) -> None:
            process.role, process.hand["life"] = self.name, self.life
            while True:
                process.pause(pause)
                if work():
                    return

        Process(self.run.world, f"{self.name}.thread", Clock(self.run.world), body).start()

    def _signs(self) -> bool:
        self.life._give_signs()
        self._gives_signs = bool(self.running)
        return not self._gives_signs

    def _carry_out(self, process: Process, task: TaskHere) -> None:
        draw, request = self.run.world.draw, task.request
        if task.has_expired():
            guard.on_revoked(request=request, expired=True)
            return
        found = of_request(request)
        assert found is not None
        self.running[task.delivery] = found, delivery_of(found.headers, request.delivery_info, request.retries)
        if self.workers.visibility and not self._gives_signs:
            self._gives_signs = True
            self.aside(self._signs, self.life.watch.beat)
        try:
            guard.check(task)
        except Ignore:
            return
        task.is_begun = True
        is_asked = process.hand.get("answered", False) or found.atomic
        self.run.checker.saw_start(process, task.delivery, is_silent=not is_asked)
        process.pause(draw.random() * self.workers.slowest)
        if draw.random() < self.workers.deadly and not self.run.faults.healed:
            raise Crash
        if request.retries < MOST_RETRIES and draw.random() < 0.1:
            guard.on_postrun(task=task, state="RETRY", retval=None)
            again = replace(task.delivery, retries=request.retries + 1, again=False, headers=request.headers)
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
        headers = dict(message.headers if delivery.headers is None else delivery.headers)
        said = {"redelivered": delivery.again}
        self.request = SimpleNamespace(id=message.task_id, headers=headers, retries=delivery.retries, delivery_info=said)
        self.ignore_result, self.acks_late = False, workers.acks_late
        self.is_begun = False

    def has_expired(self) -> bool:
        found = of_request(self.request)
        return found is not None and 0 < found.expires_at <= self.process.clock.now()

    def signature_from_request(self, request: Any, *, countdown: float, **_: Any) -> Any:
        return SimpleNamespace(apply_async=lambda: self._put_back(dict(request.headers), countdown))

    def _put_back(self, headers: dict[str, Any], countdown: float) -> None:
        run, publication = self.workers.run, self.delivery.publication
        self.process.pause(run.world.latency())
        if run.faults.broker_down:
            raise OperationalError("connection refused")
        run.world.note(self.process, "put back", publication.number)
        self.workers.deliver(replace(self.delivery, headers=headers, again=False), countdown)
        if run.world.draw.random() < run.faults.unconfirmed:
            raise OperationalError("connection reset before the confirm came")


class LifeHere(Life):
    """The real Life, whose ledger is the world's, and whose reports may be lost or told twice."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(Clock(worker.run.world))
        self._worker = worker
        self.settings = worker.workers.settings
        self._is_open = True
        self._me = Me(worker.name, worker.name, 1, "")
        self.watch = Watch(worker.workers.visibility)
        self._tells = False
        self._here = Link(lambda: StoreHere(worker.run), self.clock, self._aside)
        if self.settings.on_error == RUN:
            self._unasked = Unasked.__new__(Unasked)
            self._unasked.record, self._unasked.is_owing = worker.record, False  # type: ignore[assignment]

    def _aside(self, is_over: Callable[[], bool]) -> None:
        self._worker.aside(is_over, 1.0)

    def start_unasked(self, ask: Ask, project: str) -> bool:
        """Do what a worker does, and begin to look whether the ledger can be told."""
        may = super().start_unasked(ask, project)
        if self._unasked is not None and not self._tells:
            self._tells = True
            self._worker.aside(self._tell, LOOK)
        return may

    def _tell(self) -> bool:
        self._tell_unasked()
        assert self._unasked is not None
        self._tells = self._unasked.is_owing or self._worker.record.owes()
        return not self._tells

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


class RecordHere:
    """What the workers of one host have started, as ports/worker_host.py keeps it in a file."""

    def __init__(self) -> None:
        self.why = ""
        self._started: dict[str, Started] = {}
        self._untold: list[str] = []

    def winner(self, project: str, occurrence: str) -> int:
        found = self._started.get(occurrence)
        return found.attempt if found else 0

    def note(self, one: Started, told: bool) -> int:
        if one.occurrence not in self._started:
            self._started[one.occurrence] = one
            self._untold += [] if told else [one.occurrence]
        return self._started[one.occurrence].attempt

    def owe(self) -> None:
        return

    def owes(self) -> bool:
        return bool(self._untold)

    def untold(self, limit: int, but: Collection[str] = ()) -> list[Started]:
        some = [self._started[occurrence] for occurrence in self._untold]
        return [one for one in some if one.project not in but][:limit]

    def told(self, some: Sequence[Started]) -> None:
        known = {one.occurrence for one in some}
        self._untold = [occurrence for occurrence in self._untold if occurrence not in known]


class StoreHere:
    """A worker's connection to the world's ledger."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def admit(self, ask: Ask) -> str:
        verdict = str(self._asked("passes", ask))
        self._process().hand["answered"] = True
        return verdict

    def admit_all(self, asks: Sequence[Ask]) -> list[str]:
        return [self.admit(ask) for ask in asks]

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        return list(self._asked("admit_late", asks))

    def running(self, asks: Sequence[Ask]) -> None:
        self._asked("running", asks)

    def winner(self, occurrence: str) -> int:
        return int(self._asked("winner", occurrence))

    def ended(self, ask: Ask, done: bool) -> None:
        self._asked("ended", ask, done)

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

    def active() -> dict[Ask, str]:
        current = run.world.current
        assert current is not None
        running = current.hand["life"]._worker.running.values()
        return {ask_of(found, handed, KEEP): found.project for found, handed in running}

    with patch.object(guard, "life", OfCurrent(run=run)), patch("offbeat.worker.life.active", active):
        yield
