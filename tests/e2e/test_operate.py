"""What operators do, for real: each command a process of its own, over every ledger, on hosts with and without a tree."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.servers import durable_redis_server, free_port, need

SRC = str(Path(__file__).parents[2] / "src")
TREE = """project = "shop"
task_prefix = "shop.tasks."
[entries.report]
every = "1h"
"""


class Host:
    """A host: a folder, its environment, and `offbeat` called there."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        home = {"HOME": str(root), "XDG_STATE_HOME": str(root / "state"), "PATH": os.environ["PATH"], "USER": "ana"}
        self.environ = {**home, "PYTHONPATH": SRC, **environ}

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "offbeat", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=self.environ, stdout=pipe, stderr=pipe, text=True)

    def call(self, *args: str, status: int = 0) -> str:
        """Call offbeat; return what it printed."""
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, f"offbeat {args}: {process.returncode}\n{out}{err}"
        return out + err

    def rows(self, *args: str) -> list[dict[str, Any]]:
        """Call offbeat with --json; return its rows."""
        process = self.start(*args, "--json")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        rows: list[dict[str, Any]] = json.loads(out)
        return rows

    def write(self, text: str) -> None:
        """Write schedule.toml, as if it had been there for a while."""
        (self.root / "cron").mkdir(exist_ok=True)
        (self.root / "cron" / "schedule.toml").write_text(text, "utf-8")


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The address of a ledger, and of a broker: files, or the same Redis."""
    with ExitStack() as stack:
        if request.param == "postgresql":
            address = request.getfixturevalue("postgres_address")
            ledger = f"{address}?schema=operate_{secrets.token_hex(4)}"
            yield {"OFFBEAT_LEDGER": ledger, "OFFBEAT_BROKER": "filesystem://", "OFFBEAT_PROJECT": "shop"}
            return
        if request.param == "sqlite":
            yield {"OFFBEAT_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}", "OFFBEAT_BROKER": "filesystem://"}
            return
        need("redis-server")
        folder = tmp_path / "redis"
        folder.mkdir()
        url = stack.enter_context(durable_redis_server(folder, free_port()))
        yield {"OFFBEAT_LEDGER": url, "OFFBEAT_BROKER": f"{url}/1", "OFFBEAT_PROJECT": "shop"}


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT00:00Z")


def test_what_operators_do_from_the_first_deploy_to_a_rollback(tmp_path: Path, environ: dict[str, str]) -> None:
    host = Host(tmp_path / "repo", environ)
    host.write(TREE)

    assert "revision 1 is in force: 1 entry" in host.call("deploy", "--note", "first")
    host.write(TREE + '[entries.other]\nevery = "2h"\n')
    assert "+ other" in host.call("diff", "--exit-code", status=1)
    assert "added:    other" in host.call("deploy")
    assert [row["note"] for row in host.rows("log")] == ["", "first"]
    assert "report: paused until somebody resumes" in host.call("pause", "report")
    assert "report: resumed" in host.call("resume", "report")
    assert "is skipped" in host.call("skip", "other")
    span = ("backfill", "report", "--from", days_ago(3), "--to", days_ago(2), "--per-minute", "6000")
    assert (host.rows(*span)[0]["new"], host.rows(*span)[0]["new"]) == (24, 0)
    host.call("rollback", "1")
    host.call("tick")

    (status,) = host.rows("status")
    assert (status["revision"], status["is_deployed"], status["note"]) == (3, True, "rollback to 1")
    assert status["delivery"] == ("one_enqueue" if "redis" in environ["OFFBEAT_LEDGER"] else "at_least_once")
    assert [pause["entry"] for pause in status["pauses"] if pause["once"]] == ["other"]
    assert "backfill" in {row["cause"] for row in host.rows("history", "report") if row["state"] == "dispatched"}


def test_ctrl_c_in_a_backfill_says_how_to_go_on(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    host = Host(tmp_path / "repo", {"OFFBEAT_LEDGER": ledger, "OFFBEAT_BROKER": "filesystem://"})
    host.write(TREE)
    host.call("deploy")
    span = ("backfill", "report", "--from", days_ago(3), "--to", days_ago(2))

    process = host.start(*span, "--wait", "--again")
    assert process.stderr is not None
    while "sent 0 of 24" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in err
    command = err.rpartition(" for: offbeat ")[2].split()
    assert command[:2] == ["backfill", "report"]
    assert "all of it was recorded before" in host.call(*command)


def test_a_host_without_a_tree_works_by_what_was_deployed(tmp_path: Path) -> None:
    need("redis-server")
    folder = tmp_path / "redis"
    folder.mkdir()
    with durable_redis_server(folder, free_port()) as url:
        environ = {"OFFBEAT_LEDGER": url, "OFFBEAT_BROKER": url, "OFFBEAT_PROJECT": "shop"}
        checkout, bare = Host(tmp_path / "repo", environ), Host(tmp_path / "bare", environ)
        checkout.write(TREE)
        checkout.call("deploy")

        bare.call("tick")
        bare.call("--from-ledger", "tick")
        bare.call("fire", "report")
        pulled = checkout.rows("--from-ledger", "list")

        assert [row["entry"] for row in bare.rows("list")] == [row["entry"] for row in pulled] == ["report"]
        assert [row["entry"] for row in bare.rows("next", "-n", "1")] == ["report"]
        assert [row["state"] for row in bare.rows("history")] == ["dispatched"]
        assert bare.rows("status")[0]["tree"] is None
        for command in (("deploy",), ("diff",), ("check",), ("add", "nightly", "--every", "1h")):
            assert "there is no cron tree here" in bare.call(*command, status=1)
