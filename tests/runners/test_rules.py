"""Hosts with other versions of zones, holidays and the sun on one ledger: the newest decides."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.rules import packages_of, rules_text, versions_in
from offbeat.errors import LedgerError
from offbeat.ports import rules as installed
from offbeat.ports.broker_memory import BrokerMemory
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.runners.daemon import Daemon, Stop
from offbeat.runners.deploy import deploy, rollback
from offbeat.runners.fire import send_slot
from offbeat.runners.tick import tick

from .conftest import NOON, MemorySite

Host = Callable[..., MemorySite]
PING = '[entries.ping]\ncron = "* * * * *"\ntimezone = "Europe/Sofia"\n'
PONG = PING + '[entries.pong]\ncron = "* * * * *"\ntimezone = "Europe/Sofia"\n'
UTC = '[entries.ping]\nevery = "1m"\n'
OLD, NEW = {"tzdata": "2025b", "holidays": "0.85", "astral": "3.2"}, {"tzdata": "2025c", "holidays": "0.85", "astral": "3.2"}


@pytest.fixture
def host(tmp_path: Path, clock: FakeClock) -> Host:
    """Return a function that makes one more host on one shared ledger and broker, with these versions installed."""
    memory = LedgerMemory(clock=clock, project="shop")
    wire = BrokerMemory(clock=clock)

    def one_more(name: str, versions: dict[str, str], text: str | None = PING) -> MemorySite:
        root = tmp_path / name
        (root / "cron").mkdir(parents=True)
        environ = {"XDG_STATE_HOME": str(root / "state"), "OFFBEAT_LEDGER": "redis://ledger/0", "OFFBEAT_PROJECT": "shop"}
        site = MemorySite(
            tree=root / "cron", root=root, environ=environ, clock=clock, memory=memory, wire=wire, from_ledger=text is None
        )
        site.rules.own = lambda packages: rules_text({each: versions[each] for each in packages if each in versions})
        if text is not None:
            put(site, text)
        return site

    return one_more


def put(site: MemorySite, text: str) -> None:
    (site.tree / "schedule.toml").write_text(f'project = "shop"\ntask_prefix = "shop.tasks."\n{text}', "utf-8")


def due(site: MemorySite) -> list[str]:
    return [str(m.headers["offbeat_due_at"])[11:16] for m in site.wire.sent]


def live(daemon: Daemon, clock: FakeClock, seconds: float) -> None:
    end = clock.now() + seconds
    while clock.now() < end:
        clock.sleep_until(min(daemon.step(), end))


def test_a_host_with_older_zones_records_nothing_and_says_so_once(
    host: Host, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    new, old = host("new", NEW), host("old", OLD)
    deploy(new)
    clock.advance(60)
    first, second = tick(old), tick(old)

    assert ([problem.code for problem in first.problems], second.problems) == (["L313"], ())
    assert (first.exit_code, second.exit_code) == (3, 3)
    assert "tzdata 2025b here, tzdata 2025c there" in first.problems[0].what
    assert (due(old), old.ledger.history()) == ([], [])
    assert "rules_differ" in [record.__dict__["event"] for record in caplog.records]
    assert tick(new).dispatched == 1


def test_what_others_recorded_is_still_sent_by_a_host_with_older_zones(host: Host, clock: FakeClock) -> None:
    new, old = host("new", NEW), host("old", OLD)
    deploy(new)
    new.wire.down = True
    clock.advance(60)
    tick(new)
    new.wire.down = False
    clock.advance(60)
    done = tick(old)

    assert (due(old), done.exit_code, len(old.ledger.history())) == (["12:01"], 3, 1)


@pytest.mark.parametrize("text", [PING, None], ids=["with a tree", "without a tree"])
def test_a_host_with_newer_zones_compiles_what_is_deployed_anew(host: Host, clock: FakeClock, text: str | None) -> None:
    old, new = host("old", OLD), host("new", NEW, text)
    done = deploy(old)
    clock.advance(60)
    ticked = tick(new)
    status = new.ledger.status()

    assert (ticked.dispatched, ticked.exit_code, due(new)) == (1, 0, ["12:01"])
    assert (status.revision, new.ledger.rules()) == (done.revision + 1, "tzdata 2025c")
    assert (status.origin.deployed, status.origin.note) == (True, "compiled anew: tzdata 2025c")
    clock.advance(60)
    assert [problem.code for problem in tick(old).problems] == ["L313"]


def test_before_the_first_deploy_the_newest_zones_count_too_and_older_ones_come_back_by_no_change(
    host: Host, clock: FakeClock
) -> None:
    old, new = host("old", OLD), host("new", NEW)
    tick(old)
    tick(new)
    clock.advance(10)
    put(old, PONG)
    refused = tick(old)

    assert (new.ledger.rules(), [entry.name for entry, _ in new.ledger.entries()]) == ("tzdata 2025c", ["ping"])
    assert ([problem.code for problem in refused.problems], refused.exit_code) == (["L313"], 3)
    old.rules.own = new.rules.own
    assert tick(old).exit_code == 0
    assert [entry.name for entry, _ in new.ledger.entries()] == ["ping", "pong"]


def test_one_package_newer_and_another_older_counts_as_older(host: Host, clock: FakeClock) -> None:
    text = PING + 'except = ["holidays:BG"]\n'
    one, mixed = host("one", OLD, text), host("mixed", NEW | {"holidays": "0.84"}, text)
    deploy(one)
    clock.advance(60)
    told = tick(mixed).problems

    assert [problem.what.partition(" older")[0] for problem in told] == ["this host's holidays is"]
    assert one.ledger.rules() == "tzdata 2025b; holidays 0.85"


def test_where_all_is_utc_no_host_is_held_back(host: Host, clock: FakeClock) -> None:
    new, old = host("new", NEW, UTC), host("old", {}, UTC)
    deploy(new)
    clock.advance(60)

    assert (tick(old).exit_code, due(old), old.ledger.rules()) == (0, ["12:01"], "none")
    assert not deploy(old).changed


def test_a_schedule_from_before_there_were_rules_gets_them_when_something_is_due(host: Host, clock: FakeClock) -> None:
    from dataclasses import replace

    one = host("one", OLD)
    deploy(one)
    schedule = one.ledger.schedule()
    assert schedule
    memory = one.memory
    memory.kept[-1].schedule = replace(schedule, rules="", digest="before")
    clock.advance(60)

    assert (tick(one).dispatched, one.ledger.rules()) == (1, "tzdata 2025b")


def test_a_deploy_a_rollback_and_an_executed_link_by_older_zones_are_refused(host: Host, clock: FakeClock) -> None:
    new, old = host("new", NEW), host("old", OLD)
    number = deploy(new).revision

    for refused in (lambda: deploy(old), lambda: rollback(old, number), lambda: send_slot(old, "hourly", "ping")):
        with pytest.raises(LedgerError) as caught:
            refused()
        assert [problem.code for problem in caught.value.problems] == ["L313"]
    assert (new.ledger.rules(), due(old)) == ("tzdata 2025c", [])


def test_older_zones_are_put_in_force_by_adopt_alone(host: Host, clock: FakeClock) -> None:
    new, old = host("new", NEW), host("old", OLD)
    deploy(new)
    clock.advance(60)
    old.adopt = True
    done = tick(old)

    assert (done.exit_code, done.dispatched, old.ledger.rules()) == (0, 1, "tzdata 2025b")


def test_a_tree_that_was_refused_is_refused_still_when_the_schedule_is_compiled_anew(host: Host, clock: FakeClock) -> None:
    one = host("one", OLD)
    tick(one)
    clock.advance(10)
    put(one, "[entries.ping\n")
    tick(one)
    one.rules.own = lambda packages: "tzdata 2025c"
    clock.advance(60)
    tick(one)
    status = one.ledger.status()

    assert (one.ledger.rules(), due(one), status.refused_whole) == ("tzdata 2025c", ["12:01"], True)
    assert status.refused


def test_a_resident_runner_with_older_zones_says_so_once_and_goes_on_when_it_has_newer_ones(
    host: Host, clock: FakeClock
) -> None:
    new, old = host("new", NEW), host("old", OLD)
    deploy(new)
    told: list[Any] = []
    daemon = Daemon(site=old, stop=Stop(), tell=told.extend)
    live(daemon, clock, 130)
    assert ([problem.code for problem in told], due(old)) == (["L313"], [])

    old.rules.own = new.rules.own
    live(daemon, clock, 2)

    assert (len(told), due(old)) == (1, ["12:01", "12:02"])


def test_an_idle_tick_asks_for_no_versions(host: Host, clock: FakeClock) -> None:
    one = host("one", NEW)
    deploy(one)
    clock.advance(10)
    asked: list[object] = []

    def own(packages: tuple[str, ...]) -> str:
        asked.append(packages)
        return "none"

    one.rules.own = own

    assert (tick(one).exit_code, asked) == (0, [])


@pytest.fixture
def zones(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Return a function that makes this process find a folder of zones, whose file says a version."""
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "UTC").touch()

    def say(file: str, text: str) -> None:
        (folder / file).write_text(text)
        zoneinfo.reset_tzpath([str(folder)])
        installed.read_zones_again()

    yield say
    zoneinfo.reset_tzpath()
    installed.read_zones_again()


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("tzdata.zi", "# version 2031b\n# redo posix_only\n", "2031b"),
        ("+VERSION", "2031c\n", "2031c"),
        ("leapseconds", "# no version\n", "?"),
    ],
)
def test_the_version_of_zones_is_that_of_the_folder_which_python_reads(
    zones: Callable[[str, str], None], file: str, text: str, version: str
) -> None:
    zones(file, text)

    assert installed.own_rules(["tzdata"]) == f"tzdata {version}"


def test_without_a_folder_of_zones_it_is_that_of_the_package(zones: Callable[[str, str], None], tmp_path: Path) -> None:
    tzdata = pytest.importorskip("tzdata")
    zones("tzdata.zi", "# version 2031b\n")
    zoneinfo.reset_tzpath([str(tmp_path / "nothing")])

    assert installed.read_zones_again()
    assert installed.own_rules(["tzdata", "no-such-package"]) == f"tzdata {tzdata.IANA_VERSION}"


def test_rules_name_what_the_entries_depend_on(site: MemorySite, write: Callable[[str], Path]) -> None:
    def needed(text: str) -> tuple[str, ...]:
        write(text)
        schedule, problems = site.read()
        assert schedule and not problems
        assert tuple(versions_in(schedule.rules)) == packages_of(schedule.entries)
        return packages_of(schedule.entries)

    sofia = 'timezone = "Europe/Sofia"\n'
    assert needed(UTC) == needed('[entries.ping]\ncron = "0 4 * * *"\n') == needed(UTC + sofia) == ()
    assert needed(PING) == ("tzdata",)
    assert needed(UTC + 'except = ["holidays:BG"]\n') == ("holidays",)
    assert needed('[entries.ping]\nsolar = { event = "sunset", latitude = 42.7, longitude = 23.3 }\n') == ("astral",)


def test_zones_that_were_replaced_under_a_process_are_read_again(zones: Callable[[str, str], None], tmp_path: Path) -> None:
    from importlib.resources import files

    from offbeat.core.transitions import Span, next_due

    pytest.importorskip("tzdata")
    noon = Span(recurrence="cron 0 12 * * *", zone="Town", first=0, last=None)

    def replaced_by(place: str, version: str) -> None:
        (tmp_path / "zones" / "Town").write_bytes(files("tzdata.zoneinfo.Asia").joinpath(place).read_bytes())
        (tmp_path / "zones" / "tzdata.zi").write_text(f"# version {version}\n")

    replaced_by("Tokyo", "2031b")
    zones("tzdata.zi", "# version 2031b\n")
    before = next_due([noon], NOON)
    replaced_by("Kolkata", "2031c")

    assert next_due([noon], NOON) == before == NOON + 15 * 3600
    assert installed.read_zones_again()
    assert next_due([noon], NOON) == NOON + 18 * 3600 + 1800
    assert not installed.read_zones_again()
