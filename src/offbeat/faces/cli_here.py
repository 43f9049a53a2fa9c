"""`offbeat fire --here`: run a task's function in this process, with its own traceback and pdb.

The only place where offbeat imports task code, and only because a person asked for it. Touches no ledger and no broker.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import click

from offbeat.core.model import Json, TaskCall
from offbeat.errors import ConfigError, OffbeatError, Problem
from offbeat.faces.cli_session import Session, read_schedule
from offbeat.faces.words import did_you_mean, format_duration, printable

OURS = ("offbeat", "celery", "kombu")


def run_here(session: Session, name: str, *, app: str, args: Sequence[Json] | None, kwargs: Mapping[str, Json] | None) -> int:
    """Run the task and print what it returned; return 0, or 1 when it raised (its traceback is on stderr)."""
    call = _find_call(session, name)
    try:
        celery_app = _import_app(app)
    except (OffbeatError, KeyboardInterrupt):
        raise
    except Exception:  # noqa: BLE001 - whatever the user's module raises while it is imported is shown as its own
        _print_traceback()
        return 1
    task = celery_app.tasks.get(call.task)
    if task is None:
        known = [task for task in celery_app.tasks if not task.startswith("celery.")]
        raise ConfigError(
            _problem(
                "C133",
                f'the app "{printable(app)}" has no task "{printable(call.task)}"{did_you_mean(call.task, known)}',
                "offbeat list",
            )
        )
    began = session.clock.monotonic()
    try:
        result = task.apply(
            list(call.args if args is None else args), dict(call.kwargs if kwargs is None else kwargs), throw=True
        )
    except Exception:  # noqa: BLE001 - the task's own
        _print_traceback()
        return 1
    took = format_duration(session.clock.monotonic() - began)
    click.echo(f"{call.task} returned {printable(repr(result.result))} after {took}")
    return 0


def _find_call(session: Session, name: str) -> TaskCall:
    """Return what the entry sends, from the files; a dotted name that is no entry is the task itself."""
    try:
        schedule = read_schedule(session.open_site())
    except OffbeatError:
        if "." in name:
            return TaskCall(task=name)
        raise
    for entry in schedule.entries:
        if entry.name == name:
            if isinstance(entry.call, TaskCall):
                return entry.call
            raise ConfigError(
                _problem("C134", f'"{printable(name)}" is a command, not a Celery task', f"offbeat fire {printable(name)}")
            )
    if "." not in name and not schedule.task_prefix:
        known = did_you_mean(name, (entry.name for entry in schedule.entries))
        raise ConfigError(_problem("C134", f'there is no entry "{printable(name)}"{known}', "offbeat list"))
    return TaskCall(task=name if "." in name else schedule.task_prefix + name)


def _import_app(app: str) -> Any:
    """Import the Celery app and all its task modules, as a worker does (Django's set-up included)."""
    try:
        from celery.app.utils import find_app
    except ImportError as exc:
        raise ConfigError(
            _problem(
                "C131", "celery is not installed beside offbeat", "install offbeat into the project's own virtualenv for --here"
            )
        ) from exc
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = find_app(app)
    except (ImportError, AttributeError) as exc:
        top = app.partition(":")[0].partition(".")[0]
        if isinstance(exc, ImportError) and (exc.name or "").partition(".")[0] != top:
            raise
        problem = _problem(
            "C132",
            f'there is no Celery app "{printable(app)}": {printable(str(exc))}',
            "name it as for `celery -A`: -A proj, or -A proj.celery:app",
        )
        raise ConfigError(problem) from exc
    found.loader.import_default_modules()
    found.finalize(auto=True)
    return found


def _print_traceback() -> None:
    """Print the present exception from the first frame on that is the user's own."""
    exc = sys.exception()
    if exc is None:
        return
    click.echo("".join(traceback.format_exception(type(exc), exc, _own_frames(exc.__traceback__))), err=True, nl=False)


def _own_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the frames without the leading ones of offbeat and Celery; all of them when nothing else is left."""
    left = frames
    while left is not None and str(left.tb_frame.f_globals.get("__name__", "")).partition(".")[0] in OURS:
        left = left.tb_next
    return left or frames


def _problem(code: str, what: str, fix: str) -> Problem:
    return Problem(code=code, what=what, why="nothing was run", fix=fix)
