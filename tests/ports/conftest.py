"""The stores, one after the other, behind one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import pytest
from tests.ports.ledger_world import NOON, Twice

from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture(params=["memory", "sqlite", "memory, each message twice", "sqlite, each message twice"])
def handles(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Return a function that opens one more handle on one store."""
    store, _, twice = str(request.param).partition(",")
    memory: Ledger = LedgerMemory(clock=clock, project="shop", owner="host:/tree")
    place = Place(path=str(tmp_path / "state" / "ledger.sqlite3"), project="shop", owner="host:/tree")
    with ExitStack() as stack:

        def one_more() -> Ledger:
            plain = memory if store == "memory" else stack.enter_context(closing(LedgerSqlite(place, clock=clock)))
            return cast("Ledger", Twice(plain)) if twice else plain

        yield one_more


@pytest.fixture
def ledger(handles: Callable[[], Ledger]) -> Ledger:
    """Return a new, empty ledger."""
    return handles()
