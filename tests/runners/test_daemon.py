"""The resident runner: it wakes at the due time, takes in a changed tree, and outlives its ledger and its broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from offbeat.core.model import State
from offbeat.errors import LedgerAwayError, LedgerError, Problem
from offbeat.ports.clock import FakeClock
from offbeat.runners.daemon import LOOK, POLL, Daemon, Stop
from offbeat.runners.deploy import deploy
from offbeat.runners.dispatch import BATCH
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite
from .test_tick import failed_command


@pytest.fixture
def told() -> list[Problem]:
    return []


@pytest.fixture
def daemon(site: MemorySite, told: list[Problem]) -> Daemon:
    return Daemon(site=site, stop=Stop(), tell=told.extend)


def live(daemon: Daemon, clock: FakeClock, seconds: float) -> None:
    """Let the daemon live for so long, on a clock that jumps to where it wants to wake."""
    end = clock.now() + seconds
    while clock.now() < end:
        clock.sleep_until(min(daemon.step(), end))


def due(site: MemorySite) -> list[str]:
    return [str(m.headers["offbeat_due_at"])[11:19] for m in site.wire.sent]


def test_every_due_time_is_sent_within_the_second(site: MemorySite, daemon: Daemon, clock: FakeClock) -> None:
    live(daemon, clock, 181)

    assert due(site) == ["12:01:00", "12:02:00", "12:03:00"]
    late = [row.dispatched_at - row.due_at for row in site.ledger.history("ping") if row.dispatched_at]
    assert max(late) < 0.01


def test_it_wakes_at_the_due_time_and_looks_at_the_tree_and_the_ledger_in_between(daemon: Daemon, clock: FakeClock) -> None:
    live(daemon, clock, 59.9)
    wake = daemon.step()

    assert wake == NOON + 60
    assert POLL + LOOK <= 2


def test_a_changed_tree_counts_within_two_seconds(
    site: MemorySite, daemon: Daemon, clock: FakeClock, write: Callable[[str], Path]
) -> None:
    live(daemon, clock, 10)
    write('[entries.pong]\nevery = "1s"\n')
    live(daemon, clock, 2)

    assert {m.headers["offbeat_entry"] for m in site.wire.sent} == {"pong"}


def test_what_others_put_into_the_ledger_is_seen_within_a_second(site: MemorySite, daemon: Daemon, clock: FakeClock) -> None:
    live(daemon, clock, 10)
    other = site.runner("fire")
    (claim,) = [site.ledger.fire(other, "ping", "token").claim]
    assert claim is not None
    live(daemon, clock, 12)

    assert [m.headers["offbeat_cause"] for m in site.wire.sent] == ["manual"]


def test_it_outlives_a_broker_that_is_down_and_probes_it_with_growing_pauses(
    site: MemorySite, daemon: Daemon, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    site.wire.down = True
    with caplog.at_level(logging.INFO, logger="offbeat"):
        live(daemon, clock, 300)
        asked = site.wire.calls
        site.wire.down = False
        live(daemon, clock, 65)

    assert asked < 15
    assert due(site)[-1] == "12:06:00"
    events = [str(record.__dict__["event"]) for record in caplog.records]
    assert (events.count("broker_down"), events.count("broker_back")) == (1, 1)


def test_it_outlives_a_ledger_that_is_away(site: MemorySite, daemon: Daemon, clock: FakeClock, told: list[Problem]) -> None:
    whole = site.memory

    class Away:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def away(*_: object, **__: object) -> None:
                raise LedgerError(Problem(code="L201", what="locked", why="w", fix="f"))

            return away

    live(daemon, clock, 30)
    site.memory = Away()
    live(daemon, clock, 45)
    site.memory = whole
    live(daemon, clock, 61)

    assert due(site) == ["12:01:00", "12:02:00"]
    assert [problem.code for problem in told] == ["L201"]


@pytest.mark.parametrize("comes_back", [True, False])
def test_started_while_the_ledger_is_away_it_waits_for_it_or_to_be_told_to_stop(
    site: MemorySite, clock: FakeClock, told: list[Problem], caplog: pytest.LogCaptureFixture, *, comes_back: bool
) -> None:
    caplog.set_level(logging.INFO, logger="offbeat")
    stop = Stop()
    daemon = Daemon(site=site, stop=stop, tell=told.extend)
    whole, asked = site.memory, []

    class Away:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def away(*_: object, **__: object) -> None:
                asked.append(clock.now())
                if len(asked) == 5 and comes_back:
                    site.memory = Stopping()
                stop.is_set = len(asked) == 6
                raise LedgerAwayError(Problem(code="L403", what="starting up", why="w", fix="f"))

            return away

    class Stopping:
        """The ledger again; it ends the runner when it has been looked at for the second time."""

        def __getattr__(self, name: str) -> object:
            stop.is_set = len(asked) > 8
            asked.append(clock.now())
            return getattr(whole, name)

    site.memory = Away()
    daemon.run()

    assert caplog.records[-1].__dict__["event"] == "stopped"
    assert [problem.code for problem in told] == ["L403"]
    assert asked[4] - asked[0] == 1 + 2 + 4 + 5
    assert len(asked) > 8 if comes_back else len(asked) == 6


def test_a_tree_that_is_gone_for_a_while_is_told_once_and_the_schedule_goes_on(
    site: MemorySite, daemon: Daemon, clock: FakeClock, tmp_path: Path
) -> None:
    live(daemon, clock, 30)
    (tmp_path / "cron").rename(tmp_path / "away")
    live(daemon, clock, 60)
    (tmp_path / "away").rename(tmp_path / "cron")
    live(daemon, clock, 60)

    assert due(site) == ["12:01:00", "12:02:00"]


def test_told_to_stop_it_finishes_its_batch_and_returns(site: MemorySite, clock: FakeClock, told: list[Problem]) -> None:
    stop = Stop()
    daemon = Daemon(site=site, stop=stop, tell=told.extend)
    clock.advance(60)
    publish = site.wire.publish

    class Stopping:
        def publish(self, messages: object, seconds: float) -> object:
            stop.is_set = True
            return publish(messages, seconds)

        def remembers(self) -> bool:
            return False

        def forget(self, task_ids: object) -> None:
            return

        def close(self) -> None:
            return

    site.wire = Stopping()
    daemon.run()

    assert site.ledger.history("ping")[0].dispatched_at is not None


def test_what_somebody_else_brings_into_force_is_logged_once(
    site: MemorySite, daemon: Daemon, clock: FakeClock, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    live(daemon, clock, 5)
    write('[entries.pong]\nevery = "1m"\n')
    deploy(site)
    with caplog.at_level(logging.INFO, logger="offbeat"):
        live(daemon, clock, 70)

    activated = [record.__dict__ for record in caplog.records if str(record.__dict__["event"]) == "activated"]
    assert [record["fields"]["revision"] for record in activated] == [2]


def test_a_command_that_fails_is_logged_once(
    site: MemorySite, daemon: Daemon, clock: FakeClock, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    live(daemon, clock, 1)
    failed_command(site, clock, write)
    with caplog.at_level(logging.INFO, logger="offbeat"):
        live(daemon, clock, 20)

    told = [record.__dict__["fields"] for record in caplog.records if record.__dict__["event"] == "command_failed"]
    assert told == [{"entry": "sweep", "due_at": NOON + 60, "reason": "exit_status", "note": "exit status 1"}]


def test_a_bug_of_ours_is_logged_and_the_schedule_goes_on(
    site: MemorySite, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    stop = Stop()
    daemon = Daemon(site=site, stop=stop, tell=lambda _: None)
    whole = site.wire

    class Broken:
        def publish(self, messages: object, seconds: float) -> object:
            site.wire = whole
            raise RuntimeError("oops")

        def remembers(self) -> bool:
            return False

        def forget(self, task_ids: object) -> None:
            return

        def close(self) -> None:
            return

    class Ending(FakeClock):
        def sleep_until(self, instant: float) -> None:
            super().sleep_until(instant)
            stop.is_set = self.wall > NOON + 90

    site.clock = site.memory.clock = whole._clock = Ending(float(NOON))
    site.wire = Broken()
    with caplog.at_level(logging.INFO, logger="offbeat"):
        daemon.run()

    assert [str(record.__dict__["event"]) for record in caplog.records].count("bug") == 1
    assert due(site) == ["12:01:00"]


def test_a_host_that_slept_for_a_day_and_a_changed_tree_recover(
    site: MemorySite, daemon: Daemon, clock: FakeClock, write: Callable[[str], Path]
) -> None:
    live(daemon, clock, 10)
    clock.advance(86_400)
    write('[entries.ping]\nevery = "1m"\nkwargs = { full = true }\n')
    live(daemon, clock, 70)

    assert due(site)[-1] == "12:01:00"
    assert site.wire.sent[-1].body[1] == {"full": True}


def test_what_an_entry_waits_for_is_told_once_however_often_it_is_looked_for(
    site: MemorySite, daemon: Daemon, clock: FakeClock, told: list[Problem], write: Callable[[str], Path]
) -> None:
    live(daemon, clock, 1)
    write('[entries.fiscal]\nown = { kind = "nobody_has_this" }\n')
    live(daemon, clock, 300)

    assert [problem.code for problem in told] == ["S168"]


@pytest.mark.parametrize("where", ["daemon", "tick"])
def test_told_to_stop_in_a_burst_it_sends_no_more_and_hands_back_at_once_what_it_did_not_try(
    site: MemorySite, clock: FakeClock, write: Callable[[str], Path], where: str
) -> None:
    write("".join(f'[entries.e{number}]\nevery = "1m"\n' for number in range(1500)))
    site.sync(site.runner("tick"))
    clock.advance(60)
    stop = site.stop
    publish, calls = site.wire.publish, []

    class Stopping:
        def publish(self, messages: Sequence[object], seconds: float) -> object:
            stop.is_set = True
            calls.append(len(messages))
            return publish(messages, seconds)

        def __getattr__(self, name: str) -> object:
            return getattr(whole, name)

    whole, site.wire = site.wire, Stopping()
    if where == "tick":
        tick(site)
    else:
        Daemon(site=site, stop=stop, tell=lambda _: None).run()

    assert len(calls) == 1
    stop.is_set, site.wire = False, whole
    other = site.runner("other")
    assert len(site.ledger.claim(other, 1500, ())) == BATCH - calls[0]  # of the portion that was recorded
    assert not any(row.note for row in site.ledger.history(limit=1500))


def test_once_an_alarm_of_the_broker_ends_all_goes_out_within_two_seconds_and_until_then_no_row_is_claimed_for_nothing(
    site: MemorySite, clock: FakeClock, write: Callable[[str], Path]
) -> None:
    write("".join(f'[entries.e{number}]\nevery = "1m"\n' for number in range(700)))
    site.sync(site.runner("tick"))
    daemon = Daemon(site=site, stop=Stop(), tell=lambda _: None)
    site.wire.blocked = "low on memory"
    live(daemon, clock, 60 + 300)
    tries = {row.attempt for row in site.ledger.history(limit=5000) if row.state is State.PENDING}
    site.wire.blocked = ""
    live(daemon, clock, 2)

    sent = {message.headers["offbeat_entry"] for message in site.wire.sent}
    assert len(sent) == 700
    assert tries == {1}
    assert not site.ledger.claim(site.runner("other"), 5000, ())
