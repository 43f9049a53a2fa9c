"""Runners and workers as processes that can be killed, stopped and started again, at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(slots=True, kw_only=True)
class Actor:
    """One process that is to run for as long as the test does."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    folder: Path
    program: subprocess.Popen[bytes] | None = field(default=None, init=False)
    starts: int = field(default=0, init=False)

    @property
    def log(self) -> Path:
        """Return the file that it writes to."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.program is not None and self.program.poll() is None:
            return
        with self.log.open("ab") as out:
            self.program = subprocess.Popen(
                list(self.argv), cwd=HERE, env=dict(self.environ), stdout=out, stderr=out, start_new_session=True
            )
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole process group."""
        if self.program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.program.pid, number)

    def kill(self) -> None:
        """End it as a power failure would."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        if self.program is not None:
            self.program.wait()

    def end(self, seconds: float = 20) -> int:
        """Ask it to end; return its exit status."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        assert self.program is not None
        try:
            return self.program.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1


def runner(number: int, *, environ: Mapping[str, str], tree: Path, folder: Path) -> Actor:
    """Return one `offbeat run` over the shared ledger."""
    argv = (sys.executable, "-m", "offbeat", "--tree", str(tree), "-q", "run")
    own = {**environ, "XDG_STATE_HOME": str(folder / f"state{number}")}
    return Actor(name=f"runner{number}", argv=argv, environ=own, folder=folder)


def worker(number: int, *, environ: Mapping[str, str], folder: Path) -> Actor:
    """Return one Celery worker with the guard."""
    flags = ("--concurrency=2", "--loglevel=WARNING", "--without-gossip", "--without-mingle", "-Ofair")
    argv = (sys.executable, "-m", "celery", "-A", "chaos_app", "worker", f"--hostname=w{number}@%h", *flags)
    runtime = folder / f"runtime{number}"  # apart, as on two hosts
    runtime.mkdir(mode=0o700, exist_ok=True)
    own = {**environ, "C_FORCE_ROOT": "1", "XDG_RUNTIME_DIR": str(runtime)}
    return Actor(name=f"worker{number}", argv=argv, environ=own, folder=folder)
