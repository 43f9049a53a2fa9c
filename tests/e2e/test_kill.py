"""kill -9 of real runners at any moment: nothing is lost, and what is repeated has the same id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from tests.servers import wait_for

from offbeat.ports.clock import SystemClock

OFFBEAT = (sys.executable, "-m", "offbeat")
ENTRIES = 40
KILLS = 8


def pushed(url: str) -> dict[tuple[str, str], set[str]]:
    """Return the ids under which each occurrence was pushed, by (entry, due time)."""
    import redis

    with redis.Redis.from_url(url) as client:
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for raw in client.lrange("celery", 0, -1):
            headers = json.loads(raw)["headers"]
            found[headers["offbeat_entry"], headers["offbeat_due_at"]].add(headers["id"])
        return found


def test_killed_runners_lose_nothing(tmp_path: Path, redis_url: str) -> None:
    tree = tmp_path / "cron"
    tree.mkdir()
    entries = "".join(f'[entries.e{n}]\nevery = "2s"\n' for n in range(ENTRIES))
    (tree / "schedule.toml").write_text(f'project = "killed"\ntask_prefix = "k."\n{entries}')
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "OFFBEAT_BROKER": redis_url}
    words = [*OFFBEAT, "--tree", str(tree), "-q", "run"]
    clock = SystemClock()

    runner = subprocess.Popen(words, env=environ)
    wait_for("the first message", lambda: bool(pushed(redis_url)), 20)
    for number in range(KILLS):
        clock.sleep_until(clock.now() + 0.9 + number * 0.037)  # at another moment of the two seconds each time
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        runner = subprocess.Popen(words, env=environ)
    clock.sleep_until(clock.now() + 13)  # a lease and a poll
    runner.terminate()
    assert runner.wait(20) == 0

    found = pushed(redis_url)
    due = sorted({at for _, at in found})
    assert len(due) == (stamp(due[-1]) - stamp(due[0])) // 2 + 1 >= KILLS // 2
    assert len(found) == len(due) * ENTRIES
    assert {len(ids) for ids in found.values()} == {1}


def stamp(due_at: str) -> int:
    return int(time.mktime(time.strptime(due_at, "%Y-%m-%dT%H:%M:%SZ")))
