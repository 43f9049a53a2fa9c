"""What is PostgreSQL's own about the ledger: tables and their versions, roles, identifiers, partitions, reports of workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from math import floor
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.ports.ledger_world import NOON, ahead_of, command, entry, outcome, pass_once, report, runner, schedule, states
from tests.ports.postgres_place import drop, emptied

from offbeat.core.marks import lost, slot_of
from offbeat.core.model import LedgerSettings, Overlap, State
from offbeat.errors import LedgerAwayError, LedgerError
from offbeat.ports.clock import FakeClock, SystemClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_postgres import LedgerPostgres, Place, place_of, pruning
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.planning import WAKE_AT
from offbeat.ports.ledger_postgres.schema import SCHEMA, STEPS, Step
from offbeat.ports.ledger_values import Claim, Runner, Told

A, B = runner("a"), runner("b")
DAY = 86_400
NEXT = (*STEPS, Step(version=SCHEMA + 1, oldest=SCHEMA, statements=(
    "ALTER TABLE {s}.outbox ADD COLUMN colour text NOT NULL DEFAULT 'red'",
    "ALTER TABLE {s}.history ADD COLUMN colour text",
    "CREATE TABLE {s}.later (id bigint PRIMARY KEY)",
)))  # fmt: skip
CONTRACTED = (*NEXT, Step(version=SCHEMA + 2, oldest=SCHEMA + 1, statements=("ALTER TABLE {s}.outbox DROP COLUMN colour",)))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def place(postgres_address: str) -> Place:
    return emptied(postgres_address, "own")


@pytest.fixture
def ledger(place: Place, clock: FakeClock) -> Iterator[LedgerPostgres]:
    with closing(LedgerPostgres(place, horizon=clock)) as opened:
        yield opened


@pytest.fixture
def schema(postgres_address: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the name of a schema that is not there; it is dropped at the end."""
    name = f"fresh_{floor(SystemClock().now())}_{abs(hash(request.node.name)) % 1_000_000}"
    yield name
    drop(postgres_address, name)


@pytest.fixture
def admin(postgres_address: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        yield connection


def transactions(ledger: LedgerPostgres) -> int:
    """Return how many transactions have written into the ledger: each moves a mark by one."""
    return sum(ledger.look(A).marks.values())


def code_of(open_it: Callable[[], object]) -> str:
    with pytest.raises(LedgerError) as told:
        open_it()
    (problem,) = told.value.problems
    assert "s3cr3t" not in str(problem) and told.value.exit_code == 3
    return problem.code


# Schemas


def test_a_ledger_is_made_where_there_is_none_and_opened_again(postgres_address: str, schema: str, clock: FakeClock) -> None:
    place = place_of(f"{postgres_address}?schema={schema}", project="shop")
    with closing(LedgerPostgres(place, horizon=clock)) as ledger:
        ledger.activate(schedule(entry()), "stamp")
        born = ledger.look(A).born
    with closing(LedgerPostgres(place, horizon=clock)) as again:
        assert (again.look(A).revision, again.look(A).born, again.status().schema) == (1, born, SCHEMA)


def test_two_versions_side_by_side_share_a_ledger_that_the_newer_has_brought_forward(
    postgres_address: str, schema: str, clock: FakeClock
) -> None:
    place = place_of(f"{postgres_address}?schema={schema}", project="shop")
    with ExitStack() as stack:
        older = stack.enter_context(closing(LedgerPostgres(place, horizon=clock)))
        older.activate(schedule(entry("x"), command("c")), "stamp")
        clock.advance(60)
        held = pass_once(older, A)
        newer = stack.enter_context(closing(LedgerPostgres(place, horizon=clock, steps=NEXT)))
        assert newer.status().schema == SCHEMA + 1

        older.settle(A, [outcome(claim) for claim in held])
        for ledger, other in ((older, newer), (newer, older)):
            clock.advance(60)
            claims = pass_once(ledger, A)
            assert len(claims) == 2 and pass_once(other, B) == []
            other.report(B, [report(claim, State.STARTED) for claim in claims])
            ledger.report(B, [report(claim, State.SUCCEEDED, output=b"done") for claim in claims])
        late = stack.enter_context(closing(LedgerPostgres(place, horizon=clock)))
        assert states(late) == states(older) == states(newer)
        assert [state for _, _, state, _ in states(late)] == [State.SUCCEEDED] * 4 + [State.DISPATCHED] * 2
        assert late.activate(schedule(entry("x"), entry("y")), "other") == 2


def test_a_version_that_would_misread_the_ledger_is_refused_also_while_it_runs(
    postgres_address: str, schema: str, clock: FakeClock
) -> None:
    place = place_of(f"{postgres_address}?schema={schema}", project="shop")
    with closing(LedgerPostgres(place, horizon=clock)) as running:
        running.activate(schedule(entry()), "stamp")
        with closing(LedgerPostgres(place, horizon=clock, steps=CONTRACTED)) as newest:
            clock.advance(60)
            assert code_of(lambda: running.look(A)) == "L411"
            assert code_of(lambda: pass_once(running, A)) == "L411"
            assert code_of(lambda: LedgerPostgres(place)) == "L411"
            with closing(LedgerPostgres(place, horizon=clock, steps=NEXT)) as newer:
                assert len(pass_once(newer, A)) == 1
            assert newest.status().pending == 0


def test_a_ledger_from_before_its_form_was_released_is_refused_and_left_as_it_is(
    postgres_address: str, schema: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    place = place_of(f"{postgres_address}?schema={schema}", project="shop")
    LedgerPostgres(place).close()
    meta = sql.SQL("{}.meta").format(sql.Identifier(schema))
    admin.execute(sql.SQL("UPDATE {} SET schema = 1, oldest = 1").format(meta))

    for each in (place, replace(place, read_only=True)):
        assert code_of(lambda each=each: LedgerPostgres(each)) == "L420"  # type: ignore[misc]
    assert admin.execute(sql.SQL("SELECT schema FROM {}").format(meta)).fetchall() == [(1,)]


def test_a_step_that_fails_leaves_the_ledger_as_it_was(postgres_address: str, schema: str, clock: FakeClock) -> None:
    place = place_of(f"{postgres_address}?schema={schema}", project="shop")
    broken = (*NEXT, Step(version=SCHEMA + 2, oldest=1, statements=("ALTER TABLE {s}.nowhere ADD COLUMN x text",)))
    with closing(LedgerPostgres(place, horizon=clock)) as ledger:
        with pytest.raises(LedgerError):
            LedgerPostgres(place, horizon=clock, steps=broken)
        assert ledger.status().schema == SCHEMA


def test_a_schema_is_for_one_project_and_each_project_has_one(postgres_address: str, clock: FakeClock) -> None:
    names = ["shop_of_tests", "Shop of Tests"]
    try:
        with ExitStack() as stack:
            first, second = (
                stack.enter_context(closing(LedgerPostgres(place_of(postgres_address, project=name), horizon=clock)))
                for name in names
            )
            first.activate(schedule(entry()), "stamp")
            assert (first.look(A).revision, second.look(A).revision) == (1, 0)
            assert first.where.endswith("?schema=offbeat_shop_of_tests")
            stolen = f"{postgres_address}?schema=offbeat_shop_of_tests"
            assert code_of(lambda: LedgerPostgres(place_of(stolen, project="Shop of Tests"))) == "L413"
    finally:
        for name in names:
            drop(postgres_address, place_of(postgres_address, project=name).schema)


def test_a_schema_with_tables_of_somebody_else_is_refused(
    postgres_address: str, schema: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    admin.execute(sql.SQL("CREATE SCHEMA {s}; CREATE TABLE {s}.meta (key text)").format(s=sql.Identifier(schema)))

    assert code_of(lambda: LedgerPostgres(place_of(f"{postgres_address}?schema={schema}", project="shop"))) == "L414"


def test_who_only_reads_makes_nothing(postgres_address: str, schema: str, clock: FakeClock, place: Place) -> None:
    address = f"{postgres_address}?schema={schema}"
    with closing(open_ledger(address, clock=clock, project="shop", owner="", read_only=True)) as empty:
        assert isinstance(empty, LedgerMemory) and empty.status().where.endswith(f"?schema={schema}")
    with psycopg.connect(postgres_address) as admin:
        assert admin.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchall() == []

    with closing(open_ledger(address, clock=clock, project="shop", owner="")) as made:
        assert isinstance(made, LedgerPostgres) and made.look(A).revision == 0
    with closing(LedgerPostgres(place_of(address, project="shop", read_only=True))) as reader:
        assert reader.status().project == "shop"


def test_reads_cannot_write(ledger: LedgerPostgres) -> None:
    assert code_of(lambda: ledger.read(lambda tx: tx.run("UPDATE {s}.meta SET stamp = 'x'"))) == "L408"


def test_a_statement_that_takes_too_long_is_ended(ledger: LedgerPostgres) -> None:
    def slow(tx: Tx) -> None:
        tx.run("SET LOCAL statement_timeout = 10")
        tx.rows("SELECT pg_sleep(5)")

    assert code_of(lambda: ledger.read(slow)) == "L410"
    assert ledger.status().revision == 0


# Identifiers

NAMES = [
    'a"b',
    "a'; DROP SCHEMA public; --",
    "a%sb%%(x)s",
    "a{s}b",
    "ümläut",
    "with space",
    "UPPER",
    "sel\\ect",
    "a.b",
    "$$x$$",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_may_have_any_name(postgres_address: str, clock: FakeClock, name: str) -> None:
    from urllib.parse import quote

    place = place_of(f"{postgres_address}?schema={quote(name, safe='')}", project="shop")
    try:
        with closing(LedgerPostgres(place, horizon=clock)) as ledger:
            ledger.activate(schedule(entry(), command()), "stamp")
            clock.advance(60)
            claims = pass_once(ledger, A)
            ledger.settle(A, [outcome(claim) for claim in claims])
            assert len(ledger.history()) == 2 and ledger.look(A).marks
            assert ledger.prune(10, LedgerSettings(keep_rows=1, keep_bytes=1)) == 0
        with psycopg.connect(postgres_address) as admin:
            assert admin.execute("SELECT count(*) FROM pg_namespace WHERE nspname IN (%s, 'public')", [name]).fetchall() == [
                (2,)
            ]
    finally:
        drop(postgres_address, name)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=60))
def test_names_notes_and_errors_may_have_any_character(ledger: LedgerPostgres, clock: FakeClock, text: str) -> None:
    text = text.encode("utf-8", "replace").decode().replace("\0", "0")  # what a file of TOML can hold
    ledger.activate(schedule(entry(text, queue=text, kwargs={"x": text + "\0"})), text)
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    assert claim.name == text and claim.call == entry(text, queue=text, kwargs={"x": text + "\0"}).call
    ledger.pause(text, text, text)
    ledger.resume(text)
    ledger.settle(A, [outcome(claim, State.PENDING, error=text + "\0\ud800", next_try_at=clock.now())])
    (again,) = ledger.claim(A, 10)
    assert again.last_error == text + "\N{REPLACEMENT CHARACTER}?"
    assert ledger.claim(A, 10, [text, "'"]) == []
    ledger.settle(A, [outcome(again)])
    assert ledger.history(text)[0].entry == text


def test_a_claim_past_much_that_is_held_back_is_many_small_transactions(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "stamp")
    ledger.backfill("e", "token", [(NOON - 60 * number, NOON) for number in range(35)])
    ledger.pause("e", "ann", "")
    done = ledger.status().pending, transactions(ledger)

    assert ledger.claim(A, 10) == []
    assert done[0] == ledger.status().pending == 35
    assert transactions(ledger) - done[1] >= 4


def test_a_backfill_waits_for_nobody_who_has_other_rows_of_it(
    ledger: LedgerPostgres, place: Place, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    ledger.activate(schedule(entry()), "stamp")
    ledger.backfill("e", "token", [(NOON, NOON)])
    with admin.transaction():
        admin.execute(sql.SQL("SELECT 1 FROM {}.outbox FOR UPDATE").format(sql.Identifier(place.schema)))

        assert ledger.backfill("e", "token", [(NOON - 60, NOON), (NOON - 120, NOON)]) == 2


def test_a_look_goes_through_no_backfill_however_large_it_is(
    ledger: LedgerPostgres, place: Place, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    ledger.activate(schedule(entry()), "stamp")
    outbox = sql.SQL("{}.outbox").format(sql.Identifier(place.schema))
    columns = sql.SQL("due_at, send_at, next_try_at, recorded_at, eno, recorded_rev, kind, cause, lane, kind_id")
    some = "SELECT n, {0}, {0}, 0, 1, 1, 3, 3, CASE WHEN n < 0 THEN 1 ELSE 2 END, 't' FROM generate_series({1}) n"
    for numbers in ("0, 5000", "-700, -1"):
        rows = sql.SQL(some.format(f"{NOON} + CASE WHEN n < 0 THEN -40 ELSE n / 10 END", numbers))
        admin.execute(sql.SQL("INSERT INTO {} ({}) {}").format(outbox, columns, rows))
    admin.execute(sql.SQL("ANALYZE {}").format(outbox))

    explained = ledger.read(lambda tx: tx.rows("EXPLAIN " + WAKE_AT, now=float(NOON)))

    assert [line for (line,) in explained if "Seq Scan on outbox" in line] == []


def test_each_commit_tells_how_far_the_ledger_is(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "stamp")
    seen = ledger.look(A).marks
    ledger.told()
    clock.advance(60)
    claims = pass_once(ledger, A)
    recorded = ledger.told()
    ledger.settle(A, [outcome(claim) for claim in claims])
    settled = ledger.told()
    assert lost(recorded.marks, seen) == 1 and lost(settled.marks, recorded.marks) == 1
    assert lost(settled.marks, ledger.look(A).marks) == 0
    assert (recorded.heard_at, settled.heard_at) == (clock.now(), clock.now())
    assert ledger.told() == Told()


def test_a_loss_shows_though_another_runner_has_written_more_since(ledger: LedgerPostgres, clock: FakeClock) -> None:
    other = Runner(id="other", host="b", pid=1, role="tick")
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    pass_once(ledger, A)
    told = ledger.told()
    _forget(ledger, f"UPDATE {ledger.texts.schema}.marks SET seq = seq - 1 WHERE slot = {slot_of(A.id)}")
    for _ in range(5):
        clock.advance(60)
        pass_once(ledger, other)

    assert lost(told.marks, ledger.look(other).marks) == 1
    assert ledger.restored(A, told, skip=False)


def test_a_runner_that_comes_back_to_a_server_without_its_writes_stops(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    pass_once(ledger, A)
    _forget(ledger, f"UPDATE {ledger.texts.schema}.marks SET seq = seq - 1 WHERE slot = {slot_of(A.id)}")
    clock.advance(60)
    ledger.close()  # as when the server went away

    for question in (lambda: ledger.take(10), lambda: ledger.claim(A, 10)):
        with pytest.raises(LedgerAwayError, match="L418"):
            question()
    ledger.look(A)
    assert len(pass_once(ledger, A)) == 1


def _forget(ledger: LedgerPostgres, statement: str) -> None:
    with psycopg.connect(ledger.place.conninfo, autocommit=True) as admin:
        assert admin.execute(statement).rowcount == 1


# Roles

HOW_TO = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "postgresql-ledger.md").read_text(encoding="utf-8")


def grants(role: str) -> str:
    """Return the grants that the how-to lists for a role, with places for the names."""
    found = re.search(rf"```sql {role}\n(.*?)```", HOW_TO, re.DOTALL)
    assert found is not None
    return re.sub(rf"\b{role};", "{role};", found[1].replace("offbeat_difio", "{s}"))


@pytest.fixture
def login(admin: psycopg.Connection[tuple[object, ...]], place: Place, postgres_address: str) -> Iterator[Callable[[str], str]]:
    """Return a function that makes a role with these grants, and returns the ledger's address for it."""
    role = sql.Identifier(f"role_of_{place.schema}")

    def made(granted: str) -> str:
        admin.execute(sql.SQL("CREATE ROLE {role} LOGIN PASSWORD 's3cr3t'").format(role=role))
        admin.execute(sql.SQL(granted).format(role=role, s=sql.Identifier(place.schema)))
        rest = postgres_address.partition("@")[2]
        return f"postgresql://role_of_{place.schema}:s3cr3t@{rest}?schema={place.schema}"

    yield made
    admin.execute(sql.SQL("DROP OWNED BY {role}; DROP ROLE {role}").format(role=role))


def test_a_runners_role_needs_no_more_than_the_tables(login: Callable[[str], str], ledger: LedgerPostgres) -> None:
    clock = FakeClock(NOON + 400.0 * DAY)  # days that have no partition, and the role may make none
    with closing(LedgerPostgres(place_of(login(grants("runner")), project="shop"), horizon=clock)) as mine:
        mine.look(A)
        mine.activate(schedule(entry(overlap=Overlap.WAIT, max_runtime=60), command()), "stamp")
        clock.advance(60)
        claims = pass_once(mine, A)
        mine.settle(A, [outcome(claim) for claim in claims])
        mine.report(B, [report(claim, State.SUCCEEDED, output=b"x") for claim in claims])
        mine.fire(A, "e", "token")
        mine.skip("e", floor(clock.now()) + 600, "ann", "")
        mine.backfill("e", "t", [(NOON, NOON)])
        mine.rewind(floor(clock.now()) + 60, "ann")
        assert mine.restored(A, ahead_of(mine), skip=True)
        clock.advance(30 * DAY)
        mine.look(A)
        clock.advance(5)
        mine.look(A)
        while claims := pass_once(mine, A):
            mine.settle(A, [outcome(claim) for claim in claims])
        assert mine.prune(1000, LedgerSettings(keep_seconds=DAY)) > 0
        assert mine.admit("occurrence", 1) and mine.occupy("slot", "me", 10)


def test_a_workers_role_may_ask_and_report_and_nothing_else(
    login: Callable[[str], str], ledger: LedgerPostgres, clock: FakeClock
) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim)])
    address = login(grants("worker"))
    schema = sql.Identifier(ledger.place.schema)
    with psycopg.connect(address.partition("?")[0], autocommit=True) as worker:
        told = (claim.key.eno, claim.key.due_at, 1, State.STARTED, "host:1:worker")
        worker.execute(
            sql.SQL("INSERT INTO {}.reports (eno, due_at, attempt, state, runner) VALUES (%s, %s, %s, %s, %s)").format(schema),
            told,
        )
        for statement in (
            "SELECT * FROM {}.outbox",
            "DELETE FROM {}.history",
            "SELECT * FROM {}.reports",
            "UPDATE {}.meta SET stamp = ''",
            "DELETE FROM {}.admitted",
            "SELECT text FROM {}.revisions",
            "INSERT INTO {}.reports (runner, reported_at) VALUES ('host:1:worker', 'NaN')",
            "INSERT INTO {}.reports (runner, id) VALUES ('host:1:worker', 9223372036854775807)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(sql.SQL(statement).format(schema))
    with closing(LedgerPostgres(place_of(address, project="shop"))) as mine:
        assert code_of(lambda: mine.look(A)) == "L407"
    ledger.look(A)
    assert states(ledger) == [("e", NOON + 60, State.STARTED, "")]


@pytest.mark.parametrize("at", ["NaN", "Infinity", "-Infinity", "-1"])
def test_what_is_said_at_an_impossible_time_was_said_now(
    admin: psycopg.Connection[tuple[object, ...]], place: Place, at: str
) -> None:
    with closing(LedgerPostgres(place)) as ledger:
        ledger.activate(schedule(entry()), "stamp")
        claim = ledger.fire(A, "e", "token").claim
        assert claim is not None
        ledger.settle(A, [outcome(claim)])
        before = ledger.look(A).now
        said(admin, ledger, "host:1:worker:5ca1ab1e", claim, at)
        after = ledger.look(A).now
        (row,) = ledger.history("e", limit=1)
        seen = {each.runner.id: each.seen_at for each in ledger.status().runners}
        assert row.state is State.STARTED and row.started_at is not None
        assert before <= row.started_at <= after and before <= seen["host:1:worker:5ca1ab1e"] <= after


def test_nobody_but_a_worker_speaks_through_the_inbox(
    admin: psycopg.Connection[tuple[object, ...]], ledger: LedgerPostgres, clock: FakeClock
) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(claim)])
    ledger.look(A)
    for name in (A.id, "web1:7:supervisor:5ca1ab1e", "web1:7:worker:5ca1ab1e:run", "worker", ""):
        said(admin, ledger, name, claim, str(NOON + 60))
    ledger.look(B)
    assert {each.runner.id: each.runner.host for each in ledger.status().runners} == {A.id: A.host, B.id: B.host}
    assert states(ledger) == [("e", NOON + 60, State.DISPATCHED, "")]


def said(admin: psycopg.Connection[tuple[object, ...]], ledger: LedgerPostgres, who: str, claim: Claim, at: str) -> None:
    """Put a report into the inbox: that the claim's attempt has started."""
    admin.execute(
        sql.SQL(
            "INSERT INTO {}.reports (eno, due_at, kind, kind_id, attempt, state, runner, host, reported_at)"
            " VALUES (%s, %s, %s, %s, 1, 'started', %s, 'vm', %s)"
        ).format(sql.Identifier(ledger.place.schema)),
        (*(claim.key.eno, claim.key.due_at, claim.key.kind, claim.key.kind_id), who, at),
    )


def test_a_reader_reads(login: Callable[[str], str], ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry()), "stamp")
    clock.advance(60)
    ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
    with closing(LedgerPostgres(place_of(login(grants("reader")), project="shop", read_only=True), horizon=clock)) as reader:
        assert states(reader) == states(ledger) and reader.peek(10)[1] == []
        assert reader.status().revision == 1 and reader.entries() == ledger.entries()
        assert code_of(lambda: reader.look(A)) == "L407"


def test_a_role_that_may_not_make_a_ledger_says_so(
    login: Callable[[str], str], postgres_address: str, ledger: LedgerPostgres
) -> None:
    address = login("GRANT USAGE ON SCHEMA {s} TO {role}")

    assert code_of(lambda: LedgerPostgres(place_of(address, project="shop"))) == "L407"
    assert code_of(lambda: LedgerPostgres(place_of(address + "_not_there", project="shop"))) == "L407"


# Reports of workers


def says(ledger: LedgerPostgres, claim: object, state: str, **more: object) -> None:
    from offbeat.ports.ledger_values import Claim

    assert isinstance(claim, Claim)
    told = {"eno": claim.key.eno, "due_at": claim.key.due_at, "attempt": claim.attempt, "state": state, "runner": "w:1:worker"}
    told |= more
    names = sql.SQL(", ").join(map(sql.Identifier, told))
    with psycopg.connect(ledger.place.conninfo, autocommit=True) as worker:
        worker.execute(
            sql.SQL("INSERT INTO {}.reports ({}) VALUES ({})").format(
                sql.Identifier(ledger.place.schema), names, sql.SQL(", ").join([sql.Placeholder()] * len(told))
            ),
            list(told.values()),
        )


def test_what_workers_say_is_applied_by_the_next_look_in_the_order_in_which_they_said_it(
    ledger: LedgerPostgres, clock: FakeClock
) -> None:
    ledger.activate(schedule(entry(overlap=Overlap.WAIT, max_runtime=3600)), "stamp")
    clock.advance(60)
    (first,) = pass_once(ledger, A)
    ledger.settle(A, [outcome(first)])
    clock.advance(60)
    assert pass_once(ledger, A) == []
    for state in ("started", "succeeded"):
        says(ledger, first, state)
    says(ledger, first, "no such state")
    says(ledger, first, "", version="1.2", host="w")

    assert ledger.look(A).due

    assert [state for _, _, state, _ in states(ledger)] == [State.WAITING, State.SUCCEEDED]
    assert [(s.runner.id, s.runner.version) for s in ledger.status().runners if s.runner.role == "worker"] == [
        ("w:1:worker", "1.2")
    ]
    (second,) = ledger.claim(A, 10)
    assert second.waited


def test_an_earlier_attempt_that_was_admitted_counts_and_any_other_does_not(ledger: LedgerPostgres, clock: FakeClock) -> None:
    ledger.activate(schedule(entry("x"), entry("y")), "stamp")
    clock.advance(60)
    x, y = pass_once(ledger, A)
    clock.advance(11)
    ledger.settle(B, [outcome(claim) for claim in ledger.claim(B, 10)])
    says(ledger, x, "started", admitted=True)
    says(ledger, y, "started", admitted=False)
    ledger.look(A)

    assert {name: state for name, _, state, _ in states(ledger)} == {"x": State.STARTED, "y": State.DISPATCHED}


# Partitions


def partitions(ledger: LedgerPostgres) -> list[int]:
    from offbeat.ports.ledger_postgres.days import days_present

    return sorted(ledger.read(lambda tx: days_present(tx, ledger.texts.schema)))


def test_a_day_gets_its_partition_before_it_comes_and_loses_it_whole(
    postgres_address: str, schema: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(LedgerPostgres(place_of(f"{postgres_address}?schema={schema}", project="shop"), horizon=clock)) as ledger:
        ledger.look(A)
        ledger.activate(schedule(entry("e", "every 3600 0")), "stamp")
        today = NOON // DAY
        for _ in range(3 * 24):
            clock.advance(3600)
            ledger.look(A)
            clock.advance(5)
            ledger.look(A)
            ledger.settle(A, [outcome(claim) for claim in pass_once(ledger, A)])
            clock.advance(-5)
        assert partitions(ledger) == [today, today + 1, today + 2, today + 3, today + 4]
        in_rest = ledger.read(lambda tx: tx.rows("SELECT count(*) FROM {s}.history_rest"))
        assert in_rest == [(0,)]

        for hours in (30 * 24,):
            clock.advance(hours * 3600.0)
            ledger.look(A)
            clock.advance(5)
            ledger.look(A)
        while pass_once(ledger, A):
            pass
        for claim in ledger.claim(A, 100):
            ledger.settle(A, [outcome(claim)])
        monkeypatch.setattr(pruning, "DROP", 20)
        monkeypatch.setattr(pruning, "IS_MUCH", pruning.IS_MUCH.replace("10000", "20"))
        keep = LedgerSettings(keep_seconds=DAY)
        while ledger.prune(5, keep):
            pass
        assert today not in partitions(ledger) and today + 1 not in partitions(ledger)
        assert [row for row in ledger.history(limit=1000) if row.due_at < NOON + 2 * DAY and row.until is None] == []
