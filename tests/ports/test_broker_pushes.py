"""What a ledger on the broker's own Redis pushes is what kombu pushes, and it knows whether it is the same Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
import redis
from tests import servers
from tests.workers import Worker, WorkerSettings

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery, Push
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.broker_kombu.line_redis import RedisLine
from offbeat.ports.clock import FakeClock, SystemClock


def message(number: int = 0, *, expires_in: float | None = None, **call: Any) -> Message:
    return build(
        call=TaskCall(**{"task": "tests.noted", "args": (number, "ünï"), **call}),
        entry="e",
        occurrence=f"id-{number}",
        due_at=1_772_332_200,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=expires_in,
    )


def broker_of(url: str, **options: Any) -> BrokerKombu:
    return BrokerKombu(url, BrokerSettings(transport_options=options), clock=FakeClock())


def accept(url: str, push: Push) -> None:
    """Push as a ledger does: one command on a connection of its own."""
    with redis.Redis.from_url(f"{url.rpartition('/')[0]}/{push.database}") as client:
        client.lpush(push.key, push.payload)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def publish_as_kombu(broker: BrokerKombu, told: Message) -> Delivery:
    """Publish with kombu's own publish, as for a user who may not run scripts."""
    assert broker.reach(5).taken
    assert isinstance(broker._line, RedisLine)
    broker._line.forgetful = "told so by the test"
    (delivery,) = broker.publish([told], seconds=5)
    return delivery


def tag_of(payload: bytes) -> bytes:
    return bytes(json.loads(payload)["properties"]["delivery_tag"], "ascii")


CASES: Mapping[str, tuple[dict[str, Any], Message]] = {
    "as it comes": ({}, message(1)),
    "a queue and kwargs": ({}, message(2, queue="search", kwargs={"full": True}, headers={"x": [1, None]})),
    "a prefix of all keys": ({"global_keyprefix": "difio:"}, message(3)),
    "a priority": ({}, message(4, priority=7)),
    "a priority above all": ({}, message(5, priority=255)),
    "steps and a separator": ({"priority_steps": [0, 2, 5], "sep": ":"}, message(6, priority=4)),
    "a body without base64": ({"body_encoding": None}, message(7)),
    "another serializer": ({}, message(8, serializer="pickle")),
    "an expiry": ({}, message(9, expires_in=90.5)),
    "an expiry in years": ({}, message(10, expires_in=1e9)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_push_is_byte_for_byte_what_kombu_pushes(case: str, redis_url: str, client: Any) -> None:
    options, told = CASES[case]
    with closing(broker_of(redis_url, **options)) as broker:
        (push,) = broker.prepare([told])
        assert not client.keys("*")
        (delivery,) = broker.publish([told], seconds=5)
        broker.forget([told.task_id])
        by_kombu = publish_as_kombu(broker, told)

    assert isinstance(push, Push)
    assert delivery == Delivery()
    assert by_kombu.taken
    assert [key.decode() for key in client.keys("*")] == [push.key]
    published = client.lrange(push.key, 0, -1)
    assert len(published) == 2
    for each in published:
        assert push.payload.replace(tag_of(push.payload), tag_of(each)) == each
    assert push.database == int(urlsplit(redis_url).path[1:])


def test_a_push_has_what_a_producer_of_kombus_own_puts_there(redis_url: str, client: Any) -> None:
    told = message(1, priority=3)
    with closing(broker_of(redis_url)) as broker:
        (push,) = broker.prepare([told])
    with kombu.Connection(redis_url) as connection:
        connection.Producer().publish(
            told.body,
            routing_key="celery",
            serializer="json",
            headers=dict(told.headers),
            priority=3,
            correlation_id=told.task_id,
            delivery_mode=2,
        )

    assert isinstance(push, Push)
    (published,) = client.lrange("celery\x06\x163", 0, -1)
    ours, theirs = json.loads(push.payload), json.loads(published)
    for each in (ours, theirs):
        assert len(each["properties"].pop("delivery_tag")) == 36
    assert push.key == "celery\x06\x163"
    assert ours == theirs


def test_a_push_to_an_exchange_goes_to_the_queue_that_the_workers_bound(redis_url: str, client: Any) -> None:
    client.sadd("_kombu.binding.topics", "a.*\x06\x16^a\\.[^\\.]+$\x06\x16letters", "*.b\x06\x16^[^\\.]+\\.b$\x06\x16ends")
    client.sadd("_kombu.binding.direct", "key\x06\x16\x06\x16doors")
    with closing(broker_of(redis_url)) as broker:
        found = broker.prepare(
            [
                message(1, exchange="topics", routing_key="a.c"),
                message(2, exchange="topics", routing_key="c.c"),
                message(3, exchange="direct", routing_key="key"),
                message(4, exchange="direct", routing_key="lock"),
                message(5, exchange="nosuch", routing_key="key"),
            ]
        )
        publish_as_kombu(broker, message(1, exchange="topics", routing_key="a.c"))

    assert [each.key if isinstance(each, Push) else each.unroutable for each in found] == ["letters", True, "doors", True, True]
    assert isinstance(found[0], Push)
    (published,) = client.lrange("letters", 0, -1)
    assert found[0].payload.replace(tag_of(found[0].payload), tag_of(published)) == published


def test_what_goes_to_several_queues_is_left_to_publish(redis_url: str, client: Any) -> None:
    client.sadd("_kombu.binding.both", "key\x06\x16\x06\x16one", "key\x06\x16\x06\x16two")
    with closing(broker_of(redis_url)) as broker:
        (found,) = broker.prepare([message(1, exchange="both", routing_key="key")])
        (delivery,) = broker.publish([message(1, exchange="both", routing_key="key")], seconds=5)

    assert isinstance(found, Delivery)
    assert (found.tried, found.down, found.taken) == (False, False, False)
    assert delivery.taken
    assert (client.llen("one"), client.llen("two")) == (1, 1)


def test_what_cannot_be_written_is_no_push_and_stops_no_other(redis_url: str) -> None:
    with closing(broker_of(redis_url)) as broker:
        found = broker.prepare([message(1), message(2, args=(object(),)), message(3, headers={"x": object()}), message(4)])

    assert [isinstance(each, Push) for each in found] == [True, False, False, True]
    assert {(each.code, each.retry) for each in found if isinstance(each, Delivery)} == {(faults.REFUSED, False)}


def test_a_worker_starts_what_was_pushed(redis_url: str, celery_worker: Callable[[WorkerSettings], Worker]) -> None:
    options = {"global_keyprefix": "difio:", "priority_steps": [0, 3, 6, 9]}
    worker = celery_worker(WorkerSettings(broker=redis_url, transport_options=options))
    with closing(broker_of(redis_url, **options)) as broker:
        for push in broker.prepare([message(1), message(2, priority=7, kwargs={"full": True})]):
            assert isinstance(push, Push)
            accept(redis_url, push)
        worker.wait_for_started(["id-1", "id-2"])

    assert sorted((record["id"], record["args"], record["kwargs"]) for record in worker.records()) == [
        ("id-1", [1, "ünï"], {}),
        ("id-2", [2, "ünï"], {"full": True}),
    ]


def test_two_databases_of_one_server_are_one_server_and_another_server_is_another(redis_url: str, tmp_path: Path) -> None:
    servers.need("redis-server")
    place = redis_url.rpartition("/")[0]
    port = servers.free_port()
    with servers.redis_server(tmp_path, port, servers.PASSWORD) as other:
        found = [
            broker_of(url).server_id() for url in (redis_url, f"{place}/9", f"{other}/0", place.replace("redis:", "valkey:"))
        ]

    assert found[0] == found[1] == found[3]
    assert len(str(found[0])) == 40
    assert found[2] not in ("", found[0])


def test_a_server_that_was_started_again_is_another_one_and_one_that_is_away_says_so(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = servers.free_port()
    with closing(broker_of(f"redis://127.0.0.1:{port}/0;redis://127.0.0.1:{port}/0")) as broker:
        found = [broker.server_id()]
        for _ in range(2):
            with servers.redis_server(tmp_path, port):
                found.append(broker.server_id())
        found.append(broker.server_id())
        away = broker.prepare([message(1), message(2)])

    assert [each.down for each in found if isinstance(each, Delivery)] == [True, True]
    assert [isinstance(each, str) and len(each) for each in found[1:3]] == [40, 40]
    assert found[1] != found[2]
    assert [(each.down, each.retry) for each in away if isinstance(each, Delivery)] == [(True, True)] * 2


def test_a_user_who_may_not_ask_who_the_server_is_pushes_nothing_but_publishes(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = servers.free_port()
    rules = "on >hunter22 ~celery* +ping +lpush +select"
    with (
        servers.redis_server(tmp_path, port) as url,
        redis.Redis.from_url(url) as client,
        closing(broker_of(f"redis://narrow:hunter22@127.0.0.1:{port}/0")) as broker,
    ):
        client.execute_command("ACL", "SETUSER", "narrow", *rules.split())
        assert broker.server_id() == ""
        assert broker.publish([message(1)], seconds=5)[0].taken
        assert broker.server_id() == ""
        asked = client.info("commandstats").get("cmdstat_info", {}).get("rejected_calls", 1)

    assert asked == 1


@pytest.mark.parametrize("url", ["memory://", "amqp://127.0.0.1:1//", "nosuch://h"])
def test_no_other_broker_is_a_server_to_push_to(url: str) -> None:
    with closing(BrokerKombu(url, BrokerSettings(), clock=SystemClock())) as broker:
        assert broker.server_id() == ""


def test_over_sentinel_and_a_unix_socket_it_is_the_same_server_and_the_same_push(tmp_path: Path) -> None:
    servers.need("redis-server")
    port, watch, path = servers.free_port(), servers.free_port(), tmp_path / "redis.sock"
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port {watch}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor m 127.0.0.1 {port} 1\n")
    urls = {
        f"redis://127.0.0.1:1/3;redis://127.0.0.1:{port}/3": {},
        f"sentinel://127.0.0.1:1/3;sentinel://127.0.0.1:{watch}/3": {"master_name": "m"},
        f"redis+socket://{path}?virtual_host=3": {},
    }
    found = []
    with (
        servers.redis_server(tmp_path, port, flags=["--unixsocket", str(path)]) as direct,
        servers.running([servers.need("redis-server"), str(conf), "--sentinel"], tmp_path / "sentinel.log"),
        redis.Redis.from_url(f"{direct}/3") as client,
    ):
        servers.wait_for("the sentinel's start", lambda: servers.answers(watch))
        for url, options in urls.items():
            with closing(broker_of(url, **options)) as broker:
                found.append(broker.server_id())
                (push,) = broker.prepare([message(1)])
                assert broker.publish([message(1)], seconds=5) == [Delivery()]
                broker.forget(["id-1"])
            assert isinstance(push, Push)
            published = client.lpop("celery")
            assert (push.database, push.key) == (3, "celery")
            assert push.payload.replace(tag_of(push.payload), tag_of(published)) == published
        assert found == [client.info("server")["run_id"]] * 3
