"""Where a site keeps its things: by the tree's path as its user knows it, per project, and found again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest

from offbeat.errors import LedgerError, OffbeatError, Problem
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.site import Site, open_site
from offbeat.runners.tick import tick

from .conftest import NOON

SCHEDULE = 'project = "shop"\ntask_prefix = "shop."\n[entries.ping]\nevery = "1m"\n'


def checkout(folder: Path, text: str = SCHEDULE) -> Path:
    (folder / "cron").mkdir(parents=True)
    (folder / "cron" / "schedule.toml").write_text(text)
    return folder


class Enter(Protocol):
    def __call__(self, folder: Path, state: Path, **environ: str) -> Site: ...


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Return what opens the site that a shell in a folder finds; all of them are closed when the test is over."""
    with ExitStack() as stack:

        def entered(folder: Path, state: Path, **environ: str) -> Site:
            found = {"PWD": str(folder), "XDG_STATE_HOME": str(state), **environ}
            site = open_site(start=folder.resolve(), tree=None, environ=found, clock=FakeClock(float(NOON)))
            return stack.enter_context(closing(site))

        yield entered


def test_a_new_release_behind_the_same_link_keeps_its_ledger(tmp_path: Path, enter: Enter) -> None:
    current = tmp_path / "current"
    current.symlink_to(checkout(tmp_path / "releases" / "1"))
    first = enter(current, tmp_path / "state")
    assert tick(first).problems == ()

    current.unlink()
    current.symlink_to(checkout(tmp_path / "releases" / "2"))
    second = enter(current, tmp_path / "state")
    second.clock.advance(60)  # type: ignore[attr-defined]
    second.sync(second.runner("tick"))

    assert second.ledger_address == first.ledger_address
    assert second.ledger.look(second.runner("tick")).due
    assert second.ledger.status().revision == 1


def test_a_tree_reached_by_two_names_has_one_ledger_whichever_came_first(tmp_path: Path, enter: Enter) -> None:
    real = checkout(tmp_path / "releases" / "1")
    (tmp_path / "current").symlink_to(real)
    for number, (first, second) in enumerate([(real, tmp_path / "current"), (tmp_path / "current", real)]):
        sites = [enter(folder, tmp_path / f"state{number}") for folder in (first, second)]
        assert [tick(site).problems for site in sites] == [(), ()]

        assert len({site.ledger_address for site in sites}) == 1


def test_two_trees_have_ledgers_of_their_own(tmp_path: Path, enter: Enter) -> None:
    sites = [enter(checkout(tmp_path / name), tmp_path / "state") for name in ("a", "b")]

    assert len({site.ledger_address for site in sites}) == 2


def test_a_ledger_file_of_another_tree_is_refused_unless_it_is_adopted(tmp_path: Path, enter: Enter) -> None:
    shared = {"OFFBEAT_LEDGER": f"sqlite:///{tmp_path}/ledger.db"}
    tick(enter(checkout(tmp_path / "a"), tmp_path / "state", **shared))
    moved = enter(checkout(tmp_path / "b"), tmp_path / "state", **shared)

    refused = tick(moved)
    assert refused.exit_code == LedgerError.exit_code
    assert "--adopt" in refused.problems[0].fix

    moved.adopt = True
    assert tick(moved).exit_code == 0


def test_another_project_in_the_same_tree_has_another_ledger(tmp_path: Path, enter: Enter) -> None:
    folder = checkout(tmp_path / "a")
    site = enter(folder, tmp_path / "state")
    tick(site)
    (folder / "cron" / "schedule.toml").write_text(SCHEDULE.replace("shop", "market"))
    tick(site)

    assert [path.name for path in sorted(site.state.glob("*.db"))] == ["market.db", "shop.db"]


def test_without_a_home_or_a_state_folder_the_users_own_is_used(tmp_path: Path) -> None:
    site = open_site(start=checkout(tmp_path / "a"), tree=None, environ={}, clock=FakeClock())

    assert site.state.parent.parent == Path.home() / ".local" / "state"


def test_on_openshift_the_ledger_is_in_the_data_folder(tmp_path: Path, enter: Enter) -> None:
    site = enter(checkout(tmp_path / "a"), tmp_path / "state", OPENSHIFT_DATA_DIR=str(tmp_path / "data"))

    assert site.state.is_relative_to(tmp_path / "data")


def test_a_first_schedule_that_is_refused_whole_raises_all_its_problems_and_makes_no_ledger(
    tmp_path: Path, enter: Enter
) -> None:
    site = enter(checkout(tmp_path / "a", "project = \n"), tmp_path / "state")

    with pytest.raises(OffbeatError) as raised:
        site.sync(site.runner("tick"))
    assert [problem.line for problem in raised.value.problems] == [1]
    assert list(tmp_path.glob("state/**/*.db")) == []


def test_a_schedule_file_that_is_missing_for_a_moment_does_not_make_another_project(tmp_path: Path, enter: Enter) -> None:
    folder = checkout(tmp_path / "a")
    (folder / "cron" / "hourly").mkdir()
    site = enter(folder, tmp_path / "state")
    tick(site)
    file = folder / "cron" / "schedule.toml"
    file.rename(tmp_path / "away")

    refused = tick(enter(folder, tmp_path / "state"))
    assert [problem.code for problem in refused.problems] == ["C106"]
    assert site.ledger.status().refused_whole
    assert [entry.name for entry, _ in site.ledger.entries()] == ["ping"]

    (tmp_path / "away").rename(file)
    assert tick(site).problems == ()
    assert [path.name for path in site.state.glob("*.db")] == ["shop.db"]


def test_the_environment_names_the_project_before_any_file(tmp_path: Path, enter: Enter) -> None:
    folder = checkout(tmp_path / "a")
    tick(enter(folder, tmp_path / "state"))
    named = enter(folder, tmp_path / "state", OFFBEAT_PROJECT="market")
    assert tick(named).problems == ()

    assert (named.project, named.ledger.status().project) == ("market", "market")
    assert enter(folder, tmp_path / "state").project == "shop"


def test_a_relative_state_folder_does_not_count(tmp_path: Path, enter: Enter) -> None:
    site = enter(checkout(tmp_path / "a"), tmp_path / "state", XDG_STATE_HOME="state", HOME=str(tmp_path))

    assert site.state.is_relative_to(tmp_path / ".local" / "state")


def test_a_tree_that_was_read_before_a_newer_one_was_compiled_is_read_again(tmp_path: Path, enter: Enter) -> None:
    folder = checkout(tmp_path / "a")
    tick(enter(folder, tmp_path / "state"))
    slow, quick = (enter(folder, tmp_path / "state") for _ in range(2))
    file = folder / "cron" / "schedule.toml"
    file.write_text(SCHEDULE.replace("ping", "pong"))
    activate = slow.ledger.activate

    class Stopped:
        """The ledger of a runner that is stopped just before it compiles what it has read."""

        def __getattr__(self, name: str) -> object:
            return getattr(slow_ledger, name)

        def activate(self, *args: object, **kwargs: object) -> int:
            slow._ledger = slow_ledger
            file.write_text(SCHEDULE.replace("ping", "pang"))
            tick(quick)
            return activate(*args, **kwargs)  # type: ignore[arg-type]

    slow_ledger = slow.ledger
    slow._ledger = Stopped()  # type: ignore[assignment]
    synced = slow.sync(slow.runner("tick"))

    assert synced.settled
    assert [entry.name for entry, _ in quick.ledger.entries()] == ["pang"]


def test_a_ledger_that_is_deleted_under_a_resident_runner_is_made_anew_and_nothing_is_sent_twice(
    tmp_path: Path, enter: Enter
) -> None:
    site = enter(checkout(tmp_path / "a"), tmp_path / "state")
    clock = site.clock
    assert isinstance(clock, FakeClock)
    site._broker = wire = BrokerMemory(clock=clock)
    daemon = Daemon(site=site, stop=Stop(), tell=lambda _: None)
    for second in range(300):
        if second == 90:
            for path in site.state.glob("shop.db*"):
                path.unlink()
        daemon.step()
        site._broker = wire
        clock.advance(1)
    site.close()

    sent = [str(m.headers["offbeat_due_at"])[11:16] for m in wire.sent]
    assert sent == ["12:01", "12:02", "12:03", "12:04"]


KINDS = SCHEDULE + '[entries.fiscal]\nown = { kind = "fiscal" }\n'
PACKAGE = """
class Fiscal:
    def next_after(self, after):
        return after // 60 * 60 + 60

    def due_times(self, after, until):
        return range(after // 60 * 60 + 60, until + 1, 60)

    def last_at_or_before(self, instant):
        return instant // 60 * 60


def fiscal(options, zone):
    return Fiscal()
"""


def fiscal_package(tmp_path: Path, kind: str = "fiscal") -> Path:
    """Return a folder with an installed package that has this kind; a process keeps what it imported, so one for each test."""
    packages = tmp_path / "packages"
    told = packages / f"{kind}_year-1.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Name: {kind}-year\nVersion: 1\n")
    (told / "entry_points.txt").write_text(f"[offbeat.recurrences]\n{kind} = {kind}_year:fiscal\n")
    (packages / f"{kind}_year.py").write_text(PACKAGE)
    return packages


def test_an_entry_that_waits_for_a_package_comes_with_it_and_stays_when_it_is_gone(
    tmp_path: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = enter(checkout(tmp_path / "a", KINDS), tmp_path / "state")
    first, second = tick(site), tick(site)
    assert [problem.code for problem in first.problems] == ["S168"]
    assert (second.problems, [entry.name for entry, _ in site.ledger.entries()]) == ((), ["ping"])

    packages = fiscal_package(tmp_path)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(packages))
        tick(site)
        assert [entry.name for entry, _ in site.ledger.entries()] == ["fiscal", "ping"]

    (site.tree / "schedule.toml").write_text(KINDS + 'description = "changed"\n')
    tick(site)
    assert [entry.name for entry, _ in site.ledger.entries()] == ["fiscal", "ping"]


def test_a_resident_runner_takes_in_what_waits_for_a_package_within_a_minute_and_tells_it_once(
    tmp_path: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, told = enter(checkout(tmp_path / "a", KINDS.replace('"fiscal"', '"resident"')), tmp_path / "state"), list[Problem]()
    clock = site.clock
    assert isinstance(clock, FakeClock)
    site._broker = BrokerMemory(clock=clock)
    daemon = Daemon(site=site, stop=Stop(), tell=told.extend)

    def live(seconds: int) -> list[str]:
        for _ in range(seconds):
            daemon.step()
            clock.advance(1)
        return [entry.name for entry, _ in site.ledger.entries()]

    assert live(200) == ["ping"]
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(fiscal_package(tmp_path, "resident")))
        assert live(61) == ["fiscal", "ping"]
    site.close()

    assert [problem.code for problem in told] == ["S168"]
