"""A push deploys: the post-receive hook checks the tree out while ticks run, and no occurrence is lost or doubled by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

HOOK = """#!/bin/sh
GIT_WORK_TREE='{deploy}' git checkout -q -f main
"""
STEADY = '[entries.steady]\nevery = "1s"\n'
PUSHES = 4
OFFBEAT = (sys.executable, "-m", "offbeat")


def git(folder: Path, *words: str) -> None:
    names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b.c"}
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env={**os.environ, **names})


def schedule(number: int) -> str:
    """Return revision `number`: one entry that stays, with other arguments each time, and one that only this revision has."""
    padding = "".join(f'[entries.quiet_{number}_{n}]\ncron = "{n % 60} 3 1 1 *"\n' for n in range(60))
    return (
        'project = "pushed"\ntask_prefix = "p."\n'
        f"{STEADY}kwargs = {{ revision = {number} }}\n"
        f'[entries.only_{number}]\nevery = "1s"\n{padding}'
    )


def commit(work: Path, number: int) -> None:
    (work / "cron" / "schedule.toml").write_text(schedule(number))
    link = work / "cron" / "hourly" / f"link_{number}"
    link.symlink_to("../tasks/run_celery_task")
    git(work, "add", "-A")
    git(work, "commit", "-qm", f"revision {number}")


def sent(folder: Path) -> list[dict[str, object]]:
    """Return the headers and keyword arguments of every message that kombu's filesystem transport wrote."""
    found = []
    for path in folder.iterdir():
        envelope = json.loads(path.read_text())
        body = envelope["body"]
        if envelope["properties"].get("body_encoding") == "base64":
            import base64

            body = base64.b64decode(body).decode()
        found.append({**envelope["headers"], "kwargs": json.loads(body)[1]})
    return found


class Ticker(threading.Thread):
    """Ticks again and again, as an eager crontab would, until told to stop."""

    def __init__(self, tree: Path, environ: dict[str, str]) -> None:
        super().__init__()
        self.tree, self.environ, self.stop = tree, environ, threading.Event()
        self.output: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            words = [*OFFBEAT, "--tree", str(self.tree), "tick"]
            done = subprocess.run(words, env=self.environ, capture_output=True, text=True, check=False)
            self.output.append(done.stdout + done.stderr)


def test_pushes_deploy_while_ticks_run_and_every_second_is_sent_once(tmp_path: Path) -> None:
    bare, work, deploy, state = (tmp_path / name for name in ("bare.git", "work", "deploy", "state"))
    for folder in (work, deploy, state, tmp_path / "out"):
        folder.mkdir()
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    (bare / "hooks" / "post-receive").write_text(HOOK.format(deploy=deploy))
    (bare / "hooks" / "post-receive").chmod(0o755)
    git(work, "init", "-q", "-b", "main")
    git(work, "remote", "add", "origin", str(bare))
    subprocess.run([*OFFBEAT, "init", "--project", "pushed"], cwd=work, check=True, capture_output=True)
    commit(work, 0)
    git(work, "push", "-q", "origin", "main")

    environ = {**os.environ, "XDG_STATE_HOME": str(state), "OFFBEAT_BROKER": "filesystem://"}
    subprocess.run([*OFFBEAT, "--tree", str(deploy / "cron"), "tick"], check=True, env=environ)
    tickers = [Ticker(deploy / "cron", environ) for _ in range(2)]
    for ticker in tickers:
        ticker.start()
    try:
        for number in range(1, PUSHES + 1):
            tickers[0].stop.wait(3.0)
            commit(work, number)
            git(work, "push", "-q", "origin", "main")
        tickers[0].stop.wait(4.0)
    finally:
        for ticker in tickers:
            ticker.stop.set()
        for ticker in tickers:
            ticker.join()

    messages = sent(deploy / "data_out")
    steady = Counter(str(m["offbeat_due_at"]) for m in messages if m["offbeat_entry"] == "steady")
    assert set(steady.values()) == {1}
    first, last = min(steady), max(steady)
    assert len(steady) == seconds(last) - seconds(first) + 1 >= PUSHES * 3
    revisions = [m["kwargs"]["revision"] for m in sorted(messages, key=due) if m["offbeat_entry"] == "steady"]  # type: ignore[index]
    assert set(revisions) == set(range(PUSHES + 1))
    for number in range(PUSHES + 1):
        assert max(Counter(m["offbeat_due_at"] for m in messages if m["offbeat_entry"] == f"only_{number}").values()) == 1
    assert {text for ticker in tickers for text in ticker.output} == {""}


def due(message: dict[str, object]) -> str:
    return str(message["offbeat_due_at"])


def seconds(due_at: str) -> int:
    hours, minutes, rest = due_at[11:-1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(rest)
