"""The workers' app: 200 tasks that write down each start, guarded by offbeat.worker; what arrives is written down, too."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery, signals

# kombu looks for what nobody has acknowledged each 100 s unless it is told otherwise: later than a run waits for it.
VISIBLE = {"visibility_timeout": 15, "unacked_restore_interval": 2, "unacked_restore_throttle": 1}
ENTRIES = int(os.environ["CHAOS_ENTRIES"])
app = Celery("chaos", broker=os.environ["CHAOS_BROKER"])
app.conf.update(
    imports=["offbeat.worker"],
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # What a killed worker had taken comes again, flagged as redelivered: on Redis after so many seconds.
    broker_transport_options=VISIBLE if os.environ["CHAOS_BROKER"].startswith("redis") else {},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    offbeat_on_error=os.environ["CHAOS_ON_ERROR"],  # whether anything is started while the ledger does not answer
    task_ignore_result=True,
    offbeat_ledger=os.environ["OFFBEAT_LEDGER"],
)


def note(event: str, request: Any) -> None:
    """Append one line, in one write."""
    headers = getattr(request, "headers", None) or {}
    info = getattr(request, "delivery_info", None) or {}
    once = headers.get("offbeat_atomic") is True
    told = [event, request.id, headers.get("offbeat_attempt"), bool(info.get("redelivered")), time.time(), once]
    line = json.dumps(told)
    descriptor = os.open(os.environ["CHAOS_RECORDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@signals.task_received.connect  # type: ignore[untyped-decorator, unused-ignore]
def received(request: Any, **_: Any) -> None:
    """Note an arrival."""
    note("received", _Arrived(request))


class _Arrived:
    """A message as it arrived, with the fields of a running task's request."""

    def __init__(self, request: Any) -> None:
        self.id = request.id
        self.headers = request.request_dict
        self.delivery_info = request.delivery_info


for number in range(ENTRIES):

    @app.task(name=f"chaos.e{number:03d}", bind=True)  # type: ignore[untyped-decorator, unused-ignore]
    def started(self: Any) -> None:
        """Note the start."""
        note("started", self.request)
