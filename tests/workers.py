"""Real Celery workers for tests: a subprocess that writes down each task it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import wait_for

APP = Path(__file__).parent / "e2e"  # worker_app.py is there


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker listens. queues: arguments by queue name. backend: for results, none with "". environ: more variables.

    python: of the worker, which may be another one than ours.
    """

    broker: str
    queues: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: {"celery": {}})
    transport_options: Mapping[str, object] = field(default_factory=dict)
    backend: str = ""
    conf: Mapping[str, object] = field(default_factory=dict)
    app: str = "worker_app"
    app_folder: Path = APP
    environ: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    pool: str = "prefork"
    concurrency: int = 1


class Worker:
    """A running worker. Each record has event (started, revoked), name, id, args, kwargs, headers, delivery_info."""

    def __init__(self, folder: Path, program: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.program = program

    @property
    def log(self) -> str:
        """Return what the worker has logged."""
        return (self.folder / "worker.log").read_text(errors="replace")

    def records(self, event: str = "started") -> list[dict[str, Any]]:
        """Return what it wrote down so far, oldest first."""
        path = self.folder / "records.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [record for line in lines if (record := json.loads(line))["event"] == event]

    def wait_for_started(self, ids: Sequence[str], seconds: float = 20) -> None:
        """Return when every one of these tasks has been started; fail with the worker's log if they are not in time."""

        def all_there() -> bool:
            return set(ids) <= {record["id"] for record in self.records()}

        try:
            wait_for(f"start of {len(ids)} tasks", all_there, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\nstarted: {[r['id'] for r in self.records()]}\n{self.log[-4000:]}") from None


@contextlib.contextmanager
def running_worker(folder: Path, settings: WorkerSettings) -> Iterator[Worker]:
    """Run a worker until the end of the block; yield it when it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = {"broker_transport_options": dict(settings.transport_options), **settings.conf}
    env = {
        **os.environ,
        "WORKER_BROKER": settings.broker,
        "WORKER_BACKEND": settings.backend,
        "WORKER_CONF": json.dumps(conf),
        "WORKER_QUEUES": json.dumps({name: dict(arguments) for name, arguments in settings.queues.items()}),
        "WORKER_RECORDS": str(folder / "records.jsonl"),
        "C_FORCE_ROOT": "1",
        **settings.environ,
    }
    # Not --pool=solo: it is quicker to start, but over RabbitMQ it may sit on messages that it has already read.
    flags = [
        f"--pool={settings.pool}",
        f"--concurrency={settings.concurrency}",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]
    with (folder / "worker.log").open("ab") as log:
        program = subprocess.Popen(
            [settings.python, "-m", "celery", "-A", settings.app, "worker", *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=settings.app_folder,
            env=env,
            start_new_session=True,
        )
    worker = Worker(folder, program)
    try:
        wait_for("the worker's start", lambda: " ready." in worker.log or program.poll() is not None)
        assert program.poll() is None, worker.log
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(1)  # a warm end may take longer, and nothing here depends on it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
