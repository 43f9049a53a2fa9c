"""What status says of runners, workers, pauses, a restored ledger and delivery; what check says of the ledger's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faces.conftest import Shop

from offbeat.core.model import Cause, Reason, State
from offbeat.errors import ConfigError, Problem
from offbeat.faces.cli_history import note_of, who_runs
from offbeat.faces.cli_session import read_schedule
from offbeat.faces.delivery import WORDS, Delivery, ledger_kind
from offbeat.faces.ledger_check import ledger_problems
from offbeat.faces.people import entry_of
from offbeat.faces.status_lines import Standing, status_lines
from offbeat.ports.ledger_values import HistoryRow, LedgerStatus, Origin, Paused, Rewound, Runner, SeenRunner
from offbeat.runners.site import Site, open_site

Settled = Callable[[str], Shop]
NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z
TOLD = LedgerStatus(
    where="postgresql://h/db?schema=offbeat",
    project="shop",
    owner="",
    schema=3,
    revision=5,
    digest="d",
    activated_at=NOW - 60,
    now=NOW,
    next_due=int(NOW) + 60,
    pending=2,
    claimed=1,
    undelivered=0,
    runners=(),
    refused="",
    refused_whole=False,
    deployed=True,
)

OVERLAP = '[entries.a]\nevery = "1h"\noverlap = "skip"\nmax_runtime = "30m"\n'


@pytest.fixture
def site(shop: Shop) -> Site:
    """The site of an empty tree."""
    return open_site(start=shop.root, tree=None, environ=shop.environ, clock=shop.clock)


def seen(role: str, host: str = "web1", *, ago: float = 5.0, pid: int = 1, **known: object) -> SeenRunner:
    runner = Runner(id=f"{host}:{pid}:{role}", host=host, pid=pid, role=role)
    return SeenRunner(runner=replace(runner, **known), seen_at=NOW - ago)  # type: ignore[arg-type]


def lines_of(site: Site, told: LedgerStatus, label: str, *, pauses: tuple[Paused, ...] = ()) -> list[str]:
    standing = Standing(told=told, pauses=pauses, delivery=Delivery.AT_LEAST_ONCE)
    return [text for each, text in status_lines(site, standing, None) if each == label]


def test_every_runner_is_told_with_its_revision_its_version_and_its_clock(site: Site) -> None:
    told = replace(
        TOLD,
        runners=(
            seen("run", revision=5, version="0.2.0"),
            seen("run", "web2", ago=50, revision=4, version="0.1.0", skew=-3.2),
            seen("tick", "cron1", revision=5),
            seen("tick", "cron1", ago=65, pid=2, revision=5),
        ),
    )

    assert lines_of(site, told, "runner") == [
        "run on web1 (web1:1:run), seen 5 s ago, revision 5, offbeat 0.2.0",
        "run on web2 (web2:1:run), seen 50 s ago, revision 4 (not yet 5), offbeat 0.1.0, CLOCK 3.2 s BEHIND",
        "tick on cron1, seen 5 s ago, 2 lately, revision 5",
    ]


def test_who_only_asked_is_no_runner_and_one_that_gives_no_sign_is_not_taken_for_alive(site: Site) -> None:
    asked = tuple(seen(role) for role in ("pause", "resume", "skip", "fire", "deploy", "backfill", "supervisor"))
    told = replace(TOLD, runners=(*asked, seen("run", ago=90, revision=4), seen("tick", "cron1", ago=90, revision=5)))

    assert lines_of(site, told, "runner") == [
        "run on web1 (web1:1:run), stopped or away, last seen 1 min 30 s ago",
        "tick on cron1, seen 1 min 30 s ago, revision 5",
    ]


def test_what_is_promised_of_delivery_fits_a_narrow_terminal() -> None:
    assert [words for words in WORDS.values() if len(words) > 80 - 12] == []


def test_workers_with_the_guard_are_told_by_host_and_are_no_runners(site: Site) -> None:
    told = replace(TOLD, runners=(seen("worker", version="0.2.0"), seen("worker", pid=2, ago=60, version="0.2.0")))

    assert lines_of(site, told, "worker") == ["2 with the guard on web1, seen 5 s ago, offbeat 0.2.0"]
    assert lines_of(site, told, "runner") == []


def test_the_revision_is_told_with_where_it_comes_from(site: Site) -> None:
    origin = Origin(commit="0123456789abcdef", author="Ana", dirty=True, note="the shop opens", deployed=True)
    told = replace(TOLD, origin=origin)

    assert lines_of(site, told, "revision") == ["5, deployed, in force since 2026-03-01T11:59:00Z"]
    assert lines_of(site, told, "from") == [
        "commit 0123456789, by Ana, with changes that are not committed, the shop opens",
    ]
    assert lines_of(site, replace(TOLD, deployed=False), "revision")[0].startswith("5, compiled from a tree")
    assert lines_of(site, TOLD, "from") == []


def test_a_ledger_that_went_back_is_told_loudly(site: Site) -> None:
    (line,) = lines_of(site, replace(TOLD, restored_at=NOW - 3600), "RESTORED")

    assert line.startswith("THE LEDGER WENT BACK TO AN OLDER STATE, found 2026-03-01T11:00:00Z, 1 h ago")
    assert lines_of(site, TOLD, "RESTORED") == []


def test_the_newest_rewind_is_told_with_who_it_was(site: Site) -> None:
    told = replace(TOLD, rewound=Rewound(at=NOW - 60, to=int(NOW) - 3600, who="ana\x1b[2J"))

    (line,) = lines_of(site, told, "rewound")
    assert line.startswith("to 2026-03-01T11:00:00Z by ana") and "\x1b" not in line
    assert line.endswith("2026-03-01T11:59:00Z, 1 min ago")
    assert lines_of(site, TOLD, "rewound") == []


def test_the_oldest_that_waits_is_told(site: Site) -> None:
    told = replace(TOLD, waiting=1, waits_since=NOW - 120)

    assert lines_of(site, told, "waiting") == [
        "2 pending, 1 for the end of another, 1 claimed, 0 undelivered; the oldest since 2026-03-01T11:58:00Z, 2 min ago"
    ]


def test_of_many_single_skips_only_the_first_are_told(site: Site) -> None:
    pauses = tuple(
        Paused(name="a", from_at=NOW + n * 60, until_at=NOW + n * 60 + 1, who="ana@web1", note="", once=True) for n in range(12)
    )

    lines = lines_of(site, TOLD, "skip", pauses=pauses)

    assert lines[0] == "a due 2026-03-01T12:00:00Z, by ana@web1"
    assert len(lines) == 11 and lines[-1] == "and 2 more; offbeat status --json has them all"


def test_delivery_is_said_in_the_promises_words(settled: Settled) -> None:
    shop = settled('[entries.a]\nevery = "1h"\n')
    shop.call("tick")
    before = shop.call("status").stdout

    with_ledger(shop, lambda ledger: ledger.report(Runner(id="w:1:worker", host="w", pid=1, role="worker"), ()))

    assert "at-least-once; no worker with the guard was seen in the last day" in before
    assert "one start: the workers' guard lets" in shop.call("status").stdout
    assert shop.json("status")[0]["delivery"] == "one_start"


def with_ledger(shop: Shop, act: Callable[..., object]) -> None:
    site = open_site(start=shop.root, tree=None, environ=shop.environ, clock=shop.clock)
    act(site.ledger)
    site.close()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("sqlite:////a.db", "SQLite"),
        ("postgresql://h/db", "PostgreSQL"),
        ("redis+sentinel://h/0", "Redis"),
        ("unix:///run/redis.sock", "Redis"),
        ("valkey://h", "Redis"),
    ],
)
def test_the_kind_of_a_ledger_is_told_by_its_address(address: str, kind: str) -> None:
    assert ledger_kind(address) == kind


def problems_of(shop: Shop, told: LedgerStatus | None = None, mounts: str = "") -> list[Problem]:
    site = open_site(start=shop.root, tree=None, environ=shop.environ, clock=shop.clock)
    schedule, _ = site.read()
    assert schedule is not None
    table = shop.root.parent / "mountinfo"
    table.write_text(mounts, "utf-8")
    return ledger_problems(site, schedule, told, table)


def test_a_ledger_in_a_containers_own_layer_is_warned_of(shop: Shop, tmp_path: Path) -> None:
    layer = "22 1 0:20 / / rw - overlay overlay rw\n"
    volume = f"{layer}23 22 0:21 / {tmp_path.resolve()} rw - ext4 /dev/sda1 rw\n"

    (warning,) = problems_of(shop, mounts=layer)

    assert (warning.code, str(warning.severity)) == ("C310", "warning")
    assert "(overlay)" in warning.what and "volume" in warning.fix
    assert problems_of(shop, mounts=volume) == []


def test_a_sqlite_ledger_of_several_hosts_is_warned_of(shop: Shop) -> None:
    alone = replace(TOLD, where="sqlite:////l.db", runners=(seen("run"), seen("tick")))
    both = replace(alone, runners=(seen("run"), seen("run", "web2")))

    (warning,) = problems_of(shop, both)

    assert warning.code == "C311"
    assert "2 hosts were seen in it: web1, web2" in warning.what
    assert problems_of(shop, alone) == []
    assert problems_of(shop, replace(both, where=TOLD.where)) == []


def test_an_overlap_whose_end_nobody_reports_is_warned_of_until_a_guard_is_seen(shop: Shop) -> None:
    shop.write(OVERLAP + '[entries.b]\nevery = "1h"\n[entries.c]\ncommand = "x"\n' + OVERLAP.partition("\n")[2])

    (warning,) = problems_of(shop, TOLD)

    assert (warning.code, warning.entry, warning.line) == ("C312", "a", 3)
    assert "offbeat.worker" in warning.fix
    assert problems_of(shop, None) == []
    assert problems_of(shop, replace(TOLD, runners=(seen("worker"),))) == []


def test_check_reads_the_ledger_that_is_there(settled: Settled) -> None:
    shop = settled(OVERLAP)
    before = shop.call("check", "--strict")
    shop.call("tick")

    assert (before.exit_code, shop.call("check").exit_code, shop.call("check", "--strict").exit_code) == (0, 0, 1)
    assert [row["code"] for row in shop.json("check")] == ["C312"]


def test_check_says_what_a_ledger_that_is_named_cannot_promise(shop: Shop, tmp_path: Path) -> None:
    shop.environ["OFFBEAT_LEDGER"] = f"sqlite:///{tmp_path / 'l.db'}"

    result = shop.call("check")

    assert result.stdout.splitlines()[1].startswith(f"ledger: SQLite, sqlite:///{tmp_path / 'l.db'}; it is this host's own")


def test_list_names_overlap(shop: Shop) -> None:
    shop.write('[entries.a]\nevery = "1h"\noverlap = "wait"\nmax_runtime = "30m"\n')

    assert "every 1h (overlap: wait)" in shop.call("list").stdout
    assert (shop.json("list")[0]["overlap"], shop.json("list")[0]["max_runtime_s"]) == ("wait", 1800)


def test_what_only_looks_makes_no_ledger(shop: Shop, tmp_path: Path) -> None:
    shop.environ["OFFBEAT_LEDGER"] = f"sqlite:///{tmp_path / 'l.db'}"

    for command in ("check", "list", "log", "status"):
        shop.call(command)

    assert not (tmp_path / "l.db").exists()


@pytest.fixture
def treeless(shop: Shop) -> Iterator[Site]:
    """A place without a tree, and a ledger that nothing was deployed to."""
    environ = {**shop.environ, "OFFBEAT_PROJECT": "shop"}
    site = Site(tree=shop.tree, root=shop.root, environ=environ, clock=shop.clock, from_ledger=True)
    yield site
    site.close()


def test_a_place_without_a_tree_says_that_a_revision_must_be_deployed_first(treeless: Site) -> None:
    for ask in (lambda: read_schedule(treeless), lambda: entry_of(treeless.ledger, "report")):
        with pytest.raises(ConfigError) as raised:
            ask()
        assert [problem.code for problem in raised.value.problems] == ["L308"]


def test_the_first_revision_is_made_by_a_tick_where_there_is_a_tree_else_by_a_deploy(site: Site, treeless: Site) -> None:
    fresh = replace(TOLD, revision=0, deployed=False)

    assert lines_of(site, fresh, "revision") == ["none yet; the first `offbeat tick` compiles the tree"]
    assert lines_of(treeless, fresh, "revision") == ["none yet; offbeat deploy, in a checkout, makes the first"]


@pytest.mark.parametrize(("state", "note"), [(State.SUCCEEDED, ""), (State.FAILED, "no tree"), (State.PENDING, "no tree")])
def test_what_has_succeeded_is_not_told_with_what_an_earlier_attempt_met(state: State, note: str) -> None:
    row = HistoryRow(
        entry="sweep",
        due_at=0,
        kind="schedule",
        state=state,
        reason=Reason.NONE,
        cause=Cause.SCHEDULE,
        attempt=2,
        note="no tree",
    )

    assert note_of(row) == note


@pytest.mark.parametrize(
    ("state", "ago", "words"),
    [
        (State.STARTED, 5.0, "on web1 (pid 7)"),
        (State.STARTED, 600.0, "on web1 (pid 7), a worker not seen since 2026-03-01T11:50:00Z"),
        (State.RETRYING, 600.0, "on web1 (pid 7), a worker not seen since 2026-03-01T11:50:00Z"),
        (State.STARTED, None, "on web1 (pid 7), a worker not seen for a day"),
        (State.REVOKED, None, "on web1 (pid 7)"),
    ],
)
def test_history_says_since_when_the_worker_of_what_runs_was_not_seen(state: State, ago: float | None, words: str) -> None:
    row = HistoryRow(
        entry="a",
        due_at=0,
        kind="schedule",
        state=state,
        reason=Reason.NONE,
        cause=Cause.SCHEDULE,
        attempt=1,
        note="by web1:7:worker:0badcafe",
    )
    last_seen = {} if ago is None else {"web1:7:worker:0badcafe": NOW - ago}

    assert who_runs(row, last_seen, NOW) == words
