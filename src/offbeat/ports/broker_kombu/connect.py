"""Opens a line to a broker with kombu, of the kind that its transport needs. Never sends, never retries."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from offbeat.ports.broker_kombu.address import as_kombu_knows_it
from offbeat.ports.broker_kombu.line_folder import FolderLine, stage
from offbeat.ports.broker_kombu.line_rabbitmq import ConfirmedLine
from offbeat.ports.broker_kombu.line_redis import RedisLine
from offbeat.ports.broker_kombu.line_sqs import SQSLine
from offbeat.ports.broker_kombu.lines import Line, PlainLine
from offbeat.ports.clock import Clock


def connect(url: str, options: dict[str, Any], secure: dict[str, Any] | bool, *, clock: Clock, seconds: float) -> Line:
    """Open a connection, each server of a failover list tried once. Raises whatever kombu and its transports raise.

    seconds: for the TCP connection, and for each answer after it, of each server.
    """
    import kombu

    if url.startswith(("redis", "sentinel", "valkey")) and find_spec("redis") is None:
        raise ImportError("the package redis is not installed")  # kombu itself would stumble over it somewhere
    if url.lower().startswith("sqs:") and find_spec("boto3") is None:
        raise ImportError("the package boto3 is not installed")
    if url.startswith("sentinel:"):
        options = {**options, "sentinel_kwargs": _to_sentinels(options)}
    staged = stage(options) if url.startswith("filesystem:") else None
    connection = kombu.Connection(
        as_kombu_knows_it(url),
        ssl=secure,
        transport_options=options,
        connect_timeout=seconds,
        failover_strategy="round-robin",
    )
    try:
        connection.ensure_connection(
            max_retries=max(0, len(connection.alt) - 1),
            interval_start=0,
            interval_step=0,
            interval_max=0,
            reraise_as_library_errors=False,
        )
        kind = connection.transport.driver_type
        if kind == "amqp":
            return ConfirmedLine(connection, clock)
        if staged is not None:
            return FolderLine(connection, clock, *staged)
        return {"redis": RedisLine, "sqs": SQSLine}.get(kind, PlainLine)(connection, clock)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            connection.collect()
        raise


def _to_sentinels(options: dict[str, Any]) -> dict[str, Any]:
    """Return how to speak to the sentinels themselves: redis-py would try a dead one for seven seconds before the next."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    sockets = {name: value for name, value in options.items() if name.startswith("socket_")}
    return {**sockets, "retry": Retry(NoBackoff(), 0), **(options.get("sentinel_kwargs") or {})}
