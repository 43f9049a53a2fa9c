"""`offbeat history`: what became of the occurrences, from the ledger."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from offbeat.core.model import TROUBLE, Instant, Reason, State
from offbeat.faces.cli_session import Command, Session, complete_entries, json_option, print_json, print_table
from offbeat.faces.words import (
    conceal,
    did_you_mean,
    format_duration,
    format_utc,
    parse_instant,
    parse_span,
    parse_when,
    printable,
)

if TYPE_CHECKING:
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import HistoryRow
    from offbeat.runners.site import Site

MOST = 1_000_000
BY = "by "  # begins the note of what a worker with the guard has started: then its id, HOST:PID:worker:...
SILENT = 150.0  # seconds: five signs of life of a worker


@click.command(
    cls=Command,
    examples=(
        "offbeat history -n 20",
        "offbeat history weekly_report --since 7d",
        "offbeat history --failed --json",
        "offbeat history hourly/rotate-logs.sh --output -n 1    what it wrote",
    ),
)
@click.argument("name", required=False, default="", shell_complete=complete_entries)
@click.option("-n", "limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="The newest so many.")
@click.option("--since", metavar="WHEN", help='Not before: an instant, or a span before now like "2h".')
@click.option("--failed", is_flag=True, help="Only what failed or was never delivered.")
@click.option("--output", is_flag=True, help="Also what commands wrote (its last 64 KiB).")
@json_option
@click.pass_obj
def history(session: Session, name: str, limit: int, since: str | None, failed: bool, output: bool, as_json: bool) -> None:
    """Show what became of the occurrences of NAME, or of all; the newest last.

    With -v also the first eight characters of each task's id; --json has all of them.
    """
    site = session.open_site()
    start = _instant(session, since)
    ledger = open_existing(site)
    found = ledger.history(name, limit, start, states=TROUBLE if failed else ()) if ledger else []
    rows = sorted(say_who_runs(ledger, found), key=_oldest_first)
    if not rows and name:
        _require_entry(site, name)
    if as_json:
        print_json(_row(row) | (_written(ledger, row) if output else {}) for row in rows)
    elif output:
        _print_outputs(ledger, rows)
    else:
        columns = ("DUE", "ENTRY", "STATE", "WHY", "SENT", *(("TASK ID",) if session.verbose else ()), "NOTE")
        print_table(columns, [_cells(row, with_id=session.verbose > 0) for row in rows])
        if not rows and not session.quiet:
            click.echo("nothing yet" if ledger else "nothing yet: no ledger; the first `offbeat tick` makes one", err=True)


def open_existing(site: Site) -> Ledger | None:
    """Return the ledger for reading only; None where its file is not there yet, so that looking makes none."""
    from offbeat.ports.ledger_open import open_ledger

    address = site.ledger_address
    file = address.partition("?")[0].removeprefix("sqlite:///")
    if address.startswith("sqlite:///") and file and not os.path.lexists(file):
        from offbeat.ports.ledger_sqlite import share_of

        share_of(address.partition("?")[2])  # what no tick can open is told here too
        return None
    ledger = open_ledger(address, clock=site.clock, project=site.project, owner=site.owner, read_only=True)
    click.get_current_context().call_on_close(ledger.close)
    return ledger


def _instant(session: Session, since: str | None) -> int | None:
    if since is None:
        return None
    now = session.clock.now()
    instant = parse_instant(since, now) if parse_span(since) is None else parse_when(since, now, past=True)
    if instant is None:
        raise click.BadParameter(
            f'"{since}" is no instant and no span; write it like 2026-03-01T02:30:00Z or 2h', param_hint="--since"
        )
    return instant


def _oldest_first(row: HistoryRow) -> tuple[int, float, str, str, int]:
    """Return what is sorted by: due time (a gap counts from its last one), and in one second as it was recorded."""
    return row.due_at if row.until is None else row.until, row.recorded_at or 0.0, row.entry, row.kind, row.due_at


def _require_entry(site: Site, name: str) -> None:
    """Say which entry was probably meant, when there is none of that name."""
    schedule, _ = site.read()
    known = [entry.name for entry in schedule.entries] if schedule else []
    if schedule and name not in known:
        raise click.UsageError(f'there is no entry "{printable(name)}", and no history of one{did_you_mean(name, known)}')


def _row(row: HistoryRow) -> dict[str, object]:
    shown: dict[str, object] = {
        "entry": row.entry,
        "due_at": format_utc(row.due_at),
        "state": str(row.state),
        "reason": str(row.reason),
        "cause": str(row.cause),
        "task_id": row.task_id,
        "dispatched_at": format_utc(row.dispatched_at) or None,
        "kind": str(row.kind),
        "attempt": row.attempt,
        "started_at": format_utc(row.started_at) or None,
        "finished_at": format_utc(row.finished_at) or None,
        "exit_status": row.exit_status,
        "note": note_of(row),
    }
    if row.until is not None:
        shown |= {"until": format_utc(row.until), "count": row.count}
    return shown


def _written(ledger: Ledger | None, row: HistoryRow) -> dict[str, object]:
    wrote = _output(ledger, row)
    return {"output": None if wrote is None else wrote.decode("utf-8", "replace")}


def _cells(row: HistoryRow, *, with_id: bool = False) -> tuple[str, ...]:
    due, number = format_utc(row.due_at), (row.task_id[:8],) if with_id else ()
    if row.until is not None:
        state, until = f"{row.state} x {row.count}", f"until {format_utc(row.until)}"
        return due, row.entry or "(all)", state, str(row.reason), "", *number, until
    said = f"exit status {row.exit_status}"  # in the note, where there is nothing else to say
    notes = [note] if (note := note_of(row)) and note != said else []
    if row.exit_status is not None:
        notes.insert(0, f"exit {row.exit_status}")
    if row.started_at is not None and row.finished_at is not None:
        notes.append(f"took {format_duration(row.finished_at - row.started_at)}")
    if row.next_try_at is not None and row.state is State.PENDING:
        notes.append(f"next try {format_utc(row.next_try_at)}")
    why = str(row.reason) if row.reason is not Reason.NONE else str(row.cause)
    return due, row.entry, str(row.state), why, format_utc(row.dispatched_at), *number, ", ".join(notes)


def note_of(row: HistoryRow) -> str:
    """Return what went wrong, in words; not what an earlier attempt met of what has succeeded since."""
    return "" if row.state is State.SUCCEEDED else conceal(row.note)


def say_who_runs(ledger: Ledger | None, rows: Sequence[HistoryRow]) -> Sequence[HistoryRow]:
    """Return the rows with the worker that has started one in words, and since when it was not seen, if it may be gone."""
    if ledger is None or not any(row.note.startswith(BY) for row in rows):
        return rows
    status = ledger.status()
    seen = {one.runner.id: one.seen_at for one in status.runners}
    return [replace(row, note=who_runs(row, seen, status.now)) if row.note.startswith(BY) else row for row in rows]


def who_runs(row: HistoryRow, seen: Mapping[str, Instant], now: Instant) -> str:
    """Return what to say of the worker that has started it. seen: when each was seen last, by id; now: by that clock."""
    worker = row.note.removeprefix(BY)
    host, pid, *_ = [*worker.split(":"), ""]
    words = f"on {host} (pid {pid})"
    if row.state not in (State.STARTED, State.RETRYING):
        return words
    if worker not in seen:
        return f"{words}, a worker not seen for a day"
    if now - seen[worker] > SILENT:
        return f"{words}, a worker not seen since {format_utc(seen[worker])}"
    return words


def _output(ledger: Ledger | None, row: HistoryRow) -> bytes | None:
    return ledger.output(row.key) if ledger and row.key else None


def _unfinished(row: HistoryRow) -> str:
    """Return what is to be said of a command that has not ended; "" for all else. Only a task's message has an id."""
    if row.task_id:
        return ""
    return {State.DISPATCHED: "not started yet", State.STARTED: "still running"}.get(row.state, "")


def _print_outputs(ledger: Ledger | None, rows: Sequence[HistoryRow]) -> None:
    """Print what each command wrote, as it wrote it, after a line that says which one it was."""
    shown = 0
    for row in rows:
        wrote = _output(ledger, row)
        text = _unfinished(row) if wrote is None else wrote.decode("utf-8", "replace")
        if wrote is None and not text:
            continue
        shown += 1
        click.echo(f"==> {'  '.join(printable(cell) for cell in _cells(row) if cell)}")
        click.echo(text, nl=not text.endswith("\n"))
    if not shown:
        click.echo("no output is kept for these occurrences; only commands have one", err=True)
