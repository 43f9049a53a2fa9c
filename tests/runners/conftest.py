"""A real tree in a folder, with the in-memory ledger, broker and commands, and a clock that moves when told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from offbeat.ports.broker import Broker
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.command import Commands, CommandsMemory
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.runners.site import Site

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z


@dataclass(slots=True, kw_only=True)
class MemorySite(Site):
    """A site whose tree is real, and whose ledger, broker and commands live in memory."""

    memory: Any  # a LedgerMemory, or one that breaks
    wire: Any  # a BrokerMemory, or one that breaks
    hands: Any = field(default_factory=CommandsMemory)

    @property
    def ledger(self) -> Ledger:
        return cast(Ledger, self.memory)

    def broker(self) -> Broker:
        return cast(Broker, self.wire)

    def commands(self) -> Commands:
        return cast(Commands, self.hands)

    def close(self) -> None:
        return


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes schedule.toml under the project "shop"; the tree is tmp_path/cron."""

    def put(text: str) -> Path:
        tree = tmp_path / "cron"
        tree.mkdir(exist_ok=True)
        (tree / "schedule.toml").write_text(f'project = "shop"\ntask_prefix = "shop.tasks."\n{text}', "utf-8")
        return tree

    return put


@pytest.fixture
def site(tmp_path: Path, clock: FakeClock, write: Callable[[str], Path]) -> MemorySite:
    """A site with one entry a minute, compiled at noon, at rest."""
    tree = write('[entries.ping]\nevery = "1m"\n')
    made = MemorySite(
        tree=tree,
        root=tmp_path,
        environ={"XDG_STATE_HOME": str(tmp_path / "state"), "PATH": os.environ["PATH"]},
        clock=clock,
        memory=LedgerMemory(clock=clock, project="shop"),
        wire=BrokerMemory(clock=clock),
    )
    made.sync(made.runner("tick"))
    return made
