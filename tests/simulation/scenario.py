"""A run: a plan drawn from a seed, the world that it happens in, and what the checker says of it in the end.

The last part of every run is calm: nothing goes wrong any more, and all that is due must settle.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.simulation.audit import Audit
from tests.simulation.checker import Checker
from tests.simulation.doors import SERVER, Host, SimulatedSite, Tree, Wire, files_of, site_of
from tests.simulation.faults import Faults
from tests.simulation.people import People
from tests.simulation.rows import Memory
from tests.simulation.schedule_maker import ScheduleMaker
from tests.simulation.stores import MemoryStore, SqliteStore
from tests.simulation.workers import Workers, guards_of
from tests.simulation.world import Clock, Process, World

from offbeat.errors import OffbeatError
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.tick import tick

EPOCH = 1_775_000_000  # 2026-03-31T23:33:20Z: no clock of schedule_maker's zones changes in the half year after it
CALM = 420.0  # seconds at the end in which nothing goes wrong
SLACK = 200.0  # seconds after which a live row must have settled then
log = logging.getLogger("offbeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is like. span: simulated seconds before the calm. run, tick: how many residents and crontab lines."""

    kind: str
    dense: bool = True
    span: float = 900.0
    run: int = 2
    tick: int = 0
    hosts: int = 1
    entries: int = 6
    actors: tuple[str, ...] = ()
    faults: Faults = field(default_factory=Faults)
    guarded: bool = False
    overlap: bool = True
    fused: bool = False  # ledger and broker are one server
    skew: float = 0.0


def _rough(draw: Random, scale: float = 1.0) -> Faults:
    chances = [draw.choice((0.0, 0.002, 0.01, 0.03)) * scale for _ in range(5)]
    crash, stall, error, unconfirmed, repeat = chances
    return Faults(crash=crash, stall=stall, error=error, unconfirmed=unconfirmed * 3, repeat=min(1.0, repeat * 3 + 0.01))


ACTORS = ("deploys", "pauses", "fires", "outages", "brokers", "ledgers", "clocks")


KINDS: dict[str, Callable[[Plan, Random], Plan]] = {
    "calm": lambda plan, draw: replace(plan, actors=("deploys",), skew=draw.choice((0.0, 1.0)), faults=Faults(repeat=0.02)),
    "rough": lambda plan, draw: replace(
        plan,
        actors=tuple(sorted(draw.sample(ACTORS, draw.randint(1, 4)))),
        faults=_rough(draw),
        skew=draw.choice((0.0, 0.0, 1.0)),
    ),
    "people": lambda plan, draw: replace(
        plan, actors=("deploys", "pauses", "fires", "skips", "backfills", "slots", "slots"), faults=Faults(repeat=0.1)
    ),
    "broker": lambda plan, draw: replace(plan, actors=("brokers", "deploys"), faults=_rough(draw, 0.3)),
    "clock": lambda plan, draw: replace(plan, actors=("clocks", "pauses"), faults=_rough(draw, 0.3), skew=3.0),
    "leap": lambda plan, draw: replace(plan, actors=("leaps", "deploys", "pauses"), faults=_rough(draw, 0.1), overlap=False),
    "rewind": lambda plan, draw: replace(
        plan, actors=("leaps", "rewinds", "rewinds", "pauses"), faults=Faults(stall=0.003, repeat=0.05), overlap=False
    ),
    "deploy": lambda plan, draw: replace(plan, actors=("deploys", "ships", "ships"), faults=_rough(draw, 0.5)),
    "overlap": lambda plan, draw: replace(
        plan, guarded=True, actors=("deploys", "deploys", "deploys", "murders", "cuts", "slots"), faults=_rough(draw, 0.3)
    ),
    "guard": lambda plan, draw: replace(
        plan, guarded=True, actors=("brokers", "outages", "ledgers", "murders", "murders", "cuts", "cuts"), faults=_rough(draw)
    ),
    "fused": lambda plan, draw: replace(
        plan, fused=True, guarded=True, actors=("brokers", "outages", "deploys"), faults=_rough(draw)
    ),
    "switch": lambda plan, draw: replace(
        plan,
        fused=True,
        guarded=True,
        actors=("switches", "switches", "switches", "brokers", "outages", "murders", "slots", "fires"),
        faults=_rough(draw),
    ),
    "restore": lambda plan, draw: replace(
        plan, actors=("restores", "restores", "deploys"), faults=_rough(draw, 0.3), guarded=draw.random() < 0.5
    ),
    "long": lambda plan, draw: replace(
        plan,
        dense=False,
        span=draw.choice((20, 40, 60)) * 86_400.0,
        actors=("deploys", "pauses", "outages", "fires", "brokers", "skips", "slots"),
        faults=replace(_rough(draw, 0.3), longest=4_000.0),
        entries=4,
        run=min(plan.run, 2),
        tick=min(plan.tick, 1) or 1,
    ),
}


def plan_of(seed: int, kind: str = "") -> Plan:
    """Return the plan of a seed; kind: "" for any."""
    draw = Random(seed * 7919 + 13)
    drawn = draw.choice(sorted(KINDS))
    kind = kind or drawn  # one that is given changes nothing else that is drawn
    run, tick_ = draw.choice(((1, 0), (2, 0), (3, 0), (4, 1), (1, 1), (0, 1), (0, 3), (2, 2)))
    plan = Plan(kind=kind, span=draw.choice((300.0, 600.0, 1_200.0)), run=run, tick=tick_, hosts=draw.choice((1, 2, 3)))
    return KINDS[kind](plan, draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run."""

    seed: int
    kind: str
    days: float
    violations: tuple[str, ...]
    counts: Counter[str]
    trace: tuple[tuple[Any, ...], ...]


class Bugs(logging.Handler):
    """Hears of mistakes that a resident runner outlived."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.ERROR)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "") == "bug":
            self._run.checker.wrong("BUG", record.getMessage(), getattr(record, "fields", ""))


class Run:
    """One run of one plan."""

    def __init__(self, seed: int, plan: Plan, *, hasty: bool = False, folder: str = "") -> None:
        self.seed, self.plan, self.hasty = seed, plan, hasty  # hasty: the first violation ends it
        self.world = World(seed, EPOCH + Random(seed).randrange(30 * 86_400) + Random(seed).random())
        draw = self.world.draw
        self.clock = self.world.store
        self.faults = replace(plan.faults, no_queue=set())
        self.wire = Wire(self)
        wire = self.wire if plan.fused else None
        self.store: Any = MemoryStore(clock=self.clock, project="sim", wire=wire, server_id=SERVER if wire else "")
        if folder:
            self.store = SqliteStore(f"{folder}/ledger.sqlite3", self.clock)
        self.checker = Checker(self)
        self.maker = ScheduleMaker(draw, dense=plan.dense, overlap=plan.overlap, entries=plan.entries)
        self.maker.often_alone = plan.kind == "overlap"
        first = self.maker.schedule(self.world.now)
        self.whole = {first.digest}
        self.shared = plan.hosts > 1
        self.trees = [Tree(name="tree", content=first, newest=self.world.now - 100)]
        self.hosts = {f"host{n}": self._host(f"host{n}") for n in range(plan.hosts)}
        self.guarded = plan.guarded
        self.ledger_server = self.broker_server = SERVER
        self.is_mixed = False  # not everything could be pushed in one step all the time
        self.failovers = self.changes = 0
        self.workers = Workers(self, deadly=0.05, again=0.05, slowest=draw.choice((0.5, 30.0, 100.0)))
        self.restores: list[float] = []
        self.down_until = 0.0
        self._dead: list[Host | None] = []
        self._restarts: list[Callable[[], None]] = []
        self.over = False

    def _host(self, name: str) -> Host:
        clock = Clock(self.world, (self.world.draw.random() - 0.5) * 2 * self.plan.skew)
        return Host(name=name, clock=clock, tree=self.trees[0])

    def listen(self, server: str) -> None:
        """Let the broker's address lead to this server from now on."""
        self.broker_server = server
        self.workers.listen(server)

    def pruned_before(self) -> int:
        """Return the first due time whose row is not old enough to be gone."""
        return floor(self.checker.newest) - self.maker.settings.keep_seconds + 1

    def snapshot(self) -> tuple[Any, Memory]:
        """Return a backup of the ledger, and of what the checker knew of it then."""
        return self.store.backup(), copy.deepcopy(self.checker.memory)

    def restore(self, kept: tuple[Any, Memory]) -> None:
        """Put a backup back."""
        if self.faults.healed:
            return
        self.store.put_back(kept[0])
        self.restores.append(self.world.now)
        self.checker.restored(copy.deepcopy(kept[1]))
        self.world.note(None, "restored")
        self.stir()

    def resident(self, host: Host, after: float) -> None:
        """Start a resident runner, and another one whenever it dies."""
        host.pids += 1

        def body(process: Process) -> None:
            try:
                Daemon(site=self._site(host, process), stop=Stop(), tell=lambda problems: None).run()
            except OffbeatError as error:
                self.world.note(process, "gave up", type(error).__name__)
            finally:
                if not self.over:
                    again = max(self.world.now + self.world.draw.choice((0.1, 1.0, 5.0, 30.0)), self.down_until)
                    self._restart_at(again, host)

        name = f"{host.name}.run{host.pids}"
        Process(self.world, name, host.clock, body, role="runner", resident=True).start(after)

    def _restart_at(self, instant: float, host: Host) -> None:
        """Start a resident runner then, or when the world heals."""
        self._dead.append(host)
        token = len(self._dead) - 1

        def start() -> None:
            found, self._dead[token] = self._dead[token], None
            if found is not None:
                self.resident(found, 0.0)

        self._restarts.append(start)
        self.world.at(instant, start)

    def _site(self, host: Host, process: Process) -> SimulatedSite:
        return site_of(self, host, process)

    def crontab(self, host: Host) -> None:
        """Start a tick every minute by the host's clock, but not where it would only look at nothing."""

        def body(process: Process) -> None:
            while True:
                asked = process.world.now + 60 - host.clock.now() % 60
                process.resident = process.looked == self.changes
                process.sleep(asked)
                idle = process.looked == self.changes and (process.wakes_at or 0.0) > host.clock.now()
                if process.world.now > asked or not idle:
                    process.looked = -1
                if process.world.now > asked or idle or process.world.now < self.down_until:
                    continue
                host.pids += 1
                Process(self.world, f"{host.name}.tick{host.pids}", host.clock, one, role="runner").start(
                    self.world.draw.random()
                )

        def one(process: Process) -> None:
            tick(self._site(host, process))
            cron.wakes_at, cron.looked = process.wakes_at, process.looked

        cron = Process(self.world, f"{host.name}.cron", host.clock, body, role="cron").start()

    def heal(self) -> None:
        """From here on nothing goes wrong."""
        self.faults.heal()
        self.down_until = 0.0
        for clock in (self.clock, *(host.clock for host in self.hosts.values())):
            clock.offset, clock.stands_at = 0.0, None
        self.world.note(None, "all is well")
        for start in self._restarts:
            start()
        self.stir()

    def stir(self, by: Process | None = None) -> None:
        """Something has changed that an idle runner must look at."""
        self.changes += 1
        self.world.poke(by)

    def go(self) -> Result:
        """Let it all happen."""
        hosts = list(self.hosts.values())
        for number in range(self.plan.run):
            self.resident(hosts[number % len(hosts)], self.world.draw.random() * 3)
        for number in range(self.plan.tick):
            self.crontab(hosts[number % len(hosts)])
        People(self).begin(self.plan.actors)
        ends = self.world.now + self.plan.span
        bugs, before = Bugs(self), (log.level, log.propagate)
        log.addHandler(bugs)
        log.setLevel(logging.ERROR)
        log.propagate = False
        try:
            with files_of(self), guards_of(self):
                self.world.run_until(ends)
                self.heal()
                self.world.run_until(ends + CALM)
                self.over = True
                if not self.world.is_over:
                    resident = self.plan.run and self.faults.still_until <= ends  # a stall may outlast the faults
                    Audit(self, calm_from=ends + SLACK, slack=SLACK, poll=1.0 if resident else 60.0).check()
                self.world.close()
        finally:
            log.removeHandler(bugs)
            log.setLevel(before[0])
            log.propagate = before[1]
        days = (self.world.now - self.world.began) / 86_400
        return Result(
            seed=self.seed,
            kind=self.plan.kind,
            days=days,
            violations=tuple(self.checker.violations),
            counts=self.checker.counts,
            trace=tuple(self.world.trace),
        )


def simulate(seed: int, kind: str = "", *, sqlite: bool = False) -> Result:
    """Run one seed. The same seed gives the same result, word for word. sqlite: on a file, where the kind of run has no need
    of what a file cannot do (put a backup back, hold the broker's queues): those run in memory all the same.
    """
    plan = plan_of(seed, kind)
    if not sqlite or plan.fused or "restores" in plan.actors:
        return Run(seed, plan).go()
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        run = Run(seed, plan, folder=folder)
        try:
            return run.go()
        finally:
            run.store.close()
