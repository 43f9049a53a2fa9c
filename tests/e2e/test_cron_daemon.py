"""Debian's own cron ticks for more than three real minutes, from a crontab that `offbeat install crontab` wrote.

A real Redis and a real Celery worker are at the other end. It is one test, because a machine has one cron and a user one
crontab; a lock keeps others out. tests/e2e/conftest.py has it started first, since most of its time it waits.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import servers
from tests.workers import WorkerSettings, running_worker

from offbeat.core.identity import format_due_at, occurrence_id
from offbeat.core.model import State
from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger_values import HistoryRow
from offbeat.runners.site import open_site

OFFBEAT = Path(sys.executable).parent / "offbeat"
TICKS = 4  # of cron: the first one finds the tree, and three minutes lie between it and the last
PIDFILE = Path("/var/run/crond.pid")
EVERY = {"every_20": 20, "every_30": 30, "every_45": 45, "noted": 60, "silent": 60}  # seconds; the last two are links
SCHEDULE = """
project = "cron-e2e"
task_prefix = "tests."
env_file = ".env"

[broker]
default_queue = "cron-e2e"

[defaults]
catch_up = "all"           # so that a machine that is slow for a while loses nothing of what is counted here

[entries.every_20]
task = "tests.noted"
every = "20s"

[entries.every_30]
task = "tests.noted"
every = "30s"

[entries.every_45]
task = "tests.noted"
every = "45s"
"""
# What cron takes for the shell: writes down what a command printed, when it began and how it ended.
RECORDER = """#!/bin/sh
began=$(date +%s)
/bin/sh "$@" >>{folder}/printed 2>&1
echo "$began $? $2" >>{folder}/ran
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What three minutes left behind. after, until: the instants between which everything that is due has to be there."""

    after: int
    until: int
    ticks: Sequence[tuple[int, int]]  # when cron began one, and its exit status
    printed: Sequence[str]
    received: Sequence[dict[str, Any]]
    history: Sequence[HistoryRow]
    marks: Sequence[str]
    crontabs: Sequence[bytes]  # before, with the block, after

    def due(self) -> Counter[tuple[str, str]]:
        """Return (entry, due time) of all that had to be sent, by arithmetic alone."""
        return Counter(
            (name, format_due_at(due_at))
            for name, seconds in EVERY.items()
            for due_at in range(self.after + 1, self.until + 1)
            if due_at % seconds == 0
        )


def crontab(*words: str, text: bytes = b"") -> bytes:
    return subprocess.run(["crontab", *words], input=text, capture_output=True, check=False).stdout


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other test run on this machine uses the crontab."""
    with (Path(tempfile.gettempdir()) / f"offbeat-crontab-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def cron_daemon(folder: Path) -> Iterator[None]:
    """Run cron, unless it does already."""
    with nullcontext() if is_running() else servers.running([servers.need("cron"), "-f"], folder / "cron.log"):
        yield


def is_running() -> bool:
    """Return whether a cron daemon holds the lock on its pid file."""
    try:
        with PIDFILE.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def own_crontab(folder: Path) -> Iterator[bytes]:
    """Add two lines to this user's crontab, yield all of it, and put back what was there."""
    before = crontab("-l")
    lines = f'MAILTO=""\nSHELL={folder}/recorder\n* * * * * echo "100\\% of another line"\n'
    ours = before + (b"\n" if before and not before.endswith(b"\n") else b"") + lines.encode()
    try:
        crontab("-", text=ours)
        yield ours
    finally:
        crontab("-", text=before) if before else crontab("-r")


def lay_out(root: Path, folder: Path, environ: dict[str, str], redis_url: str) -> None:
    """Make the user's repository: links, a command, entries; and the address in a file that git ignores."""
    offbeat(root, environ, "init")
    (root / "cron/schedule.toml").write_text(SCHEDULE)
    for name in ("noted", "silent"):
        offbeat(root, environ, "add", "minutely", name)
    (root / "cron/minutely/mark").write_text(f'#!/bin/sh\necho "$OFFBEAT_DUE_AT" >>{folder}/marks\necho done\n')
    (root / "cron/minutely/mark").chmod(0o755)
    (root / ".env").write_text(f"OFFBEAT_BROKER={shlex.quote(redis_url)}\n")
    (folder / "recorder").write_text(RECORDER.format(folder=folder))
    (folder / "recorder").chmod(0o755)


def offbeat(root: Path, environ: dict[str, str], *words: str) -> str:
    done = subprocess.run([OFFBEAT, *words], cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def ticks_of(folder: Path) -> list[tuple[int, int]]:
    runs = [line.split(" ", 2) for line in lines(folder / "ran")]
    return [(int(began), int(status)) for began, status, command in runs if command.endswith(" tick")]


def require_what_it_takes() -> None:
    """Skip on a laptop where cron cannot be had; fail where CI=true."""
    for program in ("cron", "crontab"):
        servers.need(program)
    sentence = ""
    if sys.platform != "linux":
        sentence = "this test is about Debian's cron"
    elif os.geteuid() != 0 and not (os.environ.get("CI") == "true" and is_running()):
        sentence = "starting a cron daemon needs root: sudo make test TESTS=tests/e2e/test_cron_daemon.py"
    elif not OFFBEAT.exists():
        sentence = f"offbeat is not installed beside {sys.executable}: pip install --editable ."
    if sentence and os.environ.get("CI") == "true":
        pytest.fail(sentence)
    if sentence:
        pytest.skip(sentence)


def three_minutes(root: Path, folder: Path, redis_url: str) -> Span:
    """Let cron tick for three minutes, and return what is left of it."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": pwd.getpwuid(os.getuid()).pw_dir, "XDG_STATE_HOME": f"{folder}/state"}
    lay_out(root, folder, environ, redis_url)
    settings = WorkerSettings(broker=redis_url, queues={"cron-e2e": {}})
    with ExitStack() as stack:
        stack.enter_context(alone())
        worker = stack.enter_context(running_worker(folder / "worker", settings))
        before = stack.enter_context(own_crontab(folder))
        offbeat(root, environ, "install", "crontab")
        block = crontab("-l")
        with cron_daemon(folder):
            servers.wait_for(f"{TICKS} ticks of cron", lambda: len(ticks_of(folder)) >= TICKS, 60.0 * TICKS + 60)
        offbeat(root, environ, "uninstall", "crontab")
        after = crontab("-l")
        site = open_site(start=root, tree=None, environ=environ, clock=SystemClock())
        ticks, status = ticks_of(folder), site.ledger.status()
        until = ticks[-1][0] // 60 * 60
        assert status.activated_at is not None
        history = site.ledger.history(limit=1000)
        worker.wait_for_started([row.task_id for row in history if row.task_id])
        mark = "minutely/mark"
        servers.wait_for("the commands' end", lambda: all(row.finished_at for row in site.ledger.history(mark)), 20)
        history = site.ledger.history(limit=1000)
        site.close()
        return Span(
            after=int(status.activated_at),
            until=until,
            ticks=ticks,
            printed=lines(folder / "printed"),
            received=worker.records(),
            history=history,
            marks=lines(folder / "marks"),
            crontabs=(before, block, after),
        )


def cron_ticked_for_three_minutes(span: Span) -> None:
    assert len(span.ticks) >= TICKS
    assert span.until - span.ticks[0][0] // 60 * 60 >= 180


def the_worker_got_every_occurrence_exactly_once(span: Span) -> None:
    got = Counter((record["headers"]["offbeat_entry"], record["headers"]["offbeat_due_at"]) for record in span.received)
    last = format_due_at(span.until)

    assert Counter({key: count for key, count in got.items() if key[1] <= last}) == span.due()
    assert set(got.values()) == {1}


def each_message_is_known_by_the_id_of_its_occurrence(span: Span) -> None:
    expected = {
        (row.entry, format_due_at(row.due_at)): occurrence_id("cron-e2e", row.entry, row.due_at) for row in span.history
    }

    for record in span.received:
        headers = record["headers"]
        assert record["id"] == headers["offbeat_occurrence"] == expected[headers["offbeat_entry"], headers["offbeat_due_at"]]
    assert len({record["id"] for record in span.received}) == len(span.received)


def the_history_agrees_with_the_worker(span: Span) -> None:
    sent = {(row.task_id, row.entry, format_due_at(row.due_at)) for row in span.history if row.state is State.DISPATCHED}
    got = {(record["id"], record["headers"]["offbeat_entry"], record["headers"]["offbeat_due_at"]) for record in span.received}

    assert sent == got
    assert {row.state for row in span.history} == {State.DISPATCHED, State.SUCCEEDED}


def the_command_ran_once_a_minute(span: Span) -> None:
    minutes = [format_due_at(due_at) for due_at in range(span.after + 1, span.until + 1) if due_at % 60 == 0]

    assert sorted(span.marks) == minutes
    ended = [row for row in span.history if row.entry == "minutely/mark"]
    assert sorted(format_due_at(row.due_at) for row in ended) == minutes
    assert {(row.state, row.exit_status) for row in ended} == {(State.SUCCEEDED, 0)}


def cron_had_nothing_to_mail_of_ours(span: Span) -> None:
    assert set(span.printed) == {"100% of another line"}
    assert {status for _, status in span.ticks} == {0}


def the_rest_of_the_crontab_was_left_alone(span: Span) -> None:
    before, block, after = span.crontabs

    assert block.startswith(before + b"# offbeat: begin ")
    assert after == before


@pytest.mark.timeout(1200)  # of which a second run on the same machine waits for the first
def test_cron_sends_every_occurrence_of_three_minutes_exactly_once(tmp_path: Path, redis_url: str) -> None:
    require_what_it_takes()
    root, folder = tmp_path / "app 50% & co", tmp_path / "cron"
    root.mkdir()
    folder.mkdir()

    span = three_minutes(root, folder, redis_url)

    cron_ticked_for_three_minutes(span)
    the_worker_got_every_occurrence_exactly_once(span)
    each_message_is_known_by_the_id_of_its_occurrence(span)
    the_history_agrees_with_the_worker(span)
    the_command_ran_once_a_minute(span)
    cron_had_nothing_to_mail_of_ours(span)
    the_rest_of_the_crontab_was_left_alone(span)
