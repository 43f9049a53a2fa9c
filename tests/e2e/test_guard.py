"""The guard in real workers, over real brokers and ledgers: one attempt starts, and nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kombu
import pytest
from tests import servers
from tests.ports.ledger_world import entry, outcome, runner, schedule
from tests.servers import free_port, wait_for
from tests.worker.test_old_python import old_pythons
from tests.workers import Worker, WorkerSettings, running_worker

from offbeat.core.message import Message, build
from offbeat.core.model import Cause, Overlap, State, TaskCall
from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_values import Claim, SeenRunner

PROJECT = "guarded"
ROOT = Path(__file__).resolve().parent.parent.parent
ENDS = (
    ("tests.noted", State.SUCCEEDED, "", ""),
    ("tests.failing", State.FAILED, "", "ValueError"),
    ("tests.retried", State.SUCCEEDED, "", ""),
    ("tests.limited", State.FAILED, "timed_out", "TimeLimitExceeded"),
    ("tests.expired", State.REVOKED, "", "expired in the queue"),
    ("tests.killed", State.FAILED, "", "WorkerLostError"),
    ("tests.replaced", State.SUCCEEDED, "", ""),
    ("tests.nobody_knows", State.FAILED, "", "no task of that name is known to the worker"),
)
NEVER_BEGUN = ("tests.expired", "tests.nobody_knows")
TASKS = [task for task, *_ in ENDS]


def message(task: str, *args: Any, occurrence: str = "", attempt: int = 1, **more: Any) -> Message:
    return build(
        call=TaskCall(task=task, args=args),
        entry="report",
        occurrence=occurrence or str(uuid.uuid4()),
        cause=Cause.SCHEDULE,
        attempt=attempt,
        origin="offbeat@test",
        **{"expires_at": None, "due_at": 1_772_332_200, **more},
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """A worker with the guard, and how to send to it."""

    worker: Worker
    url: str
    queue: str
    ledger: str

    def send(self, *messages: Message) -> None:
        with kombu.Connection(self.url) as connection:
            producer = connection.Producer()
            for one in messages:
                self.publish(producer, one.headers, one.body)

    def publish(self, producer: Any, headers: Mapping[str, Any], body: Any) -> None:
        producer.publish(body, routing_key=self.queue, headers=dict(headers), correlation_id=headers["id"], serializer="json")

    def flush(self) -> None:
        """Return when everything sent before has been through the worker, which does one task at a time."""
        last = message("tests.noted", "last")
        self.send(last)
        self.worker.wait_for_started([last.task_id])

    def of(self, task_id: str, event: str = "started") -> list[dict[str, Any]]:
        return [record for record in self.worker.records(event) if record["id"] == task_id]


def settings(request: pytest.FixtureRequest, broker: str, ledger: str, folder: Path, queue: str = "") -> WorkerSettings:
    queue = queue or f"guard-{uuid.uuid4().hex}"
    host = folder / "host"  # of its own: what a host has started is remembered beside
    host.mkdir(mode=0o700, exist_ok=True)
    return WorkerSettings(
        broker=request.getfixturevalue("module_redis_url" if broker == "redis" else "rabbitmq_url"),
        queues={queue: {"x-expires": 60_000}} if broker == "rabbitmq" else {queue: {}},
        app="guarded_app",
        environ={"XDG_RUNTIME_DIR": str(host)},
        conf={
            "imports": ["offbeat.worker"],
            "offbeat_ledger": address_of(request, ledger, folder),
            "offbeat_project": PROJECT,
            "offbeat_requeue_pause": 0.2,
        },
    )


def address_of(request: pytest.FixtureRequest, ledger: str, folder: Path) -> str:
    """Return the address of a new ledger."""
    addresses = {
        "none": lambda: f"sqlite:///{folder}/none",
        "sqlite": lambda: f"sqlite:///{folder}/ledger.sqlite3",
        "redis": lambda: f"{request.getfixturevalue('module_redis_url')}?prefix={folder.name}&durability=none",
        "postgres": lambda: f"{request.getfixturevalue('postgres_address')}?schema=g{uuid.uuid4().hex}",
    }
    return addresses[ledger]()


@pytest.fixture(scope="module", params=["redis-redis", "rabbitmq-postgres"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    broker, ledger = request.param.split("-")
    folder = tmp_path_factory.mktemp(request.param)
    chosen = settings(request, broker, ledger, folder)
    with running_ledger(str(chosen.conf["offbeat_ledger"])) as opened:
        opened.look(runner())
        opened.activate(schedule(*(entry(name, overlap=Overlap.WAIT, max_runtime=3600) for name in TASKS)), "stamp")
    with running_worker(folder / "worker", chosen) as worker:
        yield Pair(worker, chosen.broker, next(iter(chosen.queues)), str(chosen.conf["offbeat_ledger"]))


@contextmanager
def running_ledger(address: str) -> Iterator[Ledger]:
    """Open the ledger as a runner does."""
    with closing(open_ledger(address, clock=SystemClock(), project=PROJECT, owner="")) as ledger:
        yield ledger


def test_of_two_attempts_at_one_occurrence_one_is_started(pair: Pair) -> None:
    first = message("tests.noted", attempt=1)
    second = message("tests.noted", attempt=2, occurrence=first.task_id)

    pair.send(second, first, second)
    pair.flush()

    assert len(pair.of(first.task_id)) == 2, "the second attempt came first, and again"
    assert {record["headers"]["offbeat_attempt"] for record in pair.of(first.task_id)} == {2}


def test_the_attempt_that_won_passes_when_the_broker_delivers_it_again(pair: Pair) -> None:
    only = message("tests.noted")

    pair.send(only, only)
    pair.flush()

    assert len(pair.of(only.task_id)) == 2


@pytest.mark.parametrize("task", ["tests.own_start", "tests.also_start"])
def test_a_task_with_a_start_of_its_own_is_guarded_too_and_its_own_still_runs(pair: Pair, task: str) -> None:
    first = message(task, attempt=1)

    pair.send(first, message(task, attempt=2, occurrence=first.task_id))
    pair.flush()

    assert (len(pair.of(first.task_id)), len(pair.of(first.task_id, "own_start"))) == (1, 1)


def test_a_retry_of_the_attempt_that_won_passes_and_other_attempts_stay_out(pair: Pair) -> None:
    first = message("tests.retried")

    pair.send(first, message("tests.retried", attempt=2, occurrence=first.task_id))
    wait_for("the second retry", lambda: len(pair.of(first.task_id)) >= 3)
    pair.flush()

    assert [record["retries"] for record in pair.of(first.task_id)] == [0, 1, 2]


def test_messages_of_others_are_not_touched(pair: Pair) -> None:
    with kombu.Connection(pair.url) as connection:
        name, headers = str(uuid.uuid4()), {"task": "tests.noted", "id": ""}
        headers["id"] = name
        for _ in range(2):
            pair.publish(connection.Producer(), headers, [[], {}, None])
    pair.flush()

    assert len(pair.of(name)) == 2


def test_a_child_that_was_sent_with_its_parents_headers_is_not_taken_for_another_attempt(pair: Pair) -> None:
    only = message("tests.parent")

    pair.send(only, only)
    pair.flush()
    pair.flush()

    assert len([record for record in pair.worker.records() if record.get("args") == ["child"]]) == 2


def test_a_message_that_was_sent_atomically_needs_no_ledger(pair: Pair) -> None:
    due = int(SystemClock().now())
    first = message("tests.noted", attempt=1, atomic=True, due_at=due)

    pair.send(first, message("tests.noted", attempt=2, occurrence=first.task_id, due_at=due))
    pair.flush()

    assert len(pair.of(first.task_id)) == 2, "the first one asked nobody, so the second one won"


def test_the_worker_gives_signs_of_life(pair: Pair) -> None:
    with running_ledger(pair.ledger) as ledger:

        def seen_by_all() -> list[SeenRunner]:
            ledger.look(runner())
            return [seen for seen in ledger.status().runners if seen.runner.role == "worker"]

        wait_for("a sign of life", lambda: bool(seen_by_all()))
        (seen,) = seen_by_all()

    assert seen.runner.pid == pair.worker.program.pid
    assert seen.runner.id.rpartition(":")[0] == f"{seen.runner.host}:{seen.runner.pid}:worker"


@pytest.mark.parametrize(("task", "end", "reason", "note"), ENDS)
def test_the_end_of_a_task_is_told_and_frees_what_waits_for_it(
    pair: Pair, task: str, end: State, reason: str, note: str
) -> None:
    due, token = 1_772_366_400, uuid.uuid4().hex
    with running_ledger(pair.ledger) as ledger:

        def claimed() -> list[Claim]:
            ledger.look(runner())
            return [claim for claim in ledger.claim(runner(), 100) if claim.name == task]

        ledger.look(runner())
        ledger.backfill(task, token, [(due, due)])
        (one,) = claimed()
        ledger.settle(runner(), [outcome(one)])
        ledger.backfill(task, token, [(due + 60, due + 60)])
        assert claimed() == []
        row = f"{one.key.eno}:{one.key.due_at}:{one.key.kind}:{one.key.kind_id}"

        pair.send(message(task, row=row, expires_at=due if end is State.REVOKED else None))
        found: list[Claim] = []

        def woken() -> bool:
            found.extend(claimed())
            return bool(found)

        wait_for("the claim of what waited", woken)
        (told,) = [line for line in ledger.history(task) if line.key == one.key]

    assert (told.state, told.reason) == (end, reason)
    assert told.note == note or (note == "" and told.note.endswith(started_by(pair))), "the end's note, or who started it"
    assert (told.started_at is None) == (task in NEVER_BEGUN)
    assert [claim.key.due_at for claim in found] == [due + 60]


def started_by(pair: Pair) -> str:
    with running_ledger(pair.ledger) as ledger:
        return next(seen.runner.id for seen in ledger.status().runners if seen.runner.role == "worker")


@pytest.fixture(params=["redis", "rabbitmq"])
def lone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Return a function that starts one more worker, over either broker, with settings of its own."""
    with ExitStack() as stack:

        def start(queue: str = "", pool: str = "prefork", **conf: Any) -> Pair:
            chosen = settings(request, str(request.param), "none", tmp_path, queue)
            chosen = replace(chosen, conf={**chosen.conf, **conf}, pool=pool, concurrency=1 if pool == "prefork" else 4)
            worker = stack.enter_context(running_worker(tmp_path / "worker", chosen))
            return Pair(worker, chosen.broker, next(iter(chosen.queues)), str(chosen.conf["offbeat_ledger"]))

        yield start


@pytest.mark.parametrize("pool", ["solo", "threads"])
@pytest.mark.parametrize("lone", ["redis"], indirect=True)
def test_other_pools_are_guarded_too(lone: Callable[..., Pair], pool: str, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/ledger.sqlite3"
    with running_ledger(address):
        pair = lone(pool=pool, offbeat_ledger=address)
    first = [message("tests.noted") for _ in range(20)]
    again = [message("tests.noted", attempt=2, occurrence=one.task_id) for one in first]

    pair.send(*first, *again)
    wait_for("the end of all", lambda: pair.worker.log.count("succeeded") + pair.worker.log.count("ignored attempt") == 40)

    assert [len(pair.of(one.task_id)) for one in first] == [1] * 20


@pytest.mark.parametrize("lone", ["redis"], indirect=True)
def test_without_the_guard_every_attempt_starts(lone: Callable[..., Pair]) -> None:
    pair = lone(imports=[])
    first = message("tests.noted", attempt=1)

    pair.send(first, message("tests.noted", attempt=2, occurrence=first.task_id))
    pair.flush()

    assert len(pair.of(first.task_id)) == 2


@pytest.mark.parametrize("lone", ["rabbitmq"], indirect=True)
def test_while_the_ledger_is_down_tasks_run_once_on_a_host_and_the_log_says_so_once(lone: Callable[..., Pair]) -> None:
    pair = lone(offbeat_ledger=f"redis://:s3cr3t@127.0.0.1:{free_port()}/0")
    first, other = message("tests.noted", attempt=1), message("tests.noted")

    pair.send(first, message("tests.noted", attempt=2, occurrence=first.task_id), first, other)
    pair.flush()

    assert [record["headers"]["offbeat_attempt"] for record in pair.of(first.task_id)] == [1, 1], "the same attempt passes"
    assert len(pair.of(other.task_id)) == 1
    assert pair.worker.log.count("[W102]") == 1
    assert "s3cr3t" not in pair.worker.log


@pytest.mark.parametrize("task", ["tests.noted", "tests.late"], ids=["acknowledged early", "acknowledged late"])
def test_a_refused_task_comes_again_until_the_ledger_answers(lone: Callable[..., Pair], task: str, tmp_path: Path) -> None:
    servers.need("redis-server")
    port = free_port()
    pair = lone(offbeat_ledger=f"redis://127.0.0.1:{port}/0", offbeat_on_error="refuse")
    first = message(task, 0, attempt=1)

    pair.send(first, message(task, 0, attempt=2, occurrence=first.task_id))
    wait_for("the second time", lambda: pair.worker.log.count("] ignored") >= 4)
    assert pair.of(first.task_id) == []
    with servers.redis_server(tmp_path, port):
        wait_for("the start", lambda: len(pair.of(first.task_id)) >= 1)
        wait_for("the other attempt's end", lambda: "another one has started" in pair.worker.log)
        pair.flush()

    assert len(pair.of(first.task_id)) == 1
    assert "[W103]" in pair.worker.log


@pytest.mark.parametrize("lone", ["rabbitmq"], indirect=True)
def test_what_a_killed_worker_had_is_started_again_by_the_next_one(lone: Callable[..., Pair], tmp_path: Path) -> None:
    pair = lone(offbeat_ledger=f"sqlite:///{tmp_path}/ledger.sqlite3")
    with running_ledger(pair.ledger):
        only = message("tests.late", 60)
    pair.send(only)
    wait_for("the start", lambda: len(pair.of(only.task_id)) == 1)
    os.killpg(pair.worker.program.pid, signal.SIGKILL)

    again = lone(queue=pair.queue, offbeat_ledger=pair.ledger)
    again.send(message("tests.late", 60, attempt=2, occurrence=only.task_id))
    wait_for("the second start", lambda: len(again.of(only.task_id, "ended")) == 1)
    again.flush()

    assert [record["redelivered"] for record in again.of(only.task_id)] == [False, True]


@pytest.fixture(scope="module")
def old_celery(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python with Celery 5.2: an old one (3.8 to 3.10) where there is one, else ours."""
    venv = tmp_path_factory.mktemp("old") / "venv"
    login = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    base = next(iter(old_pythons()), sys.executable)
    words = [base, "-m", "venv", str(venv)]
    assert subprocess.run(words, env=login, check=False).returncode == 0
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--retries", "1"]
    done = subprocess.run([*pip, "celery[redis]==5.2.7"], env=login, capture_output=True, text=True, timeout=240, check=False)
    if "connection broken" in done.stderr and done.returncode and login.get("CI") != "true":
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return str(venv / "bin" / "python")


def test_an_old_celery_on_an_old_python_is_guarded_as_well(
    request: pytest.FixtureRequest, old_celery: str, tmp_path: Path
) -> None:
    chosen = settings(request, "redis", "redis", tmp_path)
    chosen = replace(chosen, python=old_celery, environ={**chosen.environ, "PYTHONPATH": str(ROOT / "src")})
    with running_worker(tmp_path / "worker", chosen) as worker:
        pair = Pair(worker, chosen.broker, next(iter(chosen.queues)), str(chosen.conf["offbeat_ledger"]))
        for check in OLD:
            check(pair)
        for task in ("tests.own_start", "tests.also_start"):
            test_a_task_with_a_start_of_its_own_is_guarded_too_and_its_own_still_runs(pair, task)
        with running_ledger(pair.ledger) as opened:
            opened.look(runner())
            opened.activate(schedule(*(entry(name, overlap=Overlap.WAIT, max_runtime=3600) for name in TASKS)), "stamp")
        for task, end, reason, note in ENDS:
            test_the_end_of_a_task_is_told_and_frees_what_waits_for_it(pair, task, end, reason, note)


OLD = (
    test_of_two_attempts_at_one_occurrence_one_is_started,
    test_the_attempt_that_won_passes_when_the_broker_delivers_it_again,
    test_a_retry_of_the_attempt_that_won_passes_and_other_attempts_stay_out,
    test_messages_of_others_are_not_touched,
    test_a_child_that_was_sent_with_its_parents_headers_is_not_taken_for_another_attempt,
    test_the_worker_gives_signs_of_life,
)
