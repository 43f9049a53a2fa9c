"""Commands: how each is started, watched beside others, stopped at its time limit, and what is kept of its output.

Never touches the ledger and never starts a command twice. Its authority for files of a tree is OpenShift 2's run-parts.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType

from offbeat.core.model import CommandCall, Reason
from offbeat.ports.clock import Clock
from offbeat.ports.command_output import Secrets, Tail, drain, hand_over

PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL
BEAT = 10.0  # seconds between two heartbeats
BARE_PATH = "/usr/local/bin:/usr/bin:/bin"
PR_SET_PDEATHSIG = 1


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


@dataclass(slots=True, eq=False, kw_only=True)
class Running:
    """One command that was started. stop_at: when to act next (SIGTERM, SIGKILL, give up). read: its output's end."""

    process: subprocess.Popen[bytes]
    read: int
    env: Mapping[str, str]
    time_limit: float
    stop_at: float
    tail: Tail = field(default_factory=Tail)
    is_read: bool = True  # False once it has closed its output
    asked: Reason = Reason.NONE
    killed: bool = False
    abandoned: bool = False

    @property
    def has_ended(self) -> bool:
        """Return whether there is nothing more to wait for."""
        return self.abandoned or self.process.poll() is not None


@dataclass(slots=True, kw_only=True)
class CommandProcess:
    """Runs commands, each in a process group of its own. Use in the main thread only: a command ends with its thread.

    beat: called at least every BEAT seconds while commands run; it must not raise.
    """

    clock: Clock
    signals: Signals
    beat: Callable[[], None]
    patience: float = PATIENCE
    beat_every: float = BEAT
    kill: Callable[[int, int], None] = os.killpg
    _next_beat: float | None = field(default=None, init=False)

    def run(self, argv: Sequence[str], cwd: str, *, env: Mapping[str, str], time_limit: float) -> Ended:
        """Start `argv` and return when it has ended, or was stopped at `time_limit` seconds or by a signal to us."""
        started = self.start(argv, cwd, env=env, time_limit=time_limit)
        if isinstance(started, Ended):
            return started
        self.wait([started])
        return self.end(started)

    def start(self, argv: Sequence[str], cwd: str, *, env: Mapping[str, str], time_limit: float) -> Running | Ended:
        """Start `argv` and return at once; how it ended when it could not be started. `wait` watches it, `end` tells."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        try:
            process = start(argv, cwd, env=env, output=write)
        except (OSError, ValueError) as exc:  # ValueError: a word, or a variable, that no program can be given
            os.close(read)
            return Ended(reason=Reason.NOT_STARTED, note=why_not_started(argv[0], cwd, exc))
        finally:
            os.close(write)
        return Running(process=process, read=read, env=env, time_limit=time_limit, stop_at=self.clock.monotonic() + time_limit)

    def wait(self, running: Sequence[Running]) -> list[Running]:
        """Return those that have ended, as soon as there is one; meanwhile read what they write, and stop what is due."""
        while True:
            now = self.clock.monotonic()
            if self._next_beat is None:
                self._next_beat = now + self.beat_every
            elif now >= self._next_beat:
                self.beat()
                self._next_beat = now + self.beat_every
            for one in running:
                if not one.has_ended:
                    self._stop_if_due(one, now)
            if ended := [one for one in running if one.has_ended]:
                return ended
            self._read(running, min(self._next_beat, *(one.stop_at for one in running)) - now)

    def end(self, running: Running) -> Ended:
        """Return how it ended. Only the program itself is waited for: what it leaves in the background goes on.

        What that writes from now on is read and forgotten by a reader of its own, so that it may go on writing.
        """
        if running.abandoned:
            running.process.returncode = -signal.SIGKILL  # as far as anybody can know; it is init's from now on
        elif running.asked:
            self._kill(running.process.pid, signal.SIGKILL)  # what is left of its group
        if drain(running.read, running.tail):
            hand_over(running.read)
        os.close(running.read)
        return self._verdict(running, running.tail.text(Secrets(running.env)))

    def _read(self, running: Sequence[Running], seconds: float) -> None:
        by_fd = {one.read: one for one in running if one.is_read}
        for fd in self.signals.wait(list(by_fd), seconds):
            if not (chunk := os.read(fd, 65536)):
                by_fd[fd].is_read = False  # it closed its output, and goes on
            by_fd[fd].tail.add(chunk)

    def _stop_if_due(self, one: Running, now: float) -> None:
        if not one.asked:
            if now < one.stop_at and not self.signals.stopping:
                return
            one.asked = Reason.TIMED_OUT if now >= one.stop_at else Reason.RUNNER_DIED
            one.stop_at = now + self.patience
            self._kill(one.process.pid, signal.SIGTERM)
        elif now >= one.stop_at:
            one.abandoned = one.killed  # SIGKILL has not helped: not ours to stop, or stuck in the kernel
            one.killed = True
            one.stop_at = now + self.patience
            self._kill(one.process.pid, signal.SIGKILL)

    def _kill(self, group: int, number: int) -> None:
        try:
            self.kill(group, number)
        except (ProcessLookupError, PermissionError):
            pass  # it is gone already, or another user's: then the next step gives it up

    def _verdict(self, running: Running, output: bytes) -> Ended:
        code = running.process.returncode
        status = code if code >= 0 else 128 - code
        if running.asked:
            late = running.asked is Reason.TIMED_OUT
            how = f"stopped at its time limit of {running.time_limit:g} s" if late else ""
            how = how or f"stopped: its supervisor got {self.signals.stopping}"
            note = f"{how}; it could not be killed and may still run" if running.abandoned else how
            return Ended(reason=running.asked, exit_status=status, output=output, note=note)
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
    bound = end_with_parent()

    def popen(words: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=bound,
        )

    try:
        return popen(argv)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
        return popen((shell(env), *argv))


def end_with_parent() -> Callable[[], None] | None:
    """Return what a child does before it becomes the command, so that the kernel kills it with us; None where it cannot.

    Only the program itself: its own children, and a program with other rights than ours (setuid), do not get the signal.
    """
    if sys.platform != "linux":
        return None
    try:
        from ctypes import CDLL

        prctl = CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    parent = os.getpid()

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it was killed before we asked
            os._exit(128 + signal.SIGKILL)

    return bind


def shell(env: Mapping[str, str]) -> str:
    """Return bash, or sh where there is no bash."""
    for folder in [*env.get("PATH", BARE_PATH).split(os.pathsep), *BARE_PATH.split(os.pathsep)]:
        path = os.path.join(folder, "bash")
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    return "/bin/sh"


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


def bare_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what cron may have left out: HOME, PATH."""
    env = dict(environ)
    env.setdefault("PATH", BARE_PATH)
    if "HOME" not in env:
        env["HOME"] = os.path.expanduser("~") if os.path.expanduser("~") != "~" else "/"
    return env
