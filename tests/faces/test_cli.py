"""The group: names, help, global options, what errors look like, and what is not imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.faces.conftest import Shop

from offbeat.errors import BrokerError, ConfigError, OffbeatError, Problem
from offbeat.faces import cli as faces_cli
from offbeat.faces.cli import COMMANDS, HIDDEN, cli
from offbeat.faces.cli_session import Command

OFFBEAT = (sys.executable, "-m", "offbeat")
VISIBLE = [name for name in COMMANDS if name not in HIDDEN]
PROBLEM = Problem(
    code="C199", what='"x" is wrong', why="nothing was done", fix="offbeat check", file="cron/schedule.toml", line=3
)


def raising(error: BaseException) -> click.Command:
    def body() -> None:
        raise error

    return Command("list", callback=body)


def call_raising(monkeypatch: pytest.MonkeyPatch, error: BaseException, *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(faces_cli.Offbeat, "get_command", lambda *_: raising(error))
    result = CliRunner().invoke(cli, [*args, "list"])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])

    assert result.exit_code == 0, result.output
    assert "Usage: " in result.stdout
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.help
    if not isinstance(command, click.Group):
        assert "Examples:" in result.stdout
        assert "offbeat " in result.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_takes_the_global_options(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert {"tree", "verbose", "quiet", "log_format"} <= {parameter.name for parameter in command.params}


def test_the_help_lists_the_commands_and_hides_what_only_links_call() -> None:
    result = CliRunner().invoke(cli, ["--help"])

    listed = result.stdout.partition("Commands:")[2].partition("Examples:")[0]
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "] == VISIBLE
    assert "Examples:" in result.stdout


@pytest.mark.parametrize(("typed", "meant"), [("chekc", "check"), ("statsu", "status"), ("histroy", "history")])
def test_a_mistyped_command_is_told_which_one_was_meant(typed: str, meant: str) -> None:
    result = CliRunner().invoke(cli, [typed])

    assert result.exit_code == 2
    assert f'there is no command "{typed}"; did you mean "{meant}"?' in result.stderr


def test_the_version_names_the_version_of_the_json_output() -> None:
    result = CliRunner().invoke(cli, ["--version"])

    assert result.exit_code == 0
    assert result.stdout.startswith("offbeat ")
    assert "--json output version 1" in result.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError(PROBLEM), 1), (BrokerError(PROBLEM), 3), (OffbeatError("plain words"), 1), (KeyboardInterrupt(), 130)],
)
def test_each_kind_of_error_has_its_exit_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    exit_code, stdout, stderr = call_raising(monkeypatch, error)

    assert exit_code == code
    assert stdout == ""
    assert "Traceback" not in stderr


def test_a_problem_is_shown_in_three_lines_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call_raising(monkeypatch, ConfigError(PROBLEM))[2] == (
        'cron/schedule.toml:3: "x" is wrong [C199]\n  why: nothing was done\n  fix: offbeat check\n'
    )


def test_a_bug_is_said_in_one_line_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, _, stderr = call_raising(monkeypatch, ZeroDivisionError("redis://:hunter2@host"))

    assert exit_code == 70
    assert stderr == (
        "offbeat: this is a bug in offbeat: ZeroDivisionError: redis://:***@host\n"
        "  fix: run the same again with -v, and report what it prints\n"
    )


def test_a_bug_has_its_traceback_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, stderr = call_raising(monkeypatch, ZeroDivisionError("redis://:hunter2@host"), "-v")

    assert "Traceback" in stderr
    assert "hunter2" not in stderr


def test_a_file_that_cannot_be_read_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, _, stderr = call_raising(monkeypatch, PermissionError(13, "Permission denied", "/x/y"))

    assert (exit_code, stderr) == (1, "offbeat: /x/y: Permission denied\n")


@pytest.mark.parametrize(
    "args",
    [["--tree"], ["check", "--nope"], ["next", "-n", "x"], ["fire"]]
    + [["tick", "--max-time", "soon"], ["tick", "--max-time", "99999999999w"], ["status", "--max-age", "367d"]]
    + [["diff", "9" * 20], ["rollback", "9" * 20]],
)
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    assert CliRunner().invoke(cli, args).exit_code == 2


@pytest.mark.parametrize(
    "args",
    [("tick", "--max-time"), ("history", "--since"), ("next", "--from"), ("load", "--from"), ("next", "-n"), ("check",)],
)
def test_what_was_typed_never_steers_the_terminal(settled: Callable[[str], Shop], args: tuple[str, ...]) -> None:
    result = settled('[entries.report]\ncron = "0 * * * *"\n').call(*args, "\x1b[31mred")

    assert result.exit_code == 2
    assert "\\x1b[31mred" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("args", [["--tree", "/nowhere", "check"], ["check", "--tree", "/nowhere"]])
def test_a_global_option_may_stand_before_or_after_the_command(args: list[str]) -> None:
    result = CliRunner().invoke(cli, args)

    assert result.exit_code == 1
    assert '"/nowhere"' in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])

    assert result.exit_code == 0
    assert "_OFFBEAT_COMPLETE" in result.stdout


def test_completion_offers_commands_without_importing_them() -> None:
    environ = {**os.environ, "_OFFBEAT_COMPLETE": "bash_complete", "COMP_WORDS": "offbeat st", "COMP_CWORD": "1"}

    done = subprocess.run([*OFFBEAT], env=environ, capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["plain,status"]


def test_nobody_reading_the_output_any_more_is_no_error() -> None:
    script = f'"{sys.executable}" -m offbeat --help; echo "exit $?" >&2'

    done = subprocess.run(["bash", "-c", f"({script}) | true"], capture_output=True, text=True, check=False)

    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_pipe_that_is_closed_at_once_ends_it_quietly() -> None:
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run([*OFFBEAT, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "heavy", ["rich", "kombu", "tomllib", "subprocess", "hashlib", "sqlite3", "logging", "offbeat.runners.site"]
)
def test_showing_the_help_loads_nothing_heavy(heavy: str) -> None:
    assert heavy not in loaded_by("from offbeat.faces.cli import cli; cli.main(['--help'])")


def loaded_by(code: str, cwd: Path | None = None, environ: dict[str, str] | None = None) -> set[str]:
    """Return the modules that are loaded after `code` has run in an interpreter of its own."""
    program = (
        f"import atexit, json, sys\natexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_ctrl_c_ends_a_command_quietly(tmp_path: Path) -> None:
    fifo = tmp_path / "cron" / "schedule.toml"
    fifo.parent.mkdir()
    code = (
        "import os, signal, sys\n"
        "from offbeat.faces import cli_session\n"
        "def interrupted(self, **_): os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "cli_session.Session.open_site = interrupted\n"
        "sys.argv = ['offbeat', 'check']\n"
        "from offbeat.__main__ import main\n"
        "main()\n"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")
