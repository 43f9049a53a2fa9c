"""A small Celery app for tests: writes down each task that it starts or revokes. Knows nothing of offbeat."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, signals
from kombu import Queue

app = Celery("worker_app", broker=os.environ["WORKER_BROKER"], backend=os.environ["WORKER_BACKEND"] or None)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
    task_queues=[Queue(name, queue_arguments=arguments) for name, arguments in json.loads(os.environ["WORKER_QUEUES"]).items()],
    **json.loads(os.environ["WORKER_CONF"]),
)


def _write(event: str, request: Any, **more: Any) -> None:
    found = {"event": event, "id": request.id, "args": list(request.args or ()), "kwargs": request.kwargs, **more}
    with open(os.environ["WORKER_RECORDS"], "a") as file:  # noqa: PTH123 - one line, one write
        file.write(json.dumps(found) + "\n")


@signals.task_prerun.connect  # type: ignore[untyped-decorator, unused-ignore]
def started(task: Any, **_: Any) -> None:
    headers = dict(task.request.headers or {})
    _write("started", task.request, name=task.name, headers=headers, delivery_info=task.request.delivery_info)


@signals.task_revoked.connect  # type: ignore[untyped-decorator, unused-ignore]
def revoked(request: Any, expired: bool, **_: Any) -> None:
    _write("revoked", request, expired=expired)


@app.task(name="tests.noted")  # type: ignore[untyped-decorator, unused-ignore]
def noted(*args: Any, **kwargs: Any) -> str:
    return "noted"


@app.task(name="tests.silent", ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def silent(*args: Any, **kwargs: Any) -> str:
    return "nobody asked"
