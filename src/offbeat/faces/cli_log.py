"""`offbeat log` and `diff`: the revisions that were in force, and what differs between them and the tree. Changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from offbeat.faces.cli_deploy import SHORT
from offbeat.faces.cli_history import open_existing
from offbeat.faces.cli_session import (
    LOG_CRITICAL,
    Command,
    Session,
    by_place,
    errors_in,
    is_colourful,
    json_option,
    print_json,
    print_problems,
    print_table,
)
from offbeat.faces.people import REVISION
from offbeat.faces.words import conceal, count_of, format_local_words, format_utc, printable

if TYPE_CHECKING:
    from offbeat.core.difference import EntryChange
    from offbeat.ports.ledger_values import Revision
    from offbeat.runners.deploy import Difference

MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@click.command(cls=Command, examples=("offbeat log", "offbeat log -n 1 --json | jq -r '.[0].commit'"))
@click.option("-n", "limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="The newest so many.")
@json_option
@click.pass_obj
def log(session: Session, limit: int, as_json: bool) -> None:
    """Show the revisions of the schedule, the newest first; a star marks the one in force."""
    ledger = open_existing(session.open_site(base=LOG_CRITICAL))
    rows = ledger.revisions(limit) if ledger else ()
    if as_json:
        print_json(_log_row(row) for row in rows)
        return
    print_table(("", "REV", "SINCE", "ENTRIES", "DIGEST", "COMMIT", "AUTHOR", "HOW"), [_log_cells(row) for row in rows])
    if not rows and not session.quiet:
        click.echo("no revision yet; offbeat deploy makes the first, or the first `offbeat tick`", err=True)


@click.command(
    cls=Command,
    examples=(
        "offbeat diff                           the tree against what is in force",
        "offbeat diff 3                         what is in force against revision 3",
        "offbeat diff --exit-code || offbeat deploy",
    ),
)
@click.argument("revision", type=REVISION, metavar="[REV]", required=False, default=None)
@click.option("--exit-code", is_flag=True, help="Exit 1 when something differs.")
@json_option
@click.pass_context
def diff(ctx: click.Context, revision: int | None, exit_code: bool, as_json: bool) -> None:
    """Show what a deploy of the tree would change; with REV, what has changed since that revision.

    Of each entry that differs the next due times before and after.
    """
    from offbeat.runners.deploy import difference

    session: Session = ctx.obj
    found = difference(session.open_site(base=LOG_CRITICAL), revision)
    differs = bool(found.changes or found.settings)
    if as_json:
        print_json(_rows(found))
    else:
        print_problems(by_place(errors_in(found.problems)))
        if not session.quiet:
            click.echo(_title(found, differs))
        _print(found)
    ctx.exit(int(exit_code and differs))


def _log_cells(row: Revision) -> tuple[str, ...]:
    how = "deployed" if row.origin.deployed else "compiled from a tree"
    if row.origin.dirty:
        how += ", with changes that are not committed"
    note = f": {conceal(row.origin.note)}" if row.origin.note else ""
    author = conceal(row.origin.author)
    return (
        "*" if row.active else "",
        str(row.number),
        format_utc(row.activated_at),
        str(row.entries),
        row.digest[:SHORT],
        row.origin.commit[:SHORT],
        author,
        f"{how}{note}",
    )


def _log_row(row: Revision) -> Mapping[str, object]:
    return {
        "revision": row.number,
        "is_active": row.active,
        "activated_at": format_utc(row.activated_at),
        "entries": row.entries,
        "digest": row.digest,
        "commit": row.origin.commit,
        "author": conceal(row.origin.author),
        "is_dirty": row.origin.dirty,
        "is_deployed": row.origin.deployed,
        "note": conceal(row.origin.note),
    }


def _title(found: Difference, differs: bool) -> str:
    old = f"revision {found.old}" if found.old else "nothing"
    new = "the tree" if found.new is None else f"revision {found.new}, which is in force"
    if not differs:
        return f"no difference from {old} to {new}"
    what = count_of(len(found.changes), "entry differs", "entries differ")
    return f"from {old} to {new}: {what}"


def _print(found: Difference) -> None:
    colour = is_colourful(sys.stdout)
    for change in found.changes:
        mark, shade = MARKS[change.kind]
        head = f"{mark} {printable(change.name)}" + (f": {', '.join(change.fields)}" if change.fields else "")
        click.echo(click.style(head, fg=shade) if colour else head, color=colour)
        for line in _due_lines(change):
            click.echo(f"    {line}")
    if found.settings:
        click.echo(f"~ for all entries: {', '.join(found.settings)}")


def _due_lines(change: EntryChange) -> Iterator[str]:
    """Yield the next due times before and after; one line where they are the same."""
    before, after = _due_words(change, after=False), _due_words(change, after=True)
    if change.old and change.new and change.before == change.after:
        yield f"due as before: {after}"
        return
    if change.old:
        yield f"before: {before}"
    if change.new:
        yield f"after:  {after}"


def _due_words(change: EntryChange, *, after: bool) -> str:
    entry, due_times = (change.new, change.after) if after else (change.old, change.before)
    if entry is None or not due_times:
        return "disabled" if entry and not entry.timing.enabled else "never due"
    return ", ".join(format_local_words(due, entry.timing.zone) for due in due_times)


def _rows(found: Difference) -> Iterator[Mapping[str, object]]:
    if found.settings:
        yield {"entry": None, "kind": "changed", "fields": list(found.settings), "before": [], "after": []}
    for change in found.changes:
        yield {
            "entry": change.name,
            "kind": str(change.kind),
            "fields": list(change.fields),
            "before": [format_utc(due) for due in change.before],
            "after": [format_utc(due) for due in change.after],
        }
