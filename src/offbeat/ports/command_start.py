"""Starting the detached supervisor of commands, and the errand it is given: what it needs to know, through a pipe.

Never waits for the supervisor, never puts an address or a secret where `ps` shows it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from offbeat.core.model import CommandCall, Key, Kind
from offbeat.ports.command import Order, Step

# -P: the folder that cron starts us in must not shadow the standard library.
SUPERVISOR = ("-P", "-m", "offbeat.runners.supervise")
_started: set[int] = set()  # our supervisors that were not seen to end; reaped when the next one starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """An order and all that a supervisor needs to carry it out. address: of the ledger. tree, root: absolute paths."""

    address: str
    project: str
    owner: str
    tree: str
    root: str
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandsDetached:
    """Starts one supervisor for each order: a process in a session of its own, which outlives us.

    It gets `environ`, /dev/null for its standard files and nothing else of ours, so that cron's pipe closes when we end.
    log: a file that gets what it says when it fails, "" for none. python: the words that start a supervisor.
    """

    address: str
    project: str
    owner: str
    tree: Path
    root: Path
    environ: Mapping[str, str]
    log: str = ""
    python: tuple[str, ...] = field(default=(sys.executable, *SUPERVISOR))

    def start(self, order: Order) -> str:
        """Hand the order to a new supervisor and return at once. Returns "" or, when none could be started, why."""
        reap()
        errand = Errand(
            address=self.address,
            project=self.project,
            owner=self.owner,
            tree=os.path.abspath(self.tree),
            root=os.path.abspath(self.root),
            order=order,
        )
        read, write = os.pipe()
        try:
            pid = self._spawn(read)
        except OSError as exc:
            os.close(write)
            return f'no supervisor could be started: "{self.python[0]}": {exc.strerror}'
        finally:
            os.close(read)
        _started.add(pid)
        try:
            with os.fdopen(write, "wb") as pipe:
                pipe.write(format_errand(errand))
        except BrokenPipeError:
            return "the supervisor of commands ended before it had read its order"
        return ""

    def _spawn(self, read: int) -> int:
        sink = (self.log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.posix_spawn(
            self.python[0],
            self.python,
            dict(self.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, read, 0),
                (os.POSIX_SPAWN_OPEN, 1, *sink),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )


def reap() -> None:
    """Collect supervisors that have ended, so that a resident runner leaves no zombies."""
    for pid in tuple(_started):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _started.discard(pid)


def format_errand(errand: Errand) -> bytes:
    """Return the errand as JSON; `parse_errand` reads it back."""
    steps = [
        {
            "key": [step.key.eno, step.key.due_at, step.key.kind, step.key.kind_id],
            "attempt": step.attempt,
            "name": step.name,
            "argv": step.call.argv,
            "cwd": step.call.cwd,
            "directory": step.call.directory,
            "time_limit": step.call.time_limit,
        }
        for step in errand.order.steps
    ]
    words = {name: getattr(errand, name) for name in ("address", "project", "owner", "tree", "root")}
    return json.dumps({**words, "slot": errand.order.slot, "steps": steps}).encode()


def parse_errand(text: bytes) -> Errand:
    """Return the errand that `format_errand` wrote."""
    read = json.loads(text)
    steps = tuple(
        Step(
            key=Key(eno=step["key"][0], due_at=step["key"][1], kind=Kind(step["key"][2]), kind_id=step["key"][3]),
            attempt=step["attempt"],
            name=step["name"],
            call=CommandCall(
                argv=tuple(step["argv"]), cwd=step["cwd"], directory=step["directory"], time_limit=step["time_limit"]
            ),
        )
        for step in read.pop("steps")
    )
    return Errand(order=Order(slot=read.pop("slot"), steps=steps), **read)
