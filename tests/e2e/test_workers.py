"""Real workers of the newest Celery start what offbeat publishes: once, whole, in order of priority."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.workers import Worker, WorkerSettings, running_worker

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock

Start = Callable[[WorkerSettings], Worker]


def message(call: TaskCall, *, occurrence: str = "", expires_at: float | None = None) -> Message:
    return build(
        call=call,
        entry="search_dates",
        occurrence=occurrence or str(uuid.uuid4()),
        due_at=1_772_332_200,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=expires_at,
    )


def publish(url: str, messages: Sequence[Message], options: dict[str, Any] | None = None) -> Sequence[Delivery]:
    broker = BrokerKombu(url, BrokerSettings(transport_options=options or {}), clock=SystemClock())
    try:
        return broker.publish(messages, seconds=10)
    finally:
        broker.close()


@dataclass(frozen=True, slots=True)
class Pair:
    """A worker, and how to send to it."""

    worker: Worker
    url: str
    queue: str
    options: dict[str, Any]
    results: Path

    def send(self, *messages: Message) -> None:
        deliveries = publish(self.url, messages, self.options)
        assert [delivery.error for delivery in deliveries] == [""] * len(messages)

    def call(self, task: str, *args: Any, **kwargs: Any) -> TaskCall:
        return TaskCall(task=task, queue=self.queue, args=args, kwargs=kwargs)

    def flush(self) -> None:
        """Return when everything sent before has reached the worker."""
        last = message(self.call("tests.noted", "last"))
        self.send(last)
        self.worker.wait_for_started([last.task_id])


@pytest.fixture(scope="module", params=["redis", "rabbitmq", "filesystem"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp(request.param)
    queue, options = f"workers-{uuid.uuid4().hex}", {}
    if request.param == "filesystem":
        url = "filesystem://"
        options = {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
        }
        (folder / "queue").mkdir()
    else:
        url = request.getfixturevalue("module_redis_url" if request.param == "redis" else "rabbitmq_url")
    results = folder / "results"
    results.mkdir()
    settings = WorkerSettings(
        broker=url,
        queues={queue: {"x-expires": 60_000}} if request.param == "rabbitmq" else {queue: {}},
        transport_options={**options, "polling_interval": 0.05} if options else {},
        backend=f"file://{results}",
    )
    with running_worker(folder / "worker", settings) as worker:
        yield Pair(worker, url, queue, options, results)


def test_each_message_is_started_exactly_once(pair: Pair) -> None:
    messages = [message(pair.call("tests.noted", number)) for number in range(50)]
    ids = [each.task_id for each in messages]

    pair.send(*messages)
    pair.worker.wait_for_started(ids)
    pair.flush()

    started = [record["id"] for record in pair.worker.records() if record["id"] in ids]
    assert sorted(started) == sorted(ids)


def test_a_worker_sees_arguments_and_headers_as_they_were_written(pair: Pair) -> None:
    call = pair.call("tests.noted", 1, "zwölf", [None, 2.5], full=True, nested={"ключ": ["значение"]})
    sent = message(replace(call, headers={"tenant": "acme", "offbeat_entry": "forged"}))

    pair.send(sent)
    pair.worker.wait_for_started([sent.task_id])

    (record,) = [record for record in pair.worker.records() if record["id"] == sent.task_id]
    assert record["name"] == "tests.noted"
    assert record["args"] == [1, "zwölf", [None, 2.5]]
    assert record["kwargs"] == {"full": True, "nested": {"ключ": ["значение"]}}
    assert {name: text for name, text in record["headers"].items() if name in {"tenant", "periodic_task_name"}} == {
        "tenant": "acme",
        "periodic_task_name": "search_dates",
    }
    assert {name: text for name, text in record["headers"].items() if name.startswith("offbeat_")} == {
        "offbeat_entry": "search_dates",
        "offbeat_occurrence": sent.task_id,
        "offbeat_due_at": "2026-03-01T02:30:00Z",
        "offbeat_cause": "schedule",
        "offbeat_attempt": 1,
    }


def test_a_message_that_has_expired_is_not_started(pair: Pair) -> None:
    now = SystemClock().now()
    late = message(pair.call("tests.noted", "late"), expires_at=now - 1)
    early = message(pair.call("tests.noted", "early"), expires_at=now + 600)

    pair.send(late, early)
    pair.worker.wait_for_started([early.task_id])
    pair.flush()

    assert late.task_id not in {record["id"] for record in pair.worker.records()}
    if not pair.url.startswith("amqp"):  # there the server itself may drop it before the worker sees it
        revoked = [record for record in pair.worker.records("revoked") if record["id"] == late.task_id]
        assert [record["expired"] for record in revoked] == [True]


def test_a_task_that_ignores_its_result_stores_none(pair: Pair) -> None:
    kept, silent = message(pair.call("tests.noted")), message(pair.call("tests.silent"))

    pair.send(silent, kept)
    pair.worker.wait_for_started([silent.task_id, kept.task_id])
    pair.flush()

    stored = {path.name.removeprefix("celery-task-meta-") for path in pair.results.iterdir()}
    assert kept.task_id in stored
    assert silent.task_id not in stored


@pytest.mark.parametrize("pair", ["redis", "rabbitmq"], indirect=True, scope="module")  # folders order by the millisecond
def test_messages_of_one_connection_keep_their_order(pair: Pair) -> None:
    messages = [message(pair.call("tests.noted", number)) for number in range(20)]
    ids = [each.task_id for each in messages]

    pair.send(*messages)
    pair.worker.wait_for_started(ids)

    assert [record["id"] for record in pair.worker.records() if record["id"] in ids] == ids


def order_of(worker: Worker, sent: Sequence[Message]) -> list[int]:
    worker.wait_for_started([each.task_id for each in sent])
    ids = {each.task_id for each in sent}
    return [record["args"][0] for record in worker.records() if record["id"] in ids]


@pytest.mark.parametrize(
    "options",
    [{}, {"global_keyprefix": "difio:", "sep": ":", "priority_steps": list(range(10))}],
    ids=["steps by default", "own steps, separator and key prefix"],
)
def test_on_redis_0_is_the_first_priority(redis_url: str, celery_worker: Start, options: dict[str, Any]) -> None:
    options = {**options, "queue_order_strategy": "priority"}
    sent = [message(TaskCall(task="tests.noted", queue="ranked", args=(p,), priority=p)) for p in (9, 3, 6, 0)]

    publish(redis_url, sent, options)
    worker = celery_worker(WorkerSettings(broker=redis_url, queues={"ranked": {}}, transport_options=options))

    assert order_of(worker, sent) == [0, 3, 6, 9]


def test_with_a_key_prefix_offbeat_writes_no_key_without_it(redis_url: str) -> None:
    import redis

    publish(redis_url, [message(TaskCall(task="tests.noted", priority=4))], {"global_keyprefix": "difio:", "sep": ":"})

    with redis.Redis.from_url(redis_url) as client:
        keys = [key for key in client.keys() if not key.startswith(b"difio:offbeat:sent:")]
        assert keys == [b"difio:celery:3"]


def test_on_rabbitmq_the_highest_number_is_the_first_priority(rabbitmq_url: str, celery_worker: Start) -> None:
    import kombu

    queue = f"ranked-{uuid.uuid4().hex}"
    arguments = {"x-max-priority": 10, "x-expires": 60_000}
    with kombu.Connection(rabbitmq_url) as connection:
        kombu.Queue(queue, kombu.Exchange(queue), queue, queue_arguments=arguments)(connection.channel()).declare()
    sent = [message(TaskCall(task="tests.noted", queue=queue, args=(p,), priority=p)) for p in (3, 9, 0, 6)]

    publish(rabbitmq_url, sent)
    worker = celery_worker(WorkerSettings(broker=rabbitmq_url, queues={queue: arguments}))

    assert order_of(worker, sent) == [9, 6, 3, 0]


def test_a_quorum_queue_is_used_as_the_workers_declared_it(rabbitmq_url: str, celery_worker: Start) -> None:
    queue = f"quorum-{uuid.uuid4().hex}"
    arguments = {"x-queue-type": "quorum", "x-expires": 60_000}
    worker = celery_worker(WorkerSettings(broker=rabbitmq_url, queues={queue: arguments}))
    sent = [message(TaskCall(task="tests.noted", queue=queue, args=(number,))) for number in range(5)]

    deliveries = publish(rabbitmq_url, sent)

    assert all(delivery.taken for delivery in deliveries)
    assert order_of(worker, sent) == [0, 1, 2, 3, 4]
