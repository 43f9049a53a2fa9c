"""What goes wrong, and how often: drawn anew at every port call, until the world heals.

Never decides what is right: the checker does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from offbeat.errors import LedgerError, Problem

if TYPE_CHECKING:
    from tests.simulation.world import Process, World

STALLS = (0.5, 3.0, 9.0, 10.5, 13.0, 31.0, 130.0, 4_000.0)


class Fault(StrEnum):
    """What becomes of one side of a port call."""

    NONE = ""
    CRASH = "crash"  # the process dies
    STALL = "stall"  # it stands still, past its lease perhaps
    ERROR = "error"  # before the call: it never arrives; after it: its answer is lost


@dataclass(slots=True, kw_only=True)
class Faults:
    """Chances of each fault at one side of a port call, and what is out of order now. Nothing goes wrong from `heal` on.

    repeat: chance that a message to the ledger arrives twice. longest: seconds of the longest stall.
    """

    crash: float = 0.0
    stall: float = 0.0
    still_until: float = 0.0  # when the last that stood still goes on
    error: float = 0.0
    repeat: float = 0.0
    unconfirmed: float = 0.0  # chance that the broker takes a message and its answer is lost
    longest: float = 130.0
    ledger_down: bool = False
    workers_cut: bool = False  # the workers do not reach the ledger, and the runners do
    broker_down: bool = False
    broker_slow: float = 0.0  # seconds a message
    no_queue: set[str] = field(default_factory=set)
    fanned: set[str] = field(default_factory=set)  # routing keys that lead to several queues: no one push is enough
    healed: bool = False

    def draw(self, world: World) -> Fault:
        """Return what goes wrong now."""
        if self.healed:
            return Fault.NONE
        point = world.draw.random()
        for fault, chance in ((Fault.CRASH, self.crash), (Fault.STALL, self.stall), (Fault.ERROR, self.error)):
            if point < chance:
                return fault
            point -= chance
        return Fault.NONE

    def stand_still(self, process: Process) -> None:
        """Stop a process for a while; sometimes its whole machine sleeps, and its monotonic clock with it."""
        world = process.world
        seconds = world.draw.choice([seconds for seconds in STALLS if seconds <= self.longest])
        world.note(process, "stall", seconds)
        process.hand["stalled"] = world.now + seconds
        self.still_until = max(self.still_until, world.now + seconds)
        process.pause(seconds)
        if world.draw.random() < 0.3:
            process.clock.slept += seconds

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.healed = True
        self.crash = self.stall = self.error = self.repeat = self.unconfirmed = self.broker_slow = 0.0
        self.ledger_down = self.broker_down = self.workers_cut = False
        self.no_queue.clear()
        self.fanned.clear()


def out_of_reach() -> LedgerError:
    """Return what a store says that is away."""
    return LedgerError(
        Problem(
            code="L301", what="the ledger is out of reach", why="nothing is sent", fix="start the server", file="simulated:"
        )
    )
