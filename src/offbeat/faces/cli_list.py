"""`offbeat list`: the entries as the files have them now, and which of them the ledger has paused. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from offbeat.core.model import CommandCall, Entry, Overlap, TaskCall
from offbeat.errors import OffbeatError
from offbeat.faces.cli_session import Command, Session, json_option, print_json, print_table, read_schedule
from offbeat.faces.ledger_check import tell_undeployed
from offbeat.faces.words import format_recurrence, format_utc, recurrence_words

if TYPE_CHECKING:
    from offbeat.ports.ledger_values import LedgerStatus, Paused
    from offbeat.runners.site import Site


@click.command("list", cls=Command, examples=("offbeat list", "offbeat list --json | jq -r '.[].entry'"))
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the entries: when they are due, what is sent, and where they are written."""
    site = session.open_site()
    schedule = read_schedule(site)
    entries = sorted(schedule.entries, key=lambda entry: entry.name)
    told, paused = _standing(site)
    if as_json:
        print_json(_row(entry, _holds(paused, entry)) for entry in entries)
        return
    print_table(("ENTRY", "WHEN", "ZONE", "WHAT", "TO", "WHERE"), [_cells(entry, _holds(paused, entry)) for entry in entries])
    tell_undeployed(schedule, told)
    if not entries and not session.quiet:
        click.echo("no entries yet; add one: offbeat add hourly NAME", err=True)


def _standing(site: Site) -> tuple[LedgerStatus | None, Mapping[str, Paused]]:
    """Return the ledger's summary, and the pauses that hold now, by the entry's name, "" for all; none when it cannot tell."""
    from offbeat.faces.cli_history import open_existing
    from offbeat.faces.cli_pause import pauses_now

    try:
        ledger = open_existing(site)
        return (ledger.status(), {each.name: each for each in pauses_now(ledger)}) if ledger else (None, {})
    except OffbeatError:
        return None, {}


def _holds(paused: Mapping[str, Paused], entry: Entry) -> Paused | None:
    return paused.get(entry.name) or paused.get("")


def describe(call: TaskCall | CommandCall) -> str:
    """Return what is sent or run, in one line."""
    if isinstance(call, CommandCall):
        return " ".join(call.argv) if call.directory else call.argv[-1]
    return call.task


def place(entry: Entry) -> str:
    """Return file:line, as editors jump to it."""
    return f"{entry.file}:{entry.line}" if entry.line else entry.file


def _cells(entry: Entry, paused: Paused | None) -> tuple[str, str, str, str, str, str]:
    remarks = [] if entry.timing.enabled else ["disabled"]
    if paused:
        remarks.append("paused" + (f" until {format_utc(paused.until_at)}" if paused.until_at is not None else ""))
    if entry.policy.overlap is not Overlap.ALLOW:
        remarks.append(f"overlap: {entry.policy.overlap}")
    when = recurrence_words(entry.timing.recurrence, entry.timing.zone) + (f" ({', '.join(remarks)})" if remarks else "")
    to = f"queue {entry.call.queue}" if isinstance(entry.call, TaskCall) else "command"
    return entry.name, when, entry.timing.zone, describe(entry.call), to, place(entry)


def _row(entry: Entry, paused: Paused | None) -> Mapping[str, object]:
    call = entry.call
    is_task = isinstance(call, TaskCall)
    return {
        "entry": entry.name,
        "kind": "task" if is_task else "command",
        "recurrence": format_recurrence(entry.timing.recurrence),
        "zone": entry.timing.zone,
        "enabled": entry.timing.enabled,
        "is_paused": paused is not None,
        "paused_until_at": format_utc(paused.until_at) or None if paused else None,
        "overlap": str(entry.policy.overlap),
        "max_runtime_s": entry.policy.max_runtime,
        "task": call.task if isinstance(call, TaskCall) else None,
        "queue": call.queue if isinstance(call, TaskCall) else None,
        "args": list(call.args) if isinstance(call, TaskCall) else None,
        "kwargs": json.loads(json.dumps(dict(call.kwargs))) if isinstance(call, TaskCall) else None,
        "command": None if is_task else describe(call),
        "description": entry.description,
        "file": entry.file,
        "line": entry.line or None,
    }
