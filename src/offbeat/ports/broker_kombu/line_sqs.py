"""A line to Amazon SQS: one request a letter. A FIFO queue is given a group, and the occurrence's id against duplicates.

Never creates a queue, which kombu's own publish would do.
"""

from __future__ import annotations

import re
from typing import Any

from offbeat.ports import broker_faults as faults
from offbeat.ports.broker import Delivery
from offbeat.ports.broker_kombu.lines import Letter, PlainLine
from offbeat.ports.clock import Clock

FIFO = ".fifo"
GROUP = "MessageGroupId"  # also the header by which an entry chooses its group
IDENTITY = "MessageDeduplicationId"
NOT_THERE = "SQS has no such queue, or predefined_queues does not name it"
LEGAL_GROUP = re.compile(r"[!-~]{1,128}")


class SQSLine(PlainLine):
    """Letters as messages of queues, or what SQS says against them."""

    def __init__(self, connection: Any, clock: Clock) -> None:
        super().__init__(connection, clock)
        self._greet()

    def _greet(self) -> None:
        """Ask something of one queue, because kombu has asked nothing where `predefined_queues` names them all.

        Raises what boto3 raises, unless SQS has answered and knows who we are; that it may not tell us is no fault.
        """
        for name, queue in list(self._channel.predefined_queues.items())[:1]:
            try:
                self._channel.sqs(queue=name).get_queue_attributes(QueueUrl=queue["url"], AttributeNames=["QueueArn"])
            except Exception as exc:
                code = faults.aws_code(exc)
                if not code or code in faults.AWS_LOGIN and not code.startswith("AccessDenied"):
                    raise

    def _send(self, letter: Letter) -> Delivery:
        exchange, routing_key = letter.message.exchange, letter.message.routing_key
        if exchange:  # kombu keeps bindings for SQS in the memory of the process that declared them
            return faults.refused("SQS has no exchanges: give the entry a queue", retry=False)
        try:
            if not self._knows(routing_key):
                return faults.unroutable("", routing_key, NOT_THERE)
            message = letter.addressed(self._channel)
            if routing_key.endswith(FIFO):
                message["properties"] |= {GROUP: group_of(letter), IDENTITY: letter.message.task_id}
            self._channel.basic_publish(message, exchange="", routing_key=routing_key)
        except Exception as exc:
            if faults.aws_code(exc).endswith(("NonExistentQueue", "QueueDoesNotExist")):
                return faults.unroutable("", routing_key, NOT_THERE)
            if refusal := _refusal(exc):
                return refusal
            raise
        return Delivery()

    def _knows(self, queue: str) -> bool:
        """Return whether the queue is there; kombu keeps a list, which is read again for a name that it lacks."""
        channel, name = self._channel, self._channel.canonical_queue_name(queue)
        if name not in channel._queue_cache and not channel.predefined_queues:
            channel._update_queue_cache(name)
        return name in channel._queue_cache

    def _stops_all(self, error: Exception) -> bool:
        return True  # no credentials, no endpoint, no answer


def group_of(letter: Letter) -> str:
    """Return the group of a letter in a FIFO queue: the entry's header MessageGroupId, else the entry's name.

    Letters of one group are started one after the other, those of different groups side by side.
    """
    for name in (letter.message.headers.get(GROUP), letter.message.headers.get("offbeat_entry")):
        if isinstance(name, str) and LEGAL_GROUP.fullmatch(name):
            return name
    import hashlib

    return hashlib.sha256(str(letter.message.headers.get("offbeat_entry")).encode("utf-8", "surrogateescape")).hexdigest()


def _refusal(error: Exception) -> Delivery | None:
    """Return the answer to one letter that SQS refuses; None for what is no answer of SQS, or is about every letter."""
    code = faults.aws_code(error)
    if not code:
        return None
    if code in faults.AWS_LOGIN:  # another queue may have keys of its own
        return Delivery(error=str(error), code=faults.LOGIN)
    status: Any = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if "Thrott" in code or not 400 <= int(status) < 500:
        return faults.down(str(error))
    return faults.refused(str(error), retry=False)
