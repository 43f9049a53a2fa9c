"""Headers that do not fit into RabbitMQ's frame: it would close the connection over them, for everybody."""

from __future__ import annotations

import uuid
from contextlib import closing

import kombu

from offbeat.core.message import Message, build
from offbeat.core.model import BrokerSettings, Cause, TaskCall
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.clock import SystemClock

FRAME = 131_072  # bytes that RabbitMQ takes in one frame where nobody has set another limit


def message(queue: str, header: str) -> Message:
    return build(
        call=TaskCall(task="t", queue=queue, headers={"x": header}),
        entry="e",
        occurrence=str(uuid.uuid4()),
        due_at=0,
        cause=Cause.SCHEDULE,
        attempt=1,
        origin="offbeat@test",
        expires_at=None,
    )


def test_headers_that_are_too_large_cost_only_their_own_message(rabbitmq_url: str) -> None:
    queue = f"headers-{uuid.uuid4().hex}"
    with (
        kombu.Connection(rabbitmq_url) as connection,
        closing(BrokerKombu(rabbitmq_url, BrokerSettings(), clock=SystemClock())) as broker,
    ):
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-expires": 60_000})
        (far_too_large,) = broker.publish([message(queue, "é" * FRAME)], seconds=5)
        around = int(far_too_large.error.partition(" bytes")[0].rpartition(" ")[2]) - 2 * FRAME  # what is not the header's text
        batch = [message(queue, "x" * size) for size in (0, FRAME - around, FRAME - around + 1, 1000)]
        found = broker.publish(batch, seconds=5)
        there = channel.queue_declare(queue, passive=True).message_count

    assert (far_too_large.taken, far_too_large.retry, far_too_large.down) == (False, False, False)
    assert [delivery.taken for delivery in found] == [True, True, False, True]
    assert there == 3
