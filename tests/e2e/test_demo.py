"""`make demo` keeps its promises: what is due is sent and received, it ends by itself, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent.parent / "examples" / "difio" / "demo.py"
SUMMARY = re.compile(r"^(due|dispatched|received) +(\d+) ", re.MULTILINE)


def environment(folder: Path) -> dict[str, str]:
    """What a login has; temporary files go to `folder`, so that what is left behind can be found."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "PYTHONPATH") if name in os.environ}
    return kept | {"TMPDIR": str(folder), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}


def left_running(folder: Path) -> list[str]:
    """Return the command lines of processes that have `folder` in their environment or as their working directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = os.readlink(process / "cwd") + (process / "environ").read_bytes().decode("utf-8", "replace")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in place and process.name != str(os.getpid()):
            found.append(command)
    return found


def test_everything_due_is_sent_and_received_and_nothing_is_left_behind(tmp_path: Path) -> None:
    argv = [sys.executable, str(DEMO), "--seconds", "12"]

    done = subprocess.run(argv, env=environment(tmp_path), capture_output=True, text=True, timeout=150)

    assert done.returncode == 0, done.stdout + done.stderr
    counts = {name: int(count) for name, count in SUMMARY.findall(done.stdout)}
    assert counts["due"] == counts["dispatched"] >= 4
    assert 3 <= counts["received"] <= counts["dispatched"]
    assert "what was due, sent and received is equal" in done.stdout
    hints = done.stdout.partition("What to try next")[2].splitlines()
    assert len(hints) > 5
    assert [line for line in hints if len(line) > 80] == []
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert left_running(tmp_path) == []


def read_until(terminal: int, wanted: str, seconds: float) -> str:
    """Return what the demo wrote to its terminal, up to `wanted` or its end."""
    seen = b""
    while wanted.encode() not in seen:
        ready, _, _ = select.select([terminal], [], [], seconds)
        if not ready:
            pytest.fail(f"no {wanted!r} in {seconds} s: {seen.decode(errors='replace')}")
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the other side is closed
            chunk = b""
        if not chunk:
            break
        seen += chunk
    return seen.decode(errors="replace")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_the_live_view_and_gives_the_terminal_back(tmp_path: Path, number: signal.Signals) -> None:
    mine, its = pty.openpty()
    termios.tcsetwinsize(its, (30, 100))
    argv = [sys.executable, str(DEMO)]
    demo = subprocess.Popen(argv, env=environment(tmp_path), stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    try:
        live = read_until(mine, "Ctrl-C ends it", 90)
        demo.send_signal(number)
        rest = read_until(mine, "\0", 60)
        status = demo.wait(10)
    finally:
        demo.kill()
        demo.wait()
        os.close(mine)

    assert status == 0, rest
    assert "\x1b[?1049h" in live
    assert "\x1b[?1049l" in rest
    assert "What to try next" in rest.partition("\x1b[?1049l")[2]
    assert list(tmp_path.iterdir()) == []
    assert left_running(tmp_path) == []
