"""The world: one true time line, processes that take turns at every port call, and clocks that may lie.

Everything is drawn from one seed, so a run is repeated exactly by its number. No real clock, thread or socket is in here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

NAP = 3_600.0  # seconds that an idle resident runner sleeps at most before it looks for nothing
LATENCIES = (0.0, 0.0, 0.0, 0.0005, 0.002, 0.02)
POLL = 0.5
WAKING = 0.001  # seconds that the shortest sleep takes


class Crash(BaseException):
    """The process is gone, between two instructions."""


class Clock:
    """A clock as offbeat knows it: `offset` seconds ahead of the truth, or standing still. Its monotonic side never lies
    but for the time that its machine slept."""

    def __init__(self, world: World, offset: float = 0.0) -> None:
        self.world, self.offset = world, offset
        self.stands_at: float | None = None
        self.slept = 0.0
        self.owner: Process | None = None

    def now(self) -> float:
        return self.world.now + self.offset if self.stands_at is None else self.stands_at

    def monotonic(self) -> float:
        return self.world.now - self.world.began - self.slept + 1_000.0

    def sleep_until(self, instant: float) -> None:
        process = self.world.current
        assert process is not None
        process.sleep(self.world.now + max(instant - self.now(), WAKING))

    def wake(self) -> None:
        raise AssertionError("nobody sends signals here")


@dataclass(slots=True, eq=False)
class Process:
    """One process: it runs until it calls a port or sleeps, and goes on when its turn comes."""

    world: World
    name: str
    clock: Clock
    body: Callable[[Process], None]
    role: str = ""
    resident: bool = False
    is_alive: bool = True
    wakes_at: float | None = None  # by the store's clock, when the ledger has something to do: what its last look told
    asked: float = 0.0  # true time at which the sleep would end
    token: int = 0
    naps: bool = False
    greenlet: Any = None
    looked: int = -1  # how many changes the ledger had seen at the last look
    calls: int = 0
    hand: dict[Any, Any] = field(default_factory=dict)

    def start(self, after: float = 0.0) -> Process:
        self.greenlet = greenlet(self._live, parent=self.world.hub)
        self.world.resume_at(self.world.now + after, self)
        self.world.processes.append(self)
        return self

    def _live(self) -> None:
        try:
            self.body(self)
        except Crash:
            self.world.note(self, "died")
        except GreenletExit:
            return
        finally:
            self.is_alive = False
            if self in self.world.processes:
                self.world.processes.remove(self)

    def kill(self) -> None:
        """Let the process die where it stands. Only from outside of any process."""
        if self.is_alive and self.greenlet:
            self.greenlet.throw(Crash)

    def pause(self, seconds: float) -> None:
        """Let the others go on, for so long at least."""
        self.world.resume_at(self.world.now + seconds, self)
        self.world.hub.switch()

    def sleep(self, until: float) -> None:
        """Sleep; a resident runner with nothing to do is not woken for every one of its polls, unless something happens."""
        self.asked = until
        wake = until
        if self.resident and self.wakes_at is not None:
            quiet = max(until, min(self.wakes_at - self.world.store.offset, self.world.now + NAP))
            if quiet > until:
                wake = quiet + self.world.draw.random() * POLL
                self.naps = True
        self.world.resume_at(wake, self)
        self.world.hub.switch()
        self.naps = False


class World:
    """What happens when. `note` writes the trace: equal seeds give equal traces."""

    def __init__(self, seed: int, began: float) -> None:
        self.draw = Random(seed)
        self.began = self.now = began
        self.hub: Any = getcurrent()
        self.current: Process | None = None
        self.processes: list[Process] = []
        self.trace: list[tuple[Any, ...]] = []
        self._events: list[tuple[float, float, int, Process | Callable[[], None], int]] = []
        self._count = 0
        self.is_over = False
        self.store = Clock(self)

    def note(self, process: Process | None, what: str, *more: Any) -> None:
        """Remember that something happened."""
        self.trace.append((round(self.now - self.began, 4), process.name if process else "", what, *more))

    def at(self, instant: float, action: Callable[[], None]) -> None:
        """Let something happen at a true time."""
        self._push(instant, action, 0)

    def resume_at(self, instant: float, process: Process) -> None:
        process.token += 1
        self._push(instant, process, process.token)

    def _push(self, instant: float, what: Process | Callable[[], None], token: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (instant, self.draw.random(), self._count, what, token))

    def poke(self, by: Process | None = None) -> None:
        """Something has changed: whoever naps looks at its next poll."""
        for process in self.processes:
            if process.naps and process is not by:
                process.naps = False
                self.resume_at(max(process.asked, self.now + self.draw.random()), process)

    def run_until(self, end: float) -> None:
        """Let everything happen up to a true time."""
        while self._events and self._events[0][0] <= end and not self.is_over:
            instant, _, _, what, token = heapq.heappop(self._events)
            self.now = max(self.now, instant)
            if isinstance(what, Process):
                if what.is_alive and what.token == token:
                    self.current = what
                    what.greenlet.switch()
                    self.current = None
            else:
                what()
        self.now = max(self.now, end)

    def latency(self) -> float:
        """Return how long a message takes on its way."""
        return self.draw.choice(LATENCIES)

    def close(self) -> None:
        """End every process, without letting it say another word."""
        for process in list(self.processes):
            if process.greenlet:
                process.greenlet.throw(GreenletExit)
