"""Clocks that jump or stand still, a machine that slept, a year of downtime, and things that hang."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.model import Reason
from offbeat.errors import Problem
from offbeat.ports.alarm import TimeIsUp, time_limit
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.tick import tick

from .conftest import MemorySite

Write = Callable[[str], Path]
YEAR = 365 * 86_400


@pytest.fixture
def told() -> list[Problem]:
    return []


@pytest.fixture
def daemon(site: MemorySite, told: list[Problem]) -> Daemon:
    return Daemon(site=site, stop=Stop(), tell=told.extend)


def live(daemon: Daemon, clock: FakeClock, seconds: float) -> None:
    """Let the daemon live for so long, by the monotonic clock."""
    end = clock.monotonic() + seconds
    while end - clock.monotonic() > 0.001:
        clock.sleep_until(min(daemon.step(), clock.now() + end - clock.monotonic()))


def due(site: MemorySite) -> list[str]:
    return [str(m.headers["offbeat_due_at"])[11:16] for m in site.wire.sent]


class Counted:
    """A ledger that counts its calls."""

    def __init__(self, ledger: Any) -> None:
        self.ledger, self.calls = ledger, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.ledger, name)
        if not callable(found):
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return found(*args, **kwargs)

        return counted


def test_a_clock_that_goes_back_an_hour_stops_neither_signs_of_life_nor_what_is_fired(
    site: MemorySite, daemon: Daemon, clock: FakeClock
) -> None:
    live(daemon, clock, 61)
    clock.wall -= 3600
    live(daemon, clock, 5)
    site.ledger.fire(site.runner("fire"), "ping", "token")
    live(daemon, clock, 12)

    assert due(site) == ["12:01", "11:01"]
    assert clock.now() - site.ledger.status().runners[0].seen_at < 11


def test_after_a_clock_went_back_nothing_is_sent_twice_and_it_goes_on_where_it_was(
    site: MemorySite, daemon: Daemon, clock: FakeClock
) -> None:
    live(daemon, clock, 121)
    clock.wall -= 600
    live(daemon, clock, 600 + 60)

    assert due(site) == ["12:01", "12:02", "12:03"]


def test_a_clock_that_goes_forward_by_minutes_is_noticed_at_the_next_step(
    site: MemorySite, daemon: Daemon, clock: FakeClock
) -> None:
    live(daemon, clock, 1)
    clock.wall += 300
    live(daemon, clock, 0.6)

    assert due(site)[-1] == "12:05"


@pytest.mark.parametrize("slept", [7200, 30 * 86_400])
def test_a_machine_that_slept_sends_the_latest_and_says_what_it_skipped(
    site: MemorySite, daemon: Daemon, clock: FakeClock, slept: int
) -> None:
    live(daemon, clock, 61)
    clock.wall += slept  # the monotonic clock stands still while a machine sleeps
    live(daemon, clock, 8)

    assert len(due(site)) <= 3
    gaps = [row for row in site.ledger.history("ping") if row.until is not None]
    assert sum(gap.count for gap in gaps) + len(due(site)) == slept // 60 + 1


def test_a_clock_that_stands_still_decides_nothing_and_ends_nothing(site: MemorySite, daemon: Daemon, clock: FakeClock) -> None:
    clock.advance(60)
    for _ in range(50):
        daemon.step()

    assert due(site) == ["12:01"]


def test_a_year_of_downtime_with_a_thousand_minutely_entries_leaves_gaps_and_takes_few_steps(
    tmp_path: Path, clock: FakeClock
) -> None:
    tree = tmp_path / "cron"
    tree.mkdir()
    entries = "".join(f'[entries.e{n}]\nevery = "1m"\ntask = "shop.t"\n' for n in range(1000))
    (tree / "schedule.toml").write_text(f'project = "shop"\n{entries}')
    ledger = Counted(LedgerMemory(clock=clock, project="shop"))
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    wire = BrokerMemory(clock=clock)
    site = MemorySite(tree=tree, root=tmp_path, environ=environ, clock=clock, memory=ledger, wire=wire)
    tick(site)
    clock.advance(YEAR)
    ledger.calls.clear()
    tracemalloc.start()
    tick(site)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    steps = {name: ledger.calls[name] for name in ("look", "take", "record")}
    assert steps["look"] <= 4
    assert steps["record"] <= 4
    assert steps["take"] <= 5
    assert sum(ledger.calls.values()) <= 40
    assert len(ledger.ledger.rows) <= 3 * 1000
    assert sum(1 for gap in ledger.ledger.gaps if gap.reason is Reason.COALESCED) <= 3 * 2
    assert Counter(m.headers["offbeat_entry"] for m in site.wire.sent).most_common(1)[0][1] <= 2
    assert len({m.headers["offbeat_entry"] for m in site.wire.sent}) == 1000
    assert peak < 64 * 2**20


def test_what_hangs_is_ended_at_the_limit_and_told(site: MemorySite, clock: FakeClock) -> None:
    limits: list[float] = []

    @contextmanager
    def limit(seconds: float) -> Any:
        limits.append(seconds)
        yield

    class Hanging:
        def __getattr__(self, name: str) -> Any:
            raise TimeIsUp

    site.limit, site.memory = limit, Hanging()
    done = tick(site, seconds=50)

    assert (done.exit_code, [problem.code for problem in done.problems]) == (3, ["L309"])
    assert limits[0] <= 55


def test_a_resident_runner_goes_on_after_something_hung(
    site: MemorySite, daemon: Daemon, clock: FakeClock, told: list[Problem]
) -> None:
    whole = site.memory

    class Hanging:
        def __getattr__(self, name: str) -> Any:
            raise TimeIsUp

    site.memory = Hanging()
    live(daemon, clock, 30)
    site.memory = whole
    live(daemon, clock, 61)

    assert [problem.code for problem in told] == ["L309"]
    assert due(site)[-1] == "12:01"


def test_the_limit_interrupts_what_waits_and_leaves_other_timers_as_they_were() -> None:
    import select
    import signal

    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with pytest.raises(TimeIsUp), time_limit(0.02):
        select.select((), (), (), 10)

    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (before > 0)


def test_a_step_that_ends_in_time_is_left_alone() -> None:
    with time_limit(10):
        done = True

    assert done


def test_what_cannot_be_interrupted_ends_the_process_with_a_word(tmp_path: Path) -> None:
    import subprocess
    import sys

    text = (
        "import signal, threading\n"
        "from offbeat.ports import alarm\n"
        "alarm.GRACE = 0.05\n"
        "with alarm.time_limit(0.05):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "    threading.Event().wait(30)\n"
    )
    done = subprocess.run((sys.executable, "-c", text), capture_output=True, text=True, timeout=20, check=False)

    assert (done.returncode, "hung" in done.stderr) == (3, True)


def test_after_the_deadline_what_is_in_hand_is_handed_back(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write("".join(f'[entries.e{n:02}]\nevery = "1h"\n' for n in range(30)))
    tick(site)
    site.wire.slow = 1.0
    clock.advance(3600)
    began = clock.monotonic()
    tick(site, seconds=5)

    assert clock.monotonic() - began <= 6
    assert Counter(str(row.state) for row in site.ledger.history()) == {"dispatched": 5, "pending": 25}
