"""One command: how it is started, watched, stopped at its time limit, and what is kept of its output.

Never touches the ledger and never starts a command twice. Its authority for files of a tree is OpenShift 2's run-parts.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from urllib.parse import unquote

from offbeat.core.model import CommandCall, Reason
from offbeat.ports.clock import Clock

KEPT = 64 * 1024  # bytes of output that are kept, the last ones
PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL
BEAT = 10.0  # seconds between two heartbeats
MARGIN = 4096  # kept beyond KEPT until secrets are replaced, so that none is cut in two
DRAIN = 1024 * 1024  # the most that a pipe holds: what the command wrote before it ended
BARE_PATH = "/usr/local/bin:/usr/bin:/bin"
HIDDEN = b"***"
USERINFO = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]*):[^\s/@'\"]+@")


class NotStarted(Exception):
    """The command is not executed; str() says why, for the ledger's note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. reason NONE: with status 0. exit_status: 128 + n after signal n; None when it never started."""

    reason: Reason = Reason.NONE
    exit_status: int | None = None
    output: bytes = b""
    note: str = ""


class Signals:
    """SIGCHLD and the requests to end, as a file descriptor to wait for and a flag. Use in the main thread only."""

    def __init__(self) -> None:
        self.stopping = ""  # the name of the signal that asked to end
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._fd_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        # Handlers, never SIG_IGN: what is ignored stays ignored in the command.
        for number in (signal.SIGCHLD, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal() returned
        signal.set_wakeup_fd(self._fd_before)
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Do nothing: the byte in the pipe wakes whoever waits."""

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = signal.Signals(number).name

    def wait(self, fds: Sequence[int], seconds: float) -> list[int]:
        """Return those of `fds` that can be read, at the latest after `seconds` or with the next signal."""
        ready, _, _ = select.select([self._read, *fds], [], [], max(0.0, seconds))
        if self._read in ready:
            os.read(self._read, 512)
        return [fd for fd in ready if fd != self._read]


class Tail:
    """The last bytes of a stream, in bounded memory."""

    def __init__(self, limit: int = KEPT + MARGIN) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.dropped = 0

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            self._cut()

    def _cut(self) -> None:
        if (over := len(self._kept) - self._limit) > 0:
            self.dropped += over
            del self._kept[:over]

    def text(self, secrets: Iterable[bytes] = ()) -> bytes:
        """Return the last KEPT bytes, without any of `secrets` and without the password of any URL."""
        self._cut()
        whole = USERINFO.sub(rb"\1:" + HIDDEN + b"@", bytes(self._kept))
        for secret in secrets:
            whole = whole.replace(secret, HIDDEN)
        return whole[-KEPT:] if len(whole) > KEPT else whole


@dataclass(slots=True)
class _Watch:
    """What is known while a command runs. stop_at: when to act next (SIGTERM, SIGKILL, give up)."""

    stop_at: float
    asked: Reason = Reason.NONE
    killed: bool = False
    abandoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandProcess:
    """Runs commands, one at a time, each in a process group of its own.

    beat: called at least every BEAT seconds while a command runs; it must not raise.
    """

    clock: Clock
    signals: Signals
    beat: Callable[[], None]
    patience: float = PATIENCE
    beat_every: float = BEAT
    kill: Callable[[int, int], None] = os.killpg

    def run(self, argv: Sequence[str], cwd: str, *, env: Mapping[str, str], time_limit: float) -> Ended:
        """Start `argv` and return when it has ended, or was stopped at `time_limit` seconds or by a signal to us.

        Only the program itself is waited for: what it leaves in the background goes on, but its output is not read any more.
        """
        read, write = os.pipe()
        os.set_blocking(read, False)
        try:
            try:
                process = start(argv, cwd, env=env, output=write)
            except (OSError, ValueError) as exc:  # ValueError: a word, or a variable, that no program can be given
                return Ended(reason=Reason.NOT_STARTED, note=why_not_started(argv[0], cwd, exc))
            finally:
                os.close(write)
            tail = Tail()
            watch = self._watch(process, read, tail=tail, time_limit=time_limit)
            drain(read, tail)
        finally:
            os.close(read)
        return self._verdict(process.returncode, watch, output=tail.text(secrets_of(env)), time_limit=time_limit)

    def _watch(self, process: subprocess.Popen[bytes], read: int, *, tail: Tail, time_limit: float) -> _Watch:
        now = self.clock.monotonic()
        watch, next_beat = _Watch(stop_at=now + time_limit), now + self.beat_every
        fds = [read]
        while process.poll() is None and not watch.abandoned:
            now = self.clock.monotonic()
            if now >= next_beat:
                self.beat()
                next_beat = now + self.beat_every
            self._stop_if_due(process, watch, now)
            for fd in self.signals.wait(fds, min(next_beat, watch.stop_at) - now):
                if not (chunk := os.read(fd, 65536)):
                    fds.clear()  # it closed its output, and goes on
                tail.add(chunk)
        if watch.asked and not watch.abandoned:
            self._kill(process.pid, signal.SIGKILL)  # what is left of its group
        elif watch.abandoned:
            process.returncode = -signal.SIGKILL  # as far as anybody can know; it is init's from now on
        return watch

    def _stop_if_due(self, process: subprocess.Popen[bytes], watch: _Watch, now: float) -> None:
        if not watch.asked:
            if now < watch.stop_at and not self.signals.stopping:
                return
            watch.asked = Reason.TIMED_OUT if now >= watch.stop_at else Reason.RUNNER_DIED
            watch.stop_at = now + self.patience
            self._kill(process.pid, signal.SIGTERM)
        elif now >= watch.stop_at:
            watch.abandoned = watch.killed  # SIGKILL has not helped: not ours to stop, or stuck in the kernel
            watch.killed = True
            watch.stop_at = now + self.patience
            self._kill(process.pid, signal.SIGKILL)

    def _kill(self, group: int, number: int) -> None:
        try:
            self.kill(group, number)
        except (ProcessLookupError, PermissionError):
            pass  # it is gone already, or another user's: then the next step gives it up

    def _verdict(self, code: int, watch: _Watch, *, output: bytes, time_limit: float) -> Ended:
        status = code if code >= 0 else 128 - code
        if watch.asked:
            asked = f"its time limit of {time_limit:g} s" if watch.asked is Reason.TIMED_OUT else self.signals.stopping
            how = f"stopped at {asked}" if watch.asked is Reason.TIMED_OUT else f"stopped: its supervisor got {asked}"
            note = f"{how}; it could not be killed and may still run" if watch.abandoned else how
            return Ended(reason=watch.asked, exit_status=status, output=output, note=note)
        if code == 0:
            return Ended(exit_status=0, output=output)
        note = f"ended by {signal_name(-code)}" if code < 0 else f"exit status {code}"
        return Ended(reason=Reason.EXIT_STATUS, exit_status=status, output=output, note=note)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def start(argv: Sequence[str], cwd: str, *, env: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
    """Start `argv`; a file that the kernel does not know how to run is run by bash, as a shell would. Raises OSError."""

    def popen(words: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0, close_fds=True
        )

    try:
        return popen(argv)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
        return popen((shell(env), *argv))


def shell(env: Mapping[str, str]) -> str:
    """Return bash, or sh where there is no bash."""
    for folder in [*env.get("PATH", BARE_PATH).split(os.pathsep), *BARE_PATH.split(os.pathsep)]:
        path = os.path.join(folder, "bash")
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    return "/bin/sh"


def drain(read: int, tail: Tail) -> None:
    """Add what the pipe holds now, without waiting for anybody who still has it open."""
    left = DRAIN
    try:
        while left > 0 and (chunk := os.read(read, 65536)):
            tail.add(chunk)
            left -= len(chunk)
    except BlockingIOError:
        pass


def start_words(call: CommandCall, tree: str) -> tuple[str, ...]:
    """Return the words that start `call`, with the path of a tree's file made absolute; a link keeps its own name.

    Looks at the files again right before they are executed. Raises NotStarted for what is world-writable or is no file.
    A file that is not executable is run as OpenShift ran it: by the interpreter that its first line names, else by bash.
    """
    if not call.directory:
        refuse_world_writable(tree, os.path.join(tree, "schedule.toml"))
        return call.argv
    path = os.path.join(tree, call.argv[0])
    real = os.path.realpath(path)
    refuse_world_writable(tree, os.path.dirname(path), os.path.dirname(real), real)
    if not os.path.isfile(real):
        raise NotStarted(f'"{call.argv[0]}" is no longer a file, or a link that leads nowhere')
    if os.access(real, os.X_OK):
        return (path, *call.argv[1:])
    return (*interpreter(real), path, *call.argv[1:])


def refuse_world_writable(*paths: str) -> None:
    """Raise NotStarted if anybody at all may write to one of `paths`; one that is not there is passed over."""
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise NotStarted(f'refused: "{path}": {exc.strerror}') from exc
        if mode & stat.S_IWOTH:
            raise NotStarted(f'refused: "{path}" is world-writable; chmod o-w "{path}"')


def interpreter(path: str) -> tuple[str, ...]:
    """Return the interpreter that the first line of a file names, bash when there is none. Raises NotStarted."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
            first = file.readline(512)
    except OSError as exc:
        raise NotStarted(f'"{path}" cannot be read: {exc.strerror}') from exc
    words = os.fsdecode(first[2:]).strip().split(None, 1) if first.startswith(b"#!") else []
    return tuple(words) or (shell(os.environ),)


def why_not_started(program: str, cwd: str, error: OSError | ValueError) -> str:
    """Return one line that says why `program` was not started."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    if not os.path.isdir(cwd):
        return f'not started: the folder "{cwd}" is not there'
    if isinstance(error, FileNotFoundError) and os.path.isfile(program):
        words = interpreter(program)
        crlf = " (the file has CRLF line ends: save it with LF)" if first_line_ends_in_crlf(program) else ""
        return f'not started: "{program}" asks for "{words[0]}", which is not there{crlf}'
    return f'not started: "{program}": {said}'


def first_line_ends_in_crlf(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
        return file.readline(512).endswith(b"\r\n")


def secrets_of(env: Mapping[str, str]) -> list[bytes]:
    """Return the passwords of all URLs in the environment, as written and decoded, longest first.

    Those of less than four characters are left out here: as words of their own they are everywhere. In a URL they are still
    hidden.
    """
    found: set[bytes] = set()
    for value in env.values():
        if "://" not in value or "@" not in value:
            continue
        for match in re.finditer(r"://[^\s/:@]*:([^\s/@]+)@", value):
            found |= {os.fsencode(match[1]), os.fsencode(unquote(match[1]))}
    return sorted((secret for secret in found if len(secret) >= 4), key=len, reverse=True)


def bare_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what cron may have left out: HOME, PATH."""
    env = dict(environ)
    env.setdefault("PATH", BARE_PATH)
    if "HOME" not in env:
        env["HOME"] = os.path.expanduser("~") if os.path.expanduser("~") != "~" else "/"
    return env
