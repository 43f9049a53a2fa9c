"""What the demo shows: the picture it is given, live on a terminal or as plain lines, and the summary at its end.

Never asks the ledger and never starts anything; demo.py does.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self
from zoneinfo import ZoneInfo

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from offbeat.core.model import State
from offbeat.ports.ledger_values import HistoryRow

LINE = re.compile(r"\d{4}-\d\d-\d\d (?P<at>\d\d:\d\d:\d\d),\d{3} (?P<text>.*)")
TASK = re.compile(r"Task (?:\w+\.)*(?P<name>\w+)\[(?P<id>[0-9a-f-]{36})\] (?P<event>\w+)(?: in (?P<seconds>[\d.]+)s)?")
SENT = (State.DISPATCHED, State.STARTED, State.RETRYING, State.SUCCEEDED, State.FAILED, State.REVOKED)
OPEN = (State.PENDING, State.WAITING, State.CLAIMED)
COLOURS = {State.PENDING: "yellow", State.CLAIMED: "magenta", State.DISPATCHED: "green", State.SUCCEEDED: "green"}
ZONE = ZoneInfo("Europe/Sofia")
WIDE = 112  # columns from which the worker's output stands beside the occurrences


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the demo's schedule. every: seconds, anchored to the epoch."""

    name: str
    every: int
    rule: str
    is_command: bool = False


@dataclass(slots=True)
class WorkerLog:
    """The worker's own output, as far as it was read."""

    path: Path
    lines: list[str] = field(default_factory=list)
    received: Counter[str] = field(default_factory=Counter)  # by task id
    ended: dict[str, str] = field(default_factory=dict)  # task id -> "12 ms", or what it said instead
    _position: int = 0
    _is_ready: bool = False

    def read(self) -> None:
        """Take in what was written since; a line that is not whole yet waits for the next time."""
        with self.path.open("rb") as log:
            log.seek(self._position)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            self._take(line)

    def _take(self, line: str) -> None:
        stamped = LINE.fullmatch(line)
        text = stamped["text"] if stamped else line
        if self._is_ready and text.strip():
            self.lines.append(f"{stamped['at']} {self._shorten(text)}" if stamped else text)
        self._is_ready = self._is_ready or text.endswith(" ready.")

    def _shorten(self, text: str) -> str:
        task = TASK.match(text)
        if not task:
            return text
        number = task["id"]
        if task["event"] == "received":
            self.received[number] += 1
            return f"{number[:8]} received {task['name']}"
        took = f"{1000 * float(task['seconds']):.0f} ms" if task["seconds"] else ""
        self.ended[number] = took or task["event"]
        return f"{number[:8]} {task['event']}{f' in {took}' if took else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything at one instant. rows: of the ledger, oldest due time first."""

    now: float
    begun: float
    ends: float
    entries: tuple[Entry, ...]
    rows: tuple[HistoryRow, ...]
    log: WorkerLog

    @property
    def commands(self) -> set[str]:
        return {entry.name for entry in self.entries if entry.is_command}

    @property
    def under_way(self) -> list[HistoryRow]:
        """Return what the runner or a command's supervisor has not finished."""
        busy = [row for row in self.rows if row.entry in self.commands and row.state in (State.DISPATCHED, State.STARTED)]
        return busy + [row for row in self.rows if row.state in OPEN]

    @property
    def in_the_queue(self) -> list[HistoryRow]:
        """Return what was sent and has not come to its end in the worker."""
        return [row for row in self.sent if row.entry not in self.commands and row.task_id not in self.log.ended]

    @property
    def due(self) -> list[HistoryRow]:
        """Return what had to be sent by now; a jittered one counts from its send time on."""
        return [row for row in self.rows if row.state not in OPEN or (row.send_at or row.due_at) <= self.now - 1]

    @property
    def sent(self) -> list[HistoryRow]:
        return [row for row in self.rows if row.state in SENT]

    @property
    def lateness(self) -> list[float]:
        """Return milliseconds from send time to dispatched, sorted."""
        return sorted(late_ms(row) for row in self.sent if row.dispatched_at is not None)


def late_ms(row: HistoryRow) -> float:
    assert row.dispatched_at is not None
    return 1000 * (row.dispatched_at - (row.send_at or row.due_at))


def local(instant: float) -> str:
    """Return the time of day in the schedule's zone, which is the worker's too."""
    return f"{datetime.fromtimestamp(instant, ZONE):%H:%M:%S}"


class View(Protocol):
    """Where the demo is shown."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def say(self, text: str) -> None:
        """Print a line or more, outside of the show."""

    def show(self, picture: Picture, *, closing: bool = False) -> None:
        """Show the picture. closing: the time is over, and what is under way is waited for."""


class Plain:
    """One line an event, without control codes: for pipes and logs."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, int], str] = {}
        self._lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def show(self, picture: Picture, *, closing: bool = False) -> None:
        for row in picture.rows:
            key = row.entry, row.due_at
            if self._states.get(key) != row.state:
                self._states[key] = row.state
                self.say(self._line(row))
        for line in picture.log.lines[self._lines :]:
            self.say(f"  worker  {line}")
        self._lines = len(picture.log.lines)

    def _line(self, row: HistoryRow) -> str:
        late = f"  {late_ms(row):.0f} ms late" if row.dispatched_at else ""
        jitter = (row.send_at or row.due_at) - row.due_at
        due = f"{local(row.due_at)}{f' +{jitter} s jitter' if jitter else ''}"
        return f"offbeat   {row.entry:<18}  due {due}  {row.state:<10}{late}  {row.task_id[:8]}".rstrip()


class Terminal:
    """The live view."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._live = Live(console=self.console, screen=True, auto_refresh=False)
        self._live.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*exc)
            self._live = None

    def say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def show(self, picture: Picture, *, closing: bool = False) -> None:
        assert self._live is not None
        size = self.console.size
        self._live.update(draw(picture, size.width, size.height, closing=closing), refresh=True)


def draw(picture: Picture, width: int, height: int, *, closing: bool) -> RenderableType:
    """Return the whole screen: entries on top; occurrences and the worker's output beside or below one another."""
    top = len(picture.entries) + 2
    layout = Layout()
    body = Layout(name="body")
    layout.split_column(Layout(draw_entries(picture, width, closing=closing), size=top), body)
    rest = height - top
    left, right = Layout(name="occurrences"), Layout(name="worker")
    if width >= WIDE:
        left.size = 78
        body.split_row(left, right)
        many, lines = rest - 3, rest - 2
    else:
        right.size = max(5, rest // 2 - 1)
        body.split_column(left, right)
        many, lines = rest - right.size - 3, right.size - 2
    left.update(Panel(draw_occurrences(picture, many), title="occurrences, from due to dispatched", border_style="blue"))
    right.update(Panel(draw_worker(picture.log, lines), title="the Celery worker's own output", border_style="cyan"))
    return layout


def draw_entries(picture: Picture, width: int, *, closing: bool) -> RenderableType:
    """Return the entries with the time to their next due time, and how long the show goes on."""
    table = Table.grid(padding=(0, 2), expand=True)
    for column in ("name", "rule", "next", "sent"):
        table.add_column(no_wrap=True, ratio=1 if column == "next" else None, justify="right" if column == "sent" else "left")
    counts = Counter(row.entry for row in picture.sent)
    cells = max(8, min(60, width - 62))
    for entry in picture.entries:
        left = entry.every - picture.now % entry.every
        full = round(cells * (1 - left / entry.every))
        bar = Text("━" * full, style="green") + Text("┄" * (cells - full), style="bright_black") + Text(f" {left:4.0f}s")
        table.add_row(Text(entry.name, style="bold"), Text(entry.rule, style="dim"), bar, f"{counts[entry.name]} sent")
    remaining = max(0.0, picture.ends - picture.now)
    ending = "closing: what is under way comes to its end" if closing else f"{remaining:.0f} s left, Ctrl-C ends it"
    return Panel(table, title=f"[bold]offbeat run[/] at {local(picture.now)}, {ending}", border_style="green")


def draw_occurrences(picture: Picture, many: int) -> RenderableType:
    """Return the newest occurrences, newest at the bottom."""
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1), header_style="dim")
    for name in ("entry", "due", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("late ms", justify="right", no_wrap=True)
    table.add_column("task id", no_wrap=True, style="dim")
    table.add_column("worker", no_wrap=True)
    for row in picture.rows[-max(1, many) :]:
        late = f"{late_ms(row):.0f}" if row.dispatched_at else f"in {max(0, (row.send_at or row.due_at) - picture.now):.0f}s"
        state = Text(row.state, style=COLOURS.get(row.state, "red"))
        jitter = (row.send_at or row.due_at) - row.due_at
        due = Text.assemble(local(row.due_at), (f" +{jitter}s" if jitter else "", "dim"))
        table.add_row(row.entry, due, state, late, row.task_id[:8], draw_fate(row, picture))
    return table


def draw_fate(row: HistoryRow, picture: Picture) -> Text:
    """Return what the worker made of it."""
    if row.entry in picture.commands:
        return Text("a command", style="dim")
    if row.task_id in picture.log.ended:
        return Text(picture.log.ended[row.task_id], style="green")
    return Text("received" if row.task_id in picture.log.received else "", style="cyan")


def draw_worker(log: WorkerLog, many: int) -> RenderableType:
    """Return the last lines, each cut to one row."""
    rows = [Text(line, no_wrap=True, overflow="ellipsis") for line in log.lines[-max(1, many) :]]
    return Group(*rows) if rows else Text("ready, and waiting for the first message", style="dim")


def format_summary(picture: Picture) -> tuple[str, bool]:
    """Return the text, and whether what was due was sent, and what was sent was received, each exactly once."""
    tasks = Counter(row.task_id for row in picture.sent if row.entry not in picture.commands)
    commands = sum(row.entry in picture.commands for row in picture.sent)
    cut_short = picture.now < picture.ends  # by a person, perhaps before anything was due
    equal = len(picture.due) == len(picture.sent) and tasks == picture.log.received and (bool(tasks) or cut_short)
    late = picture.lateness or [0.0]
    names = {row.entry for row in picture.due}
    sent = f"{counted(sum(tasks.values()), 'task')} to the broker, {counted(commands, 'command')}"
    received = sum(picture.log.received.values())
    lines = [
        "",
        f"due         {len(picture.due):>4}   occurrences of {counted(len(names), 'entry')}",
        f"dispatched  {len(picture.sent):>4}   {sent}",
        f"received    {received:>4}   by the Celery worker, {len(picture.log.ended)} of them done",
        f"lateness    p50 {late[len(late) // 2]:.0f} ms, max {late[-1]:.0f} ms, from send time to dispatched",
        "what was due, sent and received is equal" if equal else "NOT EQUAL: " + differences(picture, tasks),
        "",
        *NEXT,
    ]
    return "\n".join(lines), equal


PLURALS = {"task": "tasks", "command": "commands", "entry": "entries"}


def counted(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else PLURALS[noun]}"


NEXT = (
    "What to try next, from the top of the repository (. .venv/bin/activate first):",
    "  cd examples/difio",
    "  offbeat check                      every problem of the tree at once",
    "  offbeat next -n 3                  when each entry is due next",
    "  offbeat plan                       what would be sent, and why",
    "  export OFFBEAT_BROKER=filesystem://",
    "  offbeat fire search_dates          send one now",
    "  offbeat history                    what became of it",
)


def differences(picture: Picture, tasks: Counter[str]) -> str:
    """Return what is missing or too many, in words."""
    found = [
        f"{row.entry} due {local(row.due_at)} is {row.state} ({row.reason})" for row in picture.due if row.state not in SENT
    ]
    found += [f"{number[:8]} was sent and not received" for number in tasks - picture.log.received]
    found += [f"{number[:8]} was received more often than sent" for number in picture.log.received - tasks]
    return "; ".join(found) or "nothing was sent"
