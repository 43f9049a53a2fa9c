"""The Celery app of the peers: FAULTS_N entries of one task that nobody runs, due by FAULTS_WHEN."""

from __future__ import annotations

import os

from celery import Celery
from celery.schedules import crontab, schedule

BROKER = os.environ["FAULTS_BROKER"]
WHEN = os.environ["FAULTS_WHEN"]  # "minute", "second" or "at M": the M-th minute of each hour
BAD = os.environ.get("FAULTS_BAD", "")  # one entry more, whose minute is 61


def due() -> object:
    """Return a new schedule object for one entry."""
    if WHEN == "second":
        return schedule(1.0)
    return crontab() if WHEN == "minute" else crontab(minute=WHEN.partition(" ")[2])


app = Celery("peer_app", broker=BROKER)
app.conf.update(redbeat_redis_url=BROKER, timezone="UTC", task_ignore_result=True)
app.conf.beat_schedule = {
    f"e{n:04d}": {"task": f"peer.e{n:04d}", "schedule": due()} for n in range(int(os.environ["FAULTS_N"]))
}
if BAD:
    app.conf.beat_schedule["bad"] = {"task": "peer.bad", "schedule": crontab(minute="61")}
