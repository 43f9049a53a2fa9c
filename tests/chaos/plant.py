"""Servers that can be stopped, killed and started again on the data and the port that they had."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import wait_for


@dataclass(slots=True, kw_only=True)
class Plant:
    """One server. make: runs it on the same place each time, and yields its address. pid_file: its first line is its pid."""

    name: str
    make: Callable[[], AbstractContextManager[str]]
    pid_file: Path
    address: str = ""
    _stack: ExitStack | None = field(default=None, init=False)

    def start(self) -> str:
        """Start it; return its address."""
        if self._stack is None:
            with ExitStack() as stack:
                self.address = stack.enter_context(self.make())
                self._stack = stack.pop_all()
        return self.address

    def stop(self) -> None:
        """Ask it to end, as a restart of a service does."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    def kill(self) -> None:
        """End it as a power failure of its host would, the disk's cache aside."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
            pid = int(self.pid_file.read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            wait_for(f"{self.name}'s end", lambda: not _runs(pid), 10)
        self.stop()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
