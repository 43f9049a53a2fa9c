"""A recurrence that cannot be worked out stops only its own entries, forgets nothing, and is looked at again."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.core.transitions import compiled
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_open import open_ledger
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

MODULE = """
works = True

class Moody:
    def __init__(self, options, zone):
        pass

    def next_after(self, after):
        if not works:
            raise RuntimeError("out of sorts")
        return after - after % 60 + 60

    def due_times(self, after, until):
        return iter(range(self.next_after(after), until + 1, 60))

    def last_at_or_before(self, instant):
        if not works:
            raise RuntimeError("out of sorts")
        return instant - instant % 60
"""


@pytest.fixture(autouse=True)
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the kind "moody", which fails when its module says so."""
    folder = tmp_path / "site"
    about = folder / "moody_kind-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "moody_kind.py").write_text(MODULE, "utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: moody-kind\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text("[offbeat.recurrences]\nmoody = moody_kind:Moody\n", "utf-8")
    monkeypatch.syspath_prepend(folder)
    compile_recurrence.cache_clear()
    compiled.cache_clear()
    yield
    compile_recurrence.cache_clear()
    compiled.cache_clear()
    sys.modules.pop("moody_kind", None)


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield LedgerMemory(clock=clock)
        return
    opened = open_ledger(f"sqlite:///{tmp_path / 'shop.db'}", clock=clock, project="shop", owner="here:cron", adopt=False)
    yield opened
    opened.close()


def test_the_others_go_on_and_what_was_due_meanwhile_is_decided_when_it_works_again(
    site: MemorySite, ledger: Ledger, clock: FakeClock, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    site.memory = ledger
    write('[entries.moody]\nown = { kind = "moody" }\ncatch_up = "all"\n[entries.ping]\nevery = "1m"\n')
    clock.advance(10)
    tick(site)
    sys.modules["moody_kind"].works = False  # type: ignore[attr-defined]

    with caplog.at_level(logging.ERROR, "offbeat"):
        for _ in range(3):
            clock.advance(60)
            done = tick(site)

    sent = [str(message.headers["offbeat_entry"]) for message in site.wire.sent]
    assert sent == ["ping"] * 3
    assert done.wake_at <= NOON + 300
    events = {record.__dict__["event"]: record.__dict__["fields"] for record in caplog.records}
    assert 'entry "moody": ' in events["recurrence_failed"]["error"]
    sys.modules["moody_kind"].works = True  # type: ignore[attr-defined]
    clock.advance(60)
    tick(site)
    due = sorted(str(m.headers["offbeat_due_at"]) for m in site.wire.sent if m.headers["offbeat_entry"] == "moody")
    assert due[:3] == ["2026-03-01T12:01:00Z", "2026-03-01T12:02:00Z", "2026-03-01T12:03:00Z"]


def test_a_schedule_is_activated_though_a_kind_fails_meanwhile(
    site: MemorySite, ledger: Ledger, clock: FakeClock, write: Callable[[str], Path]
) -> None:
    site.memory = ledger
    write('[entries.moody]\nown = { kind = "moody" }\n[entries.ping]\nevery = "1m"\n')
    schedule, _ = site.read()
    assert schedule is not None
    sys.modules["moody_kind"].works = False  # type: ignore[attr-defined]

    ledger.activate(replace(schedule, digest="1"), "stamp", "")

    assert {entry.name for entry in schedule.entries} == {"moody", "ping"}
    assert ledger.look(site.runner("tick")).wake_at == NOON + 1
