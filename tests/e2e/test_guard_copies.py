"""One message, delivered twice by a real Redis: a copy of what runs or has ended is dropped, a copy of what was lost runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import servers
from tests.e2e.test_guard import Pair, message, running_ledger, settings
from tests.servers import free_port, wait_for
from tests.workers import running_worker

from offbeat.core.message import Message
from offbeat.ports.clock import SystemClock

VISIBLE = {"visibility_timeout": 3, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}
Start = Callable[..., Pair]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a worker over Redis. host: its own folder, as workers of one host share it."""
    with ExitStack() as stack:

        def begin(ledger: str = "none", queue: str = "", host: str = "host", **conf: Any) -> Pair:
            (tmp_path / host).mkdir(exist_ok=True)
            chosen = settings(request, "redis", ledger, tmp_path / host, queue)
            chosen = replace(chosen, conf={**chosen.conf, **conf}, transport_options=VISIBLE, concurrency=2)
            address = str(chosen.conf["offbeat_ledger"])
            if "offbeat_ledger" not in conf:
                with running_ledger(address):
                    pass
            number = len(list(tmp_path.glob("*/worker*")))
            worker = stack.enter_context(running_worker(tmp_path / host / f"worker{number}", chosen))
            return Pair(worker, chosen.broker, next(iter(chosen.queues)), address)

        yield begin


def sent_now(task: str, *args: Any, **more: Any) -> Message:
    """Return a message that is as young as those of a runner."""
    return message(task, *args, due_at=int(SystemClock().now()), **more)


def test_a_task_that_outlives_the_visibility_timeout_is_started_once(start: Start) -> None:
    pair = start("redis")
    only = sent_now("tests.late", 5, atomic=True)  # which asks nobody when it starts

    pair.send(only)
    wait_for("the copy's end", lambda: "its first delivery has ended" in pair.worker.log)

    assert [len(pair.of(only.task_id, event)) for event in ("started", "ended")] == [1, 1]
    assert "its first delivery runs" in pair.worker.log, "while the first one ran, a copy was kept"


def test_what_a_killed_worker_had_runs_again_when_it_is_delivered_again(start: Start) -> None:
    pair = start("redis")
    only = sent_now("tests.late", 60, atomic=True)
    pair.send(only)
    wait_for("the start", lambda: len(pair.of(only.task_id)) == 1)
    os.killpg(pair.worker.program.pid, signal.SIGKILL)

    again = start(queue=pair.queue, offbeat_ledger=pair.ledger)
    wait_for("the second start", lambda: len(again.of(only.task_id)) == 1)

    assert len(pair.of(only.task_id)) == 1


def test_a_task_whose_own_process_was_killed_runs_again(start: Start) -> None:
    pair = start("postgres")
    only = sent_now("tests.late", 60)
    pair.send(only)
    wait_for("the start", lambda: len(pair.of(only.task_id)) == 1)
    (record,) = pair.of(only.task_id)
    os.kill(record["pid"], signal.SIGKILL)

    wait_for("the second start", lambda: len(pair.of(only.task_id)) == 2)

    assert len({record["pid"] for record in pair.of(only.task_id)}) == 2


def test_what_was_started_unasked_is_told_to_the_ledger_when_it_answers(start: Start, tmp_path: Path) -> None:
    servers.need("redis-server")
    port = free_port()
    one = start(host="one", offbeat_ledger=f"redis://127.0.0.1:{port}/0")
    other = start(host="other", offbeat_ledger=one.ledger)
    first = message("tests.noted", attempt=1)
    one.send(first)
    one.worker.wait_for_started([first.task_id])

    with servers.redis_server(tmp_path, port) as address:
        import redis

        with redis.Redis.from_url(address) as client:
            wait_for("the admission", lambda: bool(list(client.scan_iter(f"*a:{first.task_id}"))))
        other.send(message("tests.noted", attempt=2, occurrence=first.task_id))
        wait_for("the refusal", lambda: "another one has started" in other.worker.log)

    assert (len(one.of(first.task_id)), other.of(first.task_id)) == (1, [])
