"""Backfill: each due time of a span once, at a bounded rate, behind what is live; cut off, it goes on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from offbeat.core.model import Kind
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import ConfigError
from offbeat.ports.clock import FakeClock
from offbeat.runners.backfill import STEP, backfill, measure
from offbeat.runners.fire import fire
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

Write = Callable[[str], Path]


def test_what_a_backfill_would_send_is_counted_and_nothing_is_recorded(site: MemorySite) -> None:
    extent = measure(site, "ping", NOON - 600, NOON, per_minute=30)

    assert (extent.count, extent.first, extent.last, extent.seconds) == (10, NOON - 540, NOON, 18.0)
    assert site.ledger.history() == []


def test_it_sends_each_due_time_once_at_the_rate_asked_for(site: MemorySite, clock: FakeClock) -> None:
    (progress,) = backfill(site, "ping", NOON - 600, NOON, per_minute=30)
    sizes = []
    for _ in range(21):
        tick(site)
        sizes.append(len(site.wire.sent))
        clock.advance(1)

    assert (progress.done, progress.new, progress.total) == (10, 10, 10)
    assert sizes == [1 + min(n // 2, 9) for n in range(21)]
    assert {m.headers["offbeat_cause"] for m in site.wire.sent} == {"backfill"}
    assert len({m.task_id for m in site.wire.sent}) == 10


def test_cut_off_and_said_again_it_goes_on_and_repeats_nothing(site: MemorySite) -> None:
    after = NOON - 60 * 1200
    first = list(islice(backfill(site, "ping", after, NOON), 1))
    rest = list(backfill(site, "ping", after, NOON))

    assert [step.done for step in first] == [STEP]
    assert [(step.done, step.new) for step in rest] == [(500, 0), (1000, 500), (1200, 700)]
    rows = [row for row in site.ledger.history("ping", limit=5000) if row.kind == Kind.BACKFILL]
    assert len({row.due_at for row in rows}) == len(rows) == 1200


def test_another_token_is_another_backfill(site: MemorySite) -> None:
    new = [step.new for token in ("", "", "once more") for step in backfill(site, "ping", NOON - 60, NOON, token=token)]

    assert new == [1, 0, 1]


def test_it_keeps_to_the_entrys_own_bounds_and_to_the_past(site: MemorySite, clock: FakeClock, write: Write) -> None:
    write('[entries.ping]\nevery = "1m"\nstarts_at = "2026-03-01T11:55:00Z"\nends_at = "2026-03-01T11:58:00Z"\n')
    tick(site)
    bounded = measure(site, "ping", NOON - 3600, NOON)
    write('[entries.ping]\nevery = "1m"\n')
    clock.advance(1)
    tick(site)
    to_come = measure(site, "ping", NOON - 60, NOON + 86_400)

    assert (bounded.count, bounded.first, bounded.last) == (4, NOON - 300, NOON - 120)
    assert to_come.last == NOON


@pytest.mark.parametrize(("name", "after", "code"), [("nobody", 0, "C301"), ("ping", NOON, "L312"), ("ping", 0, "L312")])
def test_what_cannot_be_done_is_said_and_nothing_is_recorded(site: MemorySite, name: str, after: int, code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        list(backfill(site, name, after, NOON))

    assert [problem.code for problem in refused.value.problems] == [code]
    assert site.ledger.history() == []


def test_an_empty_span_of_due_times_records_nothing(site: MemorySite) -> None:
    assert list(backfill(site, "ping", NOON + 1, NOON + 30)) == []


def test_over_a_change_of_the_clocks_it_sends_what_the_schedule_would_have(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.ping]\ncron = "30 3 * * *"\ntimezone = "Europe/Sofia"\n')
    clock.advance(40 * 86_400)
    site.sync(site.runner("tick"))
    march = NOON + 26 * 86_400  # the 27th; at 03:00 of the 29th the clock jumps to 04:00

    list(backfill(site, "ping", march, march + 4 * 86_400))

    (entry,) = (entry for entry, _ in site.ledger.entries())
    wanted = list(compile_recurrence(entry.timing.recurrence, "Europe/Sofia").due_times(march, march + 4 * 86_400))
    assert len(wanted) == 4
    assert sorted(row.due_at for row in site.ledger.history("ping") if row.kind == "backfill") == wanted


def test_due_times_before_the_entry_was_there_are_counted_by_its_present_recurrence_and_told_before(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.ping]\nevery = "1h"\n')
    clock.advance(60)
    site.sync(site.runner("tick"))

    extent = measure(site, "ping", NOON - 7200, NOON)

    assert (extent.count, extent.first, extent.last) == (2, NOON - 3600, NOON)
    assert not site.ledger.history("ping")


@pytest.mark.parametrize("down", [0, 3600])
def test_a_short_grace_drops_nothing_that_a_person_asked_for(
    site: MemorySite, clock: FakeClock, write: Write, down: int
) -> None:
    write('[entries.ping]\nevery = "1h"\ngrace = "30s"\n')
    tick(site)
    list(backfill(site, "ping", NOON - 6 * 3600, NOON))
    site.wire.down = bool(down)
    clock.advance(55)  # the next minute's tick
    tick(site)
    fire(site, "ping")
    clock.advance(down)
    site.wire.down = False
    tick(site)
    clock.advance(120)
    tick(site)

    causes = [message.headers["offbeat_cause"] for message in site.wire.sent]
    assert (causes.count("backfill"), causes.count("manual")) == (6, 1)


def test_what_is_late_is_tried_again_with_pauses_although_its_grace_is_long_over(
    site: MemorySite, clock: FakeClock, write: Write
) -> None:
    write('[entries.ping]\nevery = "1h"\ngrace = "1s"\n')
    tick(site)
    list(backfill(site, "ping", NOON - 3600, NOON))
    clock.advance(55)
    site.wire.down = True
    tick(site)

    (row,) = [row for row in site.ledger.history("ping") if row.kind == Kind.BACKFILL]
    assert row.next_try_at is not None
    assert row.next_try_at > clock.now()
