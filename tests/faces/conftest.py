"""A real tree in a folder, and the command line called as a function on it, at a time that the test says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from offbeat.faces.cli import cli
from offbeat.faces.cli_session import Session
from offbeat.ports.clock import FakeClock

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z, a Sunday


@dataclass(slots=True)
class Shop:
    """A repository with a cron tree, and `offbeat` called inside it."""

    root: Path
    clock: FakeClock
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.root / "cron"

    def write(self, text: str) -> None:
        """Write schedule.toml under the project "shop"."""
        head = 'project = "shop"\ntask_prefix = "shop.tasks."\n'
        (self.tree / "schedule.toml").write_text(f"{head}{text}", "utf-8")

    def link(self, directory: str, name: str) -> None:
        """Put a link of a Celery task into a directory."""
        script = self.tree / "tasks" / "run_celery_task"
        script.parent.mkdir(exist_ok=True)
        if not script.exists():
            script.write_text("#!/bin/sh\n", "utf-8")
            script.chmod(0o755)
        (self.tree / directory).mkdir(exist_ok=True)
        (self.tree / directory / name).symlink_to("../tasks/run_celery_task")

    def call(self, *args: str) -> Result:
        """Call `offbeat ARGS` in the repository."""
        session = Session(clock=self.clock, environ=self.environ)
        return CliRunner().invoke(cli, list(args), obj=session)

    def json(self, *args: str) -> list[Mapping[str, Any]]:
        """Call `offbeat ARGS --json` and return its rows."""
        result = self.call(*args, "--json")
        rows: list[Mapping[str, Any]] = json.loads(result.stdout)
        return rows


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a repository with an empty tree; calls are made from inside of it, at noon."""
    root = tmp_path / "repo"
    (root / "cron").mkdir(parents=True)
    (root / ".git").mkdir()
    monkeypatch.chdir(root)
    queues = tmp_path / "queues"
    queues.mkdir()
    environ = {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "OFFBEAT_BROKER": "filesystem://",
    }
    made = Shop(root, FakeClock(float(NOON)), environ)
    made.write("")
    return made


@pytest.fixture
def settled(shop: Shop) -> Callable[[str], Shop]:
    """Return a function that writes schedule.toml and lets it hold still, as a tick requires."""

    def put(text: str) -> Shop:
        shop.write(text)
        newest = max(path.lstat().st_ctime for path in (shop.tree, *shop.tree.rglob("*")))
        shop.clock.advance(max(0.0, newest + 10 - shop.clock.now()))
        return shop

    return put
