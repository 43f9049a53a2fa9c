"""Disks that are full or read-only, and writers killed in the middle of a write: never corrupt, never silent."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule

from offbeat.core.model import CatchUp, State
from offbeat.core.plan import plan
from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import LEASE

FORKS = Path(__file__).with_name("ledger_forks.py")
KILLS = 200
GOLDEN = 0.6180339887  # its multiples are spread evenly and without a rhythm
A = runner("a")
ROOT = os.geteuid() == 0


def ok(file: Path) -> bool:
    """Return whether SQLite finds nothing wrong with the file."""
    with closing(sqlite3.connect(file)) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


@contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """Mount a disk of 1 MB at the folder, where we may; yield whether it is there."""
    folder.mkdir()
    mount = shutil.which("mount")
    words = [str(mount), "-t", "tmpfs", "-o", "size=1m", "offbeat-test", str(folder)]
    there = ROOT and mount is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ledger: LedgerSqlite, most: int) -> tuple[list[str], LedgerError | None]:
    """Fire until the ledger refuses; return the tokens that were recorded, and what it said."""
    recorded: list[str] = []
    while len(recorded) < most:
        token = f"{len(recorded)}-" + "x" * 2000
        try:
            ledger.fire(A, "e", token)
        except LedgerError as error:
            return recorded, error
        recorded.append(token)
    return recorded, None


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    clock = FakeClock(float(NOON))
    with mounted(folder) as there, ExitStack() as stack:
        place = Place(path=str(folder / "ledger.sqlite3"), project="shop")
        ledger = stack.enter_context(closing(LedgerSqlite(place, clock=clock)))
        ledger.look(A)
        ledger.activate(schedule(entry()), "stamp")
        if not there:  # as full as a disk of 1 MB would be
            ledger._open_db().execute("PRAGMA max_page_count = 200")

        recorded, error = fill(ledger, 2000)

        assert error is not None and error.problems[0].code == "L206" and error.problems[0].fix
        assert ok(Path(place.path))
        if there:
            subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
        else:
            ledger._open_db().execute("PRAGMA max_page_count = 1000000")
        assert ledger.fire(A, "e", "after").claim is not None
        clock.advance(60)
        assert [claim.key.due_at for claim in pass_once(ledger, A)] == [NOON + 60]
        kept = {row.key.kind_id for row in ledger.history(limit=10_000) if row.key is not None}
        assert kept >= {*recorded, "after"}


def test_a_disk_that_is_read_only_is_told_and_still_read(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with mounted(folder) as there:
        place = Place(path=str(folder / "ledger.sqlite3"), project="shop")
        with closing(LedgerSqlite(place, clock=FakeClock(float(NOON)))) as ledger:
            ledger.activate(schedule(entry()), "stamp")
        with read_only(folder, there):
            with pytest.raises(LedgerError) as refused:
                LedgerSqlite(place, clock=FakeClock(NOON + 60.0)).look(A)
            assert refused.value.problems[0].code == "L207" and refused.value.problems[0].fix
            reading = Place(path=place.path, project="shop", read_only=True)
            with closing(LedgerSqlite(reading, clock=FakeClock(NOON + 60.0))) as reader:
                assert reader.status().revision == 1
        with closing(LedgerSqlite(place, clock=FakeClock(NOON + 60.0))) as ledger:
            assert len(pass_once(ledger, A)) == 1


@contextmanager
def read_only(folder: Path, there: bool) -> Iterator[None]:
    """Let nothing be written in the folder for the block: by its mount, else by its permissions, for no user but root."""
    if there:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        return
    outside = [folder, *folder.parents]
    modes = [(path, path.stat().st_mode) for path in (*folder.iterdir(), *outside) if path.stat().st_uid == os.geteuid()]
    for path, mode in modes:
        os.chmod(path, 0o555 if path == folder or path.is_file() else mode | 0o111)
    if ROOT:
        os.seteuid(54321)
    try:
        yield
    finally:
        if ROOT:
            os.seteuid(0)
        for path, mode in modes:
            os.chmod(path, mode)


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Callable[[float, float], tuple[set[tuple[int, int]], int]]]:
    """Return a function: start a writer whose clock begins at `now`, kill it after `seconds`; (rows it sent, exit code)."""
    path = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    words = [sys.executable, str(FORKS), str(tmp_path / "ledger.sqlite3")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=path) as process:
        assert process.stdin is not None and process.stdout is not None
        talk, hear = process.stdin, process.stdout

        def killed(now: float, seconds: float) -> tuple[set[tuple[int, int]], int]:
            talk.write(f"{now}\n")
            talk.flush()
            sent: set[tuple[int, int]] = set()
            for line in hear:
                what, *numbers = line.split()
                if what == "pid":
                    select.select((), (), (), seconds)  # any moment will do
                    os.kill(int(numbers[0]), signal.SIGKILL)
                elif what == "sent":
                    sent.add((int(numbers[0]), int(numbers[1])))
                else:
                    return sent, int(numbers[0])
            raise AssertionError("the writers have gone")

        yield killed
        talk.close()


def test_a_writer_killed_in_the_middle_of_a_write_leaves_a_whole_ledger(
    tmp_path: Path, forks: Callable[[float, float], tuple[set[tuple[int, int]], int]]
) -> None:
    file = tmp_path / "ledger.sqlite3"
    clock = FakeClock(float(NOON))
    with closing(LedgerSqlite(Place(path=str(file), project="shop"), clock=clock)) as ledger:
        ledger.look(A)
        ledger.activate(schedule(*(entry(f"e{n}", f"every 5 {n}", catch_up=CatchUp.ALL) for n in range(3))), "stamp")
    acknowledged: set[tuple[int, int]] = set()
    for number in range(KILLS):
        sent, code = forks(NOON + 10.0 * number, number * GOLDEN % 0.04)
        assert code == -signal.SIGKILL
        acknowledged |= sent
        assert ok(file)

    clock.advance(10 * KILLS + 3600.0)
    with closing(LedgerSqlite(Place(path=str(file), project="shop"), clock=clock)) as ledger:
        for _ in range(3):
            ledger.look(A)
            clock.advance(LEASE)
            claims = None
            while claims is None or claims:  # by turns: nothing more is recorded while too many late ones wait
                portion = ledger.take(1000)
                claims = [*ledger.record(A, plan(portion), portion.revision), *ledger.claim(A, 1000)]
                ledger.settle(A, [outcome(claim) for claim in claims])
        rows = ledger.history(limit=1_000_000)
        assert {row.state for row in rows} == {State.DISPATCHED}
        found = {(row.key.eno, row.due_at) for row in rows if row.key is not None}
        assert acknowledged and found >= acknowledged
        until = int(clock.now())
        for number in range(3):
            due = [at for at in range(NOON + 1, until + 1) if at % 5 == number]
            assert sorted(row.due_at for row in rows if row.entry == f"e{number}") == due
