"""The ledger's file is removed or replaced under whoever has it open: nobody may write where nobody else looks."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_sqlite.turnstile import Turnstile, TurnTimeout

A, B = runner("a"), runner("b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


def opened(path: Path, clock: FakeClock, *, read_only: bool = False) -> LedgerSqlite:
    return LedgerSqlite(Place(path=str(path), project="shop", read_only=read_only, patience=0.2), clock=clock)


def remove_the_file(path: Path) -> None:
    path.unlink()


def remove_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def put_a_file_in_its_place(path: Path) -> None:
    shutil.move(path.parent, path.parent.with_name("old"))
    path.parent.with_name("state").touch()


LOSSES = [remove_the_file, remove_all, remove_the_folder, put_a_file_in_its_place]
USES: list[Callable[[LedgerSqlite], object]] = [
    lambda ledger: ledger.look(A),
    lambda ledger: ledger.changed(),
    lambda ledger: ledger.take(1),
    lambda ledger: ledger.claim(A, 1),
    lambda ledger: ledger.status(),
]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("use", USES, ids=["look", "changed", "take", "claim", "status"])
def test_a_lost_file_is_told_by_whatever_is_asked_and_again(
    path: Path, clock: FakeClock, lose: Callable[[Path], None], use: Callable[[LedgerSqlite], object]
) -> None:
    with closing(opened(path, clock)) as ledger:
        ledger.activate(schedule(entry()), "s")
        lose(path)

        for _ in range(2):
            with pytest.raises(LedgerError) as refused:
                use(ledger)
            assert [(told.code, told.file) for told in refused.value.problems] == [("L215", str(path))]
    if lose is not put_a_file_in_its_place:
        assert not path.exists()
        with closing(opened(path, clock)) as anew:
            assert anew.look(A).revision == 0


@pytest.mark.parametrize("lose", LOSSES[:3])
def test_of_two_ledgers_at_one_path_only_the_new_one_is_used(
    path: Path, clock: FakeClock, lose: Callable[[Path], None]
) -> None:
    with closing(opened(path, clock)) as resident:
        resident.activate(schedule(entry()), "s")
        resident.look(A)
        lose(path)
        with closing(opened(path, clock)) as tick:
            tick.activate(schedule(entry()), "s")
            clock.advance(60)

            with pytest.raises(LedgerError, match="L215"):
                pass_once(resident, A)
            resident.close()
            tick.settle(B, [outcome(claim) for claim in pass_once(tick, B)])
            with closing(opened(path, clock)) as again:
                assert pass_once(again, A) == [] and again.claim(A, 10) == []
        with closing(opened(path, clock)) as later:
            assert [due_at for _, due_at, *_ in states(later)] == [NOON + 60]


def test_a_transaction_that_waited_for_its_turn_looks_again(path: Path, clock: FakeClock) -> None:
    with closing(opened(path, clock)) as ledger:
        ledger.activate(schedule(entry()), "s")
        ledger._open_db().set_trace_callback(lambda said: path.unlink() if said == "BEGIN IMMEDIATE" else None)

        with pytest.raises(LedgerError, match="L215"):
            ledger.look(A)


@pytest.mark.parametrize("notices", ["before", "after", "never"])
def test_a_backup_that_is_put_in_place_is_not_read_with_the_wal_of_what_it_replaces(
    path: Path, clock: FakeClock, tmp_path: Path, notices: str
) -> None:
    """Also while others still have the former file open, in each order of who comes first."""
    backup = tmp_path / "backup.db"
    with closing(opened(path, clock)) as first:
        first.activate(schedule(entry("old")), "s1")
    shutil.copy(path, backup)
    residents = [opened(path, clock) for _ in range(2)]
    residents[0].activate(schedule(*(entry(f"new{n}", f"every 60 {n}") for n in range(50))), "s2")
    assert Path(f"{path}-wal").stat().st_size
    backup.replace(path)
    if notices == "before":
        notice(*residents)
    with closing(opened(path, clock)) as restored:
        assert (restored.look(A).stamp, [e.name for e, _ in restored.entries()]) == ("s1", ["old"])
        restored.activate(schedule(entry("newest")), "s3")
        if notices == "after":
            notice(*residents)
        restored.look(A)
    with closing(opened(path, clock)) as again, again.reading() as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT stamp FROM meta").fetchone() == ("s3",)
    notice(*residents)
    with closing(opened(path, clock)) as again:
        assert again.look(A).stamp == "s3"


def notice(*residents: LedgerSqlite) -> None:
    for resident in residents:
        with pytest.raises(LedgerError, match="L215"):
            resident.look(A)


def test_a_wal_that_a_crash_left_is_read(path: Path, clock: FakeClock, tmp_path: Path) -> None:
    """Also where it was copied to, together with its file and the note of whose it was."""
    with closing(opened(path, clock)) as ledger:
        ledger.activate(schedule(entry()), "s")
        shutil.copytree(path.parent, tmp_path / "copied")
    with closing(opened(tmp_path / "copied" / path.name, clock)) as copied:
        assert copied.look(A).stamp == "s"


def test_a_file_that_came_back_to_its_place_keeps_its_wal(path: Path, clock: FakeClock) -> None:
    with closing(opened(path, clock)) as ledger:
        ledger.activate(schedule(entry()), "s")
        aside = path.rename(path.with_name("aside"))
        with pytest.raises(LedgerError, match="L215"):
            ledger.changed()
        aside.rename(path)
        assert Path(f"{path}-wal").stat().st_size

        with closing(opened(path, clock)) as again:
            assert again.look(A).stamp == "s"


def test_opening_frees_nobody_elses_lock_on_the_file(path: Path, clock: FakeClock) -> None:
    """POSIX locks of a process end when it closes the file anywhere; without its lock a WAL in use could be removed."""
    with closing(opened(path, clock)) as held:
        held.activate(schedule(entry()), "s")
        opened(path, clock).close()

        theirs = f"""
import fcntl
with open({str(path)!r}, "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
"""
        done = subprocess.run([sys.executable, "-c", theirs], capture_output=True, text=True, check=False)
        assert "BlockingIOError" in done.stderr or "PermissionError" in done.stderr


def test_a_lock_file_that_was_removed_gives_one_turn_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    with closing(Turnstile(path, patience=0.02)) as old:
        for name in ("queue", "turn"):
            (tmp_path / f"ledger.db-{name}").unlink()
        with closing(Turnstile(path, patience=0.02)) as new:
            with new.turn(), pytest.raises(TurnTimeout), old.turn():
                raise AssertionError("two turns at once")
            with old.turn(), pytest.raises(TurnTimeout), new.turn():
                raise AssertionError("two turns at once")


def test_a_lock_file_that_was_replaced_gives_one_turn_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    with closing(Turnstile(path, patience=0.02)) as old:
        for name in ("queue", "turn"):
            (tmp_path / "other").touch()
            (tmp_path / "other").replace(tmp_path / f"ledger.db-{name}")
        with old.turn(), closing(Turnstile(path, patience=0.02)) as new, pytest.raises(TurnTimeout), new.turn():
            raise AssertionError("two turns at once")


def test_a_reader_that_lost_its_file_is_told(path: Path, clock: FakeClock) -> None:
    opened(path, clock).close()
    with closing(opened(path, clock, read_only=True)) as reader:
        reader.status()
        path.unlink()
        with pytest.raises(LedgerError, match="L215"):
            reader.status()


def test_sqlite_does_not_remove_the_wal_of_whoever_came_after_us(path: Path, clock: FakeClock) -> None:
    resident = opened(path, clock)
    resident.activate(schedule(entry()), "s")
    path.unlink()
    with closing(opened(path, clock)) as new:
        new.activate(schedule(entry("new")), "s2")
        resident.close()
        with closing(sqlite3.connect(path)) as plain:
            assert plain.execute("SELECT stamp FROM meta").fetchone() == ("s2",)
