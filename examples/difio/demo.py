"""Shows offbeat at work: this project, a real Celery worker and `offbeat run`, with entries due every few seconds.

Usage: python demo.py [--seconds N]. Works on a copy in a temporary folder, ends by itself, and leaves nothing behind.
Exit status 1 when what was due, what was sent and what the worker received are not the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from demo_view import Entry, Picture, Plain, Terminal, View, WorkerLog, format_summary

from offbeat.errors import OffbeatError
from offbeat.ports.clock import SystemClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_values import HistoryRow
from offbeat.runners.site import open_site

EXAMPLE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
BEAT = 0.2  # seconds between two looks
MOST_ROWS = 5000
CLOCK = SystemClock()

ENTRIES = (
    Entry(name="search_dates", every=5, rule="every 5s"),
    Entry(name="refresh_packages", every=7, rule="every 7s"),
    Entry(name="advise_maintainers", every=10, rule="every 10s, jitter 4s"),
    Entry(name="disk_usage", every=15, rule="every 15s, a command", is_command=True),
    Entry(name="weekly_report", every=60, rule="a link in minutely/"),
)
SCHEDULE = """\
project = "difio-demo"
timezone = "Europe/Sofia"
task_prefix = "difio.tasks."

[broker]
transport_options = { data_folder_in = "var/broker/messages", data_folder_out = "var/broker/messages", \
control_folder = "var/broker/control" }

[entries.search_dates]
every = "5s"

[entries.refresh_packages]
every = "7s"

[entries.advise_maintainers]
every = "10s"
jitter = "4s"

[entries.disk_usage]
command = "du -sh var"
every = "15s"
"""


class Stopped(Exception):
    """A signal came before the show began."""


class Signals:
    """Remembers that somebody wants the end; the loop looks at it between its steps."""

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.came = True


@dataclass(slots=True, kw_only=True)
class Program:
    """A child in a process group of its own, its output in a file."""

    name: str
    child: subprocess.Popen[bytes]
    log: Path

    def stop(self, seconds: float) -> None:
        """Ask it to end, wait, kill what is left of its group, and reap it. Safe to call twice."""
        if self.child.poll() is None:
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def require_alive(self) -> None:
        if self.child.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise SystemExit(f"demo: {self.name} ended with status {self.child.returncode}:\n{tail}")


@dataclass(slots=True, kw_only=True)
class Stage:
    """The copied project, its environment, and the programs that were started on it."""

    folder: Path
    signals: Signals
    programs: list[Program]

    @property
    def project(self) -> Path:
        return self.folder / "difio"

    @property
    def environ(self) -> dict[str, str]:
        """Return a small environment: addresses that the caller uses for real work must not be touched by a demo."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ}
        if path := os.environ.get("PYTHONPATH"):
            kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep) if part)
        return kept | {
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DIFIO_VAR": str(self.project / "var"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "OFFBEAT_TREE": str(self.project / "cron"),
            "OFFBEAT_LEDGER": f"sqlite:///{self.folder / 'ledger.db'}",
            "OFFBEAT_BROKER": "filesystem://",
        }

    def start(self, name: str, *argv: str) -> Program:
        log = self.folder / f"{argv[1]}-{len(self.programs)}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                argv,
                cwd=self.project,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name=name, child=child, log=log)
        self.programs.append(program)
        return program

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Return whether `until` came true in time."""
        end = CLOCK.monotonic() + seconds
        while not until():
            if CLOCK.monotonic() >= end:
                return False
            CLOCK.sleep_until(CLOCK.now() + BEAT / 2)
        return True

    def prepare(self, seconds: float, done: Callable[[], bool], program: Program) -> None:
        """Wait for one step of the preparation. Raises Stopped on a signal, SystemExit when it does not come."""
        if not self.wait(lambda: done() or self.signals.came or program.child.poll() not in (None, 0), seconds):
            raise SystemExit(f"demo: {program.name} was not ready after {seconds:.0f} s:\n{program.log.read_text()[-2000:]}")
        if self.signals.came:
            raise Stopped
        if not done():
            program.require_alive()


@contextlib.contextmanager
def open_stage(signals: Signals) -> Iterator[Stage]:
    """Yield a stage; afterwards none of its programs runs and its folder is gone."""
    folder = Path(tempfile.mkdtemp(prefix="offbeat-demo-"))
    stage = Stage(folder=folder, signals=signals, programs=[])
    try:
        yield stage
    finally:
        for program in reversed(stage.programs):
            program.stop(5)
        shutil.rmtree(folder, ignore_errors=True)


def copy_project(stage: Stage) -> None:
    """Copy the example, with a cron tree whose entries are due every few seconds."""
    left_out = shutil.ignore_patterns("var", "before", "hourly", "daily", "__pycache__")
    shutil.copytree(EXAMPLE, stage.project, symlinks=True, ignore=left_out)
    tree = stage.project / "cron"
    (tree / "minutely").mkdir()
    (tree / "minutely" / "weekly_report").symlink_to("../tasks/run_celery_task")
    (tree / "schedule.toml").write_text(SCHEDULE, encoding="utf-8")


def set_up(stage: Stage, say: Callable[[str], None]) -> tuple[Program, Program]:
    """Return the worker and the runner, both at work."""
    say(f"copying the example project to {stage.folder}")
    copy_project(stage)
    say("making its tables: manage.py migrate")
    migrate = stage.start("manage.py migrate", sys.executable, "manage.py", "migrate", "--verbosity", "0")
    stage.prepare(60, lambda: migrate.child.poll() == 0, migrate)
    say("starting a Celery worker on the file-system transport")
    celery = (sys.executable, "-m", "celery", "--quiet", "--app", "difio", "worker")
    options = ("--loglevel", "INFO", "--concurrency", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")
    worker = stage.start("the Celery worker", *celery, *options)
    stage.prepare(60, lambda: " ready." in worker.log.read_text(errors="replace"), worker)
    say("starting offbeat run")
    runner = stage.start("offbeat run", sys.executable, "-m", "offbeat", "run")
    stage.prepare(60, lambda: " started " in runner.log.read_text(errors="replace"), runner)
    return worker, runner


class Show:
    """Looks at the ledger and at the worker's log, and gives the view what they say."""

    def __init__(self, stage: Stage, worker: Program, seconds: float) -> None:
        self.stage = stage
        self.begun = CLOCK.now()
        self.ends = self.begun + seconds
        self.log = WorkerLog(worker.log)
        self.rows: tuple[HistoryRow, ...] = ()
        self._site = open_site(start=stage.project, tree=None, environ=stage.environ, clock=CLOCK)
        self._ledger: Ledger | None = None

    def _open(self) -> Ledger:
        if self._ledger is None:
            site = self._site
            address, project, owner = site.ledger_address, site.project, site.owner
            self._ledger = open_ledger(address, clock=CLOCK, project=project, owner=owner, read_only=True)
        return self._ledger

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def look(self) -> Picture:
        """Return everything as it stands now."""
        with contextlib.suppress(OffbeatError):  # a ledger that is busy is asked again in a moment
            self.rows = tuple(reversed(self._open().history(limit=MOST_ROWS)))
        self.log.read()
        return Picture(now=CLOCK.now(), begun=self.begun, ends=self.ends, entries=ENTRIES, rows=self.rows, log=self.log)


def play(show: Show, view: View, worker: Program, runner: Program) -> Picture:
    """Show the minute, then let what is under way come to its end; return the last picture."""
    stage = show.stage
    while CLOCK.now() < show.ends and not stage.signals.came:
        worker.require_alive()
        runner.require_alive()
        view.show(show.look())
        CLOCK.sleep_until(CLOCK.now() + BEAT)

    def settled(done: Callable[[Picture], bool]) -> Callable[[], bool]:
        def look() -> bool:
            picture = show.look()
            view.show(picture, closing=True)
            return done(picture)

        return look

    stage.wait(settled(lambda picture: not picture.under_way), 15)
    runner.stop(15)
    stage.wait(settled(lambda picture: not picture.in_the_queue), 20)
    worker.stop(15)
    return show.look()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="how long to show it (60)")
    options = parser.parse_args()
    signals = Signals()
    view: View = Terminal() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else Plain()
    try:
        with open_stage(signals) as stage:
            worker, runner = set_up(stage, view.say)
            show = Show(stage, worker, options.seconds)
            try:
                with view:
                    picture = play(show, view, worker, runner)
            finally:
                show.close()
    except Stopped:
        view.say("stopped before it began; nothing is left behind")
        return 130
    text, equal = format_summary(picture)
    view.say(text)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
