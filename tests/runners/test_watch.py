"""What a look tells of clocks and of a ledger that went back to an older state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.marks import slot_of
from offbeat.core.model import Reason, State
from offbeat.core.plan import plan
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import Outcome, Runner, Told
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.tick import tick
from offbeat.runners.watch import Watch

from .conftest import NOON, MemorySite

Write = Callable[[str], Path]


def due(site: MemorySite) -> list[str]:
    return [str(m.headers["offbeat_due_at"])[11:16] for m in site.wire.sent]


@pytest.fixture
def skewed(site: MemorySite, clock: FakeClock) -> FakeClock:
    """The clock of this host, no longer the ledger's."""
    site.clock = FakeClock(clock.now())
    return site.clock


@pytest.mark.parametrize("seconds", [2.5, -2.5, 7200.0])
def test_a_runner_whose_clock_differs_records_nothing_and_says_so_once(
    site: MemorySite, clock: FakeClock, skewed: FakeClock, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(60)
    skewed.advance(60 + seconds)
    first, second = tick(site), tick(site)

    assert (due(site), site.ledger.history()) == ([], [])
    assert [problem.code for problem in first.problems] == ["L303"]
    assert (first.exit_code, second.exit_code, second.problems) == (3, 3, ())
    assert site.ledger.status().runners[0].runner.skew == seconds
    assert "clock_differs" in [record.__dict__["event"] for record in caplog.records]


def test_what_others_recorded_is_still_sent_by_a_runner_whose_clock_differs(
    site: MemorySite, clock: FakeClock, skewed: FakeClock
) -> None:
    site.wire.down = True
    clock.advance(60)
    skewed.advance(60)
    tick(site)
    site.wire.down = False
    clock.advance(60)
    skewed.advance(90)
    done = tick(site)

    assert (due(site), done.exit_code) == (["12:01"], 3)
    assert len(site.ledger.history()) == 1


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_what_expires_does_so_by_the_ledgers_clock(
    site: MemorySite, write: Write, clock: FakeClock, skewed: FakeClock, ahead: float
) -> None:
    write('[entries.ping]\nevery = "1m"\nexpires = "10m"\n')
    site.wire.down = True
    clock.advance(60)
    skewed.advance(60)
    tick(site)
    site.wire.down = False
    clock.advance(60)
    skewed.advance(60 + ahead)
    tick(site)

    assert [message.expires_in for message in site.wire.sent] == [540.0]


def test_what_has_expired_before_the_broker_took_it_is_undelivered(site: MemorySite, write: Write, clock: FakeClock) -> None:
    write('[entries.ping]\nevery = "1h"\nexpires = "10m"\n')
    tick(site)
    site.wire.down = True
    clock.advance(3600)
    tick(site)
    site.wire.down = False
    clock.advance(600)
    tick(site)

    assert site.wire.sent == []
    assert [(row.state, row.reason) for row in site.ledger.history()] == [(State.UNDELIVERED, Reason.TOO_LATE)]


@pytest.mark.parametrize("seconds", [1.9, -1.9])
def test_a_small_difference_of_clocks_changes_nothing(
    site: MemorySite, clock: FakeClock, skewed: FakeClock, seconds: float
) -> None:
    clock.advance(60)
    skewed.advance(60 + seconds)

    assert (tick(site).exit_code, due(site)) == (0, ["12:01"])


def test_the_time_that_a_look_takes_is_no_difference_of_clocks(site: MemorySite, clock: FakeClock, skewed: FakeClock) -> None:
    memory: Any = site.memory

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(memory, name)

        def look(self, runner: object) -> object:
            outlook = memory.look(runner)
            clock.advance(5)
            skewed.advance(5)
            return outlook

    site.memory = Slow()
    clock.advance(60)
    skewed.advance(60)

    assert (tick(site).exit_code, site.watch.skew) == (0, 0.0)


def test_a_resident_runner_wakes_by_the_ledgers_clock(site: MemorySite, clock: FakeClock, skewed: FakeClock) -> None:
    skewed.advance(-1.5)
    daemon = Daemon(site=site, stop=Stop(), tell=lambda _: None)
    for _ in range(500):
        before = skewed.now()
        skewed.sleep_until(min(daemon.step(), before + 1))
        clock.advance(skewed.now() - before)
        if clock.now() > NOON + 61:
            break

    late = [row.dispatched_at - row.due_at for row in site.ledger.history("ping") if row.dispatched_at]
    assert len(late) == 1
    assert late[0] < 0.1


def backup(site: MemorySite, clock: FakeClock) -> LedgerMemory:
    """Return a copy of the ledger as it is."""
    memory: LedgerMemory = site.memory
    memory.clock = None  # type: ignore[assignment]
    kept = copy.deepcopy(memory)
    memory.clock = kept.clock = clock
    return kept


@pytest.mark.parametrize(("after_restore", "again"), [("skip", []), ("send", ["12:02", "12:03"])])
def test_a_ledger_that_went_back_is_fenced_and_told(
    site: MemorySite, clock: FakeClock, write: Write, after_restore: str, again: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    write(f'[ledger]\nafter_restore = "{after_restore}"\n[entries.ping]\nevery = "1m"\n')
    clock.advance(60)
    tick(site)
    old = backup(site, clock)
    for _ in range(2):
        clock.advance(60)
        tick(site)
    site.memory = old
    clock.advance(1)
    done = tick(site)
    after = due(site)[3:]
    clock.advance(60)
    tick(site)

    assert [problem.code for problem in done.problems] == ["L304"]
    assert (done.exit_code, after) == (1, again)
    assert due(site)[-1] == "12:04"
    assert "restored" in [record.__dict__["event"] for record in caplog.records]
    assert (after_restore == "skip") == any(row.reason is Reason.RESTORED for row in site.ledger.history())
    assert tick(site).problems == ()


def test_a_ledger_that_went_back_is_noticed_though_others_have_written_more_since(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[ledger]\nafter_restore = "skip"\n[entries.ping]\nevery = "1m"\n')
    tick(site)
    old = backup(site, clock)
    clock.advance(60)
    tick(site)
    site.memory = old
    mine = slot_of(site.runner("tick").id)
    name = next(name for name in "abc" if slot_of(name) != mine)  # two runners may share a slot
    another = Runner(id=name, host="b", pid=1, role="tick")
    for seconds in (1, 60, 60, 60):
        clock.advance(seconds)
        portion = old.take(100)
        for claim in old.record(another, plan(portion), portion.revision):
            outcome = Outcome(key=claim.key, attempt=claim.attempt, state=State.DISPATCHED)
            old.settle(another, [outcome])
    assert sum(old.marks.values()) > site.watch.told.marks[mine]

    assert [problem.code for problem in tick(site).problems] == ["L304"]
    assert tick(site).problems == ()


def test_what_came_due_while_a_ledger_was_away_is_caught_up_with_though_it_went_back(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[ledger]\nafter_restore = "skip"\n[entries.ping]\nevery = "1m"\ncatch_up = "all"\n')
    clock.advance(60)
    tick(site)
    old = backup(site, clock)
    for _ in range(2):
        clock.advance(60)
        tick(site)
    site.memory = old
    clock.advance(150)
    tick(site)

    assert due(site) == ["12:01", "12:02", "12:03", "12:04", "12:05"]
    gaps = [row for row in old.history() if row.reason is Reason.RESTORED]
    assert [(row.until, row.count) for row in gaps] == [(NOON + 180, 2)]


def test_a_new_ledger_at_the_same_place_is_told_once_and_begun_anew(site: MemorySite, clock: FakeClock) -> None:
    for _ in range(3):
        clock.advance(60)
        tick(site)
    site.memory = LedgerMemory(clock=clock, project="shop")

    assert [[problem.code for problem in tick(site).problems] for _ in range(2)] == [["L314"], []]
    clock.advance(60)
    assert tick(site).dispatched == 1


def test_a_ledger_at_another_address_is_no_exchanged_one(site: MemorySite, clock: FakeClock) -> None:
    tick(site)
    site.watch.keep()
    site.watch = Watch(notes=site.notes, place="elsewhere")
    clock.advance(1)
    site.memory = LedgerMemory(clock=clock, project="shop")

    assert tick(site).problems == ()


def test_a_resident_runner_begins_anew_when_the_ledger_is_emptied(site: MemorySite, clock: FakeClock) -> None:
    told: list[Any] = []
    daemon = Daemon(site=site, stop=Stop(), tell=told.extend)
    for _ in range(200):
        clock.sleep_until(min(daemon.step(), NOON + 61))
    site.memory = LedgerMemory(clock=clock, project="shop")
    for _ in range(200):
        clock.sleep_until(min(daemon.step(), NOON + 121))

    assert [problem.code for problem in told] == ["L314"]
    assert due(site) == ["12:01", "12:02"]


def test_a_resident_runner_notices_a_restored_ledger_too(site: MemorySite, clock: FakeClock) -> None:
    told: list[Any] = []
    daemon = Daemon(site=site, stop=Stop(), tell=told.extend)

    def live(seconds: float) -> None:
        end = clock.now() + seconds
        while clock.now() < end:
            clock.sleep_until(min(daemon.step(), end))

    live(61)
    old = backup(site, clock)
    live(120)
    site.memory = old
    live(2)

    assert [problem.code for problem in told] == ["L304"]
    assert due(site) == ["12:01", "12:02", "12:03"]


def test_an_idle_tick_writes_no_notes(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(60)
    tick(site)
    file = site.state / "tree.json"
    before = file.stat().st_ino
    clock.advance(10)
    tick(site)

    assert file.stat().st_ino == before


def test_who_ticks_is_shown_with_revision_and_version(site: MemorySite, clock: FakeClock) -> None:
    from offbeat import __version__

    clock.advance(60)
    tick(site)
    runner = site.ledger.status().runners[0].runner

    assert (runner.role, runner.revision, runner.version, runner.skew) == ("tick", 1, __version__, 0.0)


def test_what_a_reply_told_counts_although_no_look_saw_it(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(60)
    tick(site)
    old: Any = backup(site, clock)
    told = [Told(marks={**old.marks, 99: 1}, heard_at=clock.now() + 1)]  # by the reply to what was recorded next, and lost

    class Telling:
        def __getattr__(self, name: str) -> Any:
            return getattr(old, name)

        def told(self) -> Told:
            return told.pop() if told else Told()

    site.memory = Telling()
    clock.advance(60)

    assert [problem.code for problem in tick(site).problems] == ["L304"]
