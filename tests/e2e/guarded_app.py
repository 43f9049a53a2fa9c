"""A Celery app with the guard, for tests: each task writes down when its body runs. Python 3.8, as users' apps may be."""

# mypy: disable-error-code="misc,untyped-decorator"

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from celery import Celery, Task
from kombu import Queue

app = Celery("guarded_app", broker=os.environ["WORKER_BROKER"], backend=os.environ["WORKER_BACKEND"] or None)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
    task_queues=[Queue(name, queue_arguments=arguments) for name, arguments in json.loads(os.environ["WORKER_QUEUES"]).items()],
)
app.conf.update(json.loads(os.environ["WORKER_CONF"]))


def note(event: str, task: Any, **more: Any) -> None:
    found = {"event": event, "id": task.request.id, "name": task.name, "pid": os.getpid(), **more}
    with open(os.environ["WORKER_RECORDS"], "a") as file:  # noqa: PTH123 - one line, one write
        file.write(json.dumps(found) + "\n")


class OwnStart(Task):
    """A task with a `before_start` of its own that does not call Task's."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("own_start", self)


class AlsoStart(Task):
    """One that does."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        super().before_start(task_id, args, kwargs)
        note("own_start", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


@app.task(name="tests.noted", bind=True)
def noted(self: Any, *args: Any, **kwargs: Any) -> str:
    note("started", self, args=list(args), headers=dict(self.request.headers or {}))
    return "noted"


@app.task(name="tests.own_start", bind=True, base=OwnStart)
def own_start(self: Any) -> None:
    note("started", self)


@app.task(name="tests.also_start", bind=True, base=AlsoStart)
def also_start(self: Any) -> None:
    note("started", self)


@app.task(name="tests.retried", bind=True, max_retries=3)
def retried(self: Any) -> None:
    note("started", self, retries=self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0)


@app.task(name="tests.parent", bind=True)
def parent(self: Any) -> None:
    note("started", self)
    noted.apply_async(("child",), headers=dict(self.request.headers or {}), queue=self.request.delivery_info["routing_key"])


@app.task(name="tests.late", bind=True, acks_late=True, reject_on_worker_lost=True)
def late(self: Any, seconds: float) -> None:
    note("started", self, redelivered=bool(self.request.delivery_info.get("redelivered")))
    if not self.request.delivery_info.get("redelivered"):
        time.sleep(seconds)
    note("ended", self)


@app.task(name="tests.failing", bind=True)
def failing(self: Any) -> None:
    note("started", self)
    raise ValueError("on purpose")


@app.task(name="tests.expired", bind=True)
def expired(self: Any) -> None:
    note("started", self)


@app.task(name="tests.limited", bind=True, time_limit=1)
def limited(self: Any) -> None:
    note("started", self)
    time.sleep(30)


@app.task(name="tests.killed", bind=True)
def killed(self: Any) -> None:
    note("started", self)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="tests.replaced", bind=True)
def replaced(self: Any) -> None:
    note("started", self)
    self.replace(noted.si().set(queue=self.request.delivery_info["routing_key"]))
