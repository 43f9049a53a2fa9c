"""One tick: what is due goes out once, with the same id whoever sends it; trouble is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.model import Reason, State
from offbeat.core.plan import BACKLOG, plan
from offbeat.ports.alarm import TimeIsUp
from offbeat.ports.clock import FakeClock
from offbeat.ports.command import Order
from offbeat.ports.ledger_values import LEASE, Report
from offbeat.runners.dispatch import Dispatcher
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

Write = Callable[[str], Path]


def due(site: MemorySite) -> list[tuple[str, str]]:
    """Return (entry, due time) of every message that the broker took, in order."""
    return [(str(m.headers["offbeat_entry"]), str(m.headers["offbeat_due_at"])) for m in site.wire.sent]


def test_a_due_task_is_published_once_and_the_history_says_when(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(60.2)
    tick(site)
    tick(site)

    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]
    row = site.ledger.history("ping")[0]
    assert (row.state, row.due_at, row.attempt) == (State.DISPATCHED, NOON + 60, 1)
    assert row.task_id == site.wire.sent[0].task_id


def test_nothing_due_publishes_nothing_and_says_when_to_wake(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(30)
    done = tick(site)

    assert (site.wire.sent, done.wake_at, done.exit_code) == ([], NOON + 60, 0)


def test_the_first_tick_ever_plans_nothing_of_the_past(site: MemorySite) -> None:
    assert tick(site).dispatched == 0


def test_two_ticks_in_the_same_second_send_everything_once(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(60)
    ledger = site.ledger
    first, second = site.runner("tick"), replace(site.runner("tick"), id="other:1:tick")
    ledger.look(first)
    ledger.look(second)
    portion, same = ledger.take(50), ledger.take(50)
    ours = ledger.record(first, plan(portion), portion.revision)
    theirs = ledger.record(second, plan(same), same.revision)
    Dispatcher(site=site, runner=first).dispatch(ours, clock.monotonic())
    Dispatcher(site=site, runner=second).dispatch(theirs, clock.monotonic())

    assert theirs == [] or theirs == ()
    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]


def test_a_removed_entry_does_not_fire_and_an_added_one_is_due_from_then_on(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    clock.advance(50)
    write('[entries.pong]\nevery = "1m"\n')
    tick(site)
    clock.advance(10)
    tick(site)

    assert due(site) == [("pong", "2026-03-01T12:01:00Z")]


def test_a_change_of_arguments_keeps_what_is_due(site: MemorySite, clock: FakeClock, write: Write) -> None:
    clock.advance(60)
    write('[entries.ping]\nevery = "1m"\nkwargs = { full = true }\n')
    tick(site)

    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]
    assert site.wire.sent[0].body[1] == {"full": True}


def test_a_file_that_cannot_be_read_leaves_the_last_good_schedule_in_force_and_is_told_once(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write("[entries.ping\n")
    clock.advance(60)
    first, second = tick(site), tick(site)

    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]
    assert [problem.line for problem in first.problems] == [3]
    assert second.problems == ()
    assert site.ledger.status().refused_whole


def test_one_bad_entry_stops_only_itself(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write('[entries.bad]\ncron = "61 * * * *"\n[entries.ping]\nevery = "1m"\n')
    clock.advance(60)
    done = tick(site)

    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]
    assert [(problem.entry, problem.line) for problem in done.problems] == [("bad", 4)]
    assert done.exit_code == 1


def test_a_warning_is_for_check_and_not_for_crons_mail(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write('[entries.ping]\ncron = "*/45 * * * *"\n')
    clock.advance(60)
    done = tick(site)

    assert (done.problems, done.exit_code) == ((), 0)
    assert "S151" in site.ledger.status().refused


def test_while_the_broker_is_down_rows_wait_and_it_is_told_once(site: MemorySite, clock: FakeClock) -> None:
    site.wire.down = True
    clock.advance(60)
    first = tick(site)
    clock.advance(5)
    second = tick(site)

    assert (first.exit_code, len(first.problems), second.exit_code, second.problems) == (3, 1, 3, ())
    assert site.ledger.history("ping")[0].state is State.PENDING

    site.wire.down = False
    clock.advance(5)
    assert tick(site).exit_code == 0
    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]
    assert site.wire.sent[0].headers["offbeat_attempt"] == 3


def test_a_tick_between_two_tries_is_no_success_while_rows_wait_for_the_broker(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    site.environ = {**site.environ, "OFFBEAT_BROKER": "redis://me:s3cret@cache:6379/0"}
    write('[entries.report]\nat = "2026-03-01T12:01:00Z"\n')
    tick(site)
    site.wire.down = True
    clock.advance(60)
    first = tick(site)
    again = tick(site)  # nothing is due: the next try is later
    site.wire.down = False
    clock.advance(60)

    assert (first.exit_code, [p.code for p in first.problems]) == (3, ["B210"])
    assert "redis://***@cache:6379/0" in first.problems[0].fix and "s3cret" not in str(first.problems)
    assert (again.exit_code, again.problems) == (3, ())
    assert (tick(site).exit_code, tick(site).exit_code) == (0, 0)


def test_what_waits_for_its_own_time_is_no_trouble_with_the_broker(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write('[entries.report]\nat = "2026-03-01T12:01:00Z"\ngrace = "30s"\n')
    tick(site)
    site.wire.down = True
    clock.advance(60)
    down = tick(site)
    write('[entries.later]\nevery = "1h"\njitter = "30m"\n')
    clock.advance(3600)
    tick(site)

    assert (down.exit_code, tick(site).exit_code) == (3, 0)


def test_an_outage_of_half_an_hour_costs_a_minutely_entry_only_what_was_overtaken(site: MemorySite, clock: FakeClock) -> None:
    site.wire.down = True
    for _ in range(30):
        clock.advance(60)
        tick(site)
    site.wire.down = False
    clock.advance(60)
    tick(site)

    told = {row.due_at: (row.state, str(row.reason)) for row in site.ledger.history("ping", limit=100)}
    assert len(told) == 31
    assert [told[NOON + 60 * n] for n in range(1, 30)] == [(State.SKIPPED, "coalesced")] * 29
    assert [told[NOON + 60 * n][0] for n in (30, 31)] == [State.DISPATCHED] * 2


def test_grace_that_ends_while_the_broker_is_down_makes_it_undelivered_with_the_brokers_words(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.report]\nat = "2026-03-01T12:05:00Z"\ngrace = "2m"\n')
    tick(site)
    site.wire.down = True
    clock.advance(300)
    tick(site)
    clock.advance(121)
    tick(site)

    row = site.ledger.history("report")[0]
    assert (row.state, str(row.reason)) == (State.UNDELIVERED, "too_late")
    assert "connection refused" in row.note


def test_a_queue_that_does_not_exist_delays_nobody_and_a_fixed_queue_rescues_what_waits(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    lost = '[entries.lost]\nat = "2026-03-01T12:01:00Z"\nqueue = "nowhere"\n[entries.ping]\nevery = "1m"\n'
    write(lost)
    tick(site)
    site.wire.no_queue = {"nowhere"}
    clock.advance(60)
    tick(site)
    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]

    write(lost.replace("nowhere", "celery"))
    clock.advance(30)
    tick(site)
    assert due(site)[1:] == [("lost", "2026-03-01T12:01:00Z")]


def test_a_slow_broker_is_left_before_the_lease_ends_and_the_rest_is_handed_back(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write("".join(f'[entries.e{n}]\nevery = "1h"\n' for n in range(30)))
    tick(site)
    site.wire.slow = 1.0
    clock.advance(3600)
    tick(site, seconds=1000)

    assert len(due(site)) == 30
    assert len(set(due(site))) == 30


def test_commands_are_handed_to_a_supervisor_by_slot_and_tasks_do_not_wait_for_them(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    tree = write('[entries.ping]\nevery = "1m"\n')
    (tree / "minutely").mkdir(mode=0o755)
    for name in ("b.sh", "a"):
        (tree / "minutely" / name).write_text("#!/bin/sh\n")
        (tree / "minutely" / name).chmod(0o755)
    tick(site)
    clock.advance(60)
    tick(site)

    (order,) = site.hands.orders
    assert order.slot == "minutely"
    assert [step.name for step in order.steps] == ["minutely/a", "minutely/b.sh"]
    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]


def failed_command(site: MemorySite, clock: FakeClock, write: Write) -> None:
    """Let a command fail at 12:01."""
    write('[entries.sweep]\nevery = "1m"\ncommand = "false"\n')
    tick(site)
    clock.advance(60)
    tick(site)
    ((step,),) = [order.steps for order in site.hands.orders]
    for state, reason in ((State.STARTED, Reason.NONE), (State.FAILED, Reason.EXIT_STATUS)):
        note = "exit status 1" if reason else ""
        said = Report(key=step.key, attempt=step.attempt, state=state, reason=reason, note=note)
        site.ledger.report(site.runner("supervisor"), [said])


def test_a_failed_command_is_told_once_by_the_next_tick_even_if_nothing_is_due(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    failed_command(site, clock, write)
    clock.advance(5)
    first, second = tick(site), tick(site)

    (problem,) = first.problems
    assert '"sweep" due 2026-03-01T12:01:00Z failed: exit status 1' in problem.what
    assert (first.exit_code, second.problems, second.exit_code) == (1, (), 0)


def test_a_failed_task_is_told_with_its_id_and_where_its_words_are(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write('[entries.pong]\nevery = "1m"\noverlap = "skip"\nmax_runtime = "1h"\n')
    tick(site)
    clock.advance(60)
    tick(site)
    (row,) = site.ledger.history("pong")
    assert row.key is not None
    for state in (State.STARTED, State.FAILED):
        note = "ValueError" if state is State.FAILED else ""
        site.ledger.report(site.runner("worker"), [Report(key=row.key, attempt=1, state=state, note=note)])
    clock.advance(5)

    (problem,) = tick(site).problems

    assert (problem.code, problem.fix) == ("C150", "offbeat history --failed pong")
    assert "the worker's log" in problem.why and row.task_id in problem.why


def test_a_claim_whose_runner_died_is_sent_by_another_with_the_same_id(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(60)
    dead = replace(site.runner("run"), id="dead:1:run")
    site.ledger.look(dead)
    portion = site.ledger.take(50)
    (claim,) = site.ledger.record(dead, plan(portion), portion.revision)
    tick(site)
    assert site.wire.sent == []

    clock.advance(LEASE + 1)
    tick(site)
    assert due(site) == [("ping", "2026-03-01T12:01:00Z")]
    assert site.wire.sent[0].headers["offbeat_attempt"] == 2


@pytest.mark.parametrize("jitter", ["30s"])
def test_a_jittered_occurrence_is_never_sent_before_its_send_time(
    site: MemorySite, clock: FakeClock, write: Write, jitter: str
) -> None:
    write("".join(f'[entries.e{n}]\nevery = "1m"\njitter = "{jitter}"\n' for n in range(40)))
    tick(site)
    clock.advance(60)
    sizes = []
    for _ in range(31):
        tick(site)
        sizes.append(len(site.wire.sent))
        clock.advance(1)

    assert sizes[0] < 40
    assert sizes[-1] == 40
    assert len(set(sizes)) > 10


def test_a_clock_that_jumped_a_day_ahead_is_believed_by_a_second_look_only(site: MemorySite, clock: FakeClock) -> None:
    tick(site)
    clock.advance(86_400)
    tick(site)

    assert any(asked >= NOON + 86_400 + 5 for asked in clock.sleeps)
    assert [at for _, at in due(site)][-1] == "2026-03-02T12:00:00Z"


@pytest.mark.parametrize("hours", [2, 30])
def test_a_host_that_was_away_and_a_changed_tree_recover_by_the_first_tick(
    site: MemorySite, clock: FakeClock, write: Write, hours: int
) -> None:
    clock.advance(hours * 3600)
    write('[entries.ping]\nevery = "1m"\nkwargs = { full = true }\n')
    done = tick(site)

    assert (done.exit_code, done.problems) == (0, ())
    assert due(site)[-1] == ("ping", f"2026-03-{1 + (12 + hours) // 24:02}T{(12 + hours) % 24:02}:00:00Z")
    assert site.wire.sent[-1].body[1] == {"full": True}


def test_celery_tasks_go_out_before_commands_are_started(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write('[entries.ping]\nevery = "1m"\n[entries.sweep]\nevery = "1m"\ncommand = "true"\n')
    tick(site)
    clock.advance(60)
    started: list[int] = []

    class Slow:
        def start(self, order: Order) -> str:
            started.append(len(site.wire.sent))
            clock.advance(30)
            return ""

    site.hands = Slow()
    tick(site)

    assert started[0] == 1


def test_commands_that_could_not_be_started_within_the_lease_are_handed_back_untried(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    for directory in ("minutely", "hourly"):
        tree = write('[directories]\nhourly = "* * * * *"\n')
        (tree / directory).mkdir(mode=0o755)
        (tree / directory / "job").write_text("#!/bin/sh\n")
        (tree / directory / "job").chmod(0o755)
    tick(site)
    clock.advance(60)
    orders: list[Order] = []

    class Slow:
        def start(self, order: Order) -> str:
            orders.append(order)
            clock.advance(LEASE)
            return ""

    site.hands = Slow()
    done = tick(site, seconds=LEASE)

    assert (done.exit_code, done.problems) == (0, ())
    assert len(orders) == 1
    assert sorted(str(row.state) for row in site.ledger.history(limit=10)) == ["claimed", "pending"]


def test_a_clock_that_went_back_from_a_believed_future_is_told_once(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(86_400 * 365)
    tick(site)
    clock.advance(-86_400 * 364)
    first, second = tick(site), tick(site)

    assert [problem.code for problem in first.problems] == ["L302"]
    assert "8736 h ahead" in first.problems[0].what
    assert second.problems == ()


def test_a_backlog_is_sent_whole_by_one_tick_and_few_of_it_wait_at_once(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.ping]\nevery = "1m"\ncatch_up = "all"\n')
    clock.advance(1)
    tick(site)
    clock.advance(10 * 3600)
    site.memory.look(site.runner("tick"))
    clock.advance(6)
    most, record = 0, site.memory.record

    def watched(*args: Any) -> Any:
        nonlocal most
        claims = record(*args)
        most = max(most, site.memory.status().pending)
        return claims

    site.memory.record = watched
    assert tick(site).dispatched == 600

    assert most == BACKLOG
    assert not site.memory.look(site.runner("tick")).due
    assert len({message.task_id for message in site.wire.sent}) == 600


def test_what_hangs_when_it_is_told_to_end_is_left_and_told_so(site: MemorySite, clock: FakeClock) -> None:
    @contextmanager
    def over(_: float) -> Iterator[None]:
        site.stop.is_set = True
        raise TimeIsUp
        yield

    site.limit = over
    done = tick(site)

    assert [(problem.code, problem.what) for problem in done.problems] == [
        ("L309", "told to end, and what was in hand was not done within 6 s, so it was left")
    ]
