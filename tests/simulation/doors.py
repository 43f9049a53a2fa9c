"""Every way out of a process: its ledger, its broker, its tree. Each call is a place to be interrupted, to fail or to die at.

The ledger behind them is the real LedgerMemory, and what calls it is the real Site, tick and Daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from tests.simulation.faults import Fault, out_of_reach
from tests.simulation.world import Crash, Process

from offbeat.core.listing import Kind
from offbeat.core.message import Message
from offbeat.core.model import Schedule
from offbeat.errors import LedgerError
from offbeat.ports import broker_faults
from offbeat.ports.broker import Broker, Delivery, Push
from offbeat.ports.files import Stamp
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Runner
from offbeat.runners.notes import Notes
from offbeat.runners.site import Site
from offbeat.runners.watch import Watch

if TYPE_CHECKING:
    from tests.simulation.scenario import Run

ASKED = frozenset(
    {
        "changed",
        "told",
        "status",
        "broker_settings",
        "ledger_settings",
        "rules",
        "schedule",
        "entries",
        "failures",
        "revisions",
    }
)
REPEATABLE = frozenset(
    "record record_and_push settle pause resume skip backfill cancel tell admit_late running ended".split()
    + "fire slot rewind restored".split()
)
ENQUEUING = frozenset({"enqueue", "draft", "record_and_push"})  # of the part of a store that holds the queues, too
SERVER = "one server for ledger and broker"
COMMIT = SimpleNamespace(commit="c0ffee", author="ann", dirty=False)
QUIET = frozenset(
    {"look", "take", "draft", "passes", "winner", "admit_late", "running", "ended", "prune"}
)  # others need not look again after these


class LedgerDoor:
    """A process' way to the ledger."""

    def __init__(self, run: Run, process: Process) -> None:
        self._run, self._process = run, process

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op in ASKED:
            return cast("Callable[..., Any]", getattr(self._run.store, op))
        return lambda *args, **kwargs: self._call(op, args, kwargs)

    def enqueuing(self) -> Any:
        return self if self._run.plan.fused else None

    def server_id(self) -> str:
        return self._run.ledger_server

    def close(self) -> None:
        self._process.wakes_at = None

    def _call(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run, process = self._run, self._process
        process.calls += 1
        process.pause(run.world.latency())
        self._suffer(run.faults.draw(run.world))
        if run.faults.ledger_down:
            raise out_of_reach()
        answer = self._carried_out(op, args, kwargs)
        self._suffer(run.faults.draw(run.world))
        process.pause(run.world.latency())
        return answer

    def _carried_out(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run, process = self._run, self._process
        now = run.clock.now()
        try:
            store = run.store.enqueuing() if op in ENQUEUING else run.store
            answer = getattr(store, op)(*args, **kwargs)
        except LedgerError as error:
            run.world.note(process, op, "refused", type(error).__name__)
            raise
        run.checker.saw(process, op, args, kwargs, answer, now)
        if op == "look":
            process.wakes_at = answer.wake_at if answer.believed else answer.believe_at
            process.looked = run.changes
        elif op not in QUIET:
            run.stir(process)
        if op in REPEATABLE and run.world.draw.random() < run.faults.repeat:
            run.checker.repeats(process, op, args, kwargs, answer)
        return answer

    def _suffer(self, fault: Fault) -> None:
        run, process = self._run, self._process
        if fault is Fault.CRASH:
            raise Crash
        if fault is Fault.STALL:
            run.faults.stand_still(process)
        if fault is Fault.ERROR:
            run.world.note(process, "ledger error")
            raise out_of_reach()


class Wire:
    """The queues that are on the ledger's own server: what `enqueue` pushes into."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._messages: list[Message] = []

    def wrap(self, message: Message) -> Push:
        """Return the push that stands for a message."""
        self._messages.append(message)
        return Push(database=0, key=message.routing_key, payload=b"%d" % (len(self._messages) - 1))

    def accept(self, push: Push) -> str:
        """Take a push."""
        run, message = self._run, self._messages[int(push.payload)]
        if push.key in run.faults.no_queue:
            return "WRONGTYPE the key is no list"
        assert run.world.current is not None
        run.checker.saw_push(run.world.current, message, run.clock.now(), is_fused=True)
        run.checker.confirmed(message)
        run.workers.take(message, run.ledger_server)
        return ""


class BrokerDoor:
    """A process' way to the broker. Takes one message after the other, and may stop, slow down or die between two."""

    def __init__(self, run: Run, process: Process) -> None:
        self._run, self._process = run, process

    def server_id(self) -> str | Delivery:
        if not self._run.plan.fused:
            return ""
        self._process.pause(self._run.world.latency())
        return broker_faults.down("connection refused") if self._run.faults.broker_down else self._run.broker_server

    def prepare(self, messages: Sequence[Message]) -> Sequence[Push | Delivery]:
        found: list[Push | Delivery] = []
        for message in messages:
            if message.routing_key in self._run.faults.no_queue:
                found.append(broker_faults.unroutable(message.exchange, message.routing_key))
            elif message.routing_key in self._run.faults.fanned:
                found.append(Delivery(error="not tried: one push is not enough", tried=False))
            else:
                found.append(self._run.wire.wrap(message))
        return found

    def publish(self, messages: Sequence[Message], seconds: float) -> Sequence[Delivery]:
        run, process = self._run, self._process
        process.calls += 1
        until = process.clock.monotonic() + seconds
        found: list[Delivery] = []
        for message in messages:
            if found and found[-1].down:
                found.append(found[-1])
            elif process.clock.monotonic() >= until:
                found.append(broker_faults.out_of_time())
            else:
                found.append(self._push(message))
        run.world.note(process, "publish", len(found), sum(1 for one in found if one.taken))
        return found

    def remembers(self) -> bool:
        return False

    def forget(self, task_ids: Sequence[str]) -> None:
        return

    def reach(self, seconds: float) -> Delivery:
        return broker_faults.down("connection refused") if self._run.faults.broker_down else Delivery()

    def close(self) -> None:
        return

    def _push(self, message: Message) -> Delivery:
        run, process, faults = self._run, self._process, self._run.faults
        run.checker.begins(process, message, run.clock.now())
        process.pause(run.world.latency() / 4 + faults.broker_slow)
        self._suffer(faults.draw(run.world))
        if faults.broker_down:
            return broker_faults.down("connection refused")
        if message.routing_key in faults.no_queue:
            return broker_faults.unroutable(message.exchange, message.routing_key)
        run.checker.saw_push(process, message, run.clock.now())
        run.workers.take(message, run.broker_server)
        self._suffer(faults.draw(run.world))
        if run.world.draw.random() < faults.unconfirmed:
            return broker_faults.down("connection reset before the confirm came")
        run.checker.confirmed(message)
        return Delivery()

    def _suffer(self, fault: Fault) -> None:
        if fault is Fault.CRASH:
            raise Crash
        if fault is Fault.STALL:
            self._run.faults.stand_still(self._process)


@dataclass(slots=True, kw_only=True)
class Tree:
    """A checkout. content: what is readable now, whole or half. Every write gives another stamp."""

    name: str
    content: Schedule
    writes: int = 0
    busy: bool = False  # a checkout is at work on it
    newest: float = 0.0  # true time of the last write; a host's files have it by the host's clock


@dataclass(slots=True, kw_only=True)
class Host:
    """A machine: one checkout, one clock, and what its processes remember beside the ledger."""

    name: str
    clock: Any
    tree: Tree
    notes: dict[str, str] = field(default_factory=dict)
    pids: int = 0


@dataclass(slots=True, kw_only=True)
class HostNotes(Notes):
    """What a host remembers, without a disk."""

    host: Host

    def read(self) -> dict[str, str]:
        return dict(self.host.notes)

    def write(self, **words: str) -> None:
        self.host.notes.update(words)


@dataclass(slots=True, kw_only=True)
class SimulatedSite(Site):
    """The real Site, whose ledger, broker and notes are the world's."""

    host: Host
    process: Process
    run: Any
    door: Any = field(init=False)

    def __post_init__(self) -> None:
        Site.__post_init__(self)
        self.notes = HostNotes(environ=self.environ, names=("simulated",), tree=str(self.tree), host=self.host)
        self.watch = Watch(notes=self.notes)
        self.door = LedgerDoor(self.run, self.process)
        self._project = "sim"

    @property
    def ledger(self) -> Ledger:
        return cast("Ledger", self.door)

    @property
    def ledger_address(self) -> str:
        return "redis://simulated" if self.is_shared else "sqlite:////simulated"

    def broker(self) -> Broker:
        return cast("Broker", BrokerDoor(self.run, self.process))

    def close(self) -> None:
        self.door.close()

    def runner(self, role: str) -> Runner:
        named = Runner(id=f"{self.process.name}:{role}", host=self.host.name, pid=self.host.pids, role=role)
        return self.watch.introduce(named)


def site_of(run: Run, host: Host, process: Process) -> SimulatedSite:
    """Return a new process' site on that host."""
    tree = Path("/simulated") / host.name / "cron"
    environ = {"OFFBEAT_PROJECT": "sim", "HOME": "/simulated"} | ({"OFFBEAT_LEDGER": "redis://simulated"} if run.shared else {})
    return SimulatedSite(tree=tree, root=tree.parent, environ=environ, clock=process.clock, host=host, process=process, run=run)


@contextmanager
def files_of(run: Run) -> Iterator[None]:
    """Let offbeat read the world's trees instead of the disk's; the rest of ports/files.py is the real one."""

    def host_of(path: Path) -> Host:
        return run.hosts[Path(path).parts[2]]

    def stamp(path: Path) -> Stamp:
        host = host_of(path)
        ahead = host.clock.now() - run.world.now
        return Stamp(text=f"{host.tree.name}/{host.tree.writes}", newest=host.tree.newest + ahead)

    def read(path: Path) -> Any:
        first = host_of(path).tree.content
        process = run.world.current
        if process is not None:
            process.pause(run.world.draw.choice((0.001, 0.01, 0.2)))
        found = run.world.draw.choice((first, host_of(path).tree.content))
        return SimpleNamespace(found=found, schedule=SimpleNamespace(kind=Kind.FILE, path="schedule.toml"))

    def tokens(size: int = 8) -> str:
        return f"{run.world.draw.getrandbits(size * 8):0{size * 2}x}"

    with ExitStack() as stack:
        stack.enter_context(patch("offbeat.ports.files.stamp", stamp))
        stack.enter_context(patch("offbeat.ports.files.is_tree", lambda path: True))
        stack.enter_context(patch("offbeat.ports.treereader.read_tree", read))
        stack.enter_context(patch("offbeat.core.parse.parse", lambda files, environ: (files.found, ())))
        stack.enter_context(patch("offbeat.ports.git.read_commit", lambda tree, environ: COMMIT))
        stack.enter_context(patch("offbeat.runners.fire.secrets.token_hex", tokens))
        yield
