"""How the PostgreSQL ledger keeps rows: small, whatever the server is set to, and found without reading its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, report, runner, schedule, states
from tests.ports.postgres_place import drop, emptied

from offbeat.core.identity import occurrence_id
from offbeat.core.model import CatchUp, Cause, Kind, Overlap, Reason, State
from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_postgres import LedgerPostgres, Place, place_of
from offbeat.ports.ledger_postgres.codes import CODES
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.days import days_present
from offbeat.ports.ledger_postgres.dispatching import LOCK

A, B = runner("a"), runner("b")
DAY = 86_400
SMALL = 145  # bytes of a sent occurrence in history, indexes included


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def place(postgres_address: str) -> Place:
    return emptied(postgres_address, "rows")


@pytest.fixture
def ledger(place: Place, clock: FakeClock) -> Iterator[LedgerPostgres]:
    with closing(LedgerPostgres(place, horizon=clock)) as opened:
        yield opened


@pytest.fixture
def admin(postgres_address: str, place: Place) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(postgres_address, autocommit=True, options=f"-c search_path={place.schema}") as connection:
        yield connection


def sent_by_name(ledger: LedgerPostgres) -> None:
    """Record what is due, and settle it with the ids that messages have."""
    claims = pass_once(ledger, A)
    ids = [occurrence_id("shop", claim.name, claim.key.due_at) for claim in claims]
    ledger.settle(A, [outcome(claim, task_id=task_id) for claim, task_id in zip(claims, ids, strict=True)])


def test_a_sent_occurrence_is_small(postgres_address: str, clock: FakeClock) -> None:
    with closing(LedgerPostgres(emptied(postgres_address, "small"), horizon=clock)) as ledger:
        ledger.activate(schedule(*(entry(f"e{number}") for number in range(400))), "stamp")
        for _ in range(20):
            clock.advance(60)
            sent_by_name(ledger)
        with psycopg.connect(postgres_address) as admin:
            size = sql.SQL("SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relnamespace = {}::regnamespace").format(
                sql.Literal(ledger.place.schema)
            )
            row = admin.execute(size + sql.SQL(" AND relkind IN ('r', 'i') AND relname LIKE 'history\\_d%'")).fetchone()

    assert row is not None and 60 < row[0] / 8000 < SMALL


def test_an_id_that_follows_from_the_occurrence_is_not_kept_and_told_all_the_same(
    ledger: LedgerPostgres, clock: FakeClock, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    ledger.activate(schedule(entry("own"), entry("other"), entry("none")), "stamp")
    clock.advance(60)
    claims = {claim.name: claim for claim in pass_once(ledger, A)}
    ids = {"own": occurrence_id("shop", "own", NOON + 60), "other": "an id of its own", "none": ""}
    ledger.settle(A, [outcome(claims[name], task_id=task_id) for name, task_id in ids.items()])

    assert {row.entry: row.task_id for row in ledger.history()} == ids
    kept = admin.execute("SELECT task_id FROM history WHERE task_id IS NOT NULL ORDER BY 1").fetchall()
    assert kept == [("",), ("an id of its own",)]


def test_who_reported_last_is_remembered_by_what_is_kept_of_them(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim)])

    assert ledger.report(A, [report(claim, State.STARTED)]) == [claim.key]
    assert ledger.report(B, [report(claim, State.STARTED)]) == []
    assert ledger.report(A, [report(claim, State.STARTED)]) == [claim.key]


def test_every_word_has_a_number_of_its_own_that_the_ledger_lists(postgres_address: str, clock: FakeClock) -> None:
    assert set(CODES) == {str(word) for words in (Kind, Cause, State, Reason) for word in words}
    assert len(set(CODES.values())) == len(CODES)
    with closing(LedgerPostgres(emptied(postgres_address, "words"), horizon=clock)) as ledger:
        listed = ledger.read(lambda tx: tx.rows("SELECT word, code FROM {s}.words"))
    assert dict(listed) == {word: code for word, code in CODES.items() if word}


def test_a_number_that_is_no_word_is_told_as_what_it_is(
    ledger: LedgerPostgres, clock: FakeClock, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    sent_by_name(ledger)
    admin.execute("UPDATE history SET state = 99")

    with pytest.raises(LedgerError) as told:
        ledger.history()
    assert [problem.code for problem in told.value.problems] == ["L416"]


TEXTS = st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, numbers=st.lists(st.none() | st.floats(), max_size=6), raw=st.lists(st.none() | st.binary(max_size=9)))
def test_lists_arrive_as_they_are(ledger: LedgerPostgres, texts: list[Any], numbers: list[Any], raw: list[Any]) -> None:
    def asked(tx: Tx) -> Any:
        statement = "SELECT %(a)s::text[], %(b)s::float8[], %(c)s::bytea[]"
        values = {"a": texts, "b": numbers, "c": raw}
        tx.later("SELECT 1")
        (in_message,) = tx.rows(statement, **values)
        (alone,) = tx.rows(statement, **values)
        return in_message, alone

    wanted = [repr([] if all(each is None for each in values) else values) for values in (texts, numbers, raw)]
    for answer in ledger.read(asked):
        assert [repr(values) for values in answer] == wanted


def test_of_a_backlog_only_what_is_claimed_is_read(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry(catch_up=CatchUp.ALL)), "stamp")
    ledger.backfill("e", "token", [(NOON - 60 * number, NOON) for number in range(3000)])
    clock.advance(60)

    def plan_of(tx: Tx) -> Any:
        return tx.rows("EXPLAIN (ANALYZE, FORMAT JSON) " + LOCK, now=tx.now, limit=10, closed=[])[0][0]

    read = list(rows_read(ledger.write(plan_of)[0]["Plan"]))
    assert read and max(read) == 10


def rows_read(node: dict[str, Any]) -> Iterator[int]:
    """Yield how many rows each look into the outbox has read."""
    if node.get("Relation Name") == "outbox":
        yield node["Actual Rows"]
    for child in node.get("Plans", []):
        yield from rows_read(child)


def test_a_day_gets_its_partition_although_one_of_its_rows_came_weeks_before(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("e", f"every {DAY} 0")), "stamp")
    skipped = (NOON // DAY + 20) * DAY
    ledger.skip("e", skipped, "ann", "")
    clock.wall = skipped + 5.0
    for _ in range(2):
        ledger.look(A)
        clock.advance(5)
    while claims := [*pass_once(ledger, A), *ledger.claim(A, 10)]:
        ledger.settle(A, [outcome(claim) for claim in claims])

    assert skipped // DAY in ledger.read(lambda tx: days_present(tx, ledger.texts.schema))
    assert ledger.read(lambda tx: tx.rows("SELECT due_at FROM {s}.history_rest WHERE due_at >= %(at)s", at=skipped)) == []
    assert ("e", skipped, State.SKIPPED, "by_hand") in states(ledger)


ODD = {
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "synchronous_commit": "off",
    "search_path": "public",
    "timezone": "Pacific/Apia",
    "datestyle": "SQL, DMY",
    "lc_messages": "C",
    "enable_indexscan": "off",
    "statement_timeout": "1s",
    "lock_timeout": "1ms",
}


def test_it_works_whatever_a_role_is_set_to(postgres_address: str, clock: FakeClock) -> None:
    role = sql.Identifier("odd_role")
    with psycopg.connect(postgres_address, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP SCHEMA IF EXISTS odd CASCADE"))
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD 's3cr3t'").format(role))
        try:
            for name, value in ODD.items():
                admin.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(name), sql.Literal(value)))
            rest = postgres_address.partition("@")[2]
            place = place_of(f"postgresql://odd_role:s3cr3t@{rest}?schema=odd", project="shop")
            clock.advance(0.123456)
            with closing(LedgerPostgres(place, horizon=clock)) as ledger:
                ledger.look(A)
                waits = entry('w\\"x', overlap=Overlap.WAIT, max_runtime=600)
                ledger.activate(schedule(entry("e'\\"), waits), "stamp")
                clock.advance(60)
                claims = pass_once(ledger, A)
                ledger.settle(
                    A, [outcome(claims[0]), outcome(claims[1], State.PENDING, error="a\\'\"b", next_try_at=clock.now())]
                )
                (again,) = ledger.claim(A, 10)
                assert again.last_error == "a\\'\"b"
                ledger.settle(A, [outcome(again)])
                ledger.report(B, [report(claim, State.SUCCEEDED, output=b"\0\\x") for claim in (claims[0], again)])
                rows = ledger.history()
                assert {(row.recorded_at, row.finished_at) for row in rows} == {(clock.now(), clock.now())}
                assert {ledger.output(row.key) for row in rows if row.key} == {b"\0\\x"}
        finally:
            drop(postgres_address, "odd")
            admin.execute(sql.SQL("DROP OWNED BY {r}; DROP ROLE {r}").format(r=role))


def test_a_report_on_what_no_ledger_can_hold_stops_nobody(
    ledger: LedgerPostgres, clock: FakeClock, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim)])
    most = 2**63 - 1
    for eno, due_at in ((most, most), (-most, -most), (claim.key.eno, claim.key.due_at)):
        admin.execute(
            "INSERT INTO reports (eno, due_at, attempt, state, runner) VALUES (%s, %s, 1, 'started', 'h:1:worker')",
            (eno, due_at),
        )
    ledger.look(A)

    assert states(ledger) == [("e", NOON + 60, State.STARTED, "")]
