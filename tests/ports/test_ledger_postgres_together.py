"""Several runners at once on one PostgreSQL ledger; some of them killed, and the server too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from tests import servers
from tests.ports.ledger_world import NOON, command, entry, outcome, pass_once, report, runner, schedule, states
from tests.ports.postgres_place import drop, emptied

from offbeat.core.model import CatchUp, Key, Overlap, Reason, State
from offbeat.core.plan import plan
from offbeat.errors import LedgerAwayError, LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_postgres import LedgerPostgres, Place, place_of

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = [entry(f"e{number}", f"every {1 + number % 3} 0", catch_up=CatchUp.ALL) for number in range(60)]
LATE = 25  # seconds of the ledger's clock that the runners work through

WRITER = """
import sys
from offbeat.core.model import State
from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_postgres import LedgerPostgres, place_of
from offbeat.ports.ledger_values import Outcome, Runner
address, me, now = sys.argv[1], sys.argv[2], float(sys.argv[3])
clock = FakeClock(now)
ledger = LedgerPostgres(place_of(address, project="shop"), horizon=clock)
who = Runner(id=me, host="host", pid=1, role="tick")
print("ready", flush=True)
while True:
    ledger.look(who)
    portion = ledger.take(30)
    claims = [*ledger.record(who, plan(portion, burst=40), portion.revision), *ledger.claim(who, 20)]
    ledger.settle(who, [Outcome(key=c.key, attempt=c.attempt, state=State.DISPATCHED) for c in claims])
    clock.advance(0.25)
"""


@pytest.fixture
def place(postgres_address: str) -> Place:
    return emptied(postgres_address, "together")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def handle(place: Place, clock: FakeClock) -> Iterator[Callable[[], LedgerPostgres]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(LedgerPostgres(place, horizon=clock)))


def side_by_side(*jobs: Callable[[], None]) -> None:
    """Run the jobs in threads; raise what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised below, where pytest sees it
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def due_times(seconds: int) -> Counter[tuple[str, int]]:
    return Counter(
        (each.name, at)
        for each in ENTRIES
        for at in range(NOON + 1, NOON + seconds + 1)
        if at % int(each.timing.recurrence.split()[1]) == 0
    )


def test_each_due_time_becomes_one_row_and_one_attempt_of_each_wins(
    handle: Callable[[], LedgerPostgres], clock: FakeClock
) -> None:
    first = handle()
    first.activate(schedule(*ENTRIES), "s")
    settled: Counter[Key] = Counter()
    lock = threading.Lock()

    def work(ledger: LedgerPostgres, name: str) -> None:
        me = runner(name)
        while clock.now() < NOON + LATE or ledger.look(me).due:
            ledger.look(me)
            claims = [*pass_once(ledger, me, 40), *ledger.claim(me, 25)]
            accepted = ledger.settle(me, [outcome(claim) for claim in claims])
            with lock:
                settled.update(accepted)
                if clock.now() < NOON + LATE:
                    clock.advance(0.5)

    side_by_side(*(lambda name=name: work(handle(), name) for name in "abcd"))

    clock.wall = NOON + LATE + 60.0
    for claim in first.claim(runner("a"), 1000):
        settled.update(first.settle(runner("a"), [outcome(claim)]))
    rows = first.history(limit=100_000, since=NOON)
    assert Counter((row.entry, row.due_at) for row in rows if row.due_at <= NOON + LATE) == due_times(LATE)
    assert {row.state for row in rows} == {State.DISPATCHED}
    assert set(settled.values()) == {1} and len(settled) == len(rows)


def test_the_slot_of_an_entry_has_one_holder_however_many_ask(handle: Callable[[], LedgerPostgres], clock: FakeClock) -> None:
    ledger = handle()
    ledger.activate(schedule(*(entry(f"w{n}", "every 1 0", overlap=Overlap.WAIT, max_runtime=600) for n in range(5))), "s")
    running: dict[int, Key] = {}
    both: list[tuple[Key, Key]] = []
    lock = threading.Lock()

    def work(mine: LedgerPostgres, name: str) -> None:
        me = runner(name)
        while clock.now() < NOON + 15:
            claims = [*pass_once(mine, me), *mine.claim(me, 25)]
            with lock:
                both.extend((running[c.key.eno], c.key) for c in claims if c.key.eno in running)
                running.update({claim.key.eno: claim.key for claim in claims})
            mine.settle(me, [outcome(claim) for claim in claims])
            with lock:
                for claim in claims:
                    running.pop(claim.key.eno, None)
            mine.report(me, [report(claim, State.SUCCEEDED) for claim in claims])
            with lock:
                clock.advance(0.5)

    side_by_side(*(lambda name=name: work(handle(), name) for name in "abcd"))

    assert both == []
    fates = Counter((state, reason) for _, _, state, reason in states(ledger))
    assert set(fates) <= {
        (State.SUCCEEDED, ""),
        (State.SKIPPED, Reason.OVERLAP),
        (State.SKIPPED, Reason.COALESCED),
        (State.WAITING, ""),
        (State.PENDING, ""),
        (State.CLAIMED, ""),
    }
    assert fates[State.SUCCEEDED, ""] >= 5


def test_a_change_of_the_schedule_in_the_middle_loses_and_repeats_nothing(
    handle: Callable[[], LedgerPostgres], clock: FakeClock
) -> None:
    ledger = handle()
    ledger.activate(schedule(*ENTRIES), "0")
    end = threading.Event()

    def work(mine: LedgerPostgres, name: str) -> None:
        while not end.is_set():
            claims = [*pass_once(mine, runner(name), 40), *mine.claim(runner(name), 25)]
            mine.settle(runner(name), [outcome(claim) for claim in claims])

    def change(mine: LedgerPostgres) -> None:
        try:
            for number in range(12):
                extra = [entry(f"x{number}", "every 1 0", catch_up=CatchUp.ALL)]
                mine.activate(schedule(*ENTRIES, *extra), str(number + 1))
                clock.advance(2)
        finally:
            end.set()

    side_by_side(lambda: work(handle(), "a"), lambda: work(handle(), "b"), lambda: change(handle()))

    while claims := [*pass_once(ledger, runner("c")), *ledger.claim(runner("c"), 1000)]:
        ledger.settle(runner("c"), [outcome(claim) for claim in claims])
    old = [row for row in ledger.history(limit=100_000) if row.entry.startswith("e")]
    assert Counter((row.entry, row.due_at) for row in old) == due_times(24)
    for number in range(12):  # each extra entry was there for two seconds
        assert len(ledger.history(f"x{number}")) == 2


def test_runners_that_are_killed_lose_and_repeat_nothing(place: Place, postgres_address: str) -> None:
    clock = FakeClock(float(NOON))
    with closing(LedgerPostgres(place, horizon=clock)) as ledger:
        ledger.activate(schedule(*ENTRIES), "s")
        address = f"{postgres_address}?schema={place.schema}"
        for round_ in range(6):
            env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            command_line = [sys.executable, "-c", WRITER, address, f"host:{round_}:tick", str(NOON + round_ * 4)]
            with subprocess.Popen(command_line, env=env, stdout=subprocess.PIPE, text=True) as writer:
                assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
                with pytest.raises(subprocess.TimeoutExpired):
                    writer.wait(0.05 + 0.07 * round_)
                writer.kill()
        clock.wall = NOON + 120.0
        ledger.look(runner("a"))
        while claims := [*pass_once(ledger, runner("a")), *ledger.claim(runner("a"), 1000)]:
            ledger.settle(runner("a"), [outcome(claim) for claim in claims])

        rows = ledger.history(limit=1_000_000)
        assert Counter((row.entry, row.due_at) for row in rows) == due_times(120)
        assert {row.state for row in rows} == {State.DISPATCHED}


def test_a_connection_that_was_ended_is_made_anew_without_a_word(place: Place, clock: FakeClock, postgres_address: str) -> None:
    mine = f"{postgres_address}?schema={place.schema}&application_name={place.schema}"
    with closing(LedgerPostgres(place_of(mine, project="shop"), horizon=clock)) as ledger:
        ledger.activate(schedule(*ENTRIES), "s")
        clock.advance(1)
        portion = ledger.take(100)
        with psycopg.connect(postgres_address, autocommit=True) as admin:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
            assert admin.execute(ended, [place.schema]).fetchall() == [(True,)]

        assert ledger.take(100) == portion
        assert len(pass_once(ledger, runner("a"))) == 20


def test_a_runner_that_stands_still_while_it_records_holds_up_only_its_own_groups(
    place: Place, handle: Callable[[], LedgerPostgres], clock: FakeClock, postgres_address: str
) -> None:
    ledger = handle()
    ledger.look(runner("a"))
    ledger.activate(schedule(entry("held", "every 60 0"), entry("free", "every 30 0")), "s1")
    clock.advance(60)
    portion = ledger.take(10)
    windows = plan(portion)

    with psycopg.connect(postgres_address, options=f"-c search_path={place.schema}") as still:
        still.execute("SELECT 1 FROM groups WHERE recurrence = 'every 60 0' FOR UPDATE")
        first = ledger.record(runner("a"), windows, portion.revision)
        assert {claim.name for claim in first} == {"free"}

    assert {claim.name for claim in pass_once(ledger, runner("b"))} == {"held"}


def test_a_server_that_restarts_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    port, clock = servers.free_port(), FakeClock(float(NOON))
    servers.need("initdb")
    folder = tmp_path / "server"
    folder.mkdir()
    with ExitStack() as stack:
        server = ExitStack()
        address = server.enter_context(servers.postgres_server(folder, port))
        stack.callback(server.close)
        ledger = stack.enter_context(closing(LedgerPostgres(place_of(address, project="shop"), horizon=clock)))
        ledger.activate(schedule(*ENTRIES, command()), "s")
        clock.advance(5)
        before = pass_once(ledger, runner("a"))
        server.close()

        for operation in (lambda: ledger.look(runner("a")), lambda: ledger.settle(runner("a"), [outcome(before[0])])):
            with pytest.raises(LedgerError) as told:
                operation()
            (problem,) = told.value.problems
            assert problem.code in ("L403", "L406") and servers.PASSWORD not in str(problem)

        server.enter_context(servers.postgres_server(folder, port))
        assert len(ledger.settle(runner("a"), [outcome(claim) for claim in before])) == len(before)
        assert len(ledger.history(limit=10_000)) >= len(before)


def test_a_pooler_in_transaction_mode_may_stand_between(
    place: Place, postgres_address: str, clock: FakeClock, tmp_path: Path
) -> None:
    servers.need("pgbouncer")
    settled: Counter[Key] = Counter()
    with ExitStack() as stack:
        address = stack.enter_context(servers.pgbouncer(tmp_path, postgres_address, pool=2))
        through = place_of(f"{address}?schema={place.schema}", project="shop")
        handles = [stack.enter_context(closing(LedgerPostgres(through, horizon=clock))) for _ in range(5)]
        handles[0].activate(schedule(*ENTRIES), "s")

        def work(ledger: LedgerPostgres, name: str) -> None:
            for _ in range(8):
                ledger.look(runner(name))
                claims = [*pass_once(ledger, runner(name), 20), *ledger.claim(runner(name), 20)]
                settled.update(ledger.settle(runner(name), [outcome(claim) for claim in claims]))
                clock.advance(0.1)

        pairs = list(zip(handles, "abcde", strict=True))
        side_by_side(*(lambda pair=pair: work(*pair) for pair in pairs))

        assert set(settled.values()) == {1} and len(settled) >= 60


@pytest.mark.parametrize("schema", ["no_ledger_yet", ""])
def test_a_pooler_in_statement_mode_is_told_as_what_it_is_and_not_waited_for(
    place: Place, postgres_address: str, tmp_path: Path, schema: str
) -> None:
    servers.need("pgbouncer")
    with servers.pgbouncer(tmp_path, postgres_address, pool=2, mode="statement") as address:
        through = place_of(f"{address}?schema={schema or place.schema}", project="shop")
        with pytest.raises(LedgerError) as told, closing(LedgerPostgres(through)) as ledger:
            ledger.look(runner("a"))

    assert [problem.code for problem in told.value.problems] == ["L419"]
    assert not isinstance(told.value, LedgerAwayError)


def test_first_starters_make_one_ledger(postgres_address: str) -> None:
    drop(postgres_address, "first_starters")
    place = place_of(f"{postgres_address}?schema=first_starters", project="shop")
    opened: list[LedgerPostgres] = []
    start = threading.Barrier(6)

    def begin() -> None:
        start.wait()
        opened.append(LedgerPostgres(place, horizon=FakeClock(float(NOON))))

    side_by_side(*[begin] * 6)

    assert len({ledger.look(runner(str(number))).born for number, ledger in enumerate(opened)}) == 1
    for ledger in opened:
        ledger.close()
    drop(postgres_address, "first_starters")
