"""Commands for real: scripts of a tree, run by supervisors in processes of their own, with a ledger in a SQLite file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.servers import wait_for

from offbeat.core.model import CommandCall, Entry, Reason, Schedule, State, Timing
from offbeat.ports.clock import FakeClock, SystemClock
from offbeat.ports.command import Order, Step
from offbeat.ports.command_start import CommandsDetached, Errand, format_errand
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_values import HistoryRow, Runner

TICK = Runner(id="here:1:tick", host="here", pid=1, role="tick")
RUNNING = (State.CLAIMED, State.DISPATCHED, State.STARTED)
SRC = str(Path(__file__).parents[2] / "src")
# A supervisor that is killed, as if by kill -9, right before its n-th question to the ledger.
DOOMED = """
import os, signal, sys
from offbeat.ports.clock import SystemClock
from offbeat.ports.command_start import parse_errand
from offbeat.ports.ledger_open import open_ledger
from offbeat.runners.supervise import carry_out

class Doomed:
    left = int(sys.argv[1])
    def __getattr__(self, name):
        Doomed.left -= 1
        if Doomed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(ledger, name)

errand = parse_errand(sys.stdin.buffer.read())
ledger = open_ledger(errand.address, clock=SystemClock(), project=errand.project, owner=errand.owner)
carry_out(errand, ledger=Doomed(), clock=SystemClock(), environ=os.environ)
"""


class Desk:
    """A repository with a tree, its ledger, and whoever starts supervisors."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = root / "cron"
        (self.tree / "hourly").mkdir(parents=True)
        self.address = f"sqlite:///{root}/ledger.db"
        self.environ = {"PATH": os.environ["PATH"], "PYTHONPATH": SRC, "OUT": str(root / "out")}
        self.limits: dict[str, int] = {}
        self.ledger = self.open()

    def open(self, later: float = 0.0) -> Ledger:
        """Open the ledger, with a clock that is ahead by so many seconds."""
        clock = FakeClock(SystemClock().now() + later) if later else SystemClock()
        return open_ledger(self.address, clock=clock, project="difio", owner="me")

    def script(self, name: str, text: str, *, time_limit: int = 60) -> None:
        path = self.tree / "hourly" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        self.limits[f"hourly/{name}"] = time_limit

    def activate(self) -> None:
        entries = tuple(
            Entry(
                name=name,
                timing=Timing(recurrence="every 3600 0"),
                call=CommandCall(argv=(name,), directory="hourly", time_limit=limit),
            )
            for name, limit in sorted(self.limits.items())
        )
        self.ledger.look(TICK)
        self.ledger.activate(Schedule(project="difio", timezone="UTC", entries=entries, digest="1"), "stamp")

    def order(self, due_at: int = 3600, slot: str = "hourly") -> Order:
        steps = []
        for name in sorted(self.limits):
            claim = self.ledger.slot(TICK, name, due_at).claim
            assert claim is not None
            assert isinstance(claim.call, CommandCall)
            steps.append(Step(key=claim.key, attempt=claim.attempt, name=name, call=claim.call))
        return Order(slot=slot, steps=tuple(steps))

    def errand(self, order: Order) -> Errand:
        return Errand(address=self.address, project="difio", owner="me", tree=str(self.tree), root=str(self.root), order=order)

    def start(self, order: Order, log: str = "supervisor.log") -> None:
        commands = CommandsDetached(
            address=self.address,
            project="difio",
            owner="me",
            tree=self.tree,
            root=self.root,
            environ=self.environ,
            log=str(self.root / log),
        )
        assert commands.start(order) == ""

    def rows(self, due_at: int = 3600) -> Mapping[str, HistoryRow]:
        return {row.entry.partition("/")[2]: row for row in self.ledger.history() if row.due_at == due_at}

    def wait(self, due_at: int = 3600) -> Mapping[str, HistoryRow]:
        """Return the rows of a slot when all have ended."""
        wait_for("the end of the commands", lambda: not any(r.state in RUNNING for r in self.rows(due_at).values()))
        return self.rows(due_at)

    def wait_for_line(self, line: str) -> None:
        wait_for(f'the line "{line}"', lambda: line in self.lines())

    def lines(self) -> list[str]:
        out = self.root / "out"
        return out.read_text().splitlines() if out.exists() else []

    def supervisor(self) -> int:
        """Return the process id of the supervisor that was seen last."""
        seen = [seen.runner for seen in self.ledger.status().runners]
        return next(int(runner.id.split(":")[1]) for runner in seen if runner.role == "supervisor")


def is_alive(pid: int) -> bool:
    """Return whether the process runs; a zombie that init has not collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.ledger.close()


def test_the_commands_of_a_directory_run_in_order_and_the_ledger_has_their_ends(desk: Desk) -> None:
    desk.script("10-first", 'echo "$0 in $PWD for $OFFBEAT_ENTRY at $OFFBEAT_DUE_AT"')
    desk.script("20-fails", "echo oops >&2; exit 3")
    desk.script("30-last", 'echo "last" >>"$OUT"')
    desk.activate()

    desk.start(desk.order())

    rows = desk.wait()
    told = {name: (row.state, row.reason, row.exit_status) for name, row in rows.items()}
    assert told == {
        "10-first": (State.SUCCEEDED, Reason.NONE, 0),
        "20-fails": (State.FAILED, Reason.EXIT_STATUS, 3),
        "30-last": (State.SUCCEEDED, Reason.NONE, 0),
    }
    first, fails = rows["10-first"], rows["20-fails"]
    assert first.key is not None
    assert fails.key is not None
    said = f"{desk.tree}/hourly/10-first in {desk.root} for hourly/10-first at 1970-01-01T01:00:00Z\n"
    assert desk.ledger.output(first.key) == said.encode()
    assert desk.ledger.output(fails.key) == b"oops\n"
    assert (desk.root / "supervisor.log").read_text() == ""


def test_a_command_that_hangs_is_stopped_and_the_next_one_starts(desk: Desk) -> None:
    desk.script("10-hangs", 'echo hangs >>"$OUT"; sleep 600 & wait', time_limit=1)
    desk.script("20-next", 'echo next >>"$OUT"')
    desk.activate()

    desk.start(desk.order())

    rows = desk.wait()
    assert (rows["10-hangs"].reason, rows["10-hangs"].note) == (Reason.TIMED_OUT, "stopped at its time limit of 1 s")
    assert rows["20-next"].state is State.SUCCEEDED
    assert desk.lines() == ["hangs", "next"]


def test_a_slot_that_finds_its_predecessor_running_is_skipped_and_the_next_one_is_not(desk: Desk) -> None:
    desk.script("slow", 'echo "up $OFFBEAT_DUE_AT" >>"$OUT"; while [ ! -e go ]; do sleep 0.05; done')
    desk.activate()

    desk.start(desk.order(3600), log="1.log")
    desk.wait_for_line("up 1970-01-01T01:00:00Z")
    desk.start(desk.order(7200), log="2.log")
    assert (desk.wait(7200)["slow"].state, desk.wait(7200)["slow"].reason) == (State.SKIPPED, Reason.OVERLAP)
    (desk.root / "go").touch()
    assert desk.wait(3600)["slow"].state is State.SUCCEEDED
    wait_for("the slot's end", lambda: desk.ledger.occupy("hourly", "me", 0.0))
    desk.start(desk.order(10800), log="3.log")

    assert desk.wait(10800)["slow"].state is State.SUCCEEDED


def test_a_supervisor_that_is_killed_leaves_failed_commands_that_nobody_runs_again(desk: Desk) -> None:
    desk.script("10-runs", 'echo "up $$" >>"$OUT"; exec sleep 600')
    desk.script("20-waits", 'echo never >>"$OUT"')
    desk.activate()
    desk.start(desk.order())
    wait_for("the first command's start", lambda: bool(desk.lines()))

    command = int(desk.lines()[0].split()[1])
    os.kill(desk.supervisor(), signal.SIGKILL)
    wait_for("the command's end with its supervisor", lambda: not is_alive(command))

    ledger = desk.open(later=75)
    assert not ledger.claim(TICK, 10)
    ledger.look(TICK)
    assert {(row.state, row.reason) for row in ledger.history()} == {(State.FAILED, Reason.RUNNER_DIED)}
    assert not ledger.claim(TICK, 10)
    ledger.close()
    assert len(desk.lines()) == 1


def test_a_supervisor_that_is_asked_to_end_stops_its_command_and_says_so(desk: Desk) -> None:
    desk.script("10-runs", 'echo up >>"$OUT"; sleep 600 & wait')
    desk.script("20-waits", 'echo never >>"$OUT"')
    desk.activate()
    desk.start(desk.order())
    desk.wait_for_line("up")

    os.kill(desk.supervisor(), signal.SIGTERM)

    rows = desk.wait()
    assert {name: (row.reason, row.note) for name, row in rows.items()} == {
        "10-runs": (Reason.RUNNER_DIED, "stopped: its supervisor got SIGTERM"),
        "20-waits": (Reason.RUNNER_DIED, "not run: its supervisor got SIGTERM"),
    }
    assert desk.lines() == ["up"]


@pytest.mark.parametrize("at", range(1, 12))
def test_kill_9_between_any_two_steps_runs_nothing_twice(desk: Desk, at: int) -> None:
    desk.script("a", 'echo a >>"$OUT"')
    desk.script("b", 'echo b >>"$OUT"')
    desk.activate()
    order = desk.order()

    errand = format_errand(desk.errand(order))
    doomed = subprocess.run([sys.executable, "-c", DOOMED, str(at)], input=errand, env=desk.environ, check=False)
    assert doomed.returncode == (-signal.SIGKILL if at < 11 else 0)
    started = {name for name, row in desk.rows().items() if row.state is State.STARTED}
    ledger = desk.open(later=75)
    ledger.look(TICK)
    rows = {row.entry.partition("/")[2]: row for row in ledger.history()}
    assert all((rows[name].state, rows[name].reason) == (State.FAILED, Reason.RUNNER_DIED) for name in started)

    again = [
        Step(key=claim.key, attempt=claim.attempt, name=claim.name, call=claim.call)
        for claim in ledger.claim(TICK, 10)
        if isinstance(claim.call, CommandCall)
    ]
    ledger.close()
    if again:
        rest = format_errand(desk.errand(Order(slot="hourly", steps=tuple(again))))
        subprocess.run([sys.executable, "-m", "offbeat.runners.supervise"], input=rest, env=desk.environ, check=True)

    assert sorted(desk.lines()) in ([], ["a"], ["a", "b"])
    assert len(set(desk.lines())) == len(desk.lines())


def test_commands_without_a_slot_run_side_by_side_under_one_supervisor_and_one_that_hangs_holds_none(desk: Desk) -> None:
    desk.script("00-hangs", 'echo hangs >>"$OUT"; while [ ! -e go ]; do sleep 0.05; done')
    for number in range(1, 12):
        desk.script(f"{number:02}-ends", f'echo {number} >>"$OUT"; echo said {number}; exit {number % 3}')
    desk.activate()
    order = desk.order(slot="")

    desk.start(order)

    wait_for("the others' ends", lambda: sum(row.state not in RUNNING for row in desk.rows().values()) == 11)
    assert desk.rows()["00-hangs"].state is State.STARTED
    (desk.root / "go").touch()
    rows = desk.wait()
    assert {name: row.exit_status for name, row in rows.items() if "ends" in name} == {
        f"{number:02}-ends": number % 3 for number in range(1, 12)
    }
    assert [desk.ledger.output(s.key) for s in order.steps[1:]] == [f"said {number}\n".encode() for number in range(1, 12)]
    assert sum(seen.runner.role == "supervisor" for seen in desk.ledger.status().runners) == 1


@pytest.mark.parametrize("at", [3, 5, 8, 11, 14, 17])
def test_kill_9_while_many_run_side_by_side_runs_nothing_twice(desk: Desk, at: int) -> None:
    names = [f"{number:02}" for number in range(10)]
    for name in names:
        desk.script(name, f'echo {name} >>"$OUT"')
    desk.activate()
    order = desk.order(slot="")

    errand = format_errand(desk.errand(order))
    doomed = subprocess.run([sys.executable, "-c", DOOMED, str(at)], input=errand, env=desk.environ, check=False)
    assert doomed.returncode == -signal.SIGKILL
    ledger = desk.open(later=75)
    ledger.look(TICK)
    assert not ledger.claim(TICK, 10)
    rows = {row.entry.partition("/")[2]: row for row in ledger.history()}
    ledger.close()

    assert len(set(desk.lines())) == len(desk.lines())
    for name in desk.lines():
        assert (rows[name].state, rows[name].reason) in {(State.SUCCEEDED, Reason.NONE), (State.FAILED, Reason.RUNNER_DIED)}


def test_a_supervisor_that_cannot_open_the_ledger_runs_nothing_and_says_why(desk: Desk) -> None:
    desk.script("a", 'echo a >>"$OUT"')
    desk.activate()
    desk.address = f"sqlite:///{desk.root}/cron"  # a folder
    errand = format_errand(desk.errand(desk.order()))

    done = subprocess.run(
        [sys.executable, "-m", "offbeat.runners.supervise"], input=errand, env=desk.environ, capture_output=True, check=False
    )

    assert done.returncode == 3
    assert b"L2" in done.stderr
    assert b"Traceback" not in done.stderr
    assert desk.lines() == []
