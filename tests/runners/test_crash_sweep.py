"""Every ledger, broker and supervisor call of tick, run, fire, deploy and backfill fails, or the process dies, before or after
it; another runner goes on. Nothing is lost, what is repeated has the same id, and on one server nothing is repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.model import Kind, State
from offbeat.errors import LedgerError, OffbeatError, Problem
from offbeat.ports import broker_faults
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.command import CommandsMemory
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import LEASE, Runner
from offbeat.runners.backfill import STEP, backfill
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.deploy import deploy
from offbeat.runners.fire import fire
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

LEDGER = "look take record claim settle activate fire slot backfill prune status schedule entries enqueue"
CALLS = frozenset((*LEDGER.split(), "publish", "prepare", "start"))
OLD = """
[entries.ping]
every = "1m"
[entries.slow]
every = "1m"
jitter = "3s"
[entries.sweep]
every = "1m"
command = "true"
"""
NEW = '[entries.ping]\nevery = "1m"\nqueue = "other"\n[entries.pong]\nevery = "1m"\n'
SPAN = (NOON - 60 * (STEP + 20), NOON)  # of the backfill: two steps
Opener = Callable[[], Ledger]


class Crash(BaseException):
    """The process is gone."""


@dataclass(slots=True)
class Fuse:
    """Counts calls; at the one numbered `at` the process dies, or the call fails, before or after it is carried out."""

    at: int
    dies: bool
    after: bool
    calls: int = 0
    burnt: str = ""

    def guard(self, part: Any) -> Any:
        return None if part is None else Guarded(part, self)


class Guarded:
    """A ledger, broker or supervisor with the fuse in it."""

    def __init__(self, part: Any, fuse: Fuse) -> None:
        self._part, self._fuse = part, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name == "enqueuing":
            return lambda: self._fuse.guard(found())
        return self._fused(name, found) if name in CALLS else found

    def _fused(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*args: Any, **kwargs: Any) -> Any:
            fuse = self._fuse
            fuse.calls += 1
            if fuse.calls != fuse.at:
                return call(*args, **kwargs)
            fuse.burnt = name
            if fuse.after:
                call(*args, **kwargs)
            if fuse.dies:
                raise Crash
            if name in ("publish", "prepare"):
                return [broker_faults.down("connection reset")] * len(args[0])
            if name == "start":
                return "no supervisor could be started"
            raise LedgerError(Problem(code="L201", what="the ledger does not answer", why="w", fix="f"))

        return fused


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a store is opened on. request: for the fixtures of servers."""

    folder: Path
    clock: FakeClock
    wire: BrokerMemory
    stack: ExitStack
    request: pytest.FixtureRequest


def memory(ground: Ground) -> Opener:
    store = LedgerMemory(clock=ground.clock, project="shop")
    return lambda: store


def one_server(ground: Ground) -> Opener:
    ground.wire.server = "run-1"
    store = LedgerMemory(clock=ground.clock, project="shop", wire=ground.wire, server_id="run-1")
    return lambda: store


def remembering(ground: Ground) -> Opener:
    ground.wire.marks = {}
    return memory(ground)


def sqlite(ground: Ground) -> Opener:
    place = Place(path=str(ground.folder / "ledger.sqlite3"), project="shop", owner="host:/tree")
    return lambda: ground.stack.enter_context(closing(LedgerSqlite(place, clock=ground.clock)))


def redis(ground: Ground) -> Opener:
    from tests.ports.redis_place import own_place

    from offbeat.ports.ledger_redis import LedgerRedis

    place = ground.stack.enter_context(own_place(ground.request.getfixturevalue("durable_redis_address")))
    return lambda: ground.stack.enter_context(closing(LedgerRedis(place, horizon=ground.clock)))


def postgres(ground: Ground) -> Opener:
    from tests.ports.postgres_place import emptied

    from offbeat.ports.ledger_postgres import LedgerPostgres

    place = emptied(ground.request.getfixturevalue("postgres_address"), "sweep")
    return lambda: ground.stack.enter_context(closing(LedgerPostgres(place, horizon=ground.clock)))


# One line for each store: its name, and what opens one more handle on one new ledger.
STORES: dict[str, Callable[[Ground], Opener]] = {
    "memory": memory,
    "memory, one server with the broker": one_server,
    "memory, a broker that remembers": remembering,
    "sqlite": sqlite,
    "redis": redis,
    "postgres": postgres,
}


@dataclass(slots=True, kw_only=True)
class SweepSite(MemorySite):
    """A site of a runner with a name of its own."""

    who: str = "one"

    def runner(self, role: str) -> Runner:
        known = super(SweepSite, self).runner(role)
        return replace(known, id=f"{self.who}:{role}")


@dataclass(slots=True, kw_only=True)
class World:
    """One tree, one ledger, one broker; two runners, the first with a fuse in it."""

    folder: Path
    store: str
    stack: ExitStack
    request: pytest.FixtureRequest
    clock: FakeClock = field(default_factory=lambda: FakeClock(float(NOON)))
    wire: BrokerMemory = field(init=False)
    hands: CommandsMemory = field(default_factory=CommandsMemory)
    open: Opener = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "cron").mkdir(parents=True)
        self.write(OLD)
        self.wire = BrokerMemory(clock=self.clock)
        ground = Ground(folder=self.folder, clock=self.clock, wire=self.wire, stack=self.stack, request=self.request)
        self.open = STORES[self.store](ground)
        tick(self.site("first"))

    def write(self, text: str) -> None:
        (self.folder / "cron" / "schedule.toml").write_text(f'project = "shop"\ntask_prefix = "shop.tasks."\n{text}')

    def site(self, who: str, fuse: Fuse | None = None) -> SweepSite:
        parts: tuple[Any, Any, Any] = (self.open(), self.wire, self.hands)
        ledger, wire, hands = map(fuse.guard, parts) if fuse else parts
        state = {"XDG_STATE_HOME": str(self.folder / who), "OFFBEAT_PROJECT": "shop"}
        return SweepSite(
            tree=self.folder / "cron",
            root=self.folder,
            environ=state,
            clock=self.clock,
            memory=ledger,
            wire=wire,
            hands=hands,
            who=who,
        )


def do_tick(world: World, site: SweepSite) -> None:
    tick(site)


def do_run(world: World, site: SweepSite) -> None:
    daemon = Daemon(site=site, stop=Stop(), tell=lambda _: None)
    for _ in range(3):
        world.clock.sleep_until(min(daemon.step(), world.clock.now() + 1))


def do_fire(world: World, site: SweepSite) -> None:
    fire(site, "ping")


def do_deploy(world: World, site: SweepSite) -> None:
    world.write(NEW)
    deploy(site)


def do_backfill(world: World, site: SweepSite) -> None:
    list(backfill(site, "ping", *SPAN, per_minute=1.0))


DEEDS = {"tick": do_tick, "run": do_run, "fire": do_fire, "deploy": do_deploy, "backfill": do_backfill}


def sweep(request: pytest.FixtureRequest, store: str, deed: str, *, dies: bool, after: bool) -> Iterator[tuple[World, Fuse]]:
    """Yield the world after each of the calls of a deed in turn has failed, and another runner has gone on."""
    for at in count(1):
        with ExitStack() as stack:
            folder = request.getfixturevalue("tmp_path") / store / deed / f"{at}"
            world = World(folder=folder, store=store, stack=stack, request=request)
            world.clock.advance(60)
            fuse = Fuse(at, dies, after)
            try:
                DEEDS[deed](world, world.site("one", fuse))
            except (Crash, OffbeatError):
                pass
            if not fuse.burnt:
                return
            other = world.site("two")
            for _ in range(4):
                world.clock.advance(LEASE / 2 + 0.1)
                tick(other)
            yield world, fuse


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies", [False, True], ids=["fails", "dies"])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("store", STORES)
def test_whatever_call_fails_or_dies_nothing_is_lost(
    request: pytest.FixtureRequest, store: str, deed: str, dies: bool, after: bool
) -> None:
    for world, fuse in sweep(request, store, deed, dies=dies, after=after):
        check_schedule(world, fuse, exact="one server" in store or "remembers" in store)
        if deed == "deploy":
            check_deploy(world)
        if deed == "backfill":
            check_backfill(world)


def check_schedule(world: World, fuse: Fuse, *, exact: bool) -> None:
    """Hold the world to what is due at 12:01: one row each, sent, and repeated only where the outcome was not known."""
    rows = [
        row for row in world.site("two").ledger.history(limit=5000) if row.due_at == NOON + 60 and row.kind == Kind.SCHEDULE
    ]
    assert Counter(row.entry for row in rows) == {"ping": 1, "slow": 1, "sweep": 1}, fuse
    sent = Counter(
        (m.headers["offbeat_entry"], m.headers["offbeat_due_at"], m.headers["offbeat_cause"]) for m in world.wire.sent
    )
    ids = {
        (m.headers["offbeat_entry"], m.headers["offbeat_due_at"], m.headers["offbeat_cause"], m.task_id)
        for m in world.wire.sent
    }
    states = {row.entry: row.state for row in rows}
    removed = {"slow", "sweep"} if fuse.burnt and "pong" in {e.name for e, _ in world.site("two").ledger.entries()} else set()
    for name in {"ping", "slow"} - removed:
        assert states[name] is State.DISPATCHED, fuse
        assert sent[name, "2026-03-01T12:01:00Z", "schedule"] >= 1, fuse
    assert len(ids) == len(sent), fuse
    most = 1 if exact or not fuse.after or fuse.burnt not in ("publish", "settle") else 2
    assert fuse.dies or max(sent.values()) <= most, fuse
    assert max(sent.values()) <= (1 if exact else 2), fuse
    if "sweep" not in removed:
        assert any(step.key.due_at == NOON + 60 for order in world.hands.orders for step in order.steps), fuse


def check_deploy(world: World) -> None:
    """Hold the world to one whole schedule, the old or the new one; the deploy said again makes it the new one."""
    site = world.site("three")
    names = {entry.name: entry for entry, _ in site.ledger.entries()}
    assert set(names) in ({"ping", "slow", "sweep"}, {"ping", "pong"})
    deploy(site)
    assert {entry.name for entry, _ in site.ledger.entries()} == {"ping", "pong"}
    assert site.ledger.status().deployed


def check_backfill(world: World) -> None:
    """Hold the world to one row for each due time of the span, once the backfill is said again."""
    site = world.site("three")
    list(backfill(site, "ping", *SPAN, per_minute=1.0))
    due = [row.due_at for row in site.ledger.history("ping", limit=5000) if row.kind == Kind.BACKFILL]
    assert sorted(due) == list(range(SPAN[0] + 60, SPAN[1] + 1, 60))


def test_the_sweep_reaches_every_kind_of_call(request: pytest.FixtureRequest) -> None:
    reached = {
        (deed, fuse.burnt)
        for deed in DEEDS
        for store in ("memory", "memory, one server with the broker")
        for _, fuse in sweep(request, store, deed, dies=True, after=False)
    }

    tickers = {"look", "take", "record", "claim", "settle", "prune", "publish", "prepare", "enqueue", "start"}
    assert {call for deed, call in reached if deed == "tick"} >= tickers
    assert {call for deed, call in reached if deed == "run"} >= tickers
    assert {call for deed, call in reached if deed == "fire"} >= {"look", "fire", "publish", "settle", "prepare", "enqueue"}
    assert {call for deed, call in reached if deed == "deploy"} >= {"look", "activate"}
    assert {call for deed, call in reached if deed == "backfill"} >= {"entries", "status", "backfill"}
