"""Adjacent versions of offbeat on one file: the older one goes on, until a newer one takes away what it needs."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule, states

from offbeat.core.model import CatchUp, Overlap, Policy, State
from offbeat.core.serial import schedule_to_json
from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA, migrate
from offbeat.ports.ledger_values import COMPILED

A, B = runner("a"), runner("b")
TABLES = "meta revisions groups entries versions outbox history outputs gaps busy admitted pauses runners slots".split()
EXPANDS = (
    *(f"ALTER TABLE {table} ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'" for table in TABLES),
    "CREATE TABLE colours (eno INTEGER PRIMARY KEY, colour TEXT NOT NULL)",
    "CREATE INDEX history_colour ON history (colour)",
)


class Next(LedgerSqlite):
    """The next minor version: it adds a column to each table, a table, and an index."""

    MIGRATIONS = (*MIGRATIONS, (SCHEMA + 1, EXPANDS))


class OneLater(LedgerSqlite):
    """The minor version after the next: it takes something away."""

    MIGRATIONS = (*Next.MIGRATIONS, (SCHEMA + 2, ("DROP TABLE busy", f"UPDATE meta SET oldest = {SCHEMA + 1}")))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(path=str(tmp_path / "ledger.sqlite3"), project="shop")


def test_this_version_and_the_next_record_in_one_ledger(place: Place) -> None:
    clock = FakeClock(float(NOON))
    with ExitStack() as stack:
        ours = stack.enter_context(closing(LedgerSqlite(place, clock=clock)))
        ours.look(A)
        ours.activate(schedule(entry(catch_up=CatchUp.ALL, overlap=Overlap.WAIT, max_runtime=50)), "s")
        newer = stack.enter_context(closing(Next(place, clock=clock)))
        again = stack.enter_context(closing(LedgerSqlite(place, clock=clock)))
        for ledger in (ours, newer, again, newer, ours):
            clock.advance(60)
            ledger.look(B)
            (claim,) = pass_once(ledger, B)
            assert ledger.settle(B, [outcome(claim)]) == [claim.key]
        assert [state for _, _, state, _ in states(ours)] == [State.DISPATCHED] * 5
        assert ours.activate(schedule(entry("other")), "s2") == 2
        assert newer.activate(schedule(entry()), "s3") == 3
        assert again.fire(A, "e", "token").claim is not None
        assert again.skip("e", NOON + 600, "ann", "").state is State.SKIPPED
        assert again.backfill("e", "token", [(NOON, NOON)]) == 1
        assert again.occupy("hourly", "a", 5) and again.admit("x", 1)
        again.pause("e", "ann", "")
        assert ours.schedule() == newer.schedule() == again.schedule()
        assert (again.status().schema, newer.status().schema) == (SCHEMA, SCHEMA + 1)
        assert states(again) == states(newer)
    with closing(LedgerSqlite(Place(path=place.path, project="shop", read_only=True), clock=clock)) as reader:
        assert reader.status().pending == 1


def test_a_ledger_that_has_lost_what_this_version_needs_is_refused(place: Place) -> None:
    clock = FakeClock(float(NOON))
    OneLater(place, clock=clock).close()
    Next(place, clock=clock).close()

    with pytest.raises(LedgerError) as refused:
        LedgerSqlite(place, clock=clock)
    assert refused.value.problems[0].code == "L210"
    assert refused.value.problems[0].what.endswith(f"its schema is {SCHEMA + 2}, this offbeat knows {SCHEMA}")


def test_a_newer_ledger_from_before_versions_were_shared_is_refused(place: Place) -> None:
    with closing(sqlite3.connect(place.path)) as db:
        db.execute("CREATE TABLE meta (one INTEGER)")
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    with pytest.raises(LedgerError) as refused:
        LedgerSqlite(place, clock=FakeClock(float(NOON)))
    assert refused.value.problems[0].code == "L210"


def _form(path: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.execute("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema"))


@pytest.mark.parametrize("present", range(1, SCHEMA))
def test_a_ledger_of_any_schema_before_becomes_like_a_new_one(place: Place, tmp_path: Path, present: int) -> None:
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, 0, MIGRATIONS[:present])
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("INSERT INTO meta (one, project, owner) VALUES (1, 'shop', '')")
        db.execute("DROP INDEX IF EXISTS history_trouble")  # schema 3 was without it once
    new = Place(path=str(tmp_path / "new.sqlite3"), project="shop")
    for each in (place, new):
        LedgerSqlite(each, clock=FakeClock(float(NOON))).close()
    assert _form(place.path) == _form(new.path)


def test_a_ledger_of_the_version_before_goes_on(place: Place) -> None:
    old = schedule(entry("x"), entry("y"))
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, 0, MIGRATIONS[:2])
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("INSERT INTO meta (one, project, owner, seq, active_rev, stamp) VALUES (1, 'shop', '', 7, 1, 's')")
        told = (1, old.digest, float(NOON), "{}", schedule_to_json(old))
        db.execute("INSERT INTO revisions (rev, digest, activated_at, settings, text) VALUES (?, ?, ?, ?, ?)", told)
        db.execute("INSERT INTO runners (id, host, pid, role, seen_at) VALUES ('host:a:tick', 'host', 1, 'tick', ?)", (NOON,))
        db.execute("INSERT INTO pauses (eno, from_at, who, note) VALUES (NULL, ?, 'ann', '')", (NOON,))

    with closing(LedgerSqlite(place, clock=FakeClock(NOON + 5.0))) as ledger:
        (found,) = ledger.revisions(9)
        assert (found.entries, found.origin, found.active) == (2, COMPILED, True)
        assert ledger.schedule() == old
        assert [pause.once for pause in ledger.pauses()] == [False]
        assert ledger.look(A).marks == {0: 7} and len(ledger.look(A).born) == 16
        assert {seen.runner.version for seen in ledger.status().runners} == {""}
        assert ledger.ledger_settings() == old.ledger
        ledger.resume("")
        assert ledger.activate(schedule(entry("x")), "s2") == 2
        assert ledger.entries()[0][0].policy == Policy()
