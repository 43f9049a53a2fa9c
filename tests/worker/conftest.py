"""Ledgers that both sides use: a runner through its own interface, a worker through its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.worker_store import WorkerStore, open_store

PROJECT = "shop"


@dataclass(frozen=True, slots=True)
class Sides:
    """A ledger as a runner has it, and a worker's connection to the same."""

    ledger: Ledger
    worker: WorkerStore
    address: str


def address_of(store: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the address of a ledger that nobody has used yet."""
    if store == "sqlite":
        return f"sqlite:///{folder}/ledger.sqlite3"
    if store == "redis":
        return f"{request.getfixturevalue('redis_url')}?prefix=t{uuid.uuid4().hex}&durability=none"
    return f"{request.getfixturevalue('postgres_address')}?schema=t{uuid.uuid4().hex}"


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sides]:
    address = address_of(str(request.param), request, tmp_path)
    with (
        closing(open_ledger(address, clock=SystemClock(), project=PROJECT, owner="")) as ledger,
        closing(open_store(address, PROJECT)) as worker,
    ):
        yield Sides(ledger, worker, address)
