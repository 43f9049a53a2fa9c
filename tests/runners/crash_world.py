"""A small world whose every call of ledger, broker and supervisor can fail, be the process's last, or come twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from tests.ports import ledger_stores
from tests.ports.ledger_stores import Ground, Handles
from tests.runners.conftest import NOON, MemorySite

from offbeat.core.marks import Marks, lost
from offbeat.core.model import BrokerSettings
from offbeat.errors import LedgerError, OffbeatError, Problem
from offbeat.ports import broker_faults
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.command import CommandsMemory
from offbeat.ports.ledger import Dispatching, Enqueuing, Operating, Planning, Reading, Reporting
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import LEASE, Runner
from offbeat.runners.backfill import STEP, backfill
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.deploy import deploy
from offbeat.runners.fire import fire
from offbeat.runners.tick import tick

PORTS = (Planning, Dispatching, Enqueuing, Operating, Reporting, Reading)
CALLS = {
    "ledger": frozenset(name for port in PORTS for name in vars(port) if not name.startswith("_")),
    "broker": frozenset(("publish", "prepare", "server_id", "remembers", "forget", "reach")),
    "commands": frozenset(("start",)),
}
OLD = """
[entries.ping]
every = "1m"
[entries.slow]
every = "1m"
jitter = "3s"
[entries.tight]
every = "1m"
grace = "2s"
[entries.sweep]
every = "1m"
command = "true"
"""
NEW = '[entries.ping]\nevery = "1m"\nexpires = "1h"\n[entries.pong]\nevery = "1m"\n'
SPAN = (NOON - 60 * (STEP + 20), NOON)  # of the backfill: two steps


class Crash(BaseException):
    """The process is gone."""


class Fault(StrEnum):
    """What befalls one call."""

    FAILS_BEFORE = "fails before"
    FAILS_AFTER = "fails after"  # the reply is lost
    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    TWICE = "comes twice"


class Sent(NamedTuple):
    """A message that the broker took."""

    entry: str
    due_at: str
    cause: str
    task_id: str


@dataclass(slots=True)
class Fuse:
    """Counts calls; the one numbered `at` is befallen by the fault. burnt: its name."""

    at: int = 0
    fault: Fault = Fault.FAILS_BEFORE
    calls: int = 0
    burnt: str = ""

    @property
    def may_repeat(self) -> bool:
        """Return whether a message may be out whose outcome nobody has recorded."""
        after_publish = self.burnt == "publish" and self.fault in (Fault.FAILS_AFTER, Fault.DIES_AFTER)
        return after_publish or (self.burnt == "settle" and self.fault is Fault.DIES_BEFORE)


class Guarded:
    """A ledger, broker or supervisor with a fuse in it. watch: hears each answer."""

    def __init__(self, kind: str, part: Any, fuse: Fuse, watch: Callable[[str, Any], None]) -> None:
        self._kind, self._part, self._fuse, self._watch = kind, part, fuse, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name == "enqueuing":
            return lambda: None if (part := found()) is None else Guarded("ledger", part, self._fuse, self._watch)
        return self._fused(name, found) if name in CALLS[self._kind] else found

    def _fused(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            answer = call(*args, **kwargs)
            self._watch(name, answer)
            return answer

        def fused(*args: Any, **kwargs: Any) -> Any:
            fuse, fault = self._fuse, self._fuse.fault
            fuse.calls += 1
            if fuse.calls != fuse.at:
                return watched(*args, **kwargs)
            fuse.burnt = name
            if fault is Fault.TWICE:
                if self._kind == "ledger":  # what is sent twice to a broker is two messages
                    watched(*args, **kwargs)
                return watched(*args, **kwargs)
            if fault in (Fault.FAILS_AFTER, Fault.DIES_AFTER):
                watched(*args, **kwargs)
            if fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER):
                raise Crash
            return self._failed(name, args)

        return fused

    def _failed(self, name: str, args: Any) -> Any:
        if self._kind == "ledger":
            raise LedgerError(Problem(code="L201", what="the ledger does not answer", why="w", fix="f"))
        down = broker_faults.down("connection reset")
        answers = {"start": "no supervisor could be started", "remembers": False, "forget": None}
        if name in ("publish", "prepare"):
            return [down] * len(args[0])
        return answers.get(name, down)


def _memory(world: World, ground: Ground) -> Handles:
    return ledger_stores.memory(ground)


def _one_server(world: World, ground: Ground) -> Handles:
    world.wire.server = "run-1"
    store = LedgerMemory(clock=ground.clock, project="shop", wire=world.wire, server_id="run-1")
    return lambda: store


def _remembering(world: World, ground: Ground) -> Handles:
    world.wire.marks = {}
    return ledger_stores.memory(ground)


def _real_redis(world: World, ground: Ground) -> Handles:
    """Make a ledger in the Redis that the broker is in, too; its queue is read afterwards."""
    import redis

    address = f"{ground.request.getfixturevalue('durable_redis_address')}/0"
    client = ground.stack.enter_context(redis.Redis.from_url(address))
    ground.stack.callback(client.delete, world.queue)
    world.wire = ground.stack.enter_context(closing(BrokerKombu(address, BrokerSettings(), clock=ground.clock)))
    world.letters = lambda: [_sent(json.loads(text)["headers"]) for text in client.lrange(world.queue, 0, -1)]
    return ledger_stores.redis(ground)


# Each line: a name, what makes a new ledger beside a broker, and whether no message may be sent twice whatever happens.
PLACES: dict[str, tuple[Callable[[World, Ground], Handles], bool]] = {
    "memory": (_memory, False),
    "memory, one server with the broker": (_one_server, True),
    "memory, a broker that remembers": (_remembering, True),
    "sqlite": (lambda world, ground: ledger_stores.sqlite(ground), False),
    "redis": (lambda world, ground: ledger_stores.redis(ground), False),
    "redis, one server with the broker": (_real_redis, True),
    "postgres": (lambda world, ground: ledger_stores.postgres(ground), False),
}


def _sent(headers: Any) -> Sent:
    return Sent(headers["offbeat_entry"], headers["offbeat_due_at"], headers["offbeat_cause"], headers["id"])


@dataclass(slots=True, kw_only=True)
class SweepSite(MemorySite):
    """A site of a runner with a name of its own."""

    who: str = "one"

    def runner(self, role: str) -> Runner:
        known = super(SweepSite, self).runner(role)
        return replace(known, id=f"{self.who}:{role}")


@dataclass(slots=True, kw_only=True)
class World:
    """One tree, one ledger, one broker; a runner with a fuse in it, and bystanders on a handle of their own."""

    folder: Path
    place: str
    stack: ExitStack
    request: pytest.FixtureRequest
    clock: FakeClock = field(default_factory=lambda: FakeClock(float(NOON)))
    queue: str = field(default_factory=lambda: f"q{uuid4().hex[:12]}")
    hands: CommandsMemory = field(default_factory=CommandsMemory)
    cursors: dict[int, int] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    wire: Any = field(init=False)
    letters: Callable[[], list[Sent]] = field(init=False)
    open: Handles = field(init=False)
    bystander: Any = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "cron").mkdir(parents=True)
        self.write(OLD)
        self.wire = BrokerMemory(clock=self.clock)
        self.letters = lambda: [_sent({**message.headers, "id": message.task_id}) for message in self.wire.sent]
        ground = Ground(request=self.request, clock=self.clock, stack=self.stack, folder=self.folder, schema="sweep")
        self.open = PLACES[self.place][0](self, ground)
        self.bystander = self.open()
        first = self.site("first")
        first.sync(first.runner("tick"))

    def write(self, text: str) -> None:
        head = f'project = "shop"\ntask_prefix = "shop.tasks."\n[broker]\ndefault_queue = "{self.queue}"\n'
        (self.folder / "cron" / "schedule.toml").write_text(f"{head}{text}")

    def site(self, who: str, fuse: Fuse | None = None) -> SweepSite:
        ledger = self.open() if fuse else self.bystander
        fuse = fuse or Fuse()
        return SweepSite(
            tree=self.folder / "cron",
            root=self.folder,
            environ={"XDG_STATE_HOME": str(self.folder / who), "OFFBEAT_PROJECT": "shop"},
            clock=self.clock,
            memory=Guarded("ledger", ledger, fuse, self.watch),
            wire=Guarded("broker", self.wire, fuse, self.watch),
            hands=Guarded("commands", self.hands, fuse, self.watch),
            who=who,
        )

    def watch(self, name: str, answer: Any) -> None:
        """Hold every answer to it that cursors and marks never fall."""
        if name == "take":
            for group, _ in answer.groups:
                assert group.cursor >= self.cursors.get(group.gid, group.cursor)
                self.cursors[group.gid] = group.cursor
        if name == "look":
            assert not lost(self.marks, answer.marks)
            self.marks = answer.marks


def do_tick(world: World, site: SweepSite) -> None:
    tick(site)


def do_run(world: World, site: SweepSite) -> None:
    daemon = Daemon(site=site, stop=Stop(), tell=lambda _: None)
    for _ in range(2):
        world.clock.sleep_until(min(daemon.step(), world.clock.now() + 1))


def do_fire(world: World, site: SweepSite) -> None:
    fire(site, "ping")


def do_deploy(world: World, site: SweepSite) -> None:
    world.write(NEW)
    deploy(site)


def do_backfill(world: World, site: SweepSite) -> None:
    list(backfill(site, "ping", *SPAN, per_minute=1.0))


DEEDS = {"tick": do_tick, "run": do_run, "fire": do_fire, "deploy": do_deploy, "backfill": do_backfill}


def sweep(request: pytest.FixtureRequest, place: str, deed: str, fault: Fault) -> Iterator[tuple[World, Fuse]]:
    """Yield the world after the fault has befallen each of the calls of a deed in turn, and another runner has gone on."""
    for at in count(1):
        with ExitStack() as stack:
            folder = request.getfixturevalue("tmp_path") / place / deed / f"{at}"
            world = World(folder=folder, place=place, stack=stack, request=request)
            world.clock.advance(60)
            fuse = Fuse(at, fault)
            try:
                DEEDS[deed](world, world.site("one", fuse))
            except (Crash, OffbeatError):
                pass
            if not fuse.burnt:
                return
            other = world.site("two")
            for _ in range(2):
                world.clock.advance(LEASE * 0.8)
                tick(other)
            yield world, fuse
