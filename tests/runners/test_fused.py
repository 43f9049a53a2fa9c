"""Ledger and broker on one server: recorded, pushed and marked in one step; elsewhere by claim and settle, as ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.model import Reason, State
from offbeat.errors import ConfigError, LedgerError, Problem
from offbeat.ports import broker_faults as faults
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import LEASE
from offbeat.runners.dispatch import Dispatcher
from offbeat.runners.fused import SCRIPT
from offbeat.runners.tick import tick, work

from .conftest import NOON, MemorySite

Write = Callable[[str], Path]


@pytest.fixture
def fused(site: MemorySite, clock: FakeClock) -> MemorySite:
    """The site with ledger and broker on one server."""
    site.wire = BrokerMemory(clock=clock, server="run-1")
    site.memory = LedgerMemory(clock=clock, project="shop", wire=site.wire, server_id="run-1")
    tick(site)
    return site


def sent(site: MemorySite) -> list[tuple[str, object]]:
    return [(str(m.headers["offbeat_entry"]), m.headers.get("offbeat_atomic")) for m in site.wire.sent]


class Posts:
    """An enqueuing part whose answers are on order. lost: replies that do not come, though all is done."""

    def __init__(self, part: Any, *, lost: int = 0, answer: str | None = None) -> None:
        self.part, self.lost, self.answer, self.asked = part, lost, answer, 0

    def server_id(self) -> str:
        return str(self.part.server_id())

    def draft(self, portion: Any, windows: Any) -> Any:
        return self.part.draft(portion, windows)

    def enqueue(self, runner: Any, posts: Sequence[Any]) -> Sequence[str]:
        answers = self.part.enqueue(runner, posts) if self.answer is None else [self.answer] * len(posts)
        return list(self._replied(answers))

    def record_and_push(self, runner: Any, windows: Any, revision: int, mail: Any) -> Any:
        return self._replied(self.part.record_and_push(runner, windows, revision, mail))

    def _replied(self, answer: Any) -> Any:
        self.asked += 1
        if self.lost:
            self.lost -= 1
            raise LedgerError(Problem(code="L500", what="no reply", why="w", fix="f"))
        return answer


def through(site: MemorySite, posts: Posts) -> None:
    site.memory.enqueuing = lambda: posts


def test_what_is_due_is_pushed_and_marked_in_one_step(fused: MemorySite, clock: FakeClock) -> None:
    clock.advance(60)
    done = tick(fused)

    assert (sent(fused), fused.wire.calls, done.dispatched) == ([("ping", True)], 0, 1)
    row = fused.ledger.history("ping")[0]
    assert (row.state, row.task_id) == (State.DISPATCHED, fused.wire.sent[0].task_id)


@pytest.mark.parametrize("server", ["", "run-2"], ids=["no server", "another server"])
def test_on_another_server_it_is_published_and_settled(fused: MemorySite, clock: FakeClock, server: str) -> None:
    fused.wire.server = server
    clock.advance(60)
    tick(fused)

    assert (sent(fused), fused.wire.calls) == ([("ping", None)], 1)
    assert fused.ledger.history("ping")[0].state is State.DISPATCHED


def test_a_server_that_is_exchanged_is_noticed_at_the_next_batch(fused: MemorySite, clock: FakeClock) -> None:
    for server in ("run-1", "run-2", "run-1"):
        fused.wire.server = server
        clock.advance(60)
        tick(fused)

    assert [atomic for _, atomic in sent(fused)] == [True, None, True]


def test_a_redis_that_does_not_say_which_it_is_takes_nothing_unfused(
    fused: MemorySite, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.advance(60)
    with monkeypatch.context() as patch:  # away for a moment: a publish would arrive
        patch.setattr(fused.wire, "server_id", lambda: faults.down("connection reset"))
        done = tick(fused)
    row = fused.ledger.history("ping")[0]

    assert (fused.wire.sent, fused.wire.calls, done.dispatched) == ([], 0, 0)
    assert (row.state, row.note) == (State.PENDING, "connection reset")
    clock.advance(5)
    tick(fused)
    assert sent(fused) == [("ping", None)]  # a second attempt: the guard asks which one may start


def test_a_lost_reply_is_asked_for_once_more_and_nothing_is_pushed_twice(fused: MemorySite, clock: FakeClock) -> None:
    posts = Posts(fused.memory.enqueuing(), lost=1)
    through(fused, posts)
    clock.advance(60)
    tick(fused)

    assert (posts.asked, len(fused.wire.sent)) == (2, 1)


def test_a_ledger_that_does_not_answer_twice_leaves_the_row_to_the_next_tick_which_pushes_nothing_twice(
    fused: MemorySite, clock: FakeClock
) -> None:
    through(fused, Posts(fused.memory.enqueuing(), lost=2))
    clock.advance(60)
    first = tick(fused)
    clock.advance(LEASE + 1)
    tick(fused)

    assert first.exit_code == 3
    assert sent(fused) == [("ping", True)]


def test_what_others_took_over_is_left_alone_and_counted(fused: MemorySite, clock: FakeClock) -> None:
    through(fused, Posts(fused.memory.enqueuing(), answer=FENCED))
    clock.advance(60)
    dispatcher = Dispatcher(site=fused, runner=fused.runner("tick"))
    slot = fused.ledger.fire(dispatcher.runner, "ping", "token")
    assert slot.claim is not None
    dispatcher.dispatch([slot.claim], clock.monotonic())

    assert (dispatcher.tally.fenced, dispatcher.tally.dispatched, dispatcher.tally.error) == (1, 0, "")
    assert fused.ledger.history("ping")[0].state is State.CLAIMED


def test_what_the_server_says_against_a_push_is_kept_and_tried_again(fused: MemorySite, clock: FakeClock) -> None:
    fused.wire.no_list = {"celery"}
    clock.advance(60)
    tick(fused)
    row = fused.ledger.history("ping")[0]
    assert (row.state, row.note.split()[0]) == (State.PENDING, "WRONGTYPE")

    fused.wire.no_list = set()
    clock.advance(5)
    tick(fused)
    assert sent(fused) == [("ping", None)]  # a second attempt: the guard asks which one may start


def calls_of(site: MemorySite) -> list[str]:
    """Let the site's ledger say what is asked of it to record and to push."""
    asked: list[str] = []
    part, record = site.memory.enqueuing(), site.memory.record

    class Telling(Posts):
        def enqueue(self, runner: Any, posts: Sequence[Any]) -> Sequence[str]:
            asked.append("enqueue")
            return super().enqueue(runner, posts)

        def record_and_push(self, runner: Any, windows: Any, revision: int, mail: Any) -> Any:
            asked.append("record_and_push")
            return super().record_and_push(runner, windows, revision, mail)

    def recorded(*words: Any) -> Any:
        asked.append("record")
        return record(*words)

    through(site, Telling(part))
    site.memory.record = recorded
    return asked


def test_what_is_due_now_takes_one_step_and_what_may_have_to_be_skipped_meanwhile_takes_two(
    fused: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.a]\nevery = "1m"\n')
    tick(fused)
    asked = calls_of(fused)
    clock.advance(60)
    tick(fused)
    assert asked == ["record_and_push"]
    write('[entries.a]\nevery = "1m"\ngrace = "5s"\n[entries.b]\nevery = "1m"\nexpires = "5s"\n')
    tick(fused)
    asked.clear()
    clock.advance(60)
    tick(fused)

    assert asked == ["record", "enqueue"]
    assert sent(fused)[-2:] == [("a", True), ("b", True)]


def test_a_queue_that_failed_lately_is_tried_with_one_message_after_it_was_recorded(
    fused: MemorySite, clock: FakeClock, write: Write
) -> None:
    write("".join(f'[entries.{name}]\nevery = "1m"\nqueue = "slow"\n' for name in "abc"))
    dispatcher = Dispatcher(site=fused, runner=fused.runner("run"))
    fused.sync(dispatcher.runner)
    dispatcher.backoff.close_queue("slow", "no queue", clock.monotonic())
    asked = calls_of(fused)
    clock.advance(60)
    work(dispatcher, clock.monotonic() + 50)

    assert asked == ["record", "enqueue", "enqueue"]
    assert sorted(sent(fused)) == [("a", True), ("b", True), ("c", True)]


def test_a_pause_that_comes_between_skips_what_was_prepared(fused: MemorySite, clock: FakeClock) -> None:
    class Paused(Posts):
        def record_and_push(self, runner: Any, windows: Any, revision: int, mail: Any) -> Any:
            fused.memory.pause("ping", "ann", "")
            return super().record_and_push(runner, windows, revision, mail)

    through(fused, Paused(fused.memory.enqueuing()))
    clock.advance(60)
    done = tick(fused)

    assert (sent(fused), done.skipped, fused.ledger.history("ping")[0].reason) == ([], 1, Reason.PAUSED)


def test_a_runner_that_stands_still_before_it_records_pushes_what_it_then_holds_once(
    fused: MemorySite, clock: FakeClock
) -> None:
    class Slow(Posts):
        def record_and_push(self, runner: Any, windows: Any, revision: int, mail: Any) -> Any:
            clock.advance(LEASE)
            return super().record_and_push(runner, windows, revision, mail)

    through(fused, Slow(fused.memory.enqueuing()))
    clock.advance(60)
    tick(fused, seconds=500)

    assert [name for name, _ in sent(fused)] == ["ping"]
    assert fused.ledger.history("ping")[0].attempt == 2  # handed back: its time was over


def test_without_an_address_of_the_broker_rows_are_recorded_and_wait(
    fused: MemorySite, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(site: MemorySite) -> Any:
        raise ConfigError(Problem(code="B101", what="no address", why="w", fix="f"))

    monkeypatch.setattr(MemorySite, "broker", nowhere)
    clock.advance(60)
    done = tick(fused)

    assert (done.exit_code, fused.ledger.history("ping")[0].state, sent(fused)) == (3, State.PENDING, [])


def test_an_unroutable_entry_and_one_with_several_queues_do_not_hinder_the_others(
    fused: MemorySite, clock: FakeClock, write: Write
) -> None:
    write(
        '[entries.a]\nevery = "1m"\n[entries.b]\nevery = "1m"\nqueue = "nowhere"\n[entries.c]\nevery = "1m"\nqueue = "many"\n'
    )
    tick(fused)
    fused.wire.no_queue, fused.wire.several = {"nowhere"}, {"many"}
    clock.advance(60)
    tick(fused)

    assert sorted(sent(fused)) == [("a", True), ("c", None)]
    assert {row.entry: row.state for row in fused.ledger.history() if row.due_at == NOON + 60} == {
        "a": State.DISPATCHED,
        "b": State.PENDING,
        "c": State.DISPATCHED,
    }


def test_a_script_has_at_most_500_posts(fused: MemorySite, clock: FakeClock, write: Write) -> None:
    write("".join(f'[entries.e{n}]\nevery = "1h"\n' for n in range(1200)))
    tick(fused)
    sizes: list[int] = []

    class Counting(Posts):
        def record_and_push(self, runner: Any, windows: Any, revision: int, mail: Any) -> Any:
            sizes.append(len(mail.posts))
            return super().record_and_push(runner, windows, revision, mail)

    through(fused, Counting(fused.memory.enqueuing()))
    clock.advance(3600)
    tick(fused)

    assert (sum(sizes), max(sizes) <= 500) == (1200, True)


def test_a_burst_that_takes_longer_than_a_lease_is_pushed_script_by_script_and_none_of_it_twice(
    fused: MemorySite, clock: FakeClock, write: Write
) -> None:
    write("".join(f'[entries.e{n}-{every}]\nevery = "{every}s"\n' for every in range(1, 31) for n in range(16)))
    tick(fused)

    class Slow(Posts):
        def record_and_push(self, runner: Any, windows: Any, revision: int, mail: Any) -> Any:
            clock.advance(3)
            return super().record_and_push(runner, windows, revision, mail)

    through(fused, Slow(fused.memory.enqueuing()))
    clock.advance(60)
    tick(fused)

    assert len(fused.wire.sent) >= 16 * sum(60 // every for every in range(1, 31)) > 6 * SCRIPT
    assert {atomic for _, atomic in sent(fused)} == {True}
    assert {row.attempt for row in fused.ledger.history(limit=9000) if row.state is State.DISPATCHED} == {1}


def test_the_row_travels_in_a_header_only_where_the_worker_is_to_free_the_slot(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.a]\nevery = "1m"\n[entries.b]\nevery = "1m"\noverlap = "skip"\nmax_runtime = "5m"\n')
    tick(site)
    clock.advance(60)
    tick(site)

    key = next(row.key for row in site.ledger.history("b"))
    assert key is not None
    rows = {m.headers["offbeat_entry"]: m.headers.get("offbeat_row") for m in site.wire.sent}
    assert rows == {"a": None, "b": f"{key.eno}:{NOON + 60}:schedule:"}
