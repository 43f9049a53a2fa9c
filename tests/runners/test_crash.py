"""A crash before or after any call of a tick loses nothing, and repeats a message only with the same id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.model import State
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import LEASE
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

CALLS = ("look", "take", "record", "claim", "settle", "activate", "publish", "start", "prune")


class Crash(BaseException):
    """The process is gone."""


class Fuse:
    """Counts calls; the one numbered `at` is the last: it dies before or after it is carried out."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.calls = at, after, 0

    def guard(self, part: Any) -> Any:
        return Guarded(part, self)


class Guarded:
    """A ledger, broker or supervisor that dies with the fuse."""

    def __init__(self, part: Any, fuse: Fuse) -> None:
        self._part, self._fuse = part, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._fused(found) if name in CALLS else found

    def _fused(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*args: Any, **kwargs: Any) -> Any:
            self._fuse.calls += 1
            dies = self._fuse.calls == self._fuse.at
            if dies and not self._fuse.after:
                raise Crash
            answer = call(*args, **kwargs)
            if dies:
                raise Crash
            return answer

        return fused


TREE = """
[entries.ping]
every = "1m"
[entries.slow]
every = "1m"
jitter = "20s"
[entries.lost]
every = "1m"
queue = "nowhere"
grace = "1h"
catch_up = "all"
[entries.sweep]
every = "1m"
command = "true"
"""


def crashed(site: MemorySite, clock: FakeClock, fuse: Fuse) -> None:
    """Run a tick at the due time that dies with the fuse."""
    whole, wire, hands = site.memory, site.wire, site.hands
    site.memory, site.wire, site.hands = fuse.guard(whole), fuse.guard(wire), fuse.guard(hands)
    try:
        tick(site)
    except Crash:
        pass
    finally:
        site.memory, site.wire, site.hands = whole, wire, hands


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 25))
def test_a_crash_at_any_call_loses_nothing(
    site: MemorySite, clock: FakeClock, write: Callable[[str], Path], at: int, after: bool
) -> None:
    write(TREE)
    tick(site)
    site.wire.no_queue = {"nowhere"}
    clock.advance(60)
    crashed(site, clock, Fuse(at, after=after))
    site.wire.no_queue = set()
    for _ in range(12):
        clock.advance(LEASE / 2 + 0.1)
        tick(site)

    sent = Counter(
        str(m.headers["offbeat_entry"]) for m in site.wire.sent if m.headers["offbeat_due_at"] == "2026-03-01T12:01:00Z"
    )
    assert sent.keys() == {"ping", "slow", "lost"}
    ids = {
        str(m.headers["offbeat_entry"]): {
            n.task_id
            for n in site.wire.sent
            if n.headers["offbeat_entry"] == m.headers["offbeat_entry"]
            and n.headers["offbeat_due_at"] == m.headers["offbeat_due_at"]
        }
        for m in site.wire.sent
    }
    assert all(len(same) == 1 for same in ids.values())
    assert sum(sent.values()) <= 3 + 2  # a crash between publish and settle repeats that one batch at most
    starts = [step for order in site.hands.orders for step in order.steps if step.key.due_at == NOON + 60]
    assert len(starts) >= 1
    rows = {row.entry: row.state for row in site.ledger.history(limit=100) if row.due_at == NOON + 60}
    assert {rows[name] for name in ("ping", "slow", "lost")} == {State.DISPATCHED}


def test_the_crash_test_reaches_every_kind_of_call(site: MemorySite, clock: FakeClock, write: Callable[[str], Path]) -> None:
    write(TREE)
    tick(site)
    clock.advance(60)
    fuse = Fuse(10_000, after=False)
    crashed(site, clock, fuse)

    assert 8 <= fuse.calls <= 24


def test_a_death_between_the_batches_of_five_thousand_entries_loses_none(tmp_path: Path, clock: FakeClock) -> None:
    from offbeat.ports.broker_memory import BrokerMemory

    tree = tmp_path / "cron"
    tree.mkdir()
    entries = "".join(f'[entries.e{n}]\nevery = "1h"\ntask = "shop.t"\n' for n in range(5000))
    (tree / "schedule.toml").write_text(f'project = "shop"\n{entries}')
    site = MemorySite(
        tree=tree,
        root=tmp_path,
        environ={"XDG_STATE_HOME": str(tmp_path / "state")},
        clock=clock,
        memory=LedgerMemory(clock=clock, project="shop"),
        wire=BrokerMemory(clock=clock),
    )
    tick(site)
    clock.advance(3600)
    crashed(site, clock, Fuse(12, after=True))
    assert 0 < len(site.wire.sent) < 5000
    clock.advance(LEASE + 1)
    tick(site)

    names = Counter(m.headers["offbeat_entry"] for m in site.wire.sent)
    assert len(names) == 5000
    assert sum(names.values()) <= 5500  # the one batch whose outcome was not settled
