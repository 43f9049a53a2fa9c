"""The schedulers under test: each is laid out in a folder, started as a process, killed, stopped, and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from bench.faults.wire import Wire

from offbeat.errors import OffbeatError

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is due. when: "minute", "second" or "at M", the M-th minute of each hour. bad: one more, whose minute is 61."""

    entries: int
    when: str
    bad: bool = False


@dataclass(slots=True, kw_only=True)
class Peer(ABC):
    """One scheduler in its own folder."""

    name: str
    folder: Path
    wire: Wire
    load: Load
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @abstractmethod
    def argv(self) -> list[str]:
        """Return the command of one scheduler process."""

    @abstractmethod
    def corrupt(self) -> None:
        """Damage what it remembers, while it is stopped."""

    def environ(self) -> dict[str, str]:
        """Return the variables of its processes."""
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return kept | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def explained(self) -> int:
        """Return how many due times were not sent and have a reason that can be looked up."""
        return 0

    def last_words(self) -> str:
        """Return what became of a process that has ended."""
        return "ends with an error"

    def start(self) -> None:
        """Start one more process of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.programs.append(
                subprocess.Popen(
                    self.argv(), cwd=self.folder, env=self.environ(), stdout=log, stderr=log, start_new_session=True
                )
            )

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End all of its processes by a signal."""
        for program in self.programs:
            if program.poll() is None:
                os.killpg(program.pid, how)
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()
        self.programs.clear()

    def alive(self) -> bool:
        """Return whether every process that was started still runs."""
        return all(program.poll() is None for program in self.programs)


class Beat(Peer):
    """celery beat, with its state file."""

    def argv(self) -> list[str]:
        state = self.folder / f"state{len(self.programs)}"
        return [sys.executable, "-m", "celery", "-A", "peer_app", "beat", "-s", str(state), "--pidfile="]

    def environ(self) -> dict[str, str]:
        return Peer.environ(self) | {
            "PYTHONPATH": str(HERE),
            "FAULTS_BROKER": self.wire.url,
            "FAULTS_N": str(self.load.entries),
            "FAULTS_WHEN": self.load.when,
            "FAULTS_BAD": "yes" if self.load.bad else "",
        }

    def corrupt(self) -> None:
        for state in self.folder.glob("state0*"):
            state.write_bytes(b"\0garbage" * 64)


class RedBeat(Beat):
    """RedBeat, whose state is in the broker's Redis."""

    def argv(self) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "peer_app", "beat", "-S", "redbeat.RedBeatScheduler", "--pidfile="]

    def corrupt(self) -> None:
        self.wire.client().hset("redbeat:e0000", "definition", "{not JSON")


class Offbeat(Peer):
    """`offbeat run`; its ledger is a SQLite file, or the broker's Redis."""

    catch_up: str = "latest"

    def argv(self) -> list[str]:
        self.lay_out()
        return [sys.executable, "-m", "offbeat", "run"]

    def environ(self) -> dict[str, str]:
        return Peer.environ(self) | {"OFFBEAT_LEDGER": self.ledger(), "OFFBEAT_BROKER": self.wire.url}

    def ledger(self) -> str:
        """Return the ledger's address."""
        return f"sqlite:///{self.folder / 'ledger.sqlite3'}"

    def explained(self) -> int:
        from offbeat.ports.clock import SystemClock
        from offbeat.ports.ledger_open import open_ledger

        try:
            ledger = open_ledger(self.ledger(), clock=SystemClock(), project="faults", owner="", read_only=True)
            return sum(row.count for row in ledger.history(limit=100_000) if row.state == "skipped")
        except OffbeatError:
            return 0

    def last_words(self) -> str:
        codes = re.findall(r"\[([A-Z]\d{3})\]", (self.folder / "log").read_text(errors="replace"))
        return f"refuses it, and says what to do ({codes[-1]})" if codes else "ends with an error"

    def lay_out(self) -> None:
        """Write the schedule, unless it is there."""
        path = self.folder / "cron" / "schedule.toml"
        if path.exists():
            return
        path.parent.mkdir(parents=True)
        rule = {"minute": 'cron = "* * * * *"', "second": 'every = "1s"'}.get(
            self.load.when, f'cron = "{self.load.when.partition(" ")[2]} * * * *"'
        )
        text = ['project = "faults"', 'task_prefix = "peer."', "[defaults]", f'catch_up = "{self.catch_up}"']
        text += [f"[entries.e{n:04d}]\n{rule}" for n in range(self.load.entries)]
        if self.load.bad:
            text.append('[entries.bad]\ncron = "61 * * * *"')
        path.write_text("\n".join(text) + "\n", encoding="utf-8")

    def corrupt(self) -> None:
        (self.folder / "ledger.sqlite3").write_bytes(b"\0garbage" * 64)


class OffbeatAll(Offbeat):
    """The same with catch_up = "all"."""

    catch_up = "all"


class OffbeatRedis(Offbeat):
    """Ledger and broker on one Redis: recording and sending is one step."""

    def ledger(self) -> str:
        return f"redis://127.0.0.1:{self.wire.port}/1"

    def corrupt(self) -> None:
        import redis

        client = redis.Redis(port=self.wire.port, db=1)
        for key in client.scan_iter("*"):
            client.delete(key)
            client.set(key, b"\0garbage")
