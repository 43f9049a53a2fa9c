"""What git is asked starts no program that the repository's own settings name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from offbeat.ports.git import read_commit

FILTERS = ("filter.x.clean", "filter.x.process", "filter.a=b.clean")


def git(folder: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    named = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", *named, *words), cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program that leaves `program.ran` beside it."""
    path = tmp_path / "program"
    path.write_text('#!/bin/sh\n: > "$0.ran"\nexec cat\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one file, of which git has to look whether it has changed."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q")
    (path / "file").write_text("a\n", encoding="utf-8")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    os.utime(path / "file", (1, 1))
    return path


@pytest.mark.parametrize("setting", [*FILTERS, "core.fsmonitor", "diff.x.textconv", "gpg.program"])
def test_no_program_of_the_repositorys_settings_runs(repository: Path, program: Path, setting: str) -> None:
    git(repository, "config", setting, str(program))
    git(repository, "config", "filter.x.required", "true")
    git(repository, "config", "log.showSignature", "true")
    name = setting.split(".")[1] if setting in FILTERS else "x"
    (repository / ".git" / "info" / "attributes").write_text(f"* filter={name} diff=x\n", encoding="utf-8")

    assert read_commit(repository, {"PATH": os.environ["PATH"]}).author == "Ann"
    assert not Path(f"{program}.ran").exists()


def test_no_program_of_a_submodules_settings_runs(repository: Path, program: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "file").write_text("a\n", encoding="utf-8")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "first")
    git(repository, "submodule", "--quiet", "add", "./inner", "inner")
    git(repository, "commit", "-q", "-m", "second")
    os.utime(inner / "file", (1, 1))
    (inner / ".git" / "info" / "attributes").write_text("* filter=x\n", encoding="utf-8")
    git(inner, "config", "filter.x.clean", str(program))

    assert not read_commit(repository, {"PATH": os.environ["PATH"]}).dirty
    assert not Path(f"{program}.ran").exists()


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_is_told_not_to_look_at_makes_the_tree_dirty(repository: Path, mark: str) -> None:
    environ = {"PATH": os.environ["PATH"]}
    assert not read_commit(repository, environ).dirty

    git(repository, "update-index", mark, "file")
    (repository / "file").write_text("b\n", encoding="utf-8")

    assert read_commit(repository, environ).dirty


@pytest.mark.parametrize("where", [".gitignore", ".git/info/exclude"])
def test_a_file_in_the_tree_that_git_ignores_makes_it_dirty_and_one_beside_the_tree_does_not(
    repository: Path, where: str
) -> None:
    environ = {"PATH": os.environ["PATH"]}
    tree = repository / "cron"
    (tree / "hourly").mkdir(parents=True)
    (tree / "schedule.toml").write_text("", encoding="utf-8")
    git(repository, "add", ".")
    (repository / where).write_text("ign\n", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    (repository / "ign").write_text("", encoding="utf-8")
    assert not read_commit(tree, environ).dirty

    (tree / "hourly" / "ign").write_text("", encoding="utf-8")

    assert read_commit(tree, environ).dirty
