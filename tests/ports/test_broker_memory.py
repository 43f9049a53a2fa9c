"""The broker in memory answers as Broker says, and has its faults on order."""

from __future__ import annotations

import pytest

from offbeat.core.message import Message, build
from offbeat.core.model import Cause, TaskCall
from offbeat.ports.broker import Broker, Delivery, Push
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock


def message(number: int, *, queue: str = "celery", task: str = "t") -> Message:
    return build(
        call=TaskCall(task=task, queue=queue),
        entry="e",
        occurrence=f"id-{number}",
        due_at=0,
        cause=Cause.MANUAL,
        attempt=1,
        origin="offbeat@test",
        expires_at=None,
    )


def test_it_is_a_broker_and_keeps_what_it_takes_in_order() -> None:
    memory = BrokerMemory()
    broker: Broker = memory

    deliveries = broker.publish([message(1), message(2)], seconds=5)

    assert [delivery.taken for delivery in deliveries] == [True, True]
    assert [each.task_id for each in memory.sent] == ["id-1", "id-2"]


def test_once_it_is_down_the_rest_is_answered_alike_and_it_can_come_back() -> None:
    broker = BrokerMemory()
    broker.down_after = 1

    deliveries = broker.publish([message(1), message(2), message(3)], seconds=5)
    broker.down_after = None

    assert [delivery.down for delivery in deliveries] == [False, True, True]
    assert broker.publish([message(2)], seconds=5)[0].taken


def test_a_missing_queue_and_a_refused_task_stop_no_other() -> None:
    broker = BrokerMemory()
    broker.no_queue = {"nowhere"}
    broker.refused = {"bad"}

    deliveries = broker.publish([message(1, queue="nowhere"), message(2, task="bad"), message(3)], seconds=5)

    assert [(delivery.unroutable, delivery.retry, delivery.taken) for delivery in deliveries] == [
        (True, True, False),
        (False, False, False),
        (False, True, True),
    ]


def test_a_slow_one_stops_when_its_time_is_over() -> None:
    broker = BrokerMemory(FakeClock())
    broker.slow = 2.0

    deliveries = broker.publish([message(number) for number in range(4)], seconds=5)

    assert [delivery.error for delivery in deliveries] == ["", "", "", "not tried: out of time"]


def test_a_lost_confirm_is_a_message_taken_and_an_answer_that_says_down() -> None:
    broker = BrokerMemory()
    broker.lost = 1

    deliveries = broker.publish([message(1), message(2)], seconds=5)

    assert [delivery.down for delivery in deliveries] == [True, True]
    assert [each.task_id for each in broker.sent] == ["id-1"]


def test_it_can_die_in_the_middle_of_a_batch() -> None:
    broker = BrokerMemory()
    broker.breaks = {"id-2": KeyboardInterrupt()}

    with pytest.raises(KeyboardInterrupt):
        broker.publish([message(1), message(2), message(3)], seconds=5)

    assert [each.task_id for each in broker.sent] == ["id-1"]
    assert all(delivery.taken for delivery in broker.publish([message(2), message(3)], seconds=5))


def test_as_a_redis_it_has_an_id_and_what_it_prepares_it_accepts() -> None:
    memory = BrokerMemory(server="run-1")
    memory.no_queue, memory.refused, memory.several, memory.no_list = {"nowhere"}, {"bad"}, {"both"}, {"taken"}
    broker: Broker = memory

    found = broker.prepare(
        [message(1), message(2, queue="nowhere"), message(3, task="bad"), message(4, queue="both"), message(5, queue="taken")]
    )
    said = [memory.accept(each) for each in found if isinstance(each, Push)]

    assert broker.server_id() == "run-1"
    assert [(each.unroutable, each.retry, each.tried) for each in found if isinstance(each, Delivery)] == [
        (True, True, True),
        (False, False, True),
        (False, True, False),
    ]
    assert said[0] == ""
    assert said[1].startswith("WRONGTYPE")
    assert memory.sent == [message(1)]


def test_one_that_remembers_takes_an_id_once_until_it_is_told_to_forget_it() -> None:
    memory = BrokerMemory(remembers=True)
    broker: Broker = memory
    memory.lost = 1

    found = [*broker.publish([message(1), message(2)], seconds=5), *broker.publish([message(1), message(2)], seconds=5)]
    broker.forget(["id-1", "id-3"])
    found += broker.publish([message(1), message(2)], seconds=5)

    assert [each.taken for each in found] == [False, False, True, True, True, True]
    assert [each.task_id for each in memory.sent] == ["id-1", "id-2", "id-1"]
    assert memory.marks == {"id-1": 1, "id-2": 1}


def test_out_of_reach_it_is_no_server_at_all() -> None:
    broker = BrokerMemory(server="run-1")
    broker.down = True

    away = broker.server_id()
    assert BrokerMemory().server_id() == ""
    assert isinstance(away, Delivery)
    assert away.down
    assert [each.down for each in broker.prepare([message(1)]) if isinstance(each, Delivery)] == [True]
