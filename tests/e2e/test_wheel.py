"""What people install: the wheel with its `redis` extra in a bare virtual environment sends a message to a real Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).parent.parent.parent
LOGIN = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}  # pip's cache and settings
SCHEDULE = 'project = "shop"\ntask_prefix = "shop.tasks."\n[entries.report]\ncron = "30 4 * * mon"\nkwargs = { full = true }\n'


def run(*words: str | Path, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Build the wheel, install it as the README says, and return the folder of its commands."""
    venv, python = tmp_path / "venv", sys.executable
    build = (python, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    done = run(*build, cwd=tmp_path, env=LOGIN)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    assert run(python, "-m", "venv", "--without-pip", venv, cwd=tmp_path, env=LOGIN).returncode == 0

    pip = (python, "-m", "pip", "--python", venv / "bin" / "python", "--disable-pip-version-check")
    done = run(*pip, "install", "--retries", "1", "-c", ROOT / "constraints.txt", f"{wheel}[redis]", cwd=tmp_path, env=LOGIN)
    if "connection broken" in done.stderr and done.returncode and LOGIN.get("CI") != "true":
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(*pip, "check", cwd=tmp_path, env=LOGIN)
    assert done.returncode == 0, done.stdout
    return venv / "bin"


def test_the_installed_wheel_sends_a_message_to_redis(installed: Path, redis_url: str, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "cron").mkdir(parents=True)
    (shop / "cron" / "schedule.toml").write_text(SCHEDULE, "utf-8")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OFFBEAT_BROKER": redis_url}
    offbeat = installed / "offbeat"

    check = run(offbeat, "check", "--broker", cwd=shop, env=bare)
    fire = run(offbeat, "fire", "report", cwd=shop, env=bare)
    place = run(installed / "python", "-c", "import offbeat; print(offbeat.__file__)", cwd=shop, env=bare).stdout

    assert (check.returncode, check.stdout.partition("\n")[0]) == (0, "1 entry, no problems, the broker answers"), check.stderr
    assert fire.returncode == 0, fire.stderr
    with redis.Redis.from_url(redis_url) as broker:
        (text,) = broker.lrange("celery", 0, -1)
    headers = json.loads(text)["headers"]
    assert (headers["task"], headers["id"]) == ("shop.tasks.report", fire.stdout.strip())
    assert place.startswith(str(installed.parent))
