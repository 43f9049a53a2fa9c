"""The multi-call script, run by real shells under cron's bare environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from offbeat.ports.treewriter import add_link, init_tree

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
RECORDER = """#!/bin/sh
printf '%s|' "$0" "$@"
"""


@pytest.fixture(params=["cron", ".openshift/cron"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a tree in a folder with spaces in its name, with one link."""
    root = tmp_path / "the team's repo"
    root.mkdir()
    init_tree(root, "difio")
    tree: Path = root / str(request.param)
    if request.param != "cron":
        tree.parent.mkdir()
        (root / "cron").rename(tree)
    add_link(tree, "hourly", "search_dates")
    return tree


def offbeat(venv: Path) -> Path:
    """Put a stand-in that tells how it was called into a virtual environment."""
    path = venv / "bin" / "offbeat"
    path.parent.mkdir(parents=True)
    path.write_text(RECORDER)
    path.chmod(0o755)
    return path


def run(*argv: Path | str, cwd: Path | str = "/", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, argv)), cwd=cwd, env=dict(env or {}), capture_output=True, text=True, timeout=60)


def root_of(tree: Path) -> Path:
    return tree.parent.parent if tree.parent.name == ".openshift" else tree.parent


def told(program: Path, *words: Path | str) -> str:
    return "".join(f"{word}|" for word in (program, *words))


@pytest.mark.parametrize("shell", SHELLS)
def test_an_executed_link_asks_for_its_slot_from_any_folder(tree: Path, shell: str) -> None:
    program = offbeat(root_of(tree) / ".venv")
    words = [shutil.which(shell) or "", *(["sh"] if shell == "busybox" else [])]

    calls: list[tuple[Path, Path | str]] = [
        (Path("/"), tree / "hourly" / "search_dates"),
        (tree, "hourly/search_dates"),
        (tree / "hourly", "./search_dates"),
    ]
    for cwd, link in calls:
        done = run(*words, link, cwd=cwd)
        assert (done.stdout, done.stderr) == (told(program, "--tree", tree, "slot", "hourly/search_dates"), "")


def test_the_kernel_starts_it_as_well(tree: Path) -> None:
    program = offbeat(root_of(tree) / "venv")

    assert run(tree / "hourly" / "search_dates").stdout == told(program, "--tree", tree, "slot", "hourly/search_dates")


def test_run_parts_starts_it_as_well(tree: Path) -> None:
    run_parts = shutil.which("run-parts")
    if run_parts is None and os.environ.get("CI") != "true":
        pytest.skip("there is no run-parts on this machine (Debian has it in debianutils)")
    program = offbeat(root_of(tree) / ".venv")

    done = run(run_parts or "run-parts", tree / "hourly")

    assert done.stdout == told(program, "--tree", tree, "slot", "hourly/search_dates")


@pytest.mark.parametrize("via", ["tasks/run_celery_task", "hourly/search_dates"])
def test_with_an_argument_it_sends_that_task_now(tree: Path, via: str) -> None:
    program = offbeat(root_of(tree) / ".venv")

    done = run(tree / via, "weekly report", "--kwargs", '{"a": "b c"}')

    assert done.stdout == told(program, "--tree", tree, "fire", "weekly report", "--kwargs", '{"a": "b c"}')


def test_without_one_and_by_its_own_name_it_tells_how_to_use_it(tree: Path) -> None:
    offbeat(root_of(tree) / ".venv")

    done = run(tree / "tasks" / "run_celery_task")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: run_celery_task NAME")


def test_it_is_reached_through_links_from_elsewhere(tree: Path, tmp_path: Path) -> None:
    program = offbeat(root_of(tree) / ".venv")
    (tmp_path / "a bin").mkdir()
    (tmp_path / "a bin" / "run_celery_task").symlink_to(tree / "tasks" / "run_celery_task")
    (tmp_path / "a bin" / "search_dates").symlink_to("run_celery_task")

    named = run("run_celery_task", "x", env={"PATH": f"{tmp_path / 'a bin'}:{os.environ['PATH']}"})
    linked = run(tmp_path / "a bin" / "search_dates")

    assert named.stdout == told(program, "--tree", tree, "fire", "x")
    assert linked.stdout == told(program, "--tree", tree, "fire", "search_dates", "--unlisted")


def test_offbeat_is_looked_for_in_a_fixed_order(tree: Path, tmp_path: Path) -> None:
    root = root_of(tree)
    places = [
        tmp_path / "by hand", tmp_path / "app" / "virtenv", tmp_path / "python" / "virtenv", root / ".venv", root / "venv",
        tmp_path / "path",
    ]  # fmt: skip
    env = {
        "OFFBEAT_BIN": str(places[0] / "bin" / "offbeat"),
        "OPENSHIFT_APP_DIR": f"{tmp_path / 'app'}/",
        "OPENSHIFT_PYTHON_DIR": f"{tmp_path / 'python'}/",
        "PATH": f"{places[5] / 'bin'}:/usr/bin:/bin",
    }
    programs = [offbeat(place) for place in places]

    for place, program in zip(places, programs, strict=True):
        told_by = run(tree / "hourly" / "search_dates", env=env).stdout.split("|")[0].replace("//", "/")
        assert told_by == str(program)
        program.unlink()
        if place is places[0]:
            broken = run(tree / "hourly" / "search_dates", env=env)
            assert (broken.returncode, "OFFBEAT_BIN is" in broken.stderr) == (1, True)
            del env["OFFBEAT_BIN"]


def test_where_there_is_no_offbeat_it_says_what_to_do(tree: Path) -> None:
    done = run(tree / "hourly" / "search_dates", env={"PATH": "/usr/bin:/bin"})

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("search_dates: offbeat was not found: install offbeat into ")


def test_a_copy_outside_of_any_tree_says_so(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "search_dates"
    copy.write_text((tree / "tasks" / "run_celery_task").read_text())
    copy.chmod(0o755)

    done = run(copy)

    assert done.returncode == 2
    assert "is not in a cron tree" in done.stderr
