"""What people and machines do to a schedule while it runs: deploys, pauses, fires, skips, outages, clocks, restores.

Each is one process or one event of the world, drawn from its seed; none of it happens after the world has healed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import TYPE_CHECKING

from tests.simulation.doors import SERVER, LedgerDoor, Tree, site_of
from tests.simulation.schedule_maker import half_of
from tests.simulation.world import Clock, Process

from offbeat.errors import OffbeatError

if TYPE_CHECKING:
    from tests.simulation.scenario import Run


class People:
    """Does one kind of thing again and again, at drawn times, until the world heals."""

    def __init__(self, run: Run) -> None:
        self.run, self.world, self.draw = run, run.world, run.world.draw
        self._count = 0

    def begin(self, names: tuple[str, ...]) -> None:
        """Let these things happen. names: of the methods below."""
        for name in names:
            self._again(getattr(self, name))

    def _again(self, what: Callable[[], None]) -> None:
        def once() -> None:
            if not self.run.faults.healed:
                what()
                self._again(what)

        self.world.at(self.world.now + self.draw.expovariate(1.0) * self.run.plan.span / 6, once)

    def _someone(self, what: Callable[[LedgerDoor, Process], None]) -> None:
        self._count += 1

        def body(process: Process) -> None:
            try:
                what(LedgerDoor(self.run, process), process)
            except OffbeatError as error:
                self.world.note(process, "told", type(error).__name__)

        Process(self.world, f"person{self._count}", Clock(self.world), body).start()

    def _entry(self) -> str:
        return self.draw.choice(sorted(self.run.checker.book.entries) or ["nobody"])

    def deploys(self) -> None:
        """A checkout: files are replaced one after the other, and half of it can be read meanwhile."""
        tree = self.draw.choice(self.run.trees)
        target = self.run.maker.changed(tree.content, self.run.clock.now())

        def body(process: Process) -> None:
            for _ in range(self.draw.randint(0, 4)):
                self._write(tree, half_of(target, self.draw))
                process.pause(self.draw.choice((0.001, 0.05, 0.4, 0.6)))
            self._write(tree, target)

        if not tree.busy:
            self.run.whole.add(target.digest)
            tree.busy = True
            Process(self.world, "git", Clock(self.world), body).start()

    def _write(self, tree: Tree, content: object) -> None:
        tree.content, tree.writes, tree.newest = content, tree.writes + 1, self.world.now  # type: ignore[assignment]
        tree.busy = getattr(content, "digest", "") not in self.run.whole
        self.run.stir()

    def pauses(self) -> None:
        name = self.draw.choice((self._entry(), self._entry(), ""))
        until = self.draw.choice((None, self.run.clock.now() + self.draw.random() * self.run.plan.span / 5))
        self._someone(lambda ledger, _: ledger.pause(name, "ann", "a note", until))
        self.world.at(self.world.now + self.draw.random() * self.run.plan.span / 5, lambda: self._resumes(name))

    def _resumes(self, name: str) -> None:
        self._someone(lambda ledger, _: ledger.resume(name))

    def fires(self) -> None:
        from offbeat.runners.fire import fire

        host, name = self.draw.choice(list(self.run.hosts.values())), self._entry()

        def body(_: LedgerDoor, process: Process) -> None:
            process.clock = host.clock
            fire(site_of(self.run, host, process), name)

        self._someone(body)

    def slots(self) -> None:
        """An executed link: the occurrence of this period is sent now, unless the ledger knows it already."""
        from offbeat.runners.fire import _send

        name, now, host = self._entry(), floor(self.run.clock.now()), self.draw.choice(list(self.run.hosts.values()))
        ahead = 60 if self.run.plan.dense else 86_400
        around = self.run.checker.book.due(name, now - ahead, now + ahead, sure=True)

        def body(_: LedgerDoor, process: Process) -> None:
            process.clock = host.clock
            site = site_of(self.run, host, process)
            site.sync(site.runner("fire"))
            _send(site, name, site.ledger.slot(site.runner("fire"), name, due_at))

        if around:
            due_at = self.draw.choice(around)
            self._someone(body)

    def skips(self) -> None:
        name, now = self._entry(), floor(self.run.clock.now())
        around = self.run.checker.book.due(name, now - 100, now + (200 if self.run.plan.dense else 2 * 86_400), sure=True)
        if around:
            due_at = self.draw.choice(around)
            self._someone(lambda ledger, _: ledger.skip(name, due_at, "ann", "not this one"))

    def backfills(self) -> None:
        name, now = self._entry(), floor(self.run.clock.now())
        past = self.run.checker.book.due(name, now - (300 if self.run.plan.dense else 5 * 86_400), now - 1, sure=True)[-40:]
        token = f"{self.draw.getrandbits(32):08x}"
        rows = [(at, now + spot) for spot, at in enumerate(past)]
        if rows:
            self._someone(lambda ledger, _: ledger.backfill(name, token, rows))
            if token[0] in "0123":
                whose = token if token[0] in "01" else ""
                self.world.at(self.world.now + len(rows) / 2, lambda: self._cancels(name, whose))

    def _cancels(self, name: str, token: str) -> None:
        """Take back what is not out yet of a backfill, or of all of the entry."""

        def body(ledger: LedgerDoor, _: Process) -> None:
            while ledger.cancel(name, "ann", "wrong span", 7, token):
                pass

        self._someone(body)

    def outages(self) -> None:
        """No runner is alive for a while."""
        self.run.down_until = self.world.now + self.draw.choice((20, 95, 200, 0.2 * self.run.plan.span))
        for process in [process for process in self.world.processes if process.role == "runner"]:
            process.kill()

    def murders(self) -> None:
        """A worker is killed with all that it has in hand."""
        self.run.workers.kill_one()

    def cuts(self) -> None:
        """The workers do not reach the ledger for a while."""
        self.run.faults.workers_cut = True
        self.world.note(None, "workers cut off")

        def back() -> None:
            self.run.faults.workers_cut = False

        self.world.at(self.world.now + self.draw.choice((5.0, 30.0, 100.0)), back)

    def brokers(self) -> None:
        faults, what = self.run.faults, self.draw.choice(("down", "down", "slow", "queue"))
        seconds = self.draw.choice((1.0, 5.0, 40.0, 130.0))
        if what == "down":
            faults.broker_down = True
            faults.ledger_down = self.run.plan.fused and self.run.broker_server == self.run.ledger_server
        elif what == "slow":
            faults.broker_slow = self.draw.choice((0.5, 3.0, 9.0))
        else:
            faults.no_queue.add(self.draw.choice(("mail", "celery")))
        self.world.note(None, "broker", what, seconds)
        self.world.at(self.world.now + seconds, self._broker_back)

    def switches(self) -> None:
        """The broker is exchanged behind its address, or one server fails over; or a queue becomes one of several."""
        run, what = self.run, self.draw.choice(("exchange", "exchange", "failover", "fan"))
        self.world.note(None, "switch", what)
        run.is_mixed = True
        if what == "fan":
            run.faults.fanned ^= {"mail", "celery"}
            return
        if what == "exchange":
            there = SERVER if run.broker_server != SERVER else "another server"
            run.listen(there)
            return
        run.failovers += 1
        run.ledger_server = f"{SERVER}, after failover {run.failovers}"
        self.world.at(self.world.now + self.draw.choice((0.0, 0.3, 5.0)), lambda: run.listen(run.ledger_server))

    def _broker_back(self) -> None:
        self.run.faults.broker_down, self.run.faults.broker_slow = False, 0.0
        self.run.faults.ledger_down = False
        self.run.faults.no_queue.clear()

    def ledgers(self) -> None:
        """The store is away for a while."""
        self.run.faults.ledger_down = True
        self.world.note(None, "ledger down")

        def back() -> None:
            self.run.faults.ledger_down = False

        self.world.at(self.world.now + self.draw.choice((1.0, 5.0, 30.0, 100.0)), back)

    def clocks(self) -> None:
        """A host's clock is set wrong, or stands still, and right again later."""
        clock = self.draw.choice([host.clock for host in self.run.hosts.values()])
        if clock is not self.run.clock or self.draw.random() < 0.5:
            self._set(clock, self.draw.choice((-100.0, -1.5, 0.7, 1.9, 3.0, 40.0, 3_000.0)))

    def leaps(self) -> None:
        """The store's own clock jumps: forward by less or more than is believed at once, back, or stands still."""
        if self.draw.random() < 0.3:
            self.run.clock.stands_at = self.run.clock.now()
        self._set(self.run.clock, self.draw.choice((-7_200.0, -30.0, 20.0, 600.0, 4_000.0, 90_000.0)))

    def _set(self, clock: Clock, offset: float) -> None:
        clock.offset = offset
        self.world.note(None, "clock", offset, clock.stands_at is not None)
        self.run.checker.jumped_at = float("inf")
        self.run.stir()

        def right() -> None:
            clock.offset, clock.stands_at = 0.0, None
            self.run.checker.jumped_at = max(self.run.checker.newest, self.world.now) + 1
            self.world.note(None, "clock right")
            self.run.stir()

        self.world.at(self.world.now + self.draw.choice((3.0, 30.0, 300.0)), right)

    def rewinds(self) -> None:
        """The way back from a wrong future, or to what was skipped a moment ago."""
        back = 0 if self.run.checker.newest > self.world.now + 60 else self.draw.randint(0, 200)
        if self.run.clock.offset == 0.0 and self.run.clock.stands_at is None:
            to = floor(self.world.now) - back
            self._someone(lambda ledger, _: ledger.rewind(to, "ann"))

    def ships(self) -> None:
        """Deploy the tree, or roll back; from the first deploy on no runner compiles a tree."""
        from offbeat.runners.deploy import deploy, rollback

        host = self.draw.choice(list(self.run.hosts.values()))
        number = self.draw.randint(1, max(1, self.run.checker.book.revision))
        is_rollback = self.draw.random() < 0.2

        def body(_: LedgerDoor, process: Process) -> None:
            process.clock = host.clock
            site = site_of(self.run, host, process)
            if is_rollback:
                rollback(site, number)
            else:
                deploy(site)

        self._someone(body)

    def restores(self) -> None:
        """A backup of the ledger is put back a while after it was made."""
        kept = self.run.snapshot()
        self.world.at(self.world.now + self.draw.random() * self.run.plan.span / 6, lambda: self.run.restore(kept))
