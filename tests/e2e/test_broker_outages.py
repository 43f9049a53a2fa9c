"""Brokers that stall, freeze, reset, half-close, drip or raise an alarm, in every phase: a call returns, and says so."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
from tests import servers
from tests.proxy import Proxy, Way

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.broker import FAREWELL, BrokerKombu
from offbeat.ports.clock import Clock, FakeClock, SystemClock

GENEROUS = 15.0  # seconds; what should take a second or two, and would take for ever; no measurement


def message(queue: str = "celery", **call: Any) -> Message:
    return build(
        call=TaskCall(**{"task": "t", "queue": queue, **call}),
        entry="e",
        occurrence=str(uuid.uuid4()),
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=None,
    )


class Place:
    """A real server, a proxy before it, a queue in it."""

    def __init__(self, url: str, proxy: Proxy, queue: str) -> None:
        self.proxy = proxy
        self.queue = queue
        self.url = url.replace(f":{urlsplit(url).port}", f":{proxy.port}")

    def broker(self, clock: Clock | None = None) -> BrokerKombu:
        return BrokerKombu(self.url, BrokerSettings(), clock=clock or SystemClock())

    def messages(self, count: int = 1, **call: Any) -> list[Message]:
        return [message(self.queue, **call) for _ in range(count)]


@pytest.fixture(params=["redis_url", "rabbitmq_url"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    url = request.getfixturevalue(request.param)
    queue = f"outage-{uuid.uuid4().hex}"
    if request.param == "rabbitmq_url":
        with kombu.Connection(url) as connection:
            connection.channel().queue_declare(queue, durable=True, auto_delete=False, arguments={"x-expires": 60_000})
    port = urlsplit(url).port
    assert port is not None
    clock = SystemClock()
    with Proxy(port) as proxy:
        before = clock.monotonic()
        yield Place(url, proxy, queue)
        assert clock.monotonic() - before < GENEROUS


def assert_down(deliveries: Any) -> None:
    assert {(each.taken, each.down, each.retry, each.tried, each.code) for each in deliveries} == {
        (False, True, True, True, faults.DOWN)
    }
    assert not any("hunter22" in each.error or each.error.endswith("Error") for each in deliveries)


def test_a_server_that_accepts_and_says_nothing_is_down(place: Place) -> None:
    place.proxy.stall()
    with closing(place.broker()) as broker:
        assert_down(broker.publish(place.messages(2), seconds=1))
        place.proxy.pass_on()
        assert broker.publish(place.messages(), seconds=5)[0].taken


@pytest.mark.parametrize("count", [0, 1, 100, 400])
def test_a_connection_that_is_cut_while_it_is_opened_is_down_and_the_next_one_serves(place: Place, count: int) -> None:
    """Both say a few bytes first; RabbitMQ some 550 until it lets a client in."""
    place.proxy.cut_after(min(count, 3) if place.url.startswith("redis") else count)
    with closing(place.broker()) as broker:
        assert_down([broker.reach(5)])
        assert broker.publish(place.messages(), seconds=5)[0].taken


def test_a_connection_that_has_died_while_it_was_idle_is_found_out_before_anything_is_sent(place: Place) -> None:
    clock = FakeClock()
    with closing(place.broker(clock)) as broker:
        assert broker.publish(place.messages(), seconds=5)[0].taken
        place.proxy.stall()
        clock.advance(2)
        sent = place.proxy.connections
        assert_down(broker.publish(place.messages(2), seconds=1))
        assert place.proxy.connections == sent + 1  # it tried a new one
        place.proxy.pass_on()
        assert broker.publish(place.messages(), seconds=5)[0].taken


def test_answers_that_get_lost_are_down_and_what_was_answered_before_stays_so(place: Place) -> None:
    with closing(place.broker()) as broker:
        before = broker.publish(place.messages(), seconds=5)
        place.proxy.cut_after(0)
        during = broker.publish(place.messages(2), seconds=5)
        after = broker.publish(place.messages(), seconds=5)

    assert before[0].taken
    assert [each.taken for each in during] == ([True, True] if place.url.startswith("redis") else [False, False])
    assert after[0].taken


def test_a_message_whose_answer_gets_lost_is_down_and_not_sent_again_by_itself(place: Place) -> None:
    """RabbitMQ answers with the confirm alone; Redis with +PONG before, as it is asked whether it is there."""
    with closing(place.broker(FakeClock())) as broker:
        before = broker.publish(place.messages(), seconds=5)
        place.proxy.cut_after(8 if place.url.startswith("redis") else 1)
        during = broker.publish(place.messages(), seconds=5)
        place.proxy.pass_on()
        with kombu.Connection(place.url) as connection:
            there = connection.channel()._size(place.queue) if place.url.startswith("redis") else in_rabbitmq(connection, place)

    assert before[0].taken
    assert_down(during)
    assert there == 2


def in_rabbitmq(connection: Any, place: Place) -> int:
    return int(connection.channel().queue_declare(place.queue, passive=True).message_count)


def test_answers_that_never_come_cost_no_more_than_the_time_given(place: Place) -> None:
    clock = SystemClock()
    with closing(place.broker()) as broker:
        assert broker.publish(place.messages(), seconds=5)[0].taken
        place.proxy.stall(Way.ANSWERS)
        before = clock.monotonic()
        assert_down(broker.publish(place.messages(3), seconds=1))
        assert clock.monotonic() - before < 3 * 3


def test_a_server_that_stops_reading_does_not_hold_who_writes(place: Place) -> None:
    big = {"x": "y" * 50_000}
    with closing(place.broker()) as broker:
        assert broker.publish(place.messages(), seconds=5)[0].taken
        place.proxy.freeze()
        deliveries = broker.publish(place.messages(200, kwargs=big), seconds=1)
        place.proxy.pass_on()

    assert {(each.taken, each.retry, each.down or not each.tried) for each in deliveries} == {(False, True, True)}


def test_a_reset_and_a_half_close_are_noticed_and_the_next_connection_serves(place: Place) -> None:
    with closing(place.broker()) as broker:
        for trouble in (place.proxy.reset, place.proxy.half_close):
            assert broker.publish(place.messages(), seconds=5)[0].taken
            trouble()
            broker.publish(place.messages(), seconds=2)
            assert broker.publish(place.messages(), seconds=5)[0].taken


def test_a_server_that_refuses_is_down_until_it_listens_again(place: Place) -> None:
    with closing(place.broker()) as broker:
        assert broker.publish(place.messages(), seconds=5)[0].taken
        place.proxy.drop()
        assert_down(broker.publish(place.messages(2), seconds=5))
        place.proxy.pass_on()
        assert broker.publish(place.messages(), seconds=5)[0].taken


@pytest.mark.parametrize("trouble", ["stall", "freeze", "drop", "half_close"])
def test_closing_never_hangs(place: Place, trouble: str) -> None:
    clock = SystemClock()
    broker = place.broker()
    assert broker.reach(5).taken
    getattr(place.proxy, trouble)()
    before = clock.monotonic()
    broker.close()
    assert clock.monotonic() - before < 3 * FAREWELL
    place.proxy.pass_on()


def test_a_slow_server_gets_what_fits_into_the_time_and_the_rest_is_for_later(place: Place) -> None:
    with closing(place.broker()) as broker:
        assert broker.publish(place.messages(), seconds=5)[0].taken
        place.proxy.delay(0.05)
        deliveries = broker.publish(place.messages(1500), seconds=1)

    taken = [each.taken for each in deliveries]
    assert taken[0]
    assert not taken[-1]
    assert {each.retry for each in deliveries} == {True}


@contextmanager
def speaker(say: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Run a server that treats each client as `say` does; yield its port."""
    over, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    peers: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while not over.is_set():
                peers.append(listener.accept()[0])
                threading.Thread(target=quietly, args=(peers[-1],), daemon=True).start()

    def quietly(peer: socket.socket) -> None:
        with suppress(OSError):
            say(peer, over)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        for each in (listener, *peers):
            each.close()
        thread.join(10)


def mute(peer: socket.socket, over: threading.Event) -> None:
    over.wait()


def drip(peer: socket.socket, over: threading.Event) -> None:
    """Say a byte every now and then, so that no timeout of a socket ever passes: the beginning of a frame without an end."""
    peer.sendall(b"\x01\x00\x00\x00\x00\xff\xff" if peer.recv(4) == b"AMQP" else b"$100000\r\n")
    while not over.wait(0.1):
        peer.sendall(b"x")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "amqps", "sentinel"])
@pytest.mark.parametrize("say", [mute, drip])
def test_a_handshake_without_an_end_costs_no_more_than_the_time_given(
    scheme: str, say: Callable[[socket.socket, threading.Event], None]
) -> None:
    clock = SystemClock()
    options = {"master_name": "m"} if scheme == "sentinel" else {}
    with speaker(say) as port:
        url = f"{scheme}://user:hunter22@127.0.0.1:{port}/0"
        broker = BrokerKombu(url, BrokerSettings(transport_options=options), clock=clock)
        before = clock.monotonic()
        deliveries = broker.publish([message(), message()], seconds=0.5)
        took = clock.monotonic() - before

    assert [(each.down, each.retry) for each in deliveries] == [(True, True)] * 2
    assert "hunter22" not in deliveries[0].error
    assert took < 3 * 1.5


def test_a_dead_first_server_leaves_time_for_the_second(redis_url: str) -> None:
    with (
        speaker(mute) as port,
        closing(BrokerKombu(f"redis://127.0.0.1:{port}/0;{redis_url}", BrokerSettings(), clock=SystemClock())) as broker,
    ):
        assert broker.publish([message()], seconds=3)[0].taken


def test_an_alarm_of_rabbitmq_is_told_in_its_words_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    servers.need("rabbitmq-server")
    clock = FakeClock()
    with servers.rabbitmq_server(tmp_path, servers.free_port(), "max_message_size = 3000\n") as url:
        with kombu.Connection(url) as connection:
            connection.channel().queue_declare("celery", durable=True, auto_delete=False)
        with closing(BrokerKombu(url, BrokerSettings(), clock=clock)) as old:
            first = old.publish([message()], seconds=5)
            servers.rabbitmqctl(tmp_path, "set_vm_memory_high_watermark", "absolute", "1MB")
            clock.advance(2)
            blocked = [*old.publish([message(), message()], seconds=5)]
            clock.advance(3600)
            blocked += old.publish([message()], seconds=5)
            with closing(BrokerKombu(url, BrokerSettings(), clock=clock)) as new:
                blocked += [new.reach(5), *new.publish([message()], seconds=5)]
            servers.rabbitmqctl(tmp_path, "set_vm_memory_high_watermark", "0.9")
            servers.wait_for("the end of the alarm", lambda: old.reach(5).taken)
            last = old.publish([message(), message(kwargs={"x": "y" * 3500}), *(message() for _ in range(3))], seconds=20)
            heavy = old.publish([message(), message(kwargs={"x": "y" * 5000}), message()], seconds=20)
            crowd = old.publish([message(kwargs={"x": "y" * 3500}), *(message() for _ in range(150))], seconds=20)
        with kombu.Connection(url) as connection:
            there = connection.channel().queue_declare("celery", passive=True).message_count

    assert first[0].taken
    assert {(each.down, each.retry, each.code) for each in blocked} == {(True, True, faults.BLOCKED)}
    assert {"memory" in each.error for each in blocked} == {True}
    assert [(each.taken, each.retry) for each in last[1:]] == [(False, False)] + [(True, True)] * 3
    assert last[0].taken or (last[0].retry and "before it said" in last[0].error)
    assert [(each.taken, each.retry) for each in heavy] == [(True, True), (False, False), (True, True)]
    assert [each.taken for each in crowd] == [False] + [True] * 150  # also those not yet written when the channel was closed
    assert {each.down for each in [*last, *heavy, *crowd]} == {False}
    assert there == 1 + 4 + 2 + 150  # whatever the server did not say, nothing went out twice as the same attempt


def test_a_delivery_says_nothing_of_a_broker_that_takes_everything(place: Place) -> None:
    with closing(place.broker()) as broker:
        assert broker.reach(5) == Delivery()


def test_a_user_who_may_not_publish_is_told_the_words_of_rabbitmq_by_check_and_by_each_message(tmp_path: Path) -> None:
    servers.need("rabbitmq-server")
    with servers.rabbitmq_server(tmp_path, servers.free_port()) as url:
        servers.rabbitmqctl(tmp_path, "add_user", "u1", "no")
        servers.rabbitmqctl(tmp_path, "set_permissions", "-p", "/", "u1", ".*", "^$", ".*")
        with closing(BrokerKombu(f"amqp://u1:no@{url.rpartition('@')[2]}", BrokerSettings(), clock=SystemClock())) as broker:
            found = broker.reach(5)
            (delivery,) = broker.publish([message()], seconds=5)

    refusal = "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user '***'"
    assert found.taken and refusal in found.warning
    assert refusal in delivery.error and not delivery.down
