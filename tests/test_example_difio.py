"""The example project does what its page says; Django runs in processes of its own, so that its settings stay there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from offbeat.ports.treewriter import script_text

EXAMPLE = Path(__file__).parent.parent / "examples" / "difio"
ROUNDS = """
import json, django
django.setup()
from django.core.management import call_command
from pathlib import Path
call_command("migrate", verbosity=0)
from difio import tasks
from difio.models import Advice, Bookmark, Release, Usage
seen = {"new": [tasks.refresh_packages.delay().get() for _ in range(12)]}
seen["undated"] = Release.objects.filter(released_on=None).count()
seen["dated"] = tasks.search_dates.delay().get()
seen["undated_after"] = Release.objects.filter(released_on=None).count()
seen["dated_again"] = tasks.search_dates.delay().get()
seen["told"] = tasks.advise_maintainers.delay().get()
seen["told_again"] = tasks.advise_maintainers.delay().get()
seen["advice"] = Advice.objects.order_by("pk").first().text
report = Path(tasks.weekly_report.delay().get())
seen["report"] = report.read_text()
seen["report_again"] = Path(tasks.weekly_report.delay().get()).read_text()
seen["reports"] = [path.name for path in report.parent.iterdir()]
seen["name"] = report.name
Bookmark.objects.update(line=0)
seen["reread"] = tasks.refresh_packages.delay().get()
Bookmark.objects.update(line=10**6)
seen["after_the_end"] = tasks.refresh_packages.delay().get()
seen["tasks"] = sorted(name for name in tasks.refresh_packages.app.tasks if name.startswith("difio."))
seen["releases"] = Release.objects.count()
seen["usages"] = Usage.objects.count()
print(json.dumps(seen))
"""


def environment(var: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return kept | {"PATH": path, "PYTHONPATH": str(EXAMPLE), "PYTHONDONTWRITEBYTECODE": "1", "DIFIO_VAR": str(var)} | more


def offbeat_environment(project: Path) -> dict[str, str]:
    """A home of its own, the file broker, and offbeat from this checkout."""
    program = project.parent / "offbeat"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m offbeat "$@"\n')
    program.chmod(0o755)
    source = str(EXAMPLE.parent.parent / "src")
    return environment(project / "var", HOME=str(project.parent), PYTHONPATH=source, OFFBEAT_BROKER="filesystem://") | {
        "OFFBEAT_BIN": str(program)
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tasks said and left behind, one after the other on a new database."""
    settings = environment(tmp_path_factory.mktemp("var"), DIFIO_EAGER="1", DJANGO_SETTINGS_MODULE="difio.settings")
    done = subprocess.run([sys.executable, "-c", ROUNDS], env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_refresh_finds_new_releases_and_reading_them_again_finds_none(seen: dict[str, Any]) -> None:
    assert seen["new"] == [8] * 12
    assert seen["reread"] == 0
    assert seen["after_the_end"] == 8


def test_dates_are_found_once_except_for_those_that_the_index_lacks(seen: dict[str, Any]) -> None:
    assert seen["undated"] == 96
    assert 0 < seen["undated_after"] < 10
    assert seen["dated"] == 96 - seen["undated_after"]
    assert seen["dated_again"] == 0


def test_maintainers_are_told_once_what_changed(seen: dict[str, Any]) -> None:
    assert seen["told"] > 0
    assert seen["told_again"] == 0
    assert "(you have " in seen["advice"]


def test_the_weekly_report_counts_the_releases_and_replaces_the_one_of_the_same_week(seen: dict[str, Any]) -> None:
    assert "96 new releases this week" in seen["report"]
    assert seen["report"] == seen["report_again"]
    assert seen["reports"] == [seen["name"]]


def test_the_tasks_have_the_names_that_the_tree_sends(seen: dict[str, Any]) -> None:
    names = {path.name for path in EXAMPLE.glob("cron/*/*") if path.is_symlink()} | {"weekly_report", "refresh_packages"}
    assert {f"difio.tasks.{name}" for name in names} == set(seen["tasks"])


def test_the_models_and_the_migrations_agree(tmp_path: Path) -> None:
    argv = [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]
    done = subprocess.run(argv, cwd=EXAMPLE, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("argument", [[], ["weekly_report"]], ids=["by its name", "by its argument"])
def test_the_script_that_offbeat_replaces_sends_one_task(tmp_path: Path, argument: list[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("the team's script is written for bash; install bash to test it")
    link = EXAMPLE / "before" / ".openshift" / "cron" / "hourly" / "search_dates"

    done = subprocess.run([link, *argument], env=environment(tmp_path), capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    (message,) = (tmp_path / "broker" / "messages").iterdir()
    assert json.loads(message.read_text())["headers"]["task"] == f"difio.tasks.{(argument or ['search_dates'])[0]}"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The example in a folder of its own, as somebody who tries it has it."""
    left_out = shutil.ignore_patterns("var", "__pycache__")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "difio", symlinks=True, ignore=left_out))


def test_its_tree_has_no_problem_and_no_warning(copied: Path) -> None:
    argv = [sys.executable, "-m", "offbeat", "check", "--strict"]

    done = subprocess.run(argv, cwd=copied, env=offbeat_environment(copied), capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "5 entries, no problems" in done.stdout


def test_the_tree_that_they_had_is_read_unchanged(copied: Path) -> None:
    argv = [sys.executable, "-m", "offbeat", "--tree", "before/.openshift/cron", "next", "-n", "1", "--json"]

    done = subprocess.run(argv, cwd=copied, env=offbeat_environment(copied), capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    links = ["advise_maintainers", "refresh_packages", "search_dates"]
    assert {row["entry"] for row in json.loads(done.stdout)} == {*(f"hourly/{link}" for link in links), "weekly/weekly_report"}


def test_its_script_sends_one_task_by_name(copied: Path) -> None:
    argv = [str(copied / "cron" / "tasks" / "run_celery_task"), "weekly_report"]

    done = subprocess.run(argv, cwd=copied, env=offbeat_environment(copied), capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    (message,) = (copied / "var" / "broker" / "messages").glob("*.celery.msg")
    headers = json.loads(message.read_text())["headers"]
    assert (headers["task"], headers["offbeat_cause"]) == ("difio.tasks.weekly_report", "manual")


def test_its_script_is_the_one_that_init_writes() -> None:
    assert (EXAMPLE / "cron" / "tasks" / "run_celery_task").read_text() == script_text()
