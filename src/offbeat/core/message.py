"""An occurrence as a Celery message, protocol 2: headers, properties and body, as plain data.

Never serializes and never publishes. Its authority is celery/app/amqp.py (as_task_v2) and docs/internals/protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from offbeat.core.identity import format_due_at
from offbeat.core.model import Cause, DueTime, Instant, Json, TaskCall

REPR_LIMIT = 1024  # characters of argsrepr and kwargsrepr, as Celery cuts them


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is published. body: (args, kwargs, embed), not yet serialized.

    task_id: also the correlation id. expires_in: seconds from now on, None without: a broker knows no clock. priority:
    None leaves it out; else as Celery would pass it on, unchanged: on RabbitMQ the highest number goes first (and needs a queue
    with x-max-priority), on Redis the lowest.
    """

    task_id: str
    exchange: str
    routing_key: str
    serializer: str
    headers: Mapping[str, Json]
    body: tuple[list[Json], Mapping[str, Json], Mapping[str, Json]]
    priority: int | None = None
    expires_in: float | None = None


def build(
    *,
    call: TaskCall,
    entry: str,
    occurrence: str,
    due_at: DueTime,
    cause: Cause,
    attempt: int,
    origin: str,
    expires_at: Instant | None,
    now: Instant = 0.0,
    row: str = "",
    atomic: bool = False,
    project: str = "",
) -> Message:
    """Return the message for one attempt at one occurrence. The same arguments give the same message.

    entry: its name. occurrence: its id, which is the task's id too. attempt: of the claim under which it is sent. origin: who
    sends it, "offbeat@host". expires_at: None without `expires`. now: of the same clock, which is the ledger's. row: the
    ledger's key of it, where the worker is to report its start and end to free the entry's slot. atomic: it is recorded and
    sent in one step, so that it is in the queue once. project: by which the guard finds the ledger, "" leaves it out.

    `ignore_result` is left out of the headers, so that the task's own setting counts: a producer that writes false makes a
    task declared with ignore_result=True store its result. The entry's own headers are merged flat, and never replace ours.
    A routing key that is not given is the queue's name, which the default exchange routes by without any binding.
    """
    ours: dict[str, Json] = {
        **_of_celery(call, occurrence),
        "expires": None if expires_at is None else _iso(expires_at),
        "origin": origin,
        "periodic_task_name": entry,
        "offbeat_entry": entry,
        "offbeat_occurrence": occurrence,
        "offbeat_due_at": format_due_at(due_at),
        "offbeat_cause": cause.value,
        "offbeat_attempt": attempt,
        **({"offbeat_row": row} if row else {}),
        **({"offbeat_atomic": True} if atomic else {}),
        **({"offbeat_project": project} if project else {}),
    }
    return Message(
        task_id=occurrence,
        exchange=call.exchange,
        routing_key=call.routing_key or call.queue,
        serializer=call.serializer,
        headers={**call.headers, **ours},
        body=(list(call.args), dict(call.kwargs), {"callbacks": None, "errbacks": None, "chain": None, "chord": None}),
        priority=call.priority,
        expires_in=None if expires_at is None else expires_at - now,
    )


def _of_celery(call: TaskCall, occurrence: str) -> dict[str, Json]:
    """Return the headers that are the same for whoever sends a task by protocol 2."""
    return {
        "lang": "py",
        "task": call.task,
        "id": occurrence,
        "root_id": occurrence,
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": _cut(repr(call.args)),
        "kwargsrepr": _cut(repr(dict(call.kwargs))),
    }


def _iso(instant: Instant) -> str:
    return datetime.fromtimestamp(instant, tz=UTC).isoformat()


def _cut(text: str) -> str:
    return text if len(text) <= REPR_LIMIT else text[: REPR_LIMIT - 3] + "..."
