"""The cron tree on disk: where it is found, and what is read of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from offbeat.core.listing import Directory, Found, Kind
from offbeat.core.model import DIRECTORIES
from offbeat.errors import ConfigError
from offbeat.ports.files import find_tree, repository_of, shown
from offbeat.ports.treereader import read_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with cron/hourly and a folder of its own beside it."""
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "cron" / "hourly").mkdir(parents=True)
    (tmp_path / "repo" / "src" / "deep").mkdir(parents=True)
    return tmp_path / "repo"


def code(error: pytest.ExceptionInfo[ConfigError]) -> str:
    (problem,) = error.value.problems
    assert problem.what and problem.why and problem.fix and problem.file
    return problem.code


@pytest.mark.parametrize("below", [".", "src", "src/deep", "cron", "cron/hourly"])
def test_the_tree_is_found_from_any_folder_of_the_repository(root: Path, below: str) -> None:
    assert find_tree(root / below, None, {}) == root / "cron"


def test_an_openshift_tree_is_found_the_same_way(root: Path) -> None:
    shutil.rmtree(root / "cron")
    (root / ".openshift" / "cron" / "daily").mkdir(parents=True)

    tree = find_tree(root / "src", None, {})

    assert (tree, repository_of(tree), shown(tree)) == (root / ".openshift" / "cron", root, ".openshift/cron")


def test_a_tree_without_git_is_found_too(root: Path) -> None:
    (root / ".git").rmdir()

    assert find_tree(root / "src" / "deep", None, {}) == root / "cron"


def test_a_folder_that_is_only_called_cron_is_none(root: Path) -> None:
    (root / "src" / "cron").mkdir()

    assert find_tree(root / "src", None, {}) == root / "cron"


def test_no_tree_outside_the_repository_counts(root: Path) -> None:
    (root.parent / "cron" / "hourly").mkdir(parents=True)
    shutil.rmtree(root / "cron")

    with pytest.raises(ConfigError) as error:
        find_tree(root / "src", None, {})

    assert code(error) == "C101"
    assert "offbeat init" in str(error.value)


def test_two_trees_are_a_problem(root: Path) -> None:
    (root / ".openshift" / "cron" / "daily").mkdir(parents=True)

    with pytest.raises(ConfigError) as error:
        find_tree(root, None, {})

    assert code(error) == "C102"


@pytest.mark.parametrize("given", ["repo/cron", "repo", "repo/../repo/cron"])
def test_a_given_tree_or_its_repository_counts_wherever_one_is(root: Path, given: str) -> None:
    assert find_tree(root.parent, given, {"OFFBEAT_TREE": "elsewhere"}) == root / "cron"
    assert find_tree(root.parent, None, {"OFFBEAT_TREE": given}) == root / "cron"


def test_a_given_link_keeps_its_name(root: Path) -> None:
    current = root.parent / "current"
    current.symlink_to(root)

    assert find_tree(root.parent, "current", {}) == current / "cron"


@pytest.mark.parametrize("given", ["nothing", "repo/file", "repo/src"])
@pytest.mark.parametrize("by", ["--tree", "OFFBEAT_TREE"])
def test_what_is_given_must_be_a_tree(root: Path, given: str, by: str) -> None:
    (root / "file").touch()

    with pytest.raises(ConfigError, match=by) as error:
        find_tree(root, given if by == "--tree" else None, {"OFFBEAT_TREE": given} if by == "OFFBEAT_TREE" else {})

    assert code(error) == "C103"


def test_on_openshift_the_repository_is_the_one_of_the_environment(root: Path) -> None:
    assert find_tree(Path("/"), None, {"OPENSHIFT_REPO_DIR": f"{root}/"}) == root / "cron"


def read(tree: Path, directory: str = "hourly") -> Directory:
    return next(each for each in read_tree(tree).directories if each.name == directory)


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_each_file_is_read_as_what_it_is(root: Path) -> None:
    hourly = root / "cron" / "hourly"
    script(root / "cron" / "tasks" / "run_celery_task")
    script(hourly / "plain", mode=0o644)
    script(hourly / "no interpreter", "echo\n")
    script(hourly / "shared", mode=0o757)
    script(hourly / "flat", "../tasks/run_celery_task", mode=0o644)
    (hourly / "program").write_bytes(b"\x7fELF\0\0")
    (hourly / "folder").mkdir()
    (hourly / "search_dates").symlink_to("../tasks/run_celery_task")
    (hourly / "twice").symlink_to("search_dates")
    (hourly / "dangling").symlink_to("../tasks/none")
    (hourly / "loop").symlink_to("loop")
    (hourly / "to folder").symlink_to("../tasks")
    os.mkfifo(hourly / "pipe")

    found = {each.name: each for each in read(root / "cron").files}

    link = "../tasks/run_celery_task"
    assert found == {
        "plain": Found(name="plain", executable=False),
        "no interpreter": Found(name="no interpreter", script=False),
        "shared": Found(name="shared", shared=True),
        "flat": Found(name="flat", executable=False, script=False, flattened=True),
        "program": Found(name="program", executable=False, script=False, binary=True),
        "folder": Found(name="folder", kind=Kind.DIRECTORY, executable=False, script=False),
        "search_dates": Found(name="search_dates", link=link, target="run_celery_task"),
        "twice": Found(name="twice", link="search_dates", target="run_celery_task"),
        "dangling": Found(
            name="dangling", kind=Kind.MISSING, executable=False, script=False, link="../tasks/none", target="none"
        ),
        "loop": Found(name="loop", kind=Kind.LOOP, executable=False, script=False, link="loop", target="loop"),
        "to folder": Found(
            name="to folder", kind=Kind.DIRECTORY, executable=False, script=False, link="../tasks", target="tasks"
        ),
        "pipe": Found(name="pipe", kind=Kind.OTHER, executable=False, script=False),
    }


def test_a_link_into_a_folder_that_everybody_may_write_is_shared(root: Path) -> None:
    script(root / "open" / "it")
    (root / "open").chmod(0o777)
    (root / "cron" / "hourly" / "it").symlink_to("../../open/it")

    assert read(root / "cron").files[0].shared


def test_folders_that_everybody_may_write_are_told(root: Path) -> None:
    assert (read_tree(root / "cron").shared, read(root / "cron").shared) == (False, False)

    (root / "cron").chmod(0o777)
    (root / "cron" / "hourly").chmod(0o777)

    assert (read_tree(root / "cron").shared, read(root / "cron").shared) == (True, True)


def test_lists_and_schedule_are_read_as_bytes(root: Path) -> None:
    (root / "cron" / "hourly" / "jobs.allow").write_bytes(b"a\r\n")
    (root / "cron" / "schedule.toml").write_bytes(b"\xff\r\n")

    files = read_tree(root / "cron")
    hourly = read(root / "cron")

    assert hourly.allow is not None
    assert (hourly.allow.path, hourly.allow.content, hourly.deny, hourly.files) == (
        "cron/hourly/jobs.allow",
        b"a\r\n",
        None,
        (),
    )
    assert (files.schedule.path, files.schedule.content, files.schedule.kind) == ("cron/schedule.toml", b"\xff\r\n", Kind.FILE)


@pytest.mark.parametrize("kind", [Kind.DIRECTORY, Kind.LOOP, Kind.MISSING, Kind.OTHER])
def test_a_schedule_that_is_no_file_is_told_and_raises_nothing(root: Path, kind: Kind) -> None:
    path = root / "cron" / "schedule.toml"
    if kind is Kind.DIRECTORY:
        path.mkdir()
    elif kind is Kind.LOOP:
        path.symlink_to("schedule.toml")
    elif kind is Kind.OTHER:
        os.mkfifo(path)

    assert read_tree(root / "cron").schedule.kind is kind


def test_directories_that_are_not_there_or_are_files_are_told(root: Path) -> None:
    (root / "cron" / "daily").touch()

    kinds = {each.name: each.kind for each in read_tree(root / "cron").directories}

    assert kinds == {name: {"hourly": Kind.DIRECTORY, "daily": Kind.FILE}.get(name, Kind.MISSING) for name in DIRECTORIES}


def test_a_name_that_is_not_utf8_is_kept(root: Path) -> None:
    (root / "cron" / "hourly" / os.fsdecode(b"caf\xe9")).touch()

    assert [each.name for each in read(root / "cron").files] == ["caf\udce9"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that a user without any rights can reach, which tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="offbeat-test-"))
    path.chmod(0o755)
    yield path
    for each in path.rglob("*"):
        each.chmod(0o700)
    shutil.rmtree(path)


def test_what_this_user_may_not_read_is_told_and_raises_nothing(open_folder: Path) -> None:
    tree = open_folder / "cron"
    secret = script(tree / "hourly" / "secret")
    closed = script(tree / "daily" / "x").parent
    schedule = script(tree / "schedule.toml", "")
    allow = script(tree / "hourly" / "jobs.allow", "")
    for path in (secret, closed, schedule, allow):
        path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read everything: look as nobody does
        os.seteuid(65534)
    try:
        files, hourly, daily = read_tree(tree), read(tree), read(tree, "daily")
    finally:
        os.seteuid(user)

    assert files.schedule.kind is Kind.UNREADABLE
    assert daily.kind is Kind.UNREADABLE
    assert hourly.allow is not None
    assert hourly.allow.kind is Kind.UNREADABLE
    assert [(each.name, each.kind) for each in hourly.files] == [("secret", Kind.UNREADABLE)]
