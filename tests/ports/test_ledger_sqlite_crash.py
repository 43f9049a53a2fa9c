"""Real processes on one file: killed at any moment, stopped, and writing as fast as they can."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, runner, schedule

from offbeat.core.model import CatchUp, Key, State
from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import LEASE, Claim, Runner

WRITER = Path(__file__).with_name("ledger_writer.py")
ENTRIES = 6
DIES = [*range(1, 30), *range(30, 120, 4)]  # before which statement; a pass has about a hundred
A, B = runner("a"), runner("b")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def writer(file: Path, tmp_path: Path) -> Callable[[str, int, int], subprocess.Popen[str]]:
    """Return a function that starts a process which plans, records, claims and settles."""
    (tmp_path / "clock").write_text(str(NOON))
    with closing(LedgerSqlite(Place(path=str(file), project="shop"), clock=FakeClock(float(NOON)))) as ledger:
        entries = [entry(f"e{number}", f"every 1 {number}", catch_up=CatchUp.ALL) for number in range(ENTRIES)]
        ledger.activate(schedule(*entries), "s")

    def start(name: str, passes: int, dies: int = 0) -> subprocess.Popen[str]:
        words = [sys.executable, str(WRITER), str(file), name, str(tmp_path / "clock"), str(passes), str(dies)]
        path = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=path)

    return start


def opened(file: Path, now: float) -> tuple[LedgerSqlite, FakeClock]:
    clock = FakeClock(now)
    return LedgerSqlite(Place(path=str(file), project="shop"), clock=clock), clock


def finish(file: Path, now: float) -> Counter[str]:
    """Settle everything that is left at `now`; return how many rows each entry has, all of them checked."""
    ledger, clock = opened(file, now)
    with closing(ledger):
        for _ in range(2):
            clock.advance(LEASE)
            ledger.look(A)
            while (portion := ledger.take(1000)).groups:
                claims = ledger.record(A, plan(portion), portion.revision)
                ledger.settle(A, [outcome(claim) for claim in claims])
            while claims := ledger.claim(A, 1000):
                ledger.settle(A, [outcome(claim) for claim in claims])
        rows = ledger.history(limit=1_000_000)
        due_times = {name: [row.due_at for row in rows if row.entry == name] for name in {row.entry for row in rows}}
        for due in due_times.values():
            assert sorted(due) == list(range(NOON + 1, int(clock.now()) + 1))
        assert {row.state for row in rows} == {State.DISPATCHED}
        return Counter(row.entry for row in rows)


def test_a_runner_killed_at_any_step_loses_nothing_and_doubles_nothing(
    file: Path, tmp_path: Path, writer: Callable[[str, int, int], subprocess.Popen[str]]
) -> None:
    now = float(NOON)
    for dies in DIES:
        now += 2
        (tmp_path / "clock").write_text(str(now))
        victim = writer("victim", 1000, dies)
        victim.communicate()
        assert victim.returncode == -signal.SIGKILL
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    assert len(finish(file, now)) == ENTRIES


def test_two_processes_that_hammer_one_file_both_get_their_turns(
    file: Path, tmp_path: Path, writer: Callable[[str, int, int], subprocess.Popen[str]]
) -> None:
    (tmp_path / "clock").write_text(str(NOON + 20))
    hot = [writer("one", 1_000_000, 0), writer("two", 1_000_000, 0)]
    for process in hot:
        assert process.stdout is not None and process.stdout.readline() == "0\n"
    slow = writer("three", 25, 0)  # comes late, and has to get through 25 passes between the other two

    answered, errors = slow.communicate(timeout=120)
    for process in hot:
        assert process.poll() is None, process.communicate()
        process.terminate()
    said = [process.communicate()[0] for process in hot]

    assert (slow.returncode, errors, len(answered.split())) == (0, "", 25)
    assert min(len(lines.split()) for lines in said) >= 5
    assert len(finish(file, NOON + 20)) == ENTRIES


def test_processes_that_make_the_same_ledger_at_once_make_one(
    tmp_path: Path, file: Path, writer: Callable[[str, int, int], subprocess.Popen[str]]
) -> None:
    for leftover in tmp_path.glob(f"{file.name}*"):
        leftover.unlink()

    ended = [process.communicate() for process in [writer(f"w{number}", 2, 0) for number in range(5)]]

    assert ended == [("0\n1\n", "")] * 5
    with closing(opened(file, NOON)[0]) as ledger:
        assert len(ledger.status().runners) == 5


class Round:
    """One runner's way through the steps of a pass. held: who was given which attempt of a row."""

    def __init__(self, ledger: LedgerSqlite, who: Runner, held: dict[tuple[Key, int], Runner]) -> None:
        self.ledger, self.who, self.held = ledger, who, held
        self.portion = ledger.take(10)
        self.claims: list[Claim] = []

    def look(self) -> None:
        self.ledger.look(self.who)

    def take(self) -> None:
        self.portion = self.ledger.take(10)

    def record(self) -> None:
        self._hold(self.ledger.record(self.who, plan(self.portion), self.portion.revision))

    def claim(self) -> None:
        self._hold(self.ledger.claim(self.who, 10))

    def settle(self) -> None:
        self.ledger.settle(self.who, [outcome(claim) for claim in self.claims])

    def _hold(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            assert self.held.setdefault((claim.key, claim.attempt), self.who) == self.who
        self.claims.extend(claims)


STEPS = (Round.look, Round.take, Round.record, Round.claim, Round.settle)


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
@pytest.mark.parametrize("at", range(len(STEPS)))
def test_two_steps_of_another_runner_between_any_two_of_ours(
    file: Path, first: Callable[[Round], None], second: Callable[[Round], None], at: int
) -> None:
    one, clock = opened(file, float(NOON))
    other = LedgerSqlite(Place(path=str(file), project="shop"), clock=clock)
    held: dict[tuple[Key, int], Runner] = {}
    with closing(one), closing(other):
        one.activate(schedule(entry("x"), entry("y", "every 60 1")), "s")
        clock.advance(61)
        mine, yours = Round(one, A, held), Round(other, B, held)
        for number, step in enumerate(STEPS):
            if number == at:
                first(yours)
                second(yours)
            step(mine)
        clock.advance(LEASE)
        for late in (yours, mine):
            late.claim()
            late.settle()

        assert sorted((row.entry, row.due_at - NOON, row.state) for row in one.history()) == [
            ("x", 60, State.DISPATCHED),
            ("y", 1, State.DISPATCHED),
            ("y", 61, State.DISPATCHED),
        ]
