"""kill -9 of real runners at any moment: nothing is lost, and what is repeated has the same id."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.servers import wait_for

from offbeat.ports.broker_kombu.line_redis import MARK
from offbeat.ports.clock import SystemClock

OFFBEAT = (sys.executable, "-m", "offbeat")
ENTRIES = 40
KILLS = 8
BURST = 1000


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


def settled(state: Path) -> int:
    """Return how many occurrences the SQLite ledger knows to be sent; nobody knows while somebody is writing."""
    ledger = next(state.rglob("*.db")).resolve()
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=0)) as db, suppress(sqlite3.OperationalError):
        return int(db.execute("SELECT count(*) FROM history WHERE state = 'dispatched'").fetchone()[0])
    return BURST


def stopped_after_a_push(runner: subprocess.Popen[bytes], client: Any, state: Path, until: float) -> bool:
    """Stop the runner between a push of the burst's middle and its settle; return whether that was done before `until`."""
    clock = SystemClock()
    while clock.monotonic() < until:  # without a nap, which would miss the moment
        if client.llen("celery") >= BURST // 4 and client.dbsize() > 1:
            runner.send_signal(signal.SIGSTOP)
            if settled(state) < client.llen("celery") < BURST:
                return True
            runner.send_signal(signal.SIGCONT)
    return False


def test_a_runner_that_is_killed_in_the_middle_of_a_burst_sends_each_message_once(tmp_path: Path, redis_url: str) -> None:
    """The broker is Redis and the ledger is elsewhere, so what was pushed and what is written down differ at that moment."""
    import redis

    clock = SystemClock()
    tree = tmp_path / "cron"
    tree.mkdir()
    due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.now() + 8))
    entries = "".join(f'[entries.e{n}]\nat = "{due}"\n' for n in range(BURST))
    (tree / "schedule.toml").write_text(f'project = "burst"\ntask_prefix = "k."\n{entries}')
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "OFFBEAT_BROKER": redis_url}
    words = [*OFFBEAT, "--tree", str(tree), "-q", "run"]

    with redis.Redis.from_url(redis_url) as client:
        runner = subprocess.Popen(words, env=environ)
        assert stopped_after_a_push(runner, client, tmp_path / "state", clock.monotonic() + 60)
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        runner = subprocess.Popen(words, env=environ)
        try:
            wait_for("the rest of the burst", lambda: client.llen("celery") >= BURST, 60)
            wait_for("the last settle", lambda: not client.keys(f"{MARK}*"), 20)
        finally:
            runner.terminate()
            assert runner.wait(20) == 0
        sent = Counter(json.loads(raw)["headers"]["id"] for raw in client.lrange("celery", 0, -1))

    assert (len(sent), set(sent.values())) == (BURST, {1})
