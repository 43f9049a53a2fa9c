"""One command: real processes, a real pipe, a real time limit of a fraction of a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offbeat.core.model import CommandCall, Reason
from offbeat.ports import command_process
from offbeat.ports.clock import SystemClock
from offbeat.ports.command_process import CommandProcess, Ended, NotStarted, Running, Signals, start_words

LONG = 60.0


@pytest.fixture
def signals() -> Iterator[Signals]:
    with Signals() as ours:
        yield ours


@pytest.fixture
def process(signals: Signals) -> CommandProcess:
    return CommandProcess(clock=SystemClock(), signals=signals, beat=lambda: None, patience=0.3)


def sh(process: CommandProcess, text: str, time_limit: float = LONG, **env: str) -> Ended:
    return process.run(("sh", "-c", text), "/", env={"PATH": os.environ["PATH"], **env}, time_limit=time_limit)


def is_alive(pid: int) -> bool:
    """Return whether the process runs; a zombie that init has not collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_for_the_end_of(pid: int) -> None:
    """Return when the kernel has carried out a SIGKILL; never when nobody sent one (then the test's timeout fails it)."""
    clock = SystemClock()
    while is_alive(pid):
        clock.sleep_until(clock.now() + 0.01)


def test_a_command_that_ends_well_has_its_output_and_status_0(process: CommandProcess) -> None:
    assert sh(process, "echo out; echo err >&2") == Ended(exit_status=0, output=b"out\nerr\n")


def test_a_command_that_fails_tells_its_exit_status(process: CommandProcess) -> None:
    ended = sh(process, "echo no; exit 3")

    assert ended == Ended(reason=Reason.EXIT_STATUS, exit_status=3, output=b"no\n", note="exit status 3")


def test_a_command_that_dies_by_a_signal_has_the_status_that_a_shell_gives_it(process: CommandProcess) -> None:
    ended = sh(process, "kill -SEGV $$")

    assert (ended.reason, ended.exit_status, ended.note) == (Reason.EXIT_STATUS, 139, "ended by SIGSEGV")


def test_standard_input_is_empty_and_nothing_of_ours_is_open(process: CommandProcess) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)

    ended = sh(process, "cat; ls /proc/$$/fd")

    os.close(read)
    os.close(write)
    assert ended.output.split() == [b"0", b"1", b"2"]


def test_the_command_has_a_process_group_of_its_own(process: CommandProcess) -> None:
    ended = sh(process, "ps -o pgid= -p $$; echo $$")

    group, pid = ended.output.split()
    assert group == pid != b"%d" % os.getpgrp()


def test_signals_that_we_take_note_of_have_their_usual_effect_in_the_command(process: CommandProcess) -> None:
    ended = sh(process, "kill -HUP $$; echo survived")

    assert (ended.output, ended.exit_status) == (b"", 128 + signal.SIGHUP)


def test_a_command_that_hangs_is_stopped_at_its_time_limit_with_its_children(process: CommandProcess) -> None:
    ended = sh(process, "sleep 600 & echo $!; wait", time_limit=0.3)

    assert (ended.reason, ended.note) == (Reason.TIMED_OUT, "stopped at its time limit of 0.3 s")
    assert ended.exit_status == 128 + signal.SIGTERM
    wait_for_the_end_of(int(ended.output))


def test_what_is_left_of_its_group_is_killed_even_when_it_does_not_listen(process: CommandProcess) -> None:
    ended = sh(process, "(trap '' TERM; sleep 600; sleep 600) & echo $!; wait", time_limit=0.3)

    assert ended.exit_status == 128 + signal.SIGTERM
    wait_for_the_end_of(int(ended.output.split()[0]))


def test_one_that_does_not_listen_to_sigterm_is_killed_after_a_while(process: CommandProcess) -> None:
    ended = sh(process, "trap 'echo not me' TERM; echo up; while :; do sleep 600; done", time_limit=0.3)

    assert ended.exit_status == 128 + signal.SIGKILL
    assert ended.output.startswith(b"up\n")
    assert ended.output.endswith(b"not me\n")


def test_one_that_cleans_up_on_sigterm_may(process: CommandProcess) -> None:
    ended = sh(process, "trap 'echo bye; exit 7' TERM; sleep 600 & wait", time_limit=0.3)

    assert (ended.reason, ended.exit_status, ended.output) == (Reason.TIMED_OUT, 7, b"bye\n")


def test_a_grandchild_that_keeps_the_pipe_open_holds_nobody(process: CommandProcess) -> None:
    ended = sh(process, "sleep 600 & echo $!")

    pid = int(ended.output)
    assert ended.exit_status == 0
    assert is_alive(pid)  # what a command leaves in the background is its own affair
    os.kill(pid, signal.SIGKILL)


def test_a_command_that_closes_its_output_is_waited_for_and_its_end_is_seen_at_once(signals: Signals) -> None:
    process = CommandProcess(clock=SystemClock(), signals=signals, beat=lambda: None, beat_every=3600)

    ended = sh(process, "exec >&- 2>&-; sleep 0.2; exit 5", time_limit=30)

    assert ended.exit_status == 5


def test_the_heartbeat_goes_on_while_a_command_runs(signals: Signals) -> None:
    beats: list[int] = []
    process = CommandProcess(clock=SystemClock(), signals=signals, beat=lambda: beats.append(1), beat_every=0.05)

    sh(process, "sleep 0.4")

    assert len(beats) >= 2


def test_sigterm_to_the_supervisor_stops_the_command_and_says_so(signals: Signals) -> None:
    process = CommandProcess(
        clock=SystemClock(), signals=signals, beat=lambda: os.kill(os.getpid(), signal.SIGTERM), beat_every=0.1
    )

    ended = sh(process, "sleep 600")

    assert (ended.reason, ended.note) == (Reason.RUNNER_DIED, "stopped: its supervisor got SIGTERM")
    assert signals.stopping == "SIGTERM"


def test_a_command_that_we_may_not_kill_is_given_up(signals: Signals) -> None:
    asked: list[int] = []

    def forbidden(group: int, number: int) -> None:
        asked.append(group)
        raise PermissionError

    process = CommandProcess(clock=SystemClock(), signals=signals, beat=lambda: None, patience=0.1, kill=forbidden)

    ended = sh(process, "echo here; exec sleep 600", time_limit=0.2)

    os.killpg(asked[0], signal.SIGKILL)
    os.waitpid(asked[0], 0)
    assert (ended.reason, ended.output) == (Reason.TIMED_OUT, b"here\n")
    assert ended.note == "stopped at its time limit of 0.2 s; it could not be killed and may still run"


@pytest.mark.parametrize(
    ("argv", "cwd", "note"),
    [
        (("no-such-program",), "/", 'not started: "no-such-program": No such file or directory'),
        (("true",), "/no/such/folder", 'not started: the folder "/no/such/folder" is not there'),
        (("/etc",), "/", 'not started: "/etc": Permission denied'),
        (("true", "a\0b"), "/", 'not started: "true": embedded null byte'),
        (("true", "x" * 3_000_000), "/", 'not started: "true": Argument list too long'),
    ],
    ids=["no program", "no folder", "a folder", "a null byte", "too long"],
)
def test_what_cannot_be_started_says_why(process: CommandProcess, argv: tuple[str, ...], cwd: str, note: str) -> None:
    ended = process.run(argv, cwd, env={"PATH": os.environ["PATH"]}, time_limit=LONG)

    assert ended == Ended(reason=Reason.NOT_STARTED, note=note)


def test_a_script_with_crlf_line_ends_says_so(process: CommandProcess, tmp_path: Path) -> None:
    script = tmp_path / "job"
    script.write_bytes(b"#!/bin/sh\r\ntrue\r\n")
    script.chmod(0o755)

    ended = process.run((str(script),), "/", env={}, time_limit=LONG)

    assert ended.reason is Reason.NOT_STARTED
    assert "CRLF line ends" in ended.note


def test_a_file_without_an_interpreter_line_is_run_by_bash(process: CommandProcess, tmp_path: Path) -> None:
    script = tmp_path / "no interpreter"
    script.write_text('echo "${BASH_VERSION:+bash} $0"; [[ x == x ]]\n')
    script.chmod(0o755)

    ended = process.run((str(script),), "/", env={"PATH": os.environ["PATH"]}, time_limit=LONG)

    assert (ended.output.decode(), ended.exit_status) == (f"bash {script}\n", 0)


def test_sh_is_used_where_there_is_no_bash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_process, "BARE_PATH", "/nowhere")

    assert command_process.shell({"PATH": "/nowhere/else:relative"}) == "/bin/sh"


# --- what a file of the tree is started by --------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("cron/hourly", "cron/tasks"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path / "cron"


def call(path: str) -> CommandCall:
    return CommandCall(argv=(path,), directory="hourly")


def test_an_executable_file_is_started_by_its_own_path(tree: Path) -> None:
    (tree / "hourly/a b").write_text("#!/bin/sh\n")
    (tree / "hourly/a b").chmod(0o755)

    assert start_words(call("hourly/a b"), str(tree)) == (str(tree / "hourly/a b"),)


def test_a_link_is_started_by_its_own_name_not_by_what_it_leads_to(tree: Path) -> None:
    (tree / "tasks/run_celery_task").write_text("#!/bin/sh\n")
    (tree / "tasks/run_celery_task").chmod(0o755)
    (tree / "hourly/search_dates").symlink_to("../tasks/run_celery_task")

    assert start_words(call("hourly/search_dates"), str(tree)) == (str(tree / "hourly/search_dates"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/usr/bin/env python3\nprint()\n", ("/usr/bin/env", "python3")),
        ("#! /bin/sh -eu \ntrue\n", ("/bin/sh", "-eu")),
        ("true\n", (command_process.shell(os.environ),)),
        ("", (command_process.shell(os.environ),)),
    ],
    ids=["env", "an option", "none", "empty"],
)
def test_a_file_that_is_not_executable_is_started_as_openshift_did(tree: Path, text: str, words: tuple[str, ...]) -> None:
    (tree / "hourly/job").write_text(text)
    (tree / "hourly/job").chmod(0o644)

    assert start_words(call("hourly/job"), str(tree)) == (*words, str(tree / "hourly/job"))


def test_a_command_of_schedule_toml_is_started_as_it_is(tree: Path) -> None:
    given = CommandCall(argv=("sh", "-c", "true"))

    assert start_words(given, str(tree)) == ("sh", "-c", "true")


@pytest.mark.parametrize("which", ["hourly/job", "tasks/real", "hourly", "tasks", "."])
def test_what_anybody_may_write_to_is_refused(tree: Path, which: str) -> None:
    (tree / "tasks/real").write_text("#!/bin/sh\n")
    (tree / "tasks/real").chmod(0o755)
    (tree / "hourly/job").symlink_to("../tasks/real")
    (tree / which).chmod(0o757)

    with pytest.raises(NotStarted, match=r"^refused: .* is world-writable; chmod o-w "):
        start_words(call("hourly/job"), str(tree))


def test_a_command_of_a_schedule_toml_that_anybody_may_write_to_is_refused(tree: Path) -> None:
    (tree / "schedule.toml").write_text("")
    (tree / "schedule.toml").chmod(0o666)

    with pytest.raises(NotStarted, match="schedule.toml"):
        start_words(CommandCall(argv=("true",)), str(tree))


def test_a_file_that_is_gone_is_not_started(tree: Path) -> None:
    (tree / "hourly/dangling").symlink_to("../tasks/nothing")

    for path in ("hourly/gone", "hourly/dangling"):
        with pytest.raises(NotStarted, match=f'"{path}" is no longer a file'):
            start_words(call(path), str(tree))


def test_a_link_loop_is_not_started(tree: Path) -> None:
    (tree / "hourly/loop").symlink_to("loop")

    with pytest.raises(NotStarted):
        start_words(call("hourly/loop"), str(tree))


# --- several at once ------------------------------------------------------------------------------------------------------


def begin(process: CommandProcess, text: str, time_limit: float = LONG) -> Running:
    started = process.start(("sh", "-c", text), "/", env={"PATH": os.environ["PATH"]}, time_limit=time_limit)
    assert isinstance(started, Running)
    return started


def test_several_run_side_by_side_each_with_its_own_output_and_end(process: CommandProcess, tmp_path: Path) -> None:
    # Each waits for the other: one after the other they would never end.
    first = begin(process, f"echo 1; touch {tmp_path}/1; while [ ! -e {tmp_path}/2 ]; do sleep 0.02; done; exit 3")
    second = begin(process, f"echo 2; touch {tmp_path}/2; while [ ! -e {tmp_path}/1 ]; do sleep 0.02; done")

    ends: dict[int, Ended] = {}
    while len(ends) < 2:
        left = [running for running in (first, second) if id(running) not in ends]
        ends |= {id(running): process.end(running) for running in process.wait(left)}

    assert ends[id(first)] == Ended(reason=Reason.EXIT_STATUS, exit_status=3, output=b"1\n", note="exit status 3")
    assert ends[id(second)] == Ended(exit_status=0, output=b"2\n")


def test_one_that_hangs_is_stopped_at_its_own_time_limit_while_the_others_end(process: CommandProcess) -> None:
    hangs, ends = begin(process, "exec sleep 600", time_limit=0.5), begin(process, "echo fine")

    assert process.wait([hangs, ends]) == [ends]
    assert process.end(ends) == Ended(exit_status=0, output=b"fine\n")
    assert process.wait([hangs]) == [hangs]
    assert process.end(hangs).reason is Reason.TIMED_OUT


def test_a_request_to_end_stops_them_all(process: CommandProcess) -> None:
    both = [begin(process, "exec sleep 600"), begin(process, "exec sleep 600")]
    os.kill(os.getpid(), signal.SIGTERM)

    reasons = []
    while both:
        for running in process.wait(both):
            both.remove(running)
            reasons.append(process.end(running).reason)

    assert reasons == [Reason.RUNNER_DIED, Reason.RUNNER_DIED]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_command_ends_with_the_supervisor_that_is_killed() -> None:
    program = """
from offbeat.ports.clock import SystemClock
from offbeat.ports.command_process import CommandProcess, Signals
with Signals() as signals:
    process = CommandProcess(clock=SystemClock(), signals=signals, beat=lambda: None)
    print(process.start(("sh", "-c", "trap '' TERM; exec sleep 600"), "/", env={}, time_limit=600).process.pid, flush=True)
    import time; time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()

    wait_for_the_end_of(pid)


def test_a_command_in_a_bare_environment_finds_home_and_path() -> None:
    env = command_process.bare_environment({"X": "1"})

    assert env["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert Path(env["HOME"]).is_absolute()
    assert command_process.bare_environment({"PATH": "/p", "HOME": "/h"}) == {"PATH": "/p", "HOME": "/h"}


def test_signals_are_given_back() -> None:
    program = """
import signal
from offbeat.ports.command_process import Signals
before = [signal.getsignal(n) for n in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
with Signals():
    pass
assert before == [signal.getsignal(n) for n in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
assert signal.set_wakeup_fd(-1) == -1
"""
    subprocess.run([sys.executable, "-c", program], check=True)
