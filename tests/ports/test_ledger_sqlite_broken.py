"""What is not as this program wrote it: told as a ledger that is corrupt, whatever is asked of it, and never a traceback."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule

from offbeat.core.model import State, TaskCall
from offbeat.errors import LedgerError, OffbeatError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA, migrate

A = runner("a")
ASKED: dict[str, Callable[[LedgerSqlite], object]] = {
    "look": lambda ledger: ledger.look(A),
    "pass": lambda ledger: pass_once(ledger, A),
    "claim": lambda ledger: ledger.claim(A, 100),
    "prune": lambda ledger: ledger.prune(100),
    "activate": lambda ledger: ledger.activate(schedule(entry("e"), command("new")), "s9"),
    "fire": lambda ledger: ledger.fire(A, "e", "again"),
    "slot": lambda ledger: ledger.slot(A, "e", NOON + 7200),
    "status": lambda ledger: ledger.status(),
    "schedule": lambda ledger: ledger.schedule(),
    "settings": lambda ledger: ledger.broker_settings(),
    "entries": lambda ledger: ledger.entries(),
    "history": lambda ledger: ledger.history(),
    "failures": lambda ledger: ledger.failures(0, 10),
    "peek": lambda ledger: ledger.peek(10),
}


@pytest.fixture
def used(tmp_path: Path, clock: FakeClock) -> Path:
    """Return the file of a ledger with something in every table that is read."""
    path = tmp_path / "ledger.db"
    with closing(LedgerSqlite(Place(path=str(path), project="shop"), clock=clock)) as ledger:
        ledger.activate(schedule(entry("e"), command("c"), entry("late", "every 60 7")), "s")
        ledger.look(A)
        clock.advance(61)
        claims = pass_once(ledger, A)
        ledger.settle(A, [outcome(claim) for claim in claims if claim.name == "e"])
        ledger.report(A, [report(claim, State.FAILED, exit_status=3, output=b"oh") for claim in claims if claim.name == "c"])
        ledger.fire(A, "special", "t", TaskCall(task="shop.special"))
        ledger.pause("e", "me", "so", until=NOON + 100.0)
        clock.advance(600)
    return path


def ask(path: Path, what: Callable[[LedgerSqlite], object], clock: FakeClock, *, read_only: bool = False) -> str:
    """Return the code with which it fails, "" for none."""
    try:
        with closing(LedgerSqlite(Place(path=str(path), project="shop", read_only=read_only), clock=clock)) as ledger:
            what(ledger)
    except LedgerError as error:
        (problem,) = error.problems
        assert problem.file == str(path) and problem.what and problem.why and problem.fix and "\n" not in problem.what
        return problem.code
    return ""


def spoil(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


WRONG = {
    "no JSON": "'{'",
    "other JSON": "'[7]'",
    "deep JSON": "'" + "[" * 100_000 + "'",
    "no text": "CAST(x'ff41fe' AS TEXT)",
    "bytes": "x'ff41fe'",
    "a number": "7",
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(
    ("column", "asked"),
    [
        ("versions.definition", ["claim", "entries", "peek"]),
        ("outbox.call", ["claim", "peek"]),
        ("revisions.text", ["schedule"]),
        ("revisions.settings", ["settings"]),
    ],
)
def test_a_text_that_cannot_be_read_back_is_told(
    used: Path, clock: FakeClock, value: str, column: str, asked: list[str]
) -> None:
    table, name = column.split(".")
    spoil(used, f"UPDATE {table} SET {name} = {value} WHERE {name} IS NOT NULL")

    assert {ask(used, ASKED[question], clock) for question in asked} == {"L204"}


@pytest.mark.parametrize(
    ("column", "asked"),
    [("history.state", "history"), ("history.kind", "history"), ("history.reason", "history"), ("outbox.cause", "claim")],
)
def test_a_word_that_we_never_write_is_told(used: Path, clock: FakeClock, column: str, asked: str) -> None:
    table, name = column.split(".")
    spoil(used, f"UPDATE {table} SET {name} = 'pendinh'")

    assert ask(used, ASKED[asked], clock) == "L204"


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("statement", ["DELETE FROM meta", "PRAGMA user_version = 0", "PRAGMA user_version = -3"])
def test_a_ledger_that_does_not_say_what_it_is_is_told(used: Path, clock: FakeClock, statement: str, read_only: bool) -> None:
    spoil(used, statement)

    assert ask(used, ASKED["status"], clock, read_only=read_only) == "L204"
    assert ask(used, ASKED["entries"], clock, read_only=read_only) == "L204"


def test_a_ledger_whose_meta_row_goes_while_it_is_open_is_told(used: Path, clock: FakeClock) -> None:
    for what in ASKED.values():
        with closing(LedgerSqlite(Place(path=str(used), project="shop"), clock=clock)) as ledger:
            with ledger.writing() as db:
                row = db.execute("SELECT * FROM meta").fetchone()
                db.execute("DELETE FROM meta")
            try:
                what(ledger)
            except LedgerError as error:
                assert error.problems[0].code == "L204"
            with ledger.writing() as db:
                db.execute(f"INSERT INTO meta VALUES ({','.join('?' * len(row))})", row)


@pytest.mark.parametrize("seed", range(25))
def test_a_file_with_wrong_bytes_in_it_is_never_a_traceback(used: Path, clock: FakeClock, seed: int) -> None:
    whole = bytearray(used.read_bytes())
    for number in range(40):
        drawn = crc32(f"{seed} {number}".encode())
        whole[100 + drawn % (len(whole) - 100)] = drawn >> 24
    used.write_bytes(whole)

    for what in ASKED.values():
        try:
            ask(used, what, clock)
        except OffbeatError as error:
            assert error.problems


@pytest.mark.parametrize("read_only", [False, True])
def test_a_pipe_is_refused_at_once(tmp_path: Path, read_only: bool) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(LedgerError, match=r"a plain file, .* \[L208\]"):
            open_ledger(f"sqlite:///{path}", clock=FakeClock(), project="shop", owner="", read_only=read_only)


def test_a_ledger_of_the_first_schema_is_brought_up_to_date(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, 0, MIGRATIONS[:1])
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("INSERT INTO meta (one, project, owner) VALUES (1, 'shop', '')")

    assert ask(path, ASKED["status"], clock, read_only=True) == "L214"
    assert ask(path, ASKED["look"], clock) == ""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'outbox_handed_back'").fetchone() == (1,)
