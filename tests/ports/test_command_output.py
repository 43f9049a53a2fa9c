"""What is kept of a command's output, what is taken out of it, and who reads what comes after its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import wait_for

from offbeat.core.model import Reason
from offbeat.ports import command_output
from offbeat.ports.clock import SystemClock
from offbeat.ports.command_output import KEPT, Secrets, Tail
from offbeat.ports.command_process import CommandProcess, Ended, Signals


@pytest.fixture
def process() -> Iterator[CommandProcess]:
    with Signals() as signals:
        yield CommandProcess(clock=SystemClock(), signals=signals, beat=lambda: None, patience=0.3)


def sh(process: CommandProcess, text: str, time_limit: float = 60.0, **env: str) -> Ended:
    return process.run(("sh", "-c", text), "/", env={"PATH": os.environ["PATH"], **env}, time_limit=time_limit)


def test_only_the_last_64_kib_of_output_are_kept(process: CommandProcess) -> None:
    ended = sh(process, "yes 0123456789abcde | head -c 3000000; echo last")

    assert len(ended.output) == KEPT
    assert ended.output.endswith(b"\nlast\n")


def test_the_memory_of_a_tail_is_bounded() -> None:
    tail = Tail(limit=100)

    for number in range(10_000):
        tail.add(b"%07d\n" % number)

        assert len(tail._kept) <= 208
    assert tail.text().endswith(b"0009998\n0009999\n")
    assert tail.dropped + len(tail._kept) == 80_000


# --- after the end --------------------------------------------------------------------------------------------------------


def test_what_a_command_leaves_in_the_background_may_write_and_goes_on(process: CommandProcess, tmp_path: Path) -> None:
    # Each echo to a pipe that nobody reads would be a SIGPIPE.
    later = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo late; echo late2 >&2; touch {tmp_path}/survived"

    ended = sh(process, f"(setsid sh -c '{later}') & exit 0")
    (tmp_path / "go").touch()

    assert ended == Ended(exit_status=0)
    wait_for("the background's end", (tmp_path / "survived").exists)


def test_more_than_a_pipe_holds_may_be_written_after_the_end(process: CommandProcess, tmp_path: Path) -> None:
    later = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; head -c 5000000 /dev/zero && touch {tmp_path}/survived"

    sh(process, f"(setsid sh -c '{later}') & exit 0")
    (tmp_path / "go").touch()

    wait_for("the background's end", (tmp_path / "survived").exists)


def test_what_is_left_of_one_that_was_stopped_goes_on_too(process: CommandProcess, tmp_path: Path) -> None:
    later = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo late; touch {tmp_path}/survived"

    ended = sh(process, f"(setsid sh -c '{later}') & exec sleep 600", time_limit=0.2)
    (tmp_path / "go").touch()

    assert ended.reason is Reason.TIMED_OUT
    wait_for("the background's end", (tmp_path / "survived").exists)


def test_a_reader_of_the_rest_is_started_only_where_somebody_may_write_and_ends_with_the_writers(
    process: CommandProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    spawn = os.posix_spawnp

    def noted(*args: object, **kwargs: object) -> int:
        started.append(spawn(*args, **kwargs))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(os, "posix_spawnp", noted)
    sh(process, "echo done")
    assert started == []
    sh(process, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done & exit 0")
    assert len(started) == 1
    (tmp_path / "go").touch()

    assert os.waitpid(started[0], 0) == (started[0], 0)


def test_without_cat_the_rest_is_read_by_python(
    process: CommandProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_output, "READERS", (("no-such-cat",), command_output.READERS[-1]))
    later = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; head -c 500000 /dev/zero && touch {tmp_path}/survived"

    sh(process, f"(setsid sh -c '{later}') & exit 0")
    (tmp_path / "go").touch()

    wait_for("the background's end", (tmp_path / "survived").exists)


def test_a_grandchild_that_writes_without_end_holds_nobody(process: CommandProcess, tmp_path: Path) -> None:
    ended = sh(process, f"yes & echo $! >{tmp_path}/pid; exit 4")

    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert ended.exit_status == 4


def test_only_so_much_is_read_after_the_end_as_a_pipe_holds(tmp_path: Path) -> None:
    (tmp_path / "endless").touch()
    os.truncate(tmp_path / "endless", 5 * command_output.DRAIN)
    endless = os.open(tmp_path / "endless", os.O_RDONLY)

    assert command_output.drain(endless, Tail())

    assert os.lseek(endless, 0, os.SEEK_CUR) == command_output.DRAIN
    os.close(endless)


# --- secrets --------------------------------------------------------------------------------------------------------------


def test_no_password_of_an_address_in_the_environment_is_kept(process: CommandProcess) -> None:
    address = "amqp://user:s3cr%40t!x@broker:5672/v"

    ended = sh(process, 'echo "$OFFBEAT_BROKER"; echo "I tried s3cr@t!x and s3cr%40t!x"', OFFBEAT_BROKER=address)

    assert ended.output == b"amqp://user:***@broker:5672/v\nI tried *** and ***\n"


@pytest.mark.parametrize(
    "address",
    [
        "redis://u:hunter2A@h/7",
        "redis://u:q@hunter2A@h/7",
        "redis://u:hunter2A@q@h/7",
        "redis://u:hunter2A B@h",
        "redis://u:x hunter2A@h",
        "redis://u:a/hunter2A@h/0",
        "redis://u:a?b#hunter2A@h/0",
        "redis://h/0?password=hunter2A",
        "redis://h/0?x=1&ssl_password=hunter2A&y=2",
        "redis://h/0?password=hunter2A#top",
        "sqs://?aws_secret_access_key=hunter2A",
        "sentinel://:hunter2A@a:1;sentinel://:other@b:2",
        "mongodb://u:hunter2A@a,mongodb://u:zweites@b",
        '{"default": "redis://u:hunter2A@h/1", "other": "redis://u:zweites@h/1"}',
        "redis://u:hunter2A@h/1 and mail to root@h",
        "redis://u:a://hunter2A@h",
        "redis://u:hunter2A%20%C3%A9@h",
        "redis://u:hunter2A\udcff@h",
    ],
)
def test_no_spelling_of_an_address_gives_its_password_away(process: CommandProcess, address: str) -> None:
    ended = sh(process, 'echo "$X"; python3 -c "import os; print(os.environ)"', X=address)

    assert b"***" in ended.output
    assert b"hunter2A" not in ended.output


def test_a_client_that_takes_the_first_at_sign_for_the_last_does_not_give_the_rest_of_the_password_away() -> None:
    secrets = Secrets({"X": "redis://u:q@hunter2A@h/7"})

    assert secrets.hide(b"cannot reach hunter2A@h:6379") == b"cannot reach ***@h:6379"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"redis://u:q@hunter2A@h/7", b"redis://u:***@h/7"),
        (b"'redis://u:a/b@h/7'", b"'redis://u:***@h/7'"),
        (b"redis://h/0?password=hunter2A&x=1", b"redis://h/0?password=***&x=1"),
        (b"https://h/?x=1&access_token=hunter2A end", b"https://h/?x=1&access_token=*** end"),
        (b"http://host:8000/path and root@h", b"http://host:8000/path and root@h"),
        (b"redis://user@h and http://h/?q=1", b"redis://user@h and http://h/?q=1"),
    ],
)
def test_the_password_of_an_address_that_is_not_in_the_environment_is_not_kept(said: bytes, kept: bytes) -> None:
    assert Secrets({}).hide(said) == kept


def test_a_short_password_is_hidden_where_it_stands_in_an_address(process: CommandProcess) -> None:
    ended = sh(process, "echo redis://:pw@host/0 and pw", X="redis://:pw@host/0")

    assert ended.output == b"redis://:***@host/0 and pw\n"


def test_a_short_password_with_a_blank_is_hidden_where_it_stands_in_an_address() -> None:
    assert Secrets({"X": "redis://u:p w@host"}).hide(b"to redis://u:p w@host") == b"to redis://u:***@host"


def test_a_user_and_a_host_are_words_like_others() -> None:
    env = {"X": "postgres://postgres:hunter2A@database/postgres", "Y": "ssh://deploy@host", "Z": "https://h/a?b=c@d"}

    said = b"postgres on database, deploy to host as c@d"
    assert Secrets(env).hide(said) == said


def test_a_password_that_is_cut_by_the_limit_is_not_kept_in_part(process: CommandProcess) -> None:
    secret = "a" * 30 + "b" * 30
    filler = KEPT - 30  # the cut would be in the middle of the secret

    ended = sh(process, f"printf %s {secret}; head -c {filler} /dev/zero | tr '\\0' .", X=f"redis://:{secret}@host")

    assert b"b" not in ended.output
    assert ended.output.endswith(b"***" + b"." * filler)


@pytest.mark.parametrize("said", [b"a" * KEPT, b"a://:" * (KEPT // 5), b"://:" * (KEPT // 4), b"&token" * (KEPT // 6)])
def test_output_that_looks_like_addresses_without_end_is_no_work_without_end(said: bytes) -> None:
    assert Secrets({}).hide(said) == said
