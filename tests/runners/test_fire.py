"""Fire sends now and out of band; an executed link sends its period once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from offbeat.core.model import State
from offbeat.errors import ConfigError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_values import LEASE
from offbeat.runners.fire import Changes, fire, send_slot
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite


@pytest.fixture
def linked(site: MemorySite, write: Callable[[str], Path]) -> MemorySite:
    """The site with hourly/search_dates, a link."""
    tree = write("")
    (tree / "tasks").mkdir(mode=0o755)
    (tree / "tasks" / "run_celery_task").write_text("#!/bin/sh\n")
    (tree / "tasks" / "run_celery_task").chmod(0o755)
    (tree / "hourly").mkdir(mode=0o755)
    (tree / "hourly" / "search_dates").symlink_to("../tasks/run_celery_task")
    return site


def test_a_fired_entry_goes_out_at_once_with_an_id_of_its_own(site: MemorySite) -> None:
    first, second = fire(site, "ping"), fire(site, "ping")

    assert [m.headers["offbeat_cause"] for m in site.wire.sent] == ["manual", "manual"]
    assert [m.task_id for m in site.wire.sent] == [first.occurrence, second.occurrence]
    assert first.occurrence != second.occurrence
    assert first.state is State.DISPATCHED


def test_firing_does_not_consume_or_shift_the_next_occurrence(site: MemorySite, clock: FakeClock) -> None:
    clock.advance(59)
    fire(site, "ping")
    clock.advance(1)
    tick(site)

    assert [m.headers["offbeat_cause"] for m in site.wire.sent] == ["manual", "schedule"]


def test_arguments_and_queue_can_be_said_otherwise_for_this_once(site: MemorySite) -> None:
    fire(site, "ping", Changes(args=[1], kwargs={"full": True}, queue="slow"))
    (message,) = site.wire.sent

    assert (message.body[0], message.body[1], message.routing_key) == ([1], {"full": True}, "slow")


def test_a_task_that_is_not_in_the_schedule_is_fired_by_its_short_or_full_name(site: MemorySite) -> None:
    fire(site, "tidy_up")
    fire(site, "other.app.task", Changes(kwargs={"n": 1}))

    assert [m.headers["task"] for m in site.wire.sent] == ["shop.tasks.tidy_up", "other.app.task"]
    assert site.wire.sent[1].body[1] == {"n": 1}


def test_the_newest_of_several_fired_in_one_second_is_the_first_of_the_history(site: MemorySite, clock: FakeClock) -> None:
    fired = []
    for _ in range(3):
        fired.append(fire(site, "ping").occurrence)
        clock.advance(0.1)

    assert [row.task_id for row in site.ledger.history(limit=1)] == fired[-1:]


@pytest.mark.parametrize("name", ["", "two words", "hourly/nothing", "a\x07b"])
def test_a_name_that_is_neither_entry_nor_task_is_a_problem(site: MemorySite, name: str) -> None:
    with pytest.raises(ConfigError):
        fire(site, name)

    assert site.wire.sent == []


def test_fired_while_the_broker_is_down_it_waits_and_the_next_tick_sends_it(site: MemorySite, clock: FakeClock) -> None:
    site.wire.down = True
    fired = fire(site, "ping")
    assert (fired.state, "connection refused" in fired.error) == (State.PENDING, True)

    site.wire.down = False
    clock.advance(5)
    tick(site)
    assert [m.task_id for m in site.wire.sent] == [fired.occurrence]


def test_a_fire_that_died_before_publishing_is_sent_by_the_next_tick(site: MemorySite, clock: FakeClock) -> None:
    site.ledger.fire(site.runner("fire"), "ping", "token")
    clock.advance(LEASE + 1)
    tick(site)

    assert [m.headers["offbeat_cause"] for m in site.wire.sent] == ["manual"]


def test_an_executed_link_sends_its_hour_once_and_the_tick_does_not_send_it_again(linked: MemorySite, clock: FakeClock) -> None:
    clock.advance(30)
    first = send_slot(linked, "hourly", "search_dates")
    second = send_slot(linked, "hourly", "search_dates")
    clock.advance(120)
    tick(linked)

    assert [(m.headers["offbeat_entry"], m.headers["offbeat_due_at"]) for m in linked.wire.sent] == [
        ("search_dates", "2026-03-01T12:01:00Z")
    ]
    assert (first.known, second.known) == (False, True)
    assert second.dispatched_at == NOON + 30

    clock.advance(3600)
    assert not send_slot(linked, "hourly", "search_dates").known
    tick(linked)
    assert len(linked.wire.sent) == 2


def test_a_link_executed_after_the_tick_has_sent_its_hour_says_so(linked: MemorySite, clock: FakeClock) -> None:
    tick(linked)
    clock.advance(61)
    tick(linked)

    assert send_slot(linked, "hourly", "search_dates").known
    assert len(linked.wire.sent) == 1


def test_a_path_that_is_no_link_of_the_tree_is_a_problem(linked: MemorySite) -> None:
    with pytest.raises(ConfigError):
        send_slot(linked, "daily", "search_dates")
