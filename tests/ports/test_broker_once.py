"""Redis takes an id once: whoever tries again, whatever answer got lost, however late a message arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests import servers
from tests.proxy import Proxy

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.broker_kombu.line_redis import KEPT, MARK, STEP
from offbeat.ports.clock import SystemClock

RIGHTS = "~celery* ~offbeat:sent:* +ping +lpush +select +eval +time +exists +set +unlink"  # as docs/explanation/brokers.md says
TAKEN = Delivery()


def message(number: int, *, attempt: int = 1, **call: Any) -> Message:
    return build(
        call=TaskCall(**{"task": "t", "args": (number,), **call}),
        entry="e",
        occurrence=f"id-{number}",
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=attempt,
        origin="offbeat@test",
        expires_at=None,
    )


def broker_of(url: str, **options: Any) -> BrokerKombu:
    return BrokerKombu(url, BrokerSettings(transport_options=options), clock=SystemClock())


def publish(url: str, messages: Sequence[Message], **options: Any) -> Sequence[Delivery]:
    """Publish as a process of its own would: on a new connection, without a word to the ledger."""
    with closing(broker_of(url, **options)) as broker:
        return broker.publish(messages, seconds=10)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        yield client


def pushed(client: Any, queue: str = "celery") -> list[tuple[str, int]]:
    """Return (id, attempt) of what is in the queue, the oldest first."""
    headers = [json.loads(raw)["headers"] for raw in reversed(client.lrange(queue, 0, -1))]
    return [(each["id"], each["offbeat_attempt"]) for each in headers]


def test_another_try_is_told_that_it_is_there_and_pushes_nothing(redis_url: str, client: Any) -> None:
    first = publish(redis_url, [message(1), message(2)])
    second = publish(redis_url, [message(1, attempt=2), message(3, attempt=2), message(2, attempt=2)])

    assert [*first, *second] == [TAKEN] * 5
    assert pushed(client) == [("id-1", 1), ("id-2", 1), ("id-3", 2)]
    assert client.get(f"{MARK}id-1") == b"1"
    assert KEPT - 60 < client.ttl(f"{MARK}id-1") <= KEPT


def test_what_the_ledger_has_settled_is_remembered_no_longer_and_may_be_sent_again(redis_url: str, client: Any) -> None:
    with closing(broker_of(redis_url, global_keyprefix="difio:")) as broker:
        broker.publish([message(number) for number in range(3)], seconds=5)
        marked = sorted(client.keys("*sent*"))
        broker.forget([f"id-{number}" for number in range(3)])
        left = client.keys("*")
        again = broker.publish([message(1)], seconds=5)

    assert marked == [f"difio:{MARK}id-{number}".encode() for number in range(3)]
    assert left == [b"difio:celery"]
    assert again == [TAKEN]
    assert len(pushed(client, "difio:celery")) == 4


def test_many_are_pushed_in_their_order_and_large_ones_too(redis_url: str, client: Any) -> None:
    messages = [message(number, kwargs={"x": "y" * 30_000} if number % 5 == 0 else {}) for number in range(3 * STEP + 7)]

    assert publish(redis_url, messages) == [TAKEN] * len(messages)
    assert pushed(client) == [(f"id-{number}", 1) for number in range(len(messages))]


@pytest.mark.parametrize("answered", [0, 700, 1500])
def test_a_batch_whose_answers_get_lost_is_there_once_when_it_is_tried_again(
    answered: int, redis_url: str, client: Any
) -> None:
    port = urlsplit(redis_url).port
    assert port is not None
    batch = [message(number) for number in range(5 * STEP)]
    with Proxy(port) as proxy, closing(broker_of(redis_url.replace(f":{port}", f":{proxy.port}"))) as broker:
        assert broker.publish([message(-1)], seconds=5) == [TAKEN]
        proxy.cut_after(8 + answered)  # after +PONG
        during = broker.publish(batch, seconds=5)
        there = len(pushed(client)) - 1
        proxy.pass_on()
        after = broker.publish(batch, seconds=5)

    taken = sum(each.taken for each in during)
    assert taken < there <= len(batch)  # what was pushed without a word of it
    assert {(each.down, each.retry) for each in during if not each.taken} == {(True, True)}
    assert after == [TAKEN] * len(batch)
    assert sorted(pushed(client)) == sorted((f"id-{number}", 1) for number in range(-1, len(batch)))


def test_what_arrives_when_its_time_is_over_is_not_pushed(redis_url: str, client: Any) -> None:
    with closing(broker_of(redis_url)) as broker:
        assert broker.publish([message(1)], seconds=5) == [TAKEN]
        client.execute_command("CLIENT", "PAUSE", "700", "WRITE")  # the script is on its way for longer than it may be
        (late,) = broker.publish([message(2)], seconds=0.2)
        there = pushed(client)
        again = broker.publish([message(2)], seconds=5)

    assert (late.taken, late.tried, late.retry) == (False, False, True)
    assert there == [("id-1", 1)]
    assert again == [TAKEN]
    assert pushed(client) == [("id-1", 1), ("id-2", 1)]


def test_a_key_of_another_kind_is_its_own_messages_fault_and_leaves_no_mark(redis_url: str, client: Any) -> None:
    client.set("full", "by somebody")
    found = publish(redis_url, [message(1), message(2, queue="full"), message(3)])
    marks = sorted(client.keys(f"{MARK}*"))
    client.delete("full")
    again = publish(redis_url, [message(2, queue="full")])

    assert [each.taken for each in found] == [True, False, True]
    assert (found[1].code, found[1].retry, found[1].down) == (faults.REFUSED, True, False)
    assert "wrong kind of value" in found[1].error
    assert marks == [f"{MARK}id-1".encode(), f"{MARK}id-3".encode()]
    assert again == [TAKEN]
    assert pushed(client, "full") == [("id-2", 1)]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a function that gives a user these rights, and returns the user's address and an administrator's client."""
    import redis

    servers.need("redis-server")
    port = servers.free_port()
    with (
        servers.redis_server(tmp_path_factory.mktemp("narrow"), port) as url,
        redis.Redis.from_url(url) as client,
    ):

        def given(rights: str) -> tuple[str, Any]:
            client.flushall()
            client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">hunter22", *rights.split())
            return f"redis://narrow:hunter22@127.0.0.1:{port}/0", client

        yield given


def test_the_rights_that_the_page_names_are_enough(narrow: Any) -> None:
    url, client = narrow(RIGHTS)
    page = Path(__file__).parents[2] / "docs" / "explanation" / "brokers.md"
    with closing(broker_of(url)) as broker:
        found = [*broker.publish([message(1), message(2)], seconds=5), *broker.publish([message(1)], seconds=5)]
        broker.forget(["id-1", "id-2"])

    assert RIGHTS in page.read_text("utf-8")
    assert found == [TAKEN] * 3
    assert client.keys("*") == [b"celery"]
    assert pushed(client) == [("id-1", 1), ("id-2", 1)]


@pytest.mark.parametrize("lacking", ["~offbeat:sent:*", "+eval", "+time", "+exists", "+set"])
def test_a_user_with_fewer_rights_publishes_as_before_and_is_told_what_is_missing(lacking: str, narrow: Any) -> None:
    url, client = narrow(RIGHTS.replace(lacking, ""))
    with closing(broker_of(url)) as broker:
        found = [*broker.publish([message(1), message(2)], seconds=5), *broker.publish([message(3)], seconds=5)]
        broker.forget(["id-1", "id-2", "id-3"])

    assert [each.taken for each in found] == [True] * 3
    assert all(each.warning and "hunter22" not in each.warning for each in found)
    assert pushed(client) == [("id-1", 1), ("id-2", 1), ("id-3", 1)]


def test_a_user_who_may_not_remove_marks_leaves_them_to_their_age(narrow: Any) -> None:
    url, client = narrow(RIGHTS.replace("+unlink", ""))
    with closing(broker_of(url)) as broker:
        found = [*broker.publish([message(1)], seconds=5)]
        broker.forget(["id-1"])
        found += broker.publish([message(1), message(2)], seconds=5)

    assert found == [TAKEN] * 3
    assert pushed(client) == [("id-1", 1), ("id-2", 1)]


def test_a_queue_that_this_user_may_not_push_to_costs_its_own_messages_only(narrow: Any) -> None:
    url, client = narrow(RIGHTS)
    found = publish(url, [message(1), message(2, queue="others"), message(3)])

    assert [(each.taken, each.down, each.retry, each.warning) for each in found] == [
        (True, False, True, ""),
        (False, False, True, ""),
        (True, False, True, ""),
    ]
    assert pushed(client) == [("id-1", 1), ("id-3", 1)]


def test_to_forget_is_harmless_without_a_connection_without_a_server_and_for_other_brokers(tmp_path: Path) -> None:
    servers.need("redis-server")
    port = servers.free_port()
    with closing(broker_of(f"redis://127.0.0.1:{port}/0")) as broker:
        broker.forget(["id-1"])
        with servers.redis_server(tmp_path, port):
            assert broker.publish([message(1)], seconds=5) == [TAKEN]
            broker.forget([])
        broker.forget(["id-1"])
    with closing(BrokerKombu("memory://", BrokerSettings(), clock=SystemClock())) as other:
        assert other.publish([message(1)], seconds=5) == [TAKEN]
        other.forget(["id-1"])


def test_it_says_whether_it_remembers_what_it_takes(redis_url: str, narrow: Any) -> None:
    url, _ = narrow(RIGHTS.replace("+eval", ""))
    found = []
    for each in (redis_url, url, "memory://"):
        with closing(broker_of(each)) as broker:
            before = broker.remembers()
            assert broker.publish([message(1)], seconds=5)[0].taken
            found.append((before, broker.remembers()))

    assert found == [(False, True), (False, False), (False, False)]
