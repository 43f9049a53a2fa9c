"""BrokerKombu on the transports that need no server: memory and folders."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, Json, TaskCall
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker_kombu.broker import IDLE, BrokerKombu
from offbeat.ports.clock import FakeClock, SystemClock
from offbeat.ports.stop import Stop

NOW = 1_772_332_199.0  # by the ledger's clock, which is not ours


def message(number: int = 0, *, expires_in: float | None = None, **call: Any) -> Message:
    return build(
        call=TaskCall(**{"task": "t", "args": (number,), **call}),
        entry="e",
        occurrence=f"id-{number}",
        due_at=1_772_332_200,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=None if expires_in is None else NOW + expires_in,
        now=NOW,
    )


def envelopes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.msg"))]


def body(envelope: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(envelope["body"]))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(tmp_path: Path, clock: FakeClock) -> Iterator[BrokerKombu]:
    options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    broker = BrokerKombu("filesystem://", BrokerSettings(transport_options=options), clock=clock, root=tmp_path)
    yield broker
    broker.close()


def test_a_message_is_a_whole_file_with_headers_properties_and_body(broker: BrokerKombu, tmp_path: Path) -> None:
    (delivery,) = broker.publish([message(1, queue="search", kwargs={"full": True})], seconds=5)

    assert delivery.taken
    (envelope,) = envelopes(tmp_path / "queue")
    assert envelope["headers"]["task"] == "t"
    assert envelope["content-type"] == "application/json"
    assert envelope["content-encoding"] == "utf-8"
    assert envelope["properties"]["correlation_id"] == "id-1"
    assert envelope["properties"]["delivery_mode"] == 2
    assert envelope["properties"]["delivery_info"] == {"exchange": "", "routing_key": "search"}
    assert body(envelope) == [[1], {"full": True}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    assert [path.name.split(".")[1] for path in (tmp_path / "queue").glob("*.msg")] == ["search"]


def test_nothing_is_left_behind_but_messages(broker: BrokerKombu, tmp_path: Path) -> None:
    broker.publish([message(1)], seconds=5)
    broker.close()
    broker.close()

    assert [path.suffix for path in (tmp_path / "queue").iterdir()] == [".msg"]
    assert not (tmp_path / "control").exists()


def test_what_a_dead_process_had_not_finished_is_not_sent_later(broker: BrokerKombu, tmp_path: Path) -> None:
    import os

    stage = tmp_path / "queue" / f".sending-{os.getpid()}"
    stage.mkdir(parents=True)
    (stage / "1_half.celery.msg").write_text("{")

    broker.publish([message(1)], seconds=5)

    assert len(envelopes(tmp_path / "queue")) == 1


def test_one_message_that_cannot_be_written_stops_no_other(broker: BrokerKombu, tmp_path: Path) -> None:
    loop: list[Json] = []
    loop.append(loop)
    bad_args = message(2, args=(object(),))
    bad_loop = message(3, args=(loop[:0],))
    bad_serializer = message(4, serializer="nosuch")
    bad_header = message(5, headers={"x": object()})
    bad_queue = message(6, queue="../escape")

    deliveries = broker.publish([message(1), bad_args, bad_loop, bad_serializer, bad_header, bad_queue, message(7)], seconds=5)

    assert [delivery.taken for delivery in deliveries] == [True, False, True, False, False, False, True]
    assert {(d.code, d.retry, d.down) for d in deliveries if not d.taken} == {(faults.REFUSED, False, False)}
    assert "object" in deliveries[1].error
    assert "nosuch" in deliveries[3].error
    assert sorted(body(envelope)[0][0] for envelope in envelopes(tmp_path / "queue") if body(envelope)[0] != [[]]) == [1, 7]


def test_expiry_is_also_a_property_in_milliseconds_whatever_our_clock_says(broker: BrokerKombu, tmp_path: Path) -> None:
    broker.publish([message(1, expires_in=90.5)], seconds=5)
    (envelope,) = envelopes(tmp_path / "queue")
    assert envelope["properties"]["expiration"] == "90500"


def test_expiry_in_the_past_is_one_and_none_is_left_out(broker: BrokerKombu, tmp_path: Path) -> None:
    broker.publish([message(1, expires_in=-5), message(2)], seconds=5)

    found = {
        envelope["properties"]["correlation_id"]: envelope["properties"].get("expiration")
        for envelope in envelopes(tmp_path / "queue")
    }
    assert found == {"id-1": "1", "id-2": None}


def test_without_time_nothing_is_tried(broker: BrokerKombu, tmp_path: Path) -> None:
    deliveries = broker.publish([message(1), message(2)], seconds=0)

    assert [(delivery.error, delivery.retry, delivery.down) for delivery in deliveries] == [
        ("not tried: out of time", True, False)
    ] * 2
    assert not (tmp_path / "queue").exists()


class HastyClock(FakeClock):
    """A clock on which every look costs a second."""

    def monotonic(self) -> float:
        self.advance(1)
        return super().monotonic()


def test_what_is_not_tried_in_time_says_so_and_is_not_sent(tmp_path: Path) -> None:
    settings = BrokerSettings(transport_options={"data_folder_in": "queue", "data_folder_out": "queue"})
    broker = BrokerKombu("filesystem://", settings, clock=HastyClock(), root=tmp_path)

    deliveries = broker.publish([message(number) for number in range(20)], seconds=10)
    broker.close()

    taken = [delivery.taken for delivery in deliveries]
    assert 0 < sum(taken) < 20
    assert taken == sorted(taken, reverse=True)
    assert {(d.error, d.retry, d.down) for d in deliveries if not d.taken} == {("not tried: out of time", True, False)}
    assert len(envelopes(tmp_path / "queue")) == sum(taken)


def test_no_messages_are_no_deliveries(broker: BrokerKombu) -> None:
    assert list(broker.publish([], seconds=5)) == []


def test_a_folder_that_went_away_is_a_broker_that_is_down_and_it_comes_back(broker: BrokerKombu, tmp_path: Path) -> None:
    import shutil

    broker.publish([message(1)], seconds=5)
    shutil.rmtree(tmp_path / "queue")
    (tmp_path / "queue").write_text("in the way")

    deliveries = broker.publish([message(2), message(3)], seconds=5)
    (tmp_path / "queue").unlink()
    again = broker.publish([message(2)], seconds=5)

    assert [(d.down, d.retry, d.code) for d in deliveries] == [(True, True, faults.DOWN)] * 2
    assert again[0].taken
    assert len(envelopes(tmp_path / "queue")) == 1


def test_a_message_to_an_exchange_goes_where_the_workers_bound_it(broker: BrokerKombu, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "topics.exchange").write_text(json.dumps([["a.*", r"^a\.[^\.]+$", "letters"]]))
    (tmp_path / "control" / "direct.exchange").write_text(json.dumps([["key", "", "doors"]]))

    deliveries = broker.publish(
        [
            message(1, exchange="topics", routing_key="a.b"),
            message(2, exchange="topics", routing_key="b.a"),
            message(3, exchange="direct", routing_key="key"),
            message(4, exchange="direct", routing_key="lock"),
            message(5, exchange="nosuch", routing_key="key"),
        ],
        seconds=5,
    )

    assert [delivery.unroutable for delivery in deliveries] == [False, True, False, True, True]
    assert sorted(path.name.split(".")[1] for path in (tmp_path / "queue").glob("*.msg")) == ["doors", "letters"]


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("nosuch://host", faults.ADDRESS, "nosuch"),
        ("no.such://host", faults.ADDRESS, "no.such"),
        ("amqp://127.0.0.1:1//?nosuch=1", faults.ADDRESS, "nosuch"),
        ("redis://host:port/0", faults.ADDRESS, "host and port"),
        ("redis://127.0.0.1:1/notanumber", faults.ADDRESS, "notanumber"),
        ("redis://127.0.0.1:1/0", faults.DOWN, "refused"),
        ("amqp://127.0.0.1:1//", faults.DOWN, "refused"),
        ("amqp://user:pass@127.0.0.1:1//;amqp://user:pass@127.0.0.1:2//", faults.DOWN, "refused"),
    ],
)
def test_a_broker_that_cannot_be_reached_is_said_to_be_down_and_why(url: str, code: str, said: str) -> None:
    broker = BrokerKombu(url, BrokerSettings(), clock=SystemClock())

    deliveries = [broker.reach(2), *broker.publish([message(1), message(2)], seconds=2)]

    for delivery in deliveries:
        assert (delivery.taken, delivery.down, delivery.retry, delivery.code) == (False, True, True, code)
        assert said in delivery.error.lower()


def test_a_missing_redis_package_says_what_to_install() -> None:
    script = """
import sys
sys.modules["redis"] = None
from offbeat.core.model import BrokerSettings
from offbeat.ports.broker_faults import broker_problem
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock
broker = BrokerKombu("redis://:hunter22@127.0.0.1:1/0", BrokerSettings(), clock=SystemClock())
print(broker_problem(broker.reach(1), broker.where))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert "[B206]" in said
    assert "pip install 'kombu[redis]'" in said
    assert "hunter22" not in said


def test_kombu_is_not_loaded_before_the_first_publish_and_celery_and_redis_never_for_another_broker() -> None:
    script = """
import sys
from pathlib import Path
from offbeat.core.model import BrokerSettings
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock
broker = BrokerKombu("memory://", BrokerSettings(), clock=SystemClock())
before = {"kombu", "amqp"} & set(sys.modules)
assert broker.reach(5).taken
print(sorted(before), sorted({"kombu", "celery", "redis"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[] ['kombu']"


def test_a_connection_is_kept_and_opened_anew_when_it_has_been_idle(clock: FakeClock) -> None:
    broker = BrokerKombu("memory://", BrokerSettings(), clock=clock)
    broker.reach(5)
    first = broker._line
    broker.reach(5)
    kept = broker._line
    clock.advance(IDLE + 1)
    broker.reach(5)
    anew = broker._line
    broker.close()

    assert first is kept
    assert anew is not first


class Soon:
    """Set after it was looked at so many times: a signal that comes in the middle of a batch."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_told_to_stop_in_a_batch_it_tells_what_it_sent_and_what_it_did_not_try(tmp_path: Path, clock: FakeClock) -> None:
    options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    settings = BrokerSettings(transport_options=options)
    broker = BrokerKombu("filesystem://", settings, clock=clock, root=tmp_path, stop=cast(Stop, Soon(12)))

    deliveries = broker.publish([message(number) for number in range(50)], seconds=5)
    sent = sum(delivery.taken for delivery in deliveries)

    assert 0 < sent < 50
    assert [delivery.tried for delivery in deliveries] == [True] * sent + [False] * (50 - sent)
    assert len(envelopes(tmp_path / "queue")) == sent
