"""A private Redis that can be stopped and started again without losing its queue, and what was sent through it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True, kw_only=True)
class Wire:
    """One Redis with an append-only file in `folder`, on a port of its own."""

    folder: Path
    port: int = 0
    program: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.start()

    @property
    def url(self) -> str:
        """Return the broker's address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """Return a redis-py client."""
        import redis

        return redis.Redis(port=self.port)

    def start(self) -> None:
        """Start the server, on the data that it had."""
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        self.program = subprocess.Popen([*argv, "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        for _ in range(200):
            with suppress(Exception):
                self.client().ping()
                return
            time.sleep(0.05)
        raise SystemExit("faults: redis-server did not start: apt-get install redis-server, or brew install redis")

    def stop(self) -> None:
        """Stop the server; what was in the queue is kept in its file."""
        if self.program is not None:
            self.program.send_signal(signal.SIGTERM)
            self.program.wait()
            self.program = None

    def length(self) -> int:
        """Return how many messages are in the queue."""
        return int(self.client().llen("celery"))

    def sent(self) -> Counter[str]:
        """Return how often each task was sent."""
        return Counter(json.loads(message)["headers"]["task"] for message in self.client().lrange("celery", 0, -1))

    def occurrences(self) -> Counter[str]:
        """Return how often each occurrence was sent, by message id: offbeat's are the same for the same occurrence."""
        return Counter(json.loads(message)["headers"]["id"] for message in self.client().lrange("celery", 0, -1))
