"""Who does harm: draws one fault after the other from a seed, does it, and mends it again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.crowd import Actor
from tests.chaos.plant import Plant
from tests.proxy import Proxy

HELD = (1.0, 3.0, 14.0)  # seconds for which a runner is stopped: within its lease, and beyond it


@dataclass(slots=True, kw_only=True)
class Nemesis:
    """One source of harm. workers: started again when they end, as a service manager does. log: (seconds, what was done)."""

    runners: Sequence[Actor]
    workers: Sequence[Actor]
    plants: Sequence[Plant]
    proxies: Sequence[Proxy]
    seed: int
    log: list[tuple[float, str]] = field(default_factory=list)
    only_plants: bool = False  # are harmed, each again and again
    _draw: random.Random = field(init=False)
    _began: float = field(default=0.0, init=False)
    _mend_at: list[tuple[float, Callable[[], None]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def rage(self, seconds: float) -> None:
        """Do harm for so long, then mend everything. Every kind of fault comes before any comes again."""
        self._began = time.monotonic()
        faults = self._faults()
        waiting: list[Callable[[], None]] = []
        while self._passed() < seconds:
            if not waiting:
                waiting = self._draw.sample(faults, len(faults))
            waiting.pop()()
            pause = self._passed() + self._draw.uniform(0.5, 3.0)
            while self._passed() < pause:
                self._mend(self._passed())
                time.sleep(0.05)
        self._mend(float("inf"))

    def _passed(self) -> float:
        return time.monotonic() - self._began

    def _mend(self, now: float) -> None:
        due = [mend for at, mend in self._mend_at if at <= now]
        self._mend_at = [(at, mend) for at, mend in self._mend_at if at > now]
        for mend in due:
            mend()
        for worker in self.workers:  # Celery's end themselves when a Redis goes away
            worker.start()

    def _faults(self) -> list[Callable[[], None]]:
        faults: list[Callable[[], None]] = [] if self.only_plants else [self._kill_runner, self._stop_runner]
        faults += [lambda plant=plant: self._restart(plant) for plant in self.plants]  # type: ignore[misc]
        if self.proxies:
            faults += [self._stall, self._freeze, self._drop, self._half_close, self._cut]
        return faults

    def _say(self, what: str) -> None:
        self.log.append((round(self._passed(), 1), what))

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        self._mend_at.append((self._passed() + seconds, mend))

    def _kill_runner(self) -> None:
        runner = self._draw.choice(self.runners)
        self._say(f"kill -9 {runner.name}")
        runner.kill()
        self._later(self._draw.uniform(0.2, 4.0), runner.start)

    def _stop_runner(self) -> None:
        runner, seconds = self._draw.choice(self.runners), self._draw.choice(HELD)
        self._say(f"stop {runner.name} for {seconds:.0f} s")
        runner.signal(signal.SIGSTOP)
        self._later(seconds, lambda: runner.signal(signal.SIGCONT))

    def _restart(self, plant: Plant) -> None:
        how = self._draw.choice(("restart", "kill -9 and start"))
        self._say(f"{how} {plant.name}")
        (plant.stop if how == "restart" else plant.kill)()
        self._later(self._draw.uniform(0.0, 2.0), lambda: self._bring_back(plant))

    def _bring_back(self, plant: Plant) -> None:
        plant.start()
        if plant.name == "redis":  # Celery's workers may sit still for ever after it was away
            for worker in self.workers:
                worker.kill()

    def _stall(self) -> None:
        self._harm("stall", lambda proxy: proxy.stall())

    def _freeze(self) -> None:
        self._harm("freeze", lambda proxy: proxy.freeze())

    def _drop(self) -> None:
        self._harm("drop", lambda proxy: proxy.drop())

    def _half_close(self) -> None:
        self._harm("half-close", lambda proxy: proxy.half_close())

    def _cut(self) -> None:
        amount = self._draw.randrange(1, 4000)
        self._harm(f"cut after {amount} bytes", lambda proxy: proxy.cut_after(amount))

    def _harm(self, what: str, harm: Callable[[Proxy], None]) -> None:
        proxy, seconds = self._draw.choice(self.proxies), self._draw.uniform(0.5, 6.0)
        self._say(f"{what} the way to the broker for {seconds:.1f} s")
        harm(proxy)
        self._later(seconds, proxy.pass_on)
