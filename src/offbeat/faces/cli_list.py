"""`offbeat list`: the entries as the files have them now. Touches no ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from offbeat.core.model import CommandCall, Entry, TaskCall
from offbeat.faces.cli_session import Command, Session, json_option, print_json, print_table, read_schedule
from offbeat.faces.words import format_recurrence, recurrence_words


@click.command("list", cls=Command, examples=("offbeat list", "offbeat list --json | jq -r '.[].entry'"))
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the entries: when they are due, what is sent, and where they are written."""
    schedule = read_schedule(session.open_site())
    entries = sorted(schedule.entries, key=lambda entry: entry.name)
    if as_json:
        print_json(_row(entry) for entry in entries)
        return
    print_table(("ENTRY", "WHEN", "ZONE", "WHAT", "TO", "WHERE"), [_cells(entry) for entry in entries])
    if not entries and not session.quiet:
        click.echo("no entries yet; add one: offbeat add hourly NAME", err=True)


def describe(call: TaskCall | CommandCall) -> str:
    """Return what is sent or run, in one line."""
    if isinstance(call, CommandCall):
        return " ".join(call.argv) if call.directory else call.argv[-1]
    return call.task


def place(entry: Entry) -> str:
    """Return file:line, as editors jump to it."""
    return f"{entry.file}:{entry.line}" if entry.line else entry.file


def _cells(entry: Entry) -> tuple[str, str, str, str, str, str]:
    when = recurrence_words(entry.timing.recurrence, entry.timing.zone) + ("" if entry.timing.enabled else " (disabled)")
    to = f"queue {entry.call.queue}" if isinstance(entry.call, TaskCall) else "command"
    return entry.name, when, entry.timing.zone, describe(entry.call), to, place(entry)


def _row(entry: Entry) -> Mapping[str, object]:
    call = entry.call
    is_task = isinstance(call, TaskCall)
    return {
        "entry": entry.name,
        "kind": "task" if is_task else "command",
        "recurrence": format_recurrence(entry.timing.recurrence),
        "zone": entry.timing.zone,
        "enabled": entry.timing.enabled,
        "task": call.task if isinstance(call, TaskCall) else None,
        "queue": call.queue if isinstance(call, TaskCall) else None,
        "args": list(call.args) if isinstance(call, TaskCall) else None,
        "kwargs": json.loads(json.dumps(dict(call.kwargs))) if isinstance(call, TaskCall) else None,
        "command": None if is_task else describe(call),
        "description": entry.description,
        "file": entry.file,
        "line": entry.line or None,
    }
