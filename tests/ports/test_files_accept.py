"""A tree is read once it holds still: stamps, and checkouts at work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from offbeat.core.listing import TreeFiles
from offbeat.ports.clock import FakeClock
from offbeat.ports.files import PATIENCE, QUIET, STALE_LOCK, accept, stamp
from offbeat.ports.treereader import read_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "cron"
    (tree / "hourly").mkdir(parents=True)
    (tree / "tasks").mkdir()
    (tree / "tasks" / "run_celery_task").write_text("#!/bin/sh\n")
    (tree / "hourly" / "search_dates").symlink_to("../tasks/run_celery_task")
    (tree / "hourly" / "jobs.allow").write_text("search_dates\n")
    (tree / "schedule.toml").write_text('project = "p"\n')
    return tree


def rewrite(path: Path) -> None:
    """Change one byte, and put size and mtime back, as a careless copy would."""
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"p", b"q"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new link": lambda tree: (tree / "hourly" / "more").symlink_to("../tasks/run_celery_task"),
    "a link gone": lambda tree: (tree / "hourly" / "search_dates").unlink(),
    "a link turned": lambda tree: relink(tree / "hourly" / "search_dates", "../tasks/other"),
    "a link renamed": lambda tree: (tree / "hourly" / "search_dates").rename(tree / "hourly" / "other"),
    "the schedule": lambda tree: (tree / "schedule.toml").write_text('project = "longer"\n'),
    "the schedule, same size and mtime": lambda tree: rewrite(tree / "schedule.toml"),
    "the schedule gone": lambda tree: (tree / "schedule.toml").unlink(),
    "the list": lambda tree: (tree / "hourly" / "jobs.allow").write_text("x\n"),
    "the script's mode": lambda tree: (tree / "tasks" / "run_celery_task").chmod(0o755),
    "the script gone": lambda tree: (tree / "tasks" / "run_celery_task").unlink(),
    "a directory": lambda tree: (tree / "daily").mkdir(),
    "a directory's mode": lambda tree: (tree / "hourly").chmod(0o777),
    "the tree's mode": lambda tree: tree.chmod(0o777),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_gives_another_stamp(tree: Path, change: Callable[[Path], object]) -> None:
    before = stamp(tree)

    change(tree)

    assert stamp(tree).text != before.text


def test_reading_gives_the_same_stamp(tree: Path) -> None:
    before = stamp(tree)

    (tree / "schedule.toml").read_text()
    (tree.parent / "other").touch()

    assert stamp(tree) == before
    assert before.newest == max(path.lstat().st_ctime for path in (tree, *tree.rglob("*")))


def test_what_a_link_ends_at_counts_wherever_it_is(tree: Path) -> None:
    outside = tree.parent / "outside"
    outside.write_text("#!/bin/sh\n")
    (tree / "hourly" / "it").symlink_to("../../outside")
    before = stamp(tree)

    outside.chmod(0o755)

    assert stamp(tree).text != before.text


def test_a_tree_that_is_not_there_has_a_stamp_too(tmp_path: Path) -> None:
    assert stamp(tmp_path / "none").newest == 0


class Interrupted(FakeClock):
    """A clock during whose sleeps something happens."""

    def __init__(self, now: float, happens: Callable[[int], object]) -> None:
        super().__init__(now)
        self.happens = happens

    def sleep_until(self, instant: float) -> None:
        super().sleep_until(instant)
        self.happens(len(self.sleeps))


def test_a_quiet_tree_is_accepted_at_once(tree: Path) -> None:
    clock = FakeClock(stamp(tree).newest + QUIET)

    accepted = accept(tree, clock, read_tree)

    assert accepted is not None
    assert accepted.stamp == stamp(tree)
    assert accepted.files.schedule.content == b'project = "p"\n'
    assert clock.sleeps == []


def test_a_tree_that_has_just_changed_is_waited_for(tree: Path) -> None:
    newest = stamp(tree).newest
    clock = FakeClock(newest + 0.1)

    assert accept(tree, clock, read_tree) is not None
    assert len(clock.sleeps) == 1
    assert newest + QUIET <= clock.now() < newest + QUIET + 0.1


def test_a_tree_that_goes_on_changing_is_not_accepted(tree: Path) -> None:
    start = stamp(tree).newest

    def change(sleeps: int) -> None:
        (tree / "schedule.toml").write_text(f"# {sleeps}\n")
        clock.wall = stamp(tree).newest + 0.1

    clock = Interrupted(start, change)
    begun = clock.monotonic()

    assert accept(tree, clock, read_tree) is None
    assert PATIENCE <= clock.monotonic() - begun < PATIENCE + 1


def test_patience_can_be_none(tree: Path) -> None:
    clock = FakeClock(stamp(tree).newest)

    assert accept(tree, clock, read_tree, patience=0) is None
    assert clock.sleeps == []


def test_a_change_in_the_future_is_not_waited_for(tree: Path) -> None:
    clock = FakeClock(stamp(tree).newest - 3600)

    assert accept(tree, clock, read_tree) is not None
    assert clock.sleeps == []


def test_a_change_while_it_is_read_is_read_again(tree: Path) -> None:
    clock = FakeClock(stamp(tree).newest + QUIET)
    reads: list[TreeFiles] = []

    def read_and_change(path: Path) -> TreeFiles:
        reads.append(read_tree(path))
        if len(reads) == 1:
            (tree / "schedule.toml").write_text('project = "new"\n')
            clock.wall = stamp(tree).newest + 0.1
        return reads[-1]

    accepted = accept(tree, clock, read_and_change)

    assert accepted is not None
    assert accepted.files.schedule.content == b'project = "new"\n'
    assert len(reads) == 2


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_git_at_work_is_waited_for(tree: Path, form: str) -> None:
    git = tree.parent / (".git" if form == "folder" else "elsewhere")
    git.mkdir()
    if form == "file":
        (tree.parent / ".git").write_text("gitdir: elsewhere\n")
    lock = git / "index.lock"
    lock.touch()
    clock = Interrupted(lock.stat().st_mtime + 5, lambda sleeps: lock.unlink(missing_ok=True) if sleeps == 3 else None)

    assert accept(tree, clock, read_tree) is not None
    assert len(clock.sleeps) == 3


def test_a_git_that_stays_at_work_is_not_waited_for_for_ever(tree: Path) -> None:
    (tree.parent / ".git").mkdir()
    lock = tree.parent / ".git" / "index.lock"
    lock.touch()

    assert accept(tree, FakeClock(lock.stat().st_mtime + 5), read_tree) is None
    assert accept(tree, FakeClock(lock.stat().st_mtime + STALE_LOCK), read_tree) is not None
