"""Real servers, without workers: what they return, refuse and say when they are away, and what offbeat makes of it."""

from __future__ import annotations

import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kombu
import pytest
from tests import servers

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock


def message(queue: str, *, number: int = 0, **call: Any) -> Message:
    return build(
        call=TaskCall(**{"task": "t", "queue": queue, "args": (number,), **call}),
        entry="e",
        occurrence=str(uuid.uuid4()),
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=None,
    )


def broker_of(url: str, **options: Any) -> BrokerKombu:
    return BrokerKombu(url, BrokerSettings(transport_options=options), clock=SystemClock())


@pytest.fixture
def rabbitmq(rabbitmq_url: str) -> Iterator[BrokerKombu]:
    with closing(broker_of(rabbitmq_url)) as broker:
        yield broker


@pytest.fixture
def channel(rabbitmq_url: str) -> Iterator[Any]:
    with kombu.Connection(rabbitmq_url) as connection:
        yield connection.channel()


def declare(channel: Any, **arguments: Any) -> str:
    name = f"broker-{uuid.uuid4().hex}"
    channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-expires": 60_000, **arguments})
    return name


def count(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).message_count)


def test_a_message_to_a_queue_that_does_not_exist_comes_back_and_the_others_go_on(rabbitmq: BrokerKombu, channel: Any) -> None:
    there, nowhere = declare(channel), f"nowhere-{uuid.uuid4().hex}"
    batch = [message(nowhere if number % 3 == 1 else there) for number in range(9)]

    deliveries = rabbitmq.publish(batch, seconds=5)

    assert [delivery.unroutable for delivery in deliveries] == [number % 3 == 1 for number in range(9)]
    assert {(d.code, d.retry, d.down) for d in deliveries if not d.taken} == {(faults.UNROUTABLE, True, False)}
    assert nowhere in deliveries[1].error
    assert count(channel, there) == 6


def test_an_exchange_that_does_not_exist_costs_only_its_own_message(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)
    batch = [message(there), message(there, exchange=f"none-{uuid.uuid4().hex}"), message(there), message(there)]

    deliveries = rabbitmq.publish(batch, seconds=5)

    assert [(delivery.taken, delivery.unroutable) for delivery in deliveries] == [
        (True, False),
        (False, True),
        (True, False),
        (True, False),
    ]
    assert count(channel, there) == 3
    assert f"NOT_FOUND - no exchange '{batch[1].exchange}'" in deliveries[1].error


def test_an_exchange_that_nobody_may_publish_to_is_told_in_the_brokers_own_words(rabbitmq: BrokerKombu) -> None:
    (delivery,) = rabbitmq.publish([message("x", exchange="amq.rabbitmq.trace")], seconds=5)

    assert (delivery.taken, delivery.down, delivery.retry) == (False, False, True)
    assert "ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace'" in delivery.error


def test_a_full_queue_that_rejects_is_a_message_not_taken(rabbitmq: BrokerKombu, channel: Any) -> None:
    full = declare(channel, **{"x-max-length": 2, "x-overflow": "reject-publish"})
    there = declare(channel)

    first = rabbitmq.publish([message(full), message(full)], seconds=5)
    second = rabbitmq.publish([message(full), message(there)], seconds=5)

    assert [delivery.taken for delivery in first] == [True, True]
    assert [(d.taken, d.retry, d.down, d.code) for d in second] == [
        (False, True, False, faults.REFUSED),
        (True, True, False, ""),
    ]
    assert count(channel, full) == 2


def test_a_few_bad_ones_among_two_hundred_stop_none_of_the_others(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)
    bad = [
        message("nowhere-1"),
        message("nowhere-2"),
        message(there, exchange="no-such-exchange"),
        message(there, headers={"CC": "not a list"}),
        message(there, headers={"x": 2**80}),
    ]
    batch = [message(there, number=number) for number in range(200)]
    for place, each in zip((0, 50, 100, 150, 204), bad, strict=True):
        batch.insert(place, each)

    deliveries = rabbitmq.publish(batch, seconds=10)

    assert [number for number, delivery in enumerate(deliveries) if not delivery.taken] == [0, 50, 100, 150, 204]
    assert not any(delivery.down for delivery in deliveries)
    assert [deliveries[number].unroutable for number in (0, 50, 100, 150, 204)] == [True, True, True, False, False]
    assert count(channel, there) == 200


def test_an_expiry_further_away_than_rabbitmq_can_count_stops_nobody(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)
    far = [replace(message(there, number=number), expires_in=90 * 86400) for number in range(3)]

    assert [delivery.error for delivery in rabbitmq.publish(far, seconds=5)] == ["", "", ""]


def test_more_messages_than_one_window_are_all_confirmed(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)

    deliveries = rabbitmq.publish([message(there, number=number) for number in range(450)], seconds=10)

    assert all(delivery.taken for delivery in deliveries)
    assert count(channel, there) == 450


def test_a_message_that_amqp_cannot_carry_stops_no_other(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)
    bad_key = message("k" * 300)
    bad_number = message(there, headers={"x": 2**80})

    deliveries = rabbitmq.publish([message(there), bad_key, bad_number, message(there)], seconds=5)

    assert [delivery.taken for delivery in deliveries] == [True, False, False, True]
    assert {(d.code, d.retry, d.down) for d in deliveries if not d.taken} == {(faults.REFUSED, False, False)}
    assert count(channel, there) == 2


def test_an_expired_message_is_let_go_by_the_server(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)
    now = SystemClock().now()
    late = build(
        call=TaskCall(task="t", queue=there),
        entry="e",
        occurrence="late",
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=now - 1,
        now=now,
    )

    (delivery,) = rabbitmq.publish([late], seconds=5)

    assert delivery.taken
    servers.wait_for("the message's expiry", lambda: count(channel, there) == 0, 5)


@pytest.mark.parametrize("arguments", [{"x-queue-type": "quorum"}, {"x-max-priority": 10}], ids=["quorum", "priorities"])
def test_a_queue_is_used_whatever_it_was_declared_with(rabbitmq: BrokerKombu, channel: Any, arguments: dict[str, Any]) -> None:
    queue = declare(channel, **arguments)

    deliveries = rabbitmq.publish([message(queue, priority=3)], seconds=5)

    assert [delivery.error for delivery in deliveries] == [""]


def test_a_wrong_password_of_rabbitmq_is_refused_and_shown_nowhere(rabbitmq_url: str) -> None:
    place = rabbitmq_url.rpartition("@")[2]
    broker = broker_of(f"amqp://offbeat:hunter%2322@{place}")

    delivery = broker.reach(5)

    assert (delivery.taken, delivery.down, delivery.retry, delivery.code) == (False, True, True, faults.LOGIN)
    text = str(faults.broker_problem(delivery, broker.where))
    assert "ACCESS_REFUSED" in text
    assert not any(secret in text for secret in ("hunter", "offbeat:"))


def test_a_virtual_host_that_does_not_exist_is_a_wrong_address(rabbitmq_url: str) -> None:
    delivery = broker_of(rabbitmq_url.removesuffix("/") + "nosuch").reach(5)

    assert (delivery.down, delivery.code) == (True, faults.ADDRESS)
    assert "nosuch" in delivery.error


def test_a_connection_that_rabbitmq_closed_is_opened_anew(rabbitmq: BrokerKombu, channel: Any) -> None:
    there = declare(channel)
    rabbitmq.publish([message(there)], seconds=5)
    line: Any = rabbitmq._line
    line._connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)

    deliveries = rabbitmq.publish([message(there)], seconds=5)

    assert deliveries[0].taken
    assert count(channel, there) == 2


def test_a_redis_that_dies_and_comes_back_is_down_in_between(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = servers.free_port()
    with closing(broker_of(f"redis://:{quote(servers.PASSWORD, safe='')}@127.0.0.1:{port}/0")) as broker:
        with servers.redis_server(tmp_path, port, servers.PASSWORD):
            before = broker.publish([message("celery")], seconds=5)
        between = broker.publish([message("celery"), message("celery")], seconds=5)
        with servers.redis_server(tmp_path, port, servers.PASSWORD):
            after = broker.publish([message("celery")], seconds=5)

    assert before[0].taken
    assert [(d.down, d.retry, d.code) for d in between] == [(True, True, faults.DOWN)] * 2
    assert "refused" in between[0].error
    assert after[0].taken


def test_a_wrong_password_of_redis_is_refused_and_shown_nowhere(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = servers.free_port()
    with servers.redis_server(tmp_path, port, servers.PASSWORD):
        wrong = broker_of(f"redis://:hunter22@127.0.0.1:{port}/0").reach(5)
        none = broker_of(f"redis://127.0.0.1:{port}/0").reach(5)

    assert [(delivery.down, delivery.code) for delivery in (wrong, none)] == [(True, faults.LOGIN)] * 2
    assert "hunter22" not in wrong.error


def test_a_redis_database_that_does_not_exist_is_a_wrong_address(redis_url: str) -> None:
    delivery = broker_of(f"{redis_url.rpartition('/')[0]}/4711").reach(5)

    assert (delivery.down, delivery.code) == (True, faults.ADDRESS)


def test_a_redis_without_memory_is_out_of_service_and_loses_nothing_that_it_took(tmp_path: Path) -> None:
    import redis

    servers.need("redis-server")
    port = servers.free_port()
    with servers.redis_server(tmp_path, port) as url, redis.Redis.from_url(url) as client, closing(broker_of(url)) as broker:
        first = broker.publish([message("celery")], seconds=5)
        client.config_set("maxmemory", "1")
        second = broker.publish([message("celery"), message("celery")], seconds=5)
        left = client.llen("celery")

    assert first[0].taken
    assert [(delivery.taken, delivery.down, delivery.retry) for delivery in second] == [(False, True, True)] * 2
    assert "memory" in second[0].error
    assert left == 1


def test_a_key_of_another_kind_in_the_queues_place_costs_only_its_own_messages(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client, closing(broker_of(redis_url)) as broker:
        client.set("taken", "by somebody")
        deliveries = broker.publish([message("taken"), message("celery")], seconds=5)

    assert [(d.taken, d.down, d.code) for d in deliveries] == [(False, False, faults.REFUSED), (True, False, "")]


def test_a_reachable_broker_says_nothing(redis_url: str, rabbitmq_url: str) -> None:
    for url in (redis_url, rabbitmq_url):
        with closing(broker_of(url)) as broker:
            assert broker.reach(5) == Delivery()


def certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that is its own authority."""
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"]
    subprocess.run([servers.need("openssl"), "req", "-x509", *made, *names], cwd=folder, check=True, capture_output=True)


def test_over_tls_the_servers_certificate_is_verified(tmp_path: Path) -> None:
    certificate(tmp_path)
    servers.need("redis-server")
    port, plain = servers.free_port(), servers.free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]
    known = BrokerSettings(ssl={"ssl_cert_reqs": "required", "ssl_ca_certs": "cert.pem"})
    unknown = BrokerSettings()
    careless = BrokerSettings(ssl={"ssl_cert_reqs": "none", "ssl_check_hostname": False})

    with servers.redis_server(tmp_path, plain, flags=tls):
        url = f"rediss://127.0.0.1:{port}/0"
        brokers = [BrokerKombu(url, settings, clock=SystemClock(), root=tmp_path) for settings in (known, unknown, careless)]
        answers = [broker.reach(5) for broker in brokers]
        taken = brokers[0].publish([message("celery")], seconds=5)
        for broker in brokers:
            broker.close()

    assert [answer.taken for answer in answers] == [True, False, True]
    assert "CERTIFICATE_VERIFY_FAILED" in answers[1].error
    assert taken[0].taken


def test_over_tls_the_certificate_of_rabbitmq_is_verified(tmp_path: Path) -> None:
    certificate(tmp_path)
    servers.need("rabbitmq-server")
    port = servers.free_port()
    files = {"cacertfile": "cert.pem", "certfile": "cert.pem", "keyfile": "key.pem"}
    more = f"listeners.ssl.1 = 127.0.0.1:{port}\n" + "".join(f"ssl_options.{n} = {tmp_path / f}\n" for n, f in files.items())
    known = BrokerSettings(ssl={"ca_certs": "cert.pem"})

    with servers.rabbitmq_server(tmp_path, plain := servers.free_port(), more) as address:
        url = address.replace("amqp:", "amqps:").replace(f":{plain}", f":{port}")
        brokers = [BrokerKombu(url, settings, clock=SystemClock(), root=tmp_path) for settings in (known, BrokerSettings())]
        answers = [broker.reach(5) for broker in brokers]
        returned = brokers[0].publish([message("nowhere")], seconds=5)
        for broker in brokers:
            broker.close()

    assert [answer.taken for answer in answers] == [True, False]
    assert "CERTIFICATE_VERIFY_FAILED" in answers[1].error
    assert returned[0].unroutable
