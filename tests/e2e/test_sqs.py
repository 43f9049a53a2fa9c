"""Amazon SQS, as moto's server plays it, with real Celery workers: what arrives once, and what is said of what does not."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import servers
from tests.proxy import Proxy
from tests.workers import Worker, WorkerSettings

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock

KEY, SECRET = "AKIAHUNTER22", "wJalrHUNTER/22"  # nobody's
REGION = {"region": "eu-west-1"}


def message(queue: str, *, entry: str = "e", **call: Any) -> Message:
    return build(
        call=TaskCall(**{"task": "tests.noted", "queue": queue, **call}),
        entry=entry,
        occurrence=str(uuid.uuid4()),
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=None,
    )


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of an SQS that is not Amazon's."""
    program = shutil.which("moto_server", path=str(Path(sys.executable).parent)) or servers.need("moto_server")
    port, home = servers.free_port(), tmp_path_factory.mktemp("moto")
    with servers.running([program, "-H", "127.0.0.1", "-p", str(port)], home / "moto.log", {**os.environ, "HOME": str(home)}):
        servers.wait_for("moto's start", lambda: servers.answers(port))
        yield port


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Account:
    """What Amazon's console would show."""

    def __init__(self, port: int) -> None:
        import boto3

        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        self.client: Any = boto3.client("sqs", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION["region"], **keys)
        self.url = f"sqs://{KEY}:{SECRET.replace('/', '%2F')}@127.0.0.1:{port}"

    def create(self, *, fifo: bool = False) -> tuple[str, str]:
        """Create a queue; return its name and address."""
        name = f"q-{uuid.uuid4().hex}{'.fifo' * fifo}"
        attributes = {"FifoQueue": "true"} if fifo else {}
        return name, str(self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def count(self, url: str) -> int:
        name = "ApproximateNumberOfMessages"
        return int(self.client.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


@pytest.fixture
def account(port: int) -> Account:
    return Account(port)


def broker_of(url: str, **options: Any) -> BrokerKombu:
    return BrokerKombu(url, BrokerSettings(transport_options={**REGION, **options}), clock=SystemClock())


def test_an_occurrence_published_twice_to_a_fifo_queue_is_there_once_and_started_once(
    account: Account, celery_worker: Callable[[WorkerSettings], Worker]
) -> None:
    name, address = account.create(fifo=True)
    predefined = {name: {"url": address}}
    once, other = message(name), message(name, entry="other")
    for _ in range(2):  # as after a crash between publishing and writing it down
        with closing(broker_of(account.url, predefined_queues=predefined)) as broker:
            assert broker.publish([once], seconds=5)[0].taken
    with closing(broker_of(account.url, predefined_queues=predefined)) as broker:
        assert broker.publish([replace(once, headers={**once.headers, "offbeat_attempt": 2}), other], seconds=5)[1].taken

    assert account.count(address) == 2
    options = {**REGION, "predefined_queues": predefined, "wait_time_seconds": 1, "polling_interval": 0.1}
    worker = celery_worker(WorkerSettings(broker=account.url, queues={name: {}}, transport_options=options))
    worker.wait_for_started([once.task_id, other.task_id])
    servers.wait_for("the end of both", lambda: worker.log.count("succeeded") == 2)
    assert sorted(record["id"] for record in worker.records()) == sorted([once.task_id, other.task_id])
    assert {record["headers"]["offbeat_attempt"] for record in worker.records()} == {1}


def test_messages_of_a_fifo_queue_are_grouped_by_entry_or_by_what_the_entry_says(account: Account) -> None:
    name, address = account.create(fifo=True)
    sent = [message(name), message(name, entry="naïve entry"), message(name, headers={"MessageGroupId": "billing"})]
    with closing(broker_of(account.url)) as broker:
        assert all(delivery.taken for delivery in broker.publish(sent, seconds=5))

    got = account.client.receive_message(QueueUrl=address, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    groups = [each["Attributes"]["MessageGroupId"] for each in got]
    assert [groups[0], groups[2]] == ["e", "billing"]
    assert len(groups[1]) == 64
    assert [each["Attributes"]["MessageDeduplicationId"] for each in got] == [each.task_id for each in sent]


def test_a_queue_that_does_not_exist_is_not_created_and_delays_no_other(account: Account) -> None:
    name, address = account.create()
    before = account.client.list_queues()["QueueUrls"]
    for options in ({}, {"predefined_queues": {name: {"url": address}}}):
        with closing(broker_of(account.url, **options)) as broker:
            found = broker.publish([message("nowhere"), message("nowhere.fifo"), message(name)], seconds=5)
        assert [(each.taken, each.unroutable, each.retry) for each in found] == [(False, True, True)] * 2 + [
            (True, False, True)
        ]
        assert "nowhere" in found[0].error

    assert account.client.list_queues()["QueueUrls"] == before
    assert account.count(address) == 2


def test_a_queue_that_went_away_and_a_message_that_is_too_long_stop_no_other(account: Account) -> None:
    (gone, place), (name, address) = account.create(), account.create()
    with closing(broker_of(account.url)) as broker:
        assert broker.publish([message(gone)], seconds=5)[0].taken
        account.client.delete_queue(QueueUrl=place)
        long = message(name, kwargs={"x": "y" * 2_000_000})
        found = broker.publish([message(gone), long, message(name, exchange="news"), message(name)], seconds=5)

    assert [(each.taken, each.unroutable, each.retry, each.down) for each in found] == [
        (False, True, True, False),
        (False, False, False, False),
        (False, False, False, False),
        (True, False, True, False),
    ]
    assert account.count(address) == 1


@pytest.mark.parametrize("trouble", ["stall", "drop", "half_close"])
def test_an_sqs_that_does_not_answer_is_down_in_time_and_no_key_is_shown(account: Account, port: int, trouble: str) -> None:
    name, address = account.create()
    with (
        Proxy(port) as proxy,
        closing(
            broker_of(account.url.replace(str(port), str(proxy.port)), predefined_queues={name: {"url": address}})
        ) as broker,
    ):
        before = broker.publish([message(name)], seconds=5)
        getattr(proxy, trouble)()
        during = broker.publish([message(name), message(name)], seconds=1)
        proxy.pass_on()
        after = broker.publish([message(name)], seconds=5)

    assert before[0].taken
    assert after[0].taken
    if trouble != "half_close":
        assert {(each.taken, each.down, each.retry, each.code) for each in during} == {(False, True, True, faults.DOWN)}
    texts = [broker.where, repr(broker), *(str(faults.broker_problem(each, broker.where)) for each in during)]
    assert not any(secret in text for text in texts for secret in (KEY, SECRET))


@pytest.mark.parametrize("predefined", [False, True])
def test_an_sqs_that_is_away_and_one_without_keys_are_told_apart(account: Account, predefined: bool) -> None:
    name, address = account.create()
    options = {"predefined_queues": {name: {"url": address}}} if predefined else {}
    away = broker_of(f"sqs://{KEY}:{SECRET.replace('/', '%2F')}@127.0.0.1:1", **options).reach(2)
    nobody = broker_of(f"sqs://{account.url.rpartition('@')[2]}", **options).reach(2)

    assert (away.down, away.code) == (True, faults.DOWN)
    assert (nobody.down, nobody.code) == (True, faults.LOGIN)
    assert SECRET not in away.error
