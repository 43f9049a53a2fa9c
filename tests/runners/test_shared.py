"""A ledger that hosts share: own trees until the first deploy, the active revision from then on, with or without a tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from offbeat.core.model import State
from offbeat.errors import ConfigError
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.deploy import deploy
from offbeat.runners.site import open_site
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

Host = Callable[..., MemorySite]
PING = '[entries.ping]\nevery = "1m"\n'
PONG = '[entries.pong]\nevery = "1m"\n'
SWEEP = '[entries.sweep]\nevery = "1m"\ncommand = "true"\n'


@pytest.fixture
def host(tmp_path: Path, clock: FakeClock) -> Host:
    """Return a function that makes one more host on one shared ledger and broker; text: of its tree, None: it has none."""
    memory = LedgerMemory(clock=clock, project="shop")
    wire = BrokerMemory(clock=clock)

    def one_more(name: str, text: str | None) -> MemorySite:
        root = tmp_path / name
        (root / "cron").mkdir(parents=True)
        environ = {"XDG_STATE_HOME": str(root / "state"), "OFFBEAT_LEDGER": "redis://ledger/0", "OFFBEAT_PROJECT": "shop"}
        site = MemorySite(
            tree=root / "cron", root=root, environ=environ, clock=clock, memory=memory, wire=wire, from_ledger=text is None
        )
        if text is not None:
            put(site, text)
        return site

    return one_more


def put(site: MemorySite, text: str) -> None:
    (site.tree / "schedule.toml").write_text(f'project = "shop"\ntask_prefix = "shop.tasks."\n{text}', "utf-8")


def due(site: MemorySite) -> list[tuple[str, str]]:
    return [(str(m.headers["offbeat_entry"]), str(m.headers["offbeat_due_at"])[11:16]) for m in site.wire.sent]


def test_hosts_with_different_trees_do_not_take_the_schedule_from_each_other_by_turns(host: Host, clock: FakeClock) -> None:
    one, two = host("one", PING), host("two", PONG)
    for _ in range(5):
        tick(one)
        tick(two)
        clock.advance(60)

    assert one.ledger.status().revision == 2
    assert [entry.name for entry, _ in one.ledger.entries()] == ["pong"]


def test_a_change_of_a_hosts_own_tree_counts_for_all(host: Host, clock: FakeClock) -> None:
    one, two = host("one", PING), host("two", PING)
    tick(one)
    tick(two)
    clock.advance(10)
    put(one, PONG)
    tick(one)
    tick(two)

    assert [entry.name for entry, _ in two.ledger.entries()] == ["pong"]


def test_it_is_told_once_that_a_hosts_own_tree_counts(host: Host, clock: FakeClock) -> None:
    one = host("one", PING)
    first = tick(one)
    clock.advance(10)
    put(one, PONG)
    second = tick(one)

    assert [problem.code for problem in first.problems] == ["L305"]
    assert (first.exit_code, second.problems) == (0, ())
    assert one.ledger.status().revision == 2


def test_after_a_deploy_no_tree_is_compiled(host: Host, clock: FakeClock) -> None:
    one, two = host("one", PING), host("two", PONG)
    tick(two)
    done = deploy(one)
    clock.advance(60)
    put(two, '[entries.new]\nevery = "1m"\n')
    tick(two)
    tick(one)

    assert done.changed
    assert one.ledger.status().revision == done.revision
    assert due(one) == [("ping", "12:01")]


def test_a_runner_without_a_tree_sends_what_was_deployed(host: Host, clock: FakeClock) -> None:
    bare, one = host("bare", None), host("one", PING)
    before = tick(bare)
    again = tick(bare)
    deploy(one)
    clock.advance(60)
    after = tick(bare)

    assert [problem.code for problem in before.problems] == ["L308"]
    assert (again.problems, after.problems, after.dispatched) == ((), (), 1)


def test_a_resident_runner_without_a_tree_takes_up_the_first_deploy_and_the_next(host: Host, clock: FakeClock) -> None:
    bare, one = host("bare", None), host("one", PING)
    daemon = Daemon(site=bare, stop=Stop(), tell=lambda _: None)
    for _ in range(5):
        clock.sleep_until(daemon.step())
    deploy(one)
    end = clock.now() + 65
    while clock.now() < end:
        clock.sleep_until(daemon.step())

    assert due(bare) == [("ping", "12:01")]
    assert bare.ledger.status().runners[0].runner.revision == 1


def test_commands_are_left_to_runners_that_have_the_tree(host: Host, clock: FakeClock) -> None:
    bare, one = host("bare", None), host("one", PING + SWEEP)
    deploy(one)
    daemon = Daemon(site=bare, stop=Stop(), tell=lambda _: None)
    end = clock.now() + 75
    while clock.now() < end:
        clock.sleep_until(min(daemon.step(), end))
    waits = bare.ledger.history("sweep")[0]
    tick(one)

    assert (waits.state, bare.hands.orders) == (State.PENDING, [])
    assert "has none" in waits.note
    assert due(bare) == [("ping", "12:01")]
    assert [step.name for order in one.hands.orders for step in order.steps] == ["sweep"]


def test_without_a_tree_there_is_nothing_to_deploy(host: Host) -> None:
    with pytest.raises(ConfigError) as caught:
        deploy(host("bare", None))

    assert [problem.code for problem in caught.value.problems] == ["L306"]


def test_where_there_is_no_tree_the_ledger_is_what_counts_if_it_is_shared_and_the_project_is_said(tmp_path: Path) -> None:
    clock, shared = FakeClock(float(NOON)), {"OFFBEAT_LEDGER": "redis://ledger/0", "OFFBEAT_PROJECT": "shop"}
    place = {"XDG_STATE_HOME": str(tmp_path / "state")}

    assert open_site(start=tmp_path, tree=None, environ={**shared, **place}, clock=clock).from_ledger
    with pytest.raises(ConfigError) as no_tree:
        open_site(start=tmp_path, tree=None, environ={**place, "OFFBEAT_PROJECT": "shop"}, clock=clock)
    with pytest.raises(ConfigError) as not_shared:
        open_site(start=tmp_path, tree=None, environ=place, clock=clock, from_ledger=True)
    assert no_tree.value.problems[0].code == "C101"
    assert not_shared.value.problems[0].code == "L306"


def test_a_host_without_a_place_for_notes_works_by_the_ledger_all_the_same(
    host: Host, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    bare, one = host("bare", None), host("one", PING)
    bare.notes.environ = {"XDG_STATE_HOME": str(tmp_path / "file")}
    deploy(one)
    clock.advance(60)

    assert tick(bare).dispatched == 1
