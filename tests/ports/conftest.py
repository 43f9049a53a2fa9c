"""The stores, one after the other, behind one fixture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from tests.ports.ledger_stores import STORES, Ground, Handles
from tests.ports.ledger_world import NOON, Twice

from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOON))


@pytest.fixture(params=[*STORES, *(f"{store}, each message twice" for store in STORES)])
def handles(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Handles]:
    """Return a function that opens one more handle on one store."""
    store, _, twice = str(request.param).partition(",")
    with ExitStack() as stack:
        one_more = STORES[store](Ground(request=request, clock=clock, stack=stack, folder=tmp_path))
        yield lambda: cast("Ledger", Twice(one_more())) if twice else one_more()


@pytest.fixture
def ledger(handles: Handles) -> Ledger:
    """Return a new, empty ledger."""
    return handles()
