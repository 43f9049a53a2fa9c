"""Starting the supervisor: what it is given, and what it does not get of us. The supervisor here is a few lines of Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.model import CommandCall, Key, Kind
from offbeat.ports import command_start
from offbeat.ports.clock import SystemClock
from offbeat.ports.command import Order, Step
from offbeat.ports.command_start import CommandsDetached, Errand, format_errand, parse_errand

STEP = Step(
    key=Key(eno=7, due_at=1_772_332_200),
    attempt=2,
    name="rotate",
    call=CommandCall(argv=("hourly/rotate",), directory="hourly"),
)
ORDER = Order(slot="hourly", steps=(STEP,))
# Tells what it sees of the world in a file, under another name until it is complete.
SPY = """
import json, os, sys
errand = json.load(sys.stdin)
os.setsid()
target = errand["address"]
seen = {
    "errand": errand, "argv": sys.argv[1:], "env": dict(os.environ), "ppid": os.getppid(),
    "fds": {str(fd): os.readlink(f"/proc/self/fd/{fd}") for fd in range(200) if os.path.exists(f"/proc/self/fd/{fd}")},
}
with open(target + ".draft", "w") as file:
    json.dump(seen, file)
os.rename(target + ".draft", target)
"""


def detached(address: str, **others: Any) -> CommandsDetached:
    given: dict[str, Any] = {
        "python": (sys.executable, "-c", SPY),
        "address": address,
        "project": "difio",
        "owner": "host:/tree",
        "tree": Path("/srv/app/cron"),
        "root": Path("/srv/app"),
        "environ": {"PATH": "/bin", "ONLY": "this"},
        **others,
    }
    return CommandsDetached(**given)


def seen_in(path: Path) -> Any:
    """Wait for the spy's file, and return what is in it."""
    clock = SystemClock()
    for _ in range(400):
        if path.exists():
            break
        clock.sleep_until(clock.now() + 0.05)
    return json.loads(path.read_text())


def test_the_supervisor_gets_its_errand_and_the_environment(tmp_path: Path) -> None:
    assert detached(str(tmp_path / "seen")).start(ORDER) == ""

    seen = seen_in(tmp_path / "seen")
    assert parse_errand(json.dumps(seen["errand"]).encode()) == Errand(
        address=str(tmp_path / "seen"), project="difio", owner="host:/tree", tree="/srv/app/cron", root="/srv/app", order=ORDER
    )
    assert seen["env"]["ONLY"] == "this"
    assert "PYTEST_CURRENT_TEST" not in seen["env"]


def test_nothing_of_the_errand_is_in_the_arguments_that_ps_shows(tmp_path: Path) -> None:
    detached(str(tmp_path / "seen")).start(ORDER)

    assert seen_in(tmp_path / "seen")["argv"] == []


def test_the_supervisor_has_no_file_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "open file").open("w"):
        detached(str(tmp_path / "seen")).start(ORDER)

    fds = seen_in(tmp_path / "seen")["fds"]
    assert fds["0"].startswith("pipe:")
    assert (fds["1"], fds["2"]) == ("/dev/null", "/dev/null")
    assert "open file" not in str(fds)


def test_a_pipe_that_is_read_until_its_end_ends_with_us_and_not_with_the_supervisor(tmp_path: Path) -> None:
    # As cron does with the output of a tick: the supervisor, which sleeps here, must not keep the pipe open.
    program = f"""
from pathlib import Path
from offbeat.core.model import CommandCall, Key
from offbeat.ports.command import Order, Step
from offbeat.ports.command_start import CommandsDetached
step = Step(key=Key(eno=1, due_at=1), attempt=1, name="x", call=CommandCall(argv=("x",)))
print(CommandsDetached(address="a", project="p", owner="o", tree=Path("/"), root=Path("/"), environ={{}},
    python=("/bin/sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 600")).start(Order(slot="", steps=(step,))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)

    assert (done.stdout, done.stderr) == (b"\n", b"")
    clock = SystemClock()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        clock.sleep_until(clock.now() + 0.05)
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_an_order_that_is_longer_than_a_pipe_holds_arrives(tmp_path: Path) -> None:
    long = Step(key=STEP.key, attempt=1, name="long", call=CommandCall(argv=("sh", "-c", "x" * 300_000)))

    assert detached(str(tmp_path / "seen")).start(Order(slot="", steps=(long,))) == ""

    assert len(seen_in(tmp_path / "seen")["errand"]["steps"][0]["argv"][2]) == 300_000


def test_a_supervisor_that_cannot_be_started_is_told() -> None:
    error = detached("x", python=("/no/such/python",)).start(ORDER)

    assert error == 'no supervisor could be started: "/no/such/python": No such file or directory'


def test_a_supervisor_that_ends_before_it_has_read_its_order_is_told() -> None:
    long = Step(key=STEP.key, attempt=1, name="long", call=CommandCall(argv=("x" * 300_000,)))

    error = detached("x", python=("/bin/true",)).start(Order(slot="", steps=(long,)))

    assert error == "the supervisor of commands ended before it had read its order"


def test_what_a_supervisor_says_when_it_fails_goes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    commands = detached("x", python=("/bin/sh", "-c", "echo out; echo err >&2"), log=str(log))
    commands.start(ORDER)

    clock = SystemClock()
    while not log.exists() or log.read_text() != "out\nerr\n":
        clock.sleep_until(clock.now() + 0.05)
    assert log.stat().st_mode & 0o777 == 0o600


def test_supervisors_that_ended_leave_no_zombies() -> None:
    commands = detached("x", python=("/bin/true",))
    before = set(command_start._started)
    commands.start(ORDER)
    (pid,) = command_start._started - before
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    command_start.reap()

    assert pid not in command_start._started
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


words = st.text(min_size=1)
calls = st.builds(
    CommandCall, argv=st.lists(words, min_size=1).map(tuple), cwd=words, directory=st.text(), time_limit=st.integers(1, 10**6)
)
keys = st.builds(Key, eno=st.integers(1), due_at=st.integers(), kind=st.sampled_from(Kind), kind_id=st.text())
steps = st.builds(Step, key=keys, attempt=st.integers(1), name=words, call=calls)
orders = st.builds(Order, slot=st.text(), steps=st.lists(steps, min_size=1, max_size=5).map(tuple))


@given(orders, words)
def test_an_errand_is_read_back_as_it_was_written(order: Order, text: str) -> None:
    errand = Errand(address=text, project=text, owner=text, tree=text, root=text, order=order)

    assert parse_errand(format_errand(errand)) == errand


def test_a_file_name_that_is_not_utf_8_arrives() -> None:
    call = CommandCall(argv=("hourly/\udcff",), directory="hourly")
    step = Step(key=STEP.key, attempt=1, name="hourly/\udcff", call=call)
    errand = Errand(address="a", project="p", owner="o", tree="t", root="r", order=Order(slot="hourly", steps=(step,)))

    assert parse_errand(format_errand(errand)) == errand
