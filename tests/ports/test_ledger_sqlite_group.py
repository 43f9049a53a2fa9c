"""Who may use a SQLite ledger: its owner alone, or a group when the address asks for it."""

from __future__ import annotations

import grp
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.ports.ledger_world import NOON, entry, pass_once, runner, schedule

from offbeat.errors import ConfigError, LedgerError, OffbeatError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_open import open_ledger

ROOT = os.geteuid() == 0
GID = next(group.gr_gid for group in grp.getgrall() if group.gr_gid) if ROOT else os.getegid()
GROUP = grp.getgrgid(GID).gr_name
SOMEBODY, ANOTHER = 54321, 54322  # users that need no line in /etc/passwd
as_root = pytest.mark.skipif(not ROOT, reason="only root can become another user; CI runs as root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that every user can get at; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o777)
        yield Path(made)


@contextmanager
def acting_as(user: int, *groups: int) -> Iterator[None]:
    """Be another user for the block."""
    before = os.getgroups()
    os.setgroups(list(groups))
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def opened(path: Path, options: str = "", *, read_only: bool = False) -> Ledger:
    address = f"sqlite:///{path}{options}"
    return open_ledger(address, clock=FakeClock(float(NOON)), project="shop", owner="", read_only=read_only)


def used(path: Path, options: str = "") -> None:
    """Use the ledger as a runner does."""
    with closing(opened(path, options)) as ledger:
        ledger.look(runner("a"))
        ledger.activate(schedule(entry()), "stamp")
        pass_once(ledger, runner("a"))


def modes(folder: Path) -> dict[str, tuple[str, int]]:
    """Return mode and group of each file in the folder."""
    return {file.name: (oct(stat.S_IMODE(file.stat().st_mode)), file.stat().st_gid) for file in folder.iterdir()}


def test_a_ledger_is_its_owners_alone(folder: Path) -> None:
    with closing(opened(folder / "db", "?mode=0600")) as ledger:
        ledger.look(runner("a"))
        found = modes(folder)

    assert set(found) == {"db", "db-wal", "db-shm", "db-queue", "db-turn"}
    assert {mode for mode, _ in found.values()} == {"0o600"}


@pytest.mark.parametrize("options", [f"?mode=0660&group={GROUP}", f"?group={GROUP}"])
def test_a_group_may_use_all_of_its_files(folder: Path, options: str) -> None:
    with closing(opened(folder / "db", options)) as ledger:
        ledger.look(runner("a"))
        found = modes(folder)

    assert set(found) == {"db", "db-wal", "db-shm", "db-queue", "db-turn"}
    assert set(found.values()) == {("0o660", GID)}


def test_a_ledger_of_its_owner_alone_is_opened_to_the_group_when_it_is_asked_for(folder: Path) -> None:
    used(folder / "db")
    used(folder / "db", f"?mode=0660&group={GROUP}")

    assert set(modes(folder).values()) == {("0o660", GID)}


def test_a_folder_that_is_made_lets_the_group_in(folder: Path) -> None:
    used(folder / "state" / "db", f"?mode=0660&group={GROUP}")

    found = (folder / "state").stat()
    assert (oct(stat.S_IMODE(found.st_mode)), found.st_gid) == ("0o2770", GID)


@as_root
def test_users_of_one_group_share_a_ledger_and_nobody_else_does(folder: Path) -> None:
    state, options = folder / "state", f"?mode=0660&group={GROUP}"
    for user in (SOMEBODY, ANOTHER, SOMEBODY):
        with acting_as(user, GID):
            used(state / "db", options)
    with acting_as(SOMEBODY, GID), closing(opened(state / "db", options)) as one:
        one.look(runner("one"))
        os.seteuid(0)
        with acting_as(ANOTHER, GID), closing(opened(state / "db", options)) as other:
            other.look(runner("other"))  # while the other one has its files open
        assert {seen.runner.id for seen in one.status().runners} == {runner(name).id for name in ("a", "one", "other")}
    with acting_as(ANOTHER, GID), closing(opened(state / "db", options, read_only=True)) as reader:
        assert reader.status().revision == 1
    with acting_as(SOMEBODY + 7), pytest.raises(OffbeatError) as refused:
        opened(state / "db")
    assert refused.value.problems[0].fix


@as_root
def test_a_ledger_without_a_group_is_closed_to_others(folder: Path) -> None:
    used(folder / "db")

    with acting_as(SOMEBODY, GID), pytest.raises(LedgerError) as refused:
        opened(folder / "db")
    assert refused.value.problems[0].code == "L207"


@as_root
@pytest.mark.parametrize("groups", [(), (GID,)], ids=["not in the group", "not the owner"])
def test_whoever_cannot_give_a_file_to_the_group_is_told_what_to_do(folder: Path, groups: tuple[int, ...]) -> None:
    if groups:
        used(folder / "db")

    with acting_as(SOMEBODY, *groups), pytest.raises(ConfigError) as refused:
        opened(folder / "db", f"?mode=0660&group={GROUP}")

    (problem,) = refused.value.problems
    assert (problem.code, problem.file) == ("L217", str(folder / "db"))
    assert GROUP in problem.what and problem.why and f"chgrp {GROUP} {folder}/db" in problem.fix


def test_a_folder_that_keeps_the_group_out_is_refused(folder: Path) -> None:
    os.chmod(folder, 0o700)

    with pytest.raises(ConfigError) as refused:
        opened(folder / "db", f"?mode=0660&group={GROUP}")

    (problem,) = refused.value.problems
    assert (problem.code, problem.file) == ("L217", str(folder))
    assert problem.fix == f"chgrp {GROUP} {folder} && chmod 2770 {folder}"
    assert modes(folder) == {}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("?mode=0644", 'the mode "0644" is none that a ledger can have'),
        ("?mode=0660&group=%00", 'there is no group "\0" on this host'),
        ("?mode=0660", "mode 0660 lets a group in, and no group is named"),
        (f"?mode=0600&group={GROUP}", 'the mode "0600" is none that a ledger can have with a group'),
        ("?group=no-such-group", 'there is no group "no-such-group" on this host'),
        ("?colour=red", 'the option "colour" of the address is not known'),
    ],
)
def test_a_mode_or_group_that_cannot_be_is_refused_before_anything_is_made(folder: Path, options: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        opened(folder / "db", options)

    (problem,) = refused.value.problems
    assert (problem.code, problem.what) == ("L216", what)
    assert problem.file == "OFFBEAT_LEDGER" and problem.why and problem.fix
    assert modes(folder) == {}
