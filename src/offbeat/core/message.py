"""An occurrence as a Celery message, protocol 2: headers, properties and body, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from offbeat.core.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is published. body: (args, kwargs, embed), not yet serialized.

    task_id: also the correlation id. expires_at: seconds since the epoch, None without. priority: None leaves it out.
    """

    task_id: str
    exchange: str
    routing_key: str
    serializer: str
    headers: Mapping[str, Json]
    body: tuple[list[Json], Mapping[str, Json], Mapping[str, Json]]
    priority: int | None = None
    expires_at: float | None = None
