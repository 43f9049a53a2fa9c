"""The ledger's file: how it is made, and everything that can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, runner, schedule

from offbeat.core.plan import PlannedRow, Window
from offbeat.errors import ConfigError, LedgerError, Problem
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place, connection
from offbeat.ports.ledger_sqlite.connection import MOST_ROWS
from offbeat.ports.ledger_sqlite.mounts import file_system_of
from offbeat.ports.ledger_sqlite.problems import told
from offbeat.ports.ledger_sqlite.schema import APPLICATION_ID, SCHEMA, migrate
from offbeat.ports.ledger_sqlite.turnstile import Turnstile, TurnTimeout

A = runner("a")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite3"


def opened(path: Path, *, owner: str = "host:/tree", **more: object) -> LedgerSqlite:
    place = Place(path=str(path), project=str(more.pop("project", "shop")), owner=owner, **more)  # type: ignore[arg-type]
    return LedgerSqlite(place, clock=FakeClock(float(NOON)))


@pytest.fixture
def used(path: Path) -> Path:
    """Return a ledger's file that has been in use."""
    with closing(opened(path)) as ledger:
        ledger.activate(schedule(entry()), "s")
        ledger.look(A)
    return path


def problem(path: Path, **more: object) -> Problem:
    """Return the one problem with which the file is refused, on opening it or on looking at it."""
    with pytest.raises(LedgerError) as refused, closing(opened(path, **more)) as ledger:  # type: ignore[arg-type]
        ledger.look(A)
    (told_,) = refused.value.problems
    assert refused.value.exit_code == 3
    assert told_.file == str(path) and told_.what and told_.why and told_.fix
    return told_


def test_nobody_else_may_read_the_file_or_its_folder(used: Path) -> None:
    assert {oct(file.stat().st_mode & 0o777) for file in used.parent.iterdir()} == {"0o600"}
    assert oct(used.parent.stat().st_mode & 0o777) == "0o700"


def test_the_file_says_what_it_is_and_is_as_durable_as_can_be(used: Path) -> None:
    with closing(opened(used)) as ledger, ledger.reading() as db:
        asked = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version", "journal_mode")]
        assert asked == [APPLICATION_ID, SCHEMA, "wal"]
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_folder_where_the_file_should_be_is_told(tmp_path: Path) -> None:
    assert problem(tmp_path).code == "L208"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert problem(tmp_path / "file" / "ledger.sqlite3").code == "L208"


def test_a_file_that_is_no_database_is_told_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my notes\n" * 100)

    assert problem(path).code == "L205"
    assert path.read_text() == "my notes\n" * 100


def test_another_programs_database_is_told_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()

    assert problem(path).code == "L205"
    assert path.read_bytes() == before


def test_a_corrupt_file_is_told(used: Path) -> None:
    whole = used.read_bytes()
    used.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))

    assert problem(used).code == "L204"


def test_a_file_that_was_cut_short_is_told(used: Path) -> None:
    used.write_bytes(used.read_bytes()[:5000])

    assert problem(used).code == "L204"


def test_a_full_disk_is_told_and_nothing_is_half_written(used: Path) -> None:
    with closing(opened(used)) as ledger:
        with ledger.reading() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        ledger._open_db().execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerError, match=r"no space left .* \[L206\]"):
            ledger.activate(schedule(*(entry(f"e{number}") for number in range(1000))), "s2")

        assert ledger.status().revision == 1 and len(ledger.entries()) == 1
        assert ledger.look(A).stamp == "s"


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Do the test as somebody whom file modes stop."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked_away(used: Path) -> Path:
    used.parent.chmod(0o755)
    used.chmod(0o444)
    return used


def test_a_file_that_may_not_be_written_is_told(locked_away: Path, nobody: None) -> None:
    assert problem(locked_away).code == "L207"


def test_a_ledger_in_a_folder_that_may_not_be_written_is_read_while_nobody_writes(locked_away: Path, nobody: None) -> None:
    with closing(opened(locked_away, read_only=True)) as reader:
        assert (reader.status().revision, [e.name for e, _ in reader.entries()]) == (1, ["e"])
        if os.geteuid() != os.getuid():
            os.seteuid(os.getuid())
            with closing(opened(locked_away)) as writer:
                writer.look(A)
                with pytest.raises(LedgerError, match="L215"):
                    reader.status()
            os.seteuid(65534)
    with closing(opened(locked_away, read_only=True)) as again:
        assert again.status().revision == 1


def environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}


@pytest.mark.parametrize(
    ("number", "code"),
    [(28, "L206"), (30, "L207"), (13, "L207"), (5, "L209"), (2, "L208")],
    ids=["full", "ro", "perm", "io", "none"],
)
def test_what_the_system_says_is_told(path: Path, number: int, code: str) -> None:
    with pytest.raises(LedgerError) as refused, told(str(path)):
        raise OSError(number, os.strerror(number))

    assert refused.value.problems[0].code == code


def test_a_mistake_of_our_own_is_no_problem_of_the_users(used: Path) -> None:
    with closing(opened(used)) as ledger, pytest.raises(sqlite3.OperationalError), ledger.writing() as db:
        db.execute("SELEKT 1")


def test_a_ledger_held_by_another_program_is_told_in_the_end(used: Path) -> None:
    with closing(sqlite3.connect(used, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        assert problem(used, patience=0.05).code == "L203"


def test_a_turn_that_does_not_come_is_told_in_the_end(used: Path) -> None:
    with closing(Turnstile(str(used), patience=1)) as stopped, stopped.turn():
        found = problem(used, patience=0.05)

    assert found.code == "L203"
    if Path("/proc/locks").exists():
        assert f"process {os.getpid()} has it" in found.what and f"kill -CONT {os.getpid()}" in found.fix


@pytest.mark.parametrize("name", ["-turn", "-queue"])
def test_a_link_where_a_lock_file_should_be_is_not_followed(path: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "of somebody else"
    path.parent.mkdir(exist_ok=True)
    target.write_text("precious")
    Path(f"{path}{name}").symlink_to(target)

    assert problem(path).code == "L208"
    assert target.read_text() == "precious"


def test_whoever_has_written_lets_the_one_who_waits_go_first(used: Path) -> None:
    """The one who waits for the turn has the queue: the one who comes again has to wait for that."""
    with closing(Turnstile(str(used), patience=0.02)) as busy, closing(Turnstile(str(used), patience=1)) as patient:
        tries = patient._wait(patient._queue, 10)
        assert tries == 10
        with pytest.raises(TurnTimeout), busy.turn():
            raise AssertionError("pushed in")


def test_a_newer_ledger_is_refused(used: Path) -> None:
    with closing(sqlite3.connect(used)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        db.execute(f"UPDATE meta SET oldest = {SCHEMA + 1}")
        db.commit()

    assert problem(used).code == "L210"


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    steps = ((1, ("CREATE TABLE x (a)",)), (2, ("ALTER TABLE x ADD COLUMN b", "INSERT INTO x VALUES (1, 2)")))
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as db:
        migrate(db, 0, steps[:1])
        migrate(db, 1, steps)
        migrate(db, 2, steps)

        assert db.execute("SELECT * FROM x").fetchall() == [(1, 2)]
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_another_trees_ledger_is_refused_unless_it_is_adopted(used: Path) -> None:
    refused = problem(used, owner="host:/moved")
    assert refused.code == "L212" and "--adopt" in refused.fix and "host:/tree" in refused.what

    with closing(opened(used, owner="host:/moved", adopt=True)) as ledger:
        assert ledger.status().owner == "host:/moved"
    assert problem(used, owner="host:/tree").code == "L212"
    with closing(opened(used, owner="host:/tree", read_only=True)) as reader:
        assert reader.status().owner == "host:/moved"


def test_another_projects_ledger_is_refused(used: Path) -> None:
    assert problem(used, project="bank").code == "L213"


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("ext4", False), ("fuse.sshfs", True), ("overlay", False)])
def test_a_network_file_system_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, refused: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"22 1 8:1 / / rw - ext4 /dev/sda rw\n36 22 0:1 / {tmp_path} rw,relatime shared:1 - {kind} server:/x rw\n"
    )
    monkeypatch.setattr(connection, "MOUNTINFO", str(mounts))

    if refused:
        assert problem(path).code == "L211"
        assert not path.exists()
    else:
        opened(path).close()


@pytest.mark.parametrize(
    ("where", "kind"),
    [("/", "ext4"), ("/srv/a b/x", "nfs"), ("/srv/a", "ext4"), ("/srvx", "ext4"), ("/mnt/deep/x", "tmpfs"), ("/mnt/x", "cifs")],
)
def test_the_longest_and_latest_mount_counts(where: str, kind: str) -> None:
    text = (
        "22 1 8:1 / / rw - ext4 /dev/sda rw\n"
        "23 22 0:2 / /srv/a\\040b rw shared:1 master:2 - nfs s:/x rw\n"
        "24 22 0:3 / /mnt rw - ext4 /dev/sdb rw\n"
        "25 22 0:4 / /mnt rw - cifs //s/x rw\n"
        "26 25 0:5 / /mnt/deep rw - tmpfs tmpfs rw\nnonsense\n"
    )

    assert file_system_of(where, text) == kind
    assert file_system_of(where, "") == ""


def test_more_rows_than_one_transaction_may_have_are_several(used: Path) -> None:
    clock = FakeClock(float(NOON))
    with closing(LedgerSqlite(Place(path=str(used), project="shop"), clock=clock)) as ledger:
        ledger.activate(schedule(*(entry(f"e{number}", f"every 60 {number}") for number in range(3))), "s2")
        clock.advance(3600)
        portion = ledger.take(10)
        windows = [
            Window(
                gid=group.gid,
                version=group.version,
                after=group.cursor,
                until=NOON + 3600,
                next_due=NOON + 3660,
                rows=tuple(
                    PlannedRow(eno=members[0].eno, due_at=NOON + n, send_at=NOON + n) for n in range(MOST_ROWS // 2 + 1)
                ),
                gaps=(),
            )
            for group, members in portion.groups
        ]
        statements: list[str] = []
        ledger._open_db().set_trace_callback(statements.append)
        claims = ledger.record(A, windows, portion.revision)
        assert statements.count("COMMIT") == 3
        assert len(claims) == 3 * (MOST_ROWS // 2 + 1)
        assert len(ledger.settle(A, [outcome(claim) for claim in claims])) == len(claims)
        assert statements.count("COMMIT") == 5
        assert statements.count("BEGIN IMMEDIATE") == 5 and "BEGIN" not in statements
        assert ledger.status().claimed == 0


def test_an_idle_look_is_a_handful_of_statements_and_loads_little(used: Path) -> None:
    script = f"""
import sys
from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_values import Runner
from offbeat.ports.ledger_open import open_ledger
ledger = open_ledger("sqlite:///{used}", clock=SystemClock(), project="shop", owner="host:/tree")
said = []
ledger._db.set_trace_callback(said.append)
ledger.look(Runner(id="a", host="h", pid=1, role="tick"))
heavy = {{"zoneinfo", "hashlib", "uuid", "subprocess", "kombu", "rich", "asyncio"}}
ours = ("offbeat.core", "offbeat.ports.ledger_lines")
print(len(said), *sorted(name for name in sys.modules if name.startswith(ours) or name in heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    count, *loaded = done.stdout.split()

    assert int(count) <= 8
    assert loaded == [f"offbeat.core{part}" for part in ("", ".marks", ".model", ".slots", ".transitions")]


def test_reading_only_writes_nothing_and_needs_no_file(used: Path, tmp_path: Path) -> None:
    with closing(opened(used, read_only=True)) as reader:
        assert reader.status().revision == 1 and [one.name for one, _ in reader.entries()] == ["e"]
        assert reader.peek(10)[0].revision == 1
        with pytest.raises(LedgerError, match="L207"):
            reader.look(A)
    absent = tmp_path / "none" / "ledger.sqlite3"
    empty = open_ledger(f"sqlite:///{absent}", clock=FakeClock(), project="shop", owner="", read_only=True)
    assert (empty.history(), empty.status().where) == ([], f"sqlite:///{absent}")
    assert not absent.parent.exists()


def test_an_address_names_the_store(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address, where in [(f"sqlite:///{path}", path), ("sqlite:///here.sqlite3", tmp_path / "here.sqlite3")]:
        with closing(open_ledger(address, clock=FakeClock(), project="shop", owner="o")) as ledger:
            assert isinstance(ledger, LedgerSqlite)
            assert where.exists() and ledger.status().where == f"sqlite:///{where}"
    assert isinstance(open_ledger("memory:", clock=FakeClock(), project="shop", owner="o"), LedgerMemory)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("mysql://u:hunter2@host", 'begins with "mysql", which no store answers to'),
        ("sqlite:///", "names no file after sqlite:///"),
        ("", "is none: it has no :// after a kind of ledger"),
    ],
)
def test_an_address_of_another_kind_is_told_without_its_password(address: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_ledger(address, clock=FakeClock(), project="shop", owner="o")

    assert what in str(refused.value) and "hunter2" not in str(refused.value)
    assert all(f"{scheme}://" in refused.value.problems[0].fix for scheme in ("sqlite", "postgresql", "redis"))


def test_a_password_that_is_an_address_is_in_no_row(used: Path) -> None:
    with closing(opened(used)) as ledger, ledger.reading() as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {column for table in tables for _, column, *_ in db.execute(f"PRAGMA table_info({table})")}

    assert not {column for column in columns if "url" in column or "address" in column or "password" in column}


@pytest.fixture
def turnstile(tmp_path: Path) -> Iterator[Turnstile]:
    with closing(Turnstile(str(tmp_path / "x"), patience=0.02)) as made:
        yield made


def test_a_turn_is_given_up_when_the_block_fails(turnstile: Turnstile) -> None:
    with suppress(ZeroDivisionError), turnstile.turn():
        raise ZeroDivisionError
    with turnstile.turn():
        pass


def test_a_failed_operation_leaves_the_ledger_usable(used: Path) -> None:
    with closing(opened(used)) as ledger:
        with pytest.raises(ConfigError):
            ledger.fire(A, "unknown", "token")
        with pytest.raises(ZeroDivisionError), ledger.writing() as db:
            db.execute("UPDATE meta SET stamp = 'broken'")
            raise ZeroDivisionError

        assert ledger.look(A).stamp == "s"
        assert pass_once(ledger, A) == []


def test_reading_only_what_was_never_used_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.touch()

    assert problem(path, read_only=True).code == "L214"
    assert path.read_bytes() == b""


def test_a_host_without_a_list_of_mounts_is_trusted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOUNTINFO", str(path / "none"))

    opened(path).close()

    assert path.exists()


def test_only_what_another_connection_writes_counts_as_changed(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/ledger.db"
    ours, other = (open_ledger(address, clock=FakeClock(), project="shop", owner="host:/tree") for _ in range(2))
    with closing(ours), closing(other):
        ours.look(runner("a"))
        ours.changed()

        ours.look(runner("a"))
        assert not ours.changed()
        other.look(runner("b"))
        assert ours.changed()
        assert not ours.changed()
