"""A failover that loses writes, for real: a PostgreSQL whose standby lagged becomes the primary under two hosts that tick."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from tests import servers

from offbeat.ports.clock import SystemClock

SRC = str(Path(__file__).parents[2] / "src")
ENTRIES = 20
PERIOD = 5


class Pair:
    """A primary and its standby, each in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.ports = servers.free_port(), servers.free_port()
        one, two = folder / "one", folder / "two"
        one.mkdir()
        two.mkdir()
        self.primary = stack.enter_context(servers.postgres_server(one, self.ports[0], "--hot_standby=on"))
        home = servers.postgres_home(two)
        copy = [servers.need("pg_basebackup"), "-D", str(home / "data"), "-R", "-c", "fast", "-d", self.primary]
        subprocess.run([*servers.unprivileged(home), *copy], check=True, cwd=home, capture_output=True)
        self.standby = stack.enter_context(servers.postgres_server(two, self.ports[1]))
        self.data = servers.postgres_home(one) / "data", home / "data"

    @property
    def ledger(self) -> str:
        user = urlsplit(self.primary).netloc.rpartition("@")[0]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgresql://{user}@{hosts}/postgres?target_session_attrs={quote('read-write')}&schema=fo"

    def lag(self) -> None:
        """Let the standby hear nothing any more."""
        servers.wait_for("the standby", self._streams)
        for pid in children(self.data[1], "walreceiver"):
            os.kill(pid, signal.SIGSTOP)

    def _streams(self) -> bool:
        with psycopg.connect(self.primary) as admin:
            heard = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn = pg_current_wal_lsn()"
            return admin.execute(heard).fetchone() == (1,) and bool(children(self.data[1], "walreceiver"))

    def fail_over(self) -> None:
        """Kill the primary, and let the standby be one."""
        receivers = children(self.data[1], "walreceiver")
        for pid in [postmaster(self.data[0]), *children(self.data[0], ""), *receivers]:
            with suppress(ProcessLookupError):  # one that ended with the first
                os.kill(pid, signal.SIGKILL)
        servers.wait_for("the standby's being promoted", self._is_promoted)

    def _is_promoted(self) -> bool:
        try:  # it begins anew, because one of its processes was killed
            with psycopg.connect(self.standby, autocommit=True) as admin:
                return admin.execute("SELECT NOT pg_is_in_recovery() OR pg_promote(true, 60)").fetchone() == (True,)
        except psycopg.Error:
            return False


def postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split()[0])


def children(data: Path, what: str) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    return [int(pid) for pid, parent, args in rows if int(parent) == postmaster(data) and what in args]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    servers.need("postgres")
    with ExitStack() as stack:
        yield Pair(tmp_path, stack)


def tick(folder: Path, ledger: str, *args: str) -> tuple[int, str]:
    environ = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "PATH": os.environ["PATH"], "PYTHONPATH": SRC}
    command = [sys.executable, "-m", "offbeat", *(args or ("tick",))]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environ, "OFFBEAT_LEDGER": ledger, "OFFBEAT_BROKER": "filesystem://"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def host(folder: Path, queue: Path) -> Path:
    """Lay out a host's checkout, whose messages are files in `queue`."""
    (folder / "cron").mkdir(parents=True)
    options = f'transport_options = {{ data_folder_in = "{queue}", data_folder_out = "{queue}" }}'
    entries = "".join(f'[entries.e{n}]\nevery = "{PERIOD}s"\n' for n in range(ENTRIES))
    text = f'project = "shop"\ntask_prefix = "t."\n[broker]\n{options}\n{entries}'
    (folder / "cron" / "schedule.toml").write_text(text, "utf-8")
    return folder


def ids(queue: Path) -> list[str]:
    return [json.loads(each.read_text())["headers"]["id"] for each in queue.iterdir()]


def wait_until_due() -> None:
    clock = SystemClock()
    clock.sleep_until((clock.now() // PERIOD + 1) * PERIOD + 0.2)


@pytest.mark.parametrize("first", ["who knows of the loss", "who does not"])
def test_a_standby_that_lagged_is_noticed_whoever_ticks_first_on_it(pair: Pair, tmp_path: Path, first: str) -> None:
    queue = tmp_path / "queue"
    queue.mkdir()
    one, two = host(tmp_path / "a", queue), host(tmp_path / "b", queue)
    assert tick(one, pair.ledger, "deploy")[0] == 0
    for each in (one, two):
        assert tick(each, pair.ledger)[0] == 0
    pair.lag()
    wait_until_due()
    assert tick(one, pair.ledger) == (0, "")
    lost = ids(queue)
    pair.fail_over()
    order = (one, two) if first == "who knows of the loss" else (two, one)
    told = "".join(tick(each, pair.ledger)[1] for each in order)

    assert len(lost) >= ENTRIES
    assert told.count("L304") == 1, told
    if first == "who knows of the loss":
        assert len(set(ids(queue))) == len(ids(queue))  # nothing of it goes out again
    before = len(ids(queue))
    wait_until_due()
    assert [tick(each, pair.ledger) for each in order] == [(0, ""), (0, "")]
    assert len(ids(queue)) > before
