"""What each kind of broker can promise of a message, in one sentence. Never connects, imports no kombu.

docs/explanation/brokers.md says the same at length.
"""

from __future__ import annotations

_REDIS = (
    "Redis: as durable as its persistence; a queue nobody listens to takes messages all the same; expired ones are let go by "
    "the worker; a message is in its queue once, also after a crash or a lost answer"
)
_RABBITMQ = (
    "RabbitMQ: each message is confirmed; one that no queue would get comes back; expired ones are let go in the queue; "
    "a lost confirm may repeat a message with the same id"
)
_SQS = (
    "SQS: each message is answered; a queue that does not exist is noticed; no priority; expired ones are let go by the "
    "worker; a FIFO queue takes an occurrence once in five minutes, a standard one may deliver a message twice by itself"
)
_FILES = (
    "filesystem: as durable as the disk; a queue nobody listens to takes messages all the same; no priority; expired ones are "
    "let go by the worker; a crash may repeat a message with the same id"
)
_MEMORY = "memory: messages end with this process; for tests only"
_OTHERS = (
    "this kind of broker: what kombu promises, untested; a queue nobody listens to may take messages all the same; "
    "a lost answer may repeat a message with the same id"
)
_KINDS = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "sentinel": _REDIS,
    "valkey": _REDIS,
    "valkeys": _REDIS,
    "amqp": _RABBITMQ,
    "amqps": _RABBITMQ,
    "pyamqp": _RABBITMQ,
    "sqs": _SQS,
    "filesystem": _FILES,
    "memory": _MEMORY,
}


def promises(url: str) -> str:
    """Return what the broker at this address can and cannot promise: one line, nothing of the address in it.

    >>> promises("memory://")
    'memory: messages end with this process; for tests only'
    """
    return _KINDS.get(url.partition("://")[0].partition("+")[0].lower(), _OTHERS)
