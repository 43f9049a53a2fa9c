"""Dispatch in detail: closed queues and their probes, fenced outcomes, lost replies, grace and the broker's words, pruning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.message import Message
from offbeat.core.model import State
from offbeat.errors import LedgerError, Problem
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_values import LEASE
from offbeat.runners.backoff import LONGEST, Backoff
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.dispatch import BATCH, Dispatcher
from offbeat.runners.dispatch import STEP as SENT
from offbeat.runners.retention import EVERY, STEP, Retention
from offbeat.runners.tick import tick, work

from .conftest import NOON, MemorySite

Write = Callable[[str], Path]


@pytest.fixture
def dispatcher(site: MemorySite) -> Dispatcher:
    return Dispatcher(site=site, runner=site.runner("run"))


class Counting:
    """A broker that counts the messages for each queue that it was asked to take."""

    def __init__(self, wire: Any) -> None:
        self.wire = wire
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)

    def publish(self, messages: Sequence[Message], seconds: float) -> Any:
        self.asked += [message.routing_key for message in messages]
        return self.wire.publish(messages, seconds)


def run_pass(dispatcher: Dispatcher, clock: FakeClock) -> None:
    dispatcher.ledger.look(dispatcher.runner)
    work(dispatcher, clock.monotonic() + 30)


def test_a_queue_that_does_not_exist_is_asked_with_one_message_after_each_pause_and_delays_nobody(
    site: MemorySite, dispatcher: Dispatcher, clock: FakeClock, write: Write
) -> None:
    lost = "".join(f'[entries.lost{n}]\nevery = "1m"\nqueue = "nowhere"\ncatch_up = "all"\n' for n in range(20))
    write(lost + '[entries.ping]\nevery = "1m"\n')
    tick(site)
    site.wire.no_queue = {"nowhere"}
    site.wire = counting = Counting(site.wire)
    clock.advance(60)
    run_pass(dispatcher, clock)
    first = counting.asked.count("nowhere")
    counting.asked.clear()
    for _ in range(240):
        clock.advance(1)
        run_pass(dispatcher, clock)

    assert first == 20
    assert counting.asked.count("nowhere") <= 8
    late = [row.dispatched_at - row.due_at for row in site.ledger.history("ping", limit=10) if row.dispatched_at]
    assert (len(late), max(late) < 1) == (5, True)
    rows = [row for row in site.ledger.history(limit=1000) if row.entry.startswith("lost")]
    assert {row.state for row in rows} == {State.PENDING}
    assert all("nowhere" in row.note for row in rows)

    site.wire.wire.no_queue = set()
    clock.advance(LONGEST + 1)
    for _ in range(70):
        run_pass(dispatcher, clock)
        clock.advance(1)
    assert {row.state for row in site.ledger.history(limit=1000) if row.due_at <= NOON + 300} == {State.DISPATCHED}


def test_undelivered_comes_with_the_end_of_grace_only_and_in_the_brokers_words(
    site: MemorySite, dispatcher: Dispatcher, clock: FakeClock, write: Write
) -> None:
    write('[entries.lost]\nat = "2026-03-01T12:01:00Z"\nqueue = "nowhere"\ngrace = "3m"\n')
    tick(site)
    site.wire.no_queue = {"nowhere"}
    states = []
    for _ in range(70):
        clock.advance(5)
        run_pass(dispatcher, clock)
        states += [(clock.now() - NOON, row.state, row.note) for row in site.ledger.history("lost")]

    assert {state for at, state, _ in states if at < 240} == {State.PENDING}
    ended = [(state, note) for at, state, note in states if at > 240 + LONGEST + 5]
    assert {state for state, _ in ended} == {State.UNDELIVERED}
    assert all("no queue" in note for _, note in ended)


def test_the_pauses_of_a_queue_grow_up_to_a_ceiling() -> None:
    backoff, now, pauses = Backoff(), 0.0, []
    for _ in range(10):
        assert backoff.close_queue("q", "gone", now)
        assert not backoff.close_queue("q", "gone", now)  # of the same try
        began = now
        while "q" in backoff.closed_queues(now):
            now += 1
        assert backoff.suspects(now) == {"q"}
        pauses.append(now - began)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert backoff.close_queue("q", "another word", now)
    assert "q" not in backoff.closed_queues(now + 1)


def test_a_settle_whose_reply_is_lost_is_said_again_so_that_nothing_is_sent_twice(site: MemorySite, clock: FakeClock) -> None:
    whole, lost = site.memory, [True]

    class Lossy:
        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        def settle(self, *args: Any) -> Any:
            if lost:
                lost.clear()
                raise LedgerError(Problem(code="L201", what="no reply", why="w", fix="f"))
            return whole.settle(*args)

    site.memory = Lossy()
    clock.advance(60)
    first = tick(site)
    clock.advance(LEASE + 1)
    tick(site)

    assert (first.exit_code, len(site.wire.sent)) == (0, 1)


def test_a_word_that_comes_after_others_took_over_is_counted_and_logged(
    site: MemorySite, dispatcher: Dispatcher, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    claim = site.ledger.fire(dispatcher.runner, "ping", "token").claim
    assert claim is not None
    since = clock.monotonic()
    clock.advance(LEASE + 1)
    (other,) = site.ledger.claim(site.runner("tick"), 10)
    with caplog.at_level(logging.WARNING, logger="offbeat"):
        dispatcher.dispatch([claim], since)

    assert other.attempt == 2
    assert (dispatcher.tally.fenced, site.wire.sent) == (1, [])
    assert "fenced" in [record.__dict__["event"] for record in caplog.records]


def test_what_waits_gets_its_share_while_more_and_more_comes_due(
    site: MemorySite, dispatcher: Dispatcher, clock: FakeClock, write: Write
) -> None:
    write("".join(f'[entries.e{n:04}]\nevery = "{n + 60}s"\n' for n in range(40)))
    tick(site)
    dispatcher.batch = 1
    site.ledger.fire(site.runner("fire"), "e0000", "token")
    clock.advance(600)
    dispatcher.ledger.look(dispatcher.runner)
    work(dispatcher, clock.monotonic() + 30)
    order = [str(m.headers["offbeat_cause"]) for m in site.wire.sent]

    assert "manual" in order
    assert order.index("manual") < len(order) - 1


def test_pruning_comes_now_and_then_in_small_steps_and_by_the_settings_in_force(site: MemorySite, clock: FakeClock) -> None:
    whole = site.memory
    asked: list[tuple[int, int]] = []

    class Full:
        left = 3 * STEP + 7

        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        def prune(self, limit: int, keep: Any) -> int:
            asked.append((limit, keep.keep_seconds))
            went = min(limit, self.left)
            self.left -= went
            return went

    site.memory = Full()
    for _ in range(int(EVERY / 60) + 1):
        clock.advance(60)
        tick(site)

    assert asked == [(STEP, 90 * 86_400)] * 4 + [(STEP, 90 * 86_400)]


def test_pruning_that_is_not_done_goes_on_with_the_next_pass(site: MemorySite, clock: FakeClock) -> None:
    whole = site.memory
    asked: list[int] = []

    class Endless:
        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        def prune(self, limit: int, keep: Any) -> int:
            asked.append(limit)
            clock.advance(1)
            return limit

    site.memory = Endless()
    retention = Retention(site=site)
    first = retention.prune(clock.monotonic() + 3)
    second = retention.prune(clock.monotonic() + 100)

    assert (first, second, len(asked)) == (3 * STEP, 10 * STEP, 13)


def test_replicas_share_a_burst_and_send_it_once_and_what_a_dead_one_held_goes_out_within_a_lease_and_a_second(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write("".join(f'[entries.e{n:04}]\nevery = "1h"\n' for n in range(1500)))
    tick(site)
    clock.advance(3600)
    dead = site.runner("dead")
    site.ledger.look(dead)
    from offbeat.core.plan import plan

    portion = site.ledger.take(500)
    held = site.ledger.record(dead, plan(portion), portion.revision)  # and is killed
    began = clock.now()
    daemons = [Daemon(site=site, stop=Stop(), tell=lambda _: None) for _ in range(3)]
    for n, daemon in enumerate(daemons):
        daemon.dispatcher.runner = site.runner(f"run{n}")
    wakes = [clock.now()] * 3
    while clock.now() < began + 20:
        n = wakes.index(min(wakes))
        clock.sleep_until(wakes[n])
        wakes[n] = max(daemons[n].step(), clock.now() + 0.01)

    sent = [str(m.headers["offbeat_entry"]) for m in site.wire.sent]
    assert (len(sent), len(set(sent))) == (1500, 1500)
    rows = {row.entry: row for row in site.ledger.history(limit=5000)}
    late = {name: (row.dispatched_at or 0) - began for name, row in rows.items()}
    theirs = {claim.name for claim in held}
    assert max(late[name] for name in theirs) <= LEASE + 1
    assert max(late[name] for name in late.keys() - theirs) <= 1


class Steps:
    """A broker that notes how many messages it is asked to take at once, and dies, or goes down, at one of the steps."""

    def __init__(self, wire: Any, at: int, trouble: str) -> None:
        self.wire, self.at, self.trouble = wire, at, trouble
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)

    def publish(self, messages: Sequence[Message], seconds: float) -> Any:
        self.sizes.append(len(messages))
        if len(self.sizes) == self.at and self.trouble == "down":
            self.wire.down = True
        found = self.wire.publish(messages, seconds)
        if len(self.sizes) == self.at and self.trouble == "dies":
            raise KeyboardInterrupt
        return found


def burst(write: Write, count: int) -> None:
    write("".join(f'[entries.e{n}]\nat = "2026-03-01T12:01:00Z"\n' for n in range(count)))


@pytest.mark.parametrize(("remembers", "sizes", "repeated"), [(False, [SENT, SENT], SENT), (True, [BATCH], 0)])
def test_a_crash_between_sending_and_settling_repeats_one_step_at_most_and_none_where_ids_are_remembered(
    remembers: bool, sizes: list[int], repeated: int, site: MemorySite, clock: FakeClock, write: Write
) -> None:
    burst(write, BATCH)
    tick(site)
    wire = site.wire
    wire.marks = {} if remembers else None
    site.wire = steps = Steps(wire, len(sizes), "dies")
    clock.advance(60)
    with pytest.raises(KeyboardInterrupt):
        run_pass(Dispatcher(site=site, runner=site.runner("run")), clock)
    site.wire = wire
    clock.advance(LEASE + 1)
    run_pass(Dispatcher(site=site, runner=site.runner("tick")), clock)

    assert steps.sizes == sizes
    assert len({each.task_id for each in wire.sent}) == BATCH
    assert len(wire.sent) == BATCH + repeated
    assert not wire.marks


def test_a_broker_that_goes_down_between_two_steps_costs_the_rest_one_try(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    burst(write, BATCH)
    tick(site)
    site.wire = steps = Steps(site.wire, 2, "down")
    dispatcher = Dispatcher(site=site, runner=site.runner("run"))
    clock.advance(60)
    run_pass(dispatcher, clock)

    assert steps.sizes[:2] == [SENT, SENT]
    assert sum(steps.sizes[2:]) <= 1  # a probe
    assert (dispatcher.tally.dispatched, dispatcher.tally.retried) == (SENT, BATCH - SENT)
    assert dispatcher.backoff.is_down()


def test_what_is_not_accepted_by_the_ledger_is_not_forgotten(
    site: MemorySite, dispatcher: Dispatcher, clock: FakeClock
) -> None:
    site.wire.marks = {}
    claim = site.ledger.fire(dispatcher.runner, "ping", "token").claim
    assert claim is not None
    clock.advance(LEASE + 1)
    (other,) = site.ledger.claim(site.runner("tick"), 10)
    dispatcher.dispatch([claim], clock.monotonic())
    (marked,) = site.wire.marks
    Dispatcher(site=site, runner=site.runner("tick")).dispatch([other], clock.monotonic())

    assert [each.task_id for each in site.wire.sent] == [marked]
    assert site.wire.marks == {}
