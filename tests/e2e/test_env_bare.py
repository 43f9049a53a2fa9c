"""`env -i`: links, ticks and run_celery_task in an environment with nothing in it, and with what OpenShift puts there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests import servers

OFFBEAT = Path(sys.executable).parent / "offbeat"
ENV = "/usr/bin/env"


@dataclass
class House:
    """A repository, and a broker that is a folder of files, as kombu's filesystem transport has it."""

    root: Path
    place: str = "cron"
    venv: str = ".venv"
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.root / self.place

    def lay_out(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        plain = {"PATH": "/usr/bin:/bin", "HOME": str(self.root.parent), "XDG_STATE_HOME": f"{self.root}/unused"}
        subprocess.run([OFFBEAT, "init"], cwd=self.root, env=plain, check=True, capture_output=True)
        self.tree.parent.mkdir(exist_ok=True)
        (self.root / "cron").rename(self.tree)
        (self.tree / "minutely/search_dates").symlink_to("../tasks/run_celery_task")
        (self.tree / "schedule.toml").write_text(
            'project = "bare"\ntask_prefix = "shop.tasks."\nenv_file = ".env"\n'
            f'[broker.transport_options]\ndata_folder_in = "{self.queue}"\ndata_folder_out = "{self.queue}"\n'
        )
        (self.root / ".env").write_text("# what is not committed\nexport OFFBEAT_BROKER='filesystem://'\nGREETING=hello\n")
        self.queue.mkdir()
        if self.venv:
            (self.root / self.venv / "bin").mkdir(parents=True)
            (self.root / self.venv / "bin/offbeat").symlink_to(OFFBEAT)

    @property
    def queue(self) -> Path:
        return self.root / "queue"

    def bare(self, *words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run this with nothing in the environment but what OpenShift (or the test) puts there."""
        settings = [f"{name}={text}" for name, text in self.environ.items()]
        call = [ENV, "-i", *settings, *map(str, words)]
        done = subprocess.run(call, cwd=cwd or "/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done

    def sent(self) -> list[tuple[str, str]]:
        """Return (task, cause) of what was published so far, oldest first."""
        found = []
        for file in sorted(self.queue.iterdir(), key=lambda file: file.stat().st_mtime_ns):
            headers: dict[str, Any] = json.loads(file.read_text())["headers"]
            found.append((headers["task"], headers["offbeat_cause"]))
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(root=tmp_path / "my app")
    house.environ = {"HOME": str(tmp_path / "home")}  # cron always sets it; without it the ledger would be in ours
    house.lay_out()
    yield house


def test_a_link_that_is_executed(house: House) -> None:
    done = house.bare(house.tree / "minutely/search_dates")

    assert done.stdout.startswith("search_dates: sent, due ")
    assert done.stderr == ""
    assert house.sent() == [("shop.tasks.search_dates", "schedule")]


def test_run_celery_task_with_a_name(house: House) -> None:
    house.bare(house.tree / "tasks/run_celery_task", "search_dates")
    done = house.bare("./run_celery_task", "not_in_the_tree", cwd=house.tree / "tasks")

    sent_as = "is sent as the task shop.tasks.not_in_the_tree, which is not in the schedule"
    assert done.stderr == f'"not_in_the_tree" {sent_as}\n'
    assert house.sent() == [("shop.tasks.search_dates", "manual"), ("shop.tasks.not_in_the_tree", "manual")]


def test_a_tick_that_finds_nothing_due_says_nothing(house: House) -> None:
    for done in (
        house.bare(OFFBEAT, "--tree", house.tree, "tick"),
        house.bare(OFFBEAT, "tick", cwd=house.tree / "minutely"),
    ):
        assert (done.stdout, done.stderr) == ("", "")


def test_the_ledger_is_below_the_home_that_cron_sets(house: House, tmp_path: Path) -> None:
    house.bare(OFFBEAT, "--tree", house.tree, "tick")

    assert [path.name for path in (tmp_path / "home/.local/state/offbeat").glob("*/*.db")] == ["bare.db"]
    assert not (house.root / "unused").exists()


def test_a_link_needs_no_home(house: House) -> None:
    house.environ = {"XDG_STATE_HOME": str(house.root / "state")}

    house.bare(house.tree / "minutely/search_dates")

    assert house.sent() == [("shop.tasks.search_dates", "schedule")]


def test_a_command_finds_path_home_and_what_env_file_says(house: House) -> None:
    script = house.tree / "minutely/look"
    script.write_text('#!/bin/sh\necho "$GREETING $PATH $HOME $OFFBEAT_ENTRY" >"$PWD/seen"\n')
    script.chmod(0o755)

    house.bare(OFFBEAT, "--tree", house.tree, "fire", "minutely/look")

    seen = house.root / "seen"
    servers.wait_for("the command's end", lambda: seen.exists() and seen.read_text().endswith("\n"))
    assert seen.read_text() == f"hello /usr/local/bin:/usr/bin:/bin {house.environ['HOME']} minutely/look\n"


def test_a_tick_does_not_wait_for_a_command(house: House) -> None:
    script = house.tree / "minutely/slow"
    script.write_text("#!/bin/sh\necho $$ >pid\nexec sleep 600\n")
    script.chmod(0o755)

    house.bare(OFFBEAT, "--tree", house.tree, "fire", "minutely/slow")  # its pipes are closed when it returns

    pid = house.root / "pid"
    servers.wait_for("the command's start", lambda: pid.exists() and pid.read_text().endswith("\n"))
    number = int(pid.read_text())
    assert Path(f"/proc/{number}").exists()
    subprocess.run(["kill", "-KILL", str(number)], check=True)


@pytest.mark.parametrize("venv", ["venv", ".venv"])
def test_offbeat_is_found_in_the_repositorys_own_environment(tmp_path: Path, venv: str) -> None:
    house = House(root=tmp_path / "app", venv=venv, environ={"HOME": str(tmp_path)})
    house.lay_out()

    house.bare(house.tree / "minutely/search_dates")

    assert len(house.sent()) == 1


# --- OpenShift ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gear(tmp_path: Path) -> House:
    """Return an application on OpenShift 2, with a tree under .openshift/ and offbeat in its virtenv."""
    for folder in ("app-root/data", "app-root/runtime/repo", "python/virtenv/bin", "logs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "python/virtenv/bin/offbeat").symlink_to(OFFBEAT)
    root = tmp_path / "app-root/runtime/repo"
    environ = {
        "OPENSHIFT_REPO_DIR": f"{root}/",
        "OPENSHIFT_DATA_DIR": f"{tmp_path}/app-root/data/",
        "OPENSHIFT_LOG_DIR": f"{tmp_path}/logs/",
        "OPENSHIFT_PYTHON_DIR": f"{tmp_path}/python/",
        "OPENSHIFT_APP_NAME": "difio",
        "OPENSHIFT_HOMEDIR": f"{tmp_path}/",
    }
    house = House(root=root, place=".openshift/cron", venv="", environ=environ)
    house.lay_out()
    return house


def test_on_openshift_the_state_goes_to_the_data_folder(gear: House) -> None:
    gear.bare(gear.root.parents[2] / "python/virtenv/bin/offbeat", "tick")

    data = Path(gear.environ["OPENSHIFT_DATA_DIR"])
    assert [path.name for path in data.glob("offbeat/*/*.db")] == ["bare.db"]


def test_on_openshift_a_link_finds_offbeat_in_the_virtenv(gear: House) -> None:
    gear.bare(gear.tree / "minutely/search_dates")

    assert gear.sent() == [("shop.tasks.search_dates", "schedule")]


def test_on_openshift_the_tree_is_found_from_anywhere(gear: House, tmp_path: Path) -> None:
    listed = gear.bare(OFFBEAT, "list", "--json", cwd=tmp_path)

    assert [row["entry"] for row in json.loads(listed.stdout)] == ["search_dates"]


def test_on_openshift_the_app_names_the_project_where_schedule_toml_does_not(gear: House) -> None:
    (gear.tree / "schedule.toml").write_text('task_prefix = "shop.tasks."\n')

    gear.bare(OFFBEAT, "tick")

    assert "difio" in gear.bare(OFFBEAT, "status").stdout.splitlines()[0]


def test_on_openshift_a_command_has_the_gears_variables(gear: House) -> None:
    script = gear.tree / "minutely/look"
    script.write_text('#!/bin/bash\necho "$OPENSHIFT_APP_NAME $OPENSHIFT_DATA_DIR $PWD" >"${OPENSHIFT_DATA_DIR}seen"\n')
    script.chmod(0o755)

    gear.bare(OFFBEAT, "fire", "minutely/look")

    data = gear.environ["OPENSHIFT_DATA_DIR"]
    seen = Path(data, "seen")
    servers.wait_for("the command's end", lambda: seen.exists() and seen.read_text().endswith("\n"))
    assert seen.read_text() == f"difio {data} {gear.root}\n"
