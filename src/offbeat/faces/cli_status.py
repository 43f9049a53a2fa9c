"""`offbeat status`: where the ledger is, which tree is in force, and who ticks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from offbeat.errors import Problem, Severity
from offbeat.faces.cli_check import problem_row
from offbeat.faces.cli_history import open_existing
from offbeat.faces.cli_run import Span
from offbeat.faces.cli_session import Command, Session, by_place, errors_in, json_option, print_json, print_problems
from offbeat.faces.words import conceal, count_of, format_duration, format_relative, format_utc, printable

if TYPE_CHECKING:
    from offbeat.ports.ledger_values import LedgerStatus
    from offbeat.runners.site import Site

TICKERS = frozenset({"tick", "run"})


@click.command(
    cls=Command,
    examples=(
        "offbeat status",
        "offbeat status --max-age 5m || mail -s 'nobody ticks' ops",
        "offbeat status --json | jq '.[0].last_tick_at'",
    ),
)
@click.option("--max-age", type=Span(), metavar="SPAN", help="Exit 1 when no tick was seen for so long.")
@json_option
@click.pass_context
def status(ctx: click.Context, max_age: float | None, as_json: bool) -> None:
    """Show the ledger, the tree in force and who ticks.

    Exit 1: the newest tree was refused, the ledger is ahead of the clock, or (--max-age) nobody has ticked for that long.
    """
    session: Session = ctx.obj
    site = session.open_site()
    ledger = open_existing(site)
    if ledger is None:
        ctx.exit(_no_ledger(session, site, max_age, as_json))
    told = ledger.status()
    problems = [*refused_problems(told), *clock_problems(told)]
    ticked = last_tick(told)
    stale = max_age is not None and (ticked is None or told.now - ticked > max_age)
    if as_json:
        print_json([_row(site, told, problems)])
    else:
        for label, text in _lines(site, told, ticked):
            click.echo(f"{label + ':':<11} {printable(conceal(text))}")
        print_problems(by_place(problems), err=False)
        if stale:
            click.echo(
                f"no tick was seen for {format_duration(max_age or 0)}; is cron running? offbeat install crontab", err=True
            )
    ctx.exit(int(stale or told.refused_whole or told.ahead > 0))


def last_tick(told: LedgerStatus) -> float | None:
    """Return when a tick or a resident runner was last seen."""
    return max((seen.seen_at for seen in told.runners if seen.runner.role in TICKERS), default=None)


def refused_problems(told: LedgerStatus) -> list[Problem]:
    """Return the problems of the newest tree, as the ledger remembers them."""
    rows = json.loads(told.refused) if told.refused else []
    return [
        Problem(
            code=str(row.get("code", "")),
            what=str(row.get("what", "")),
            why=str(row.get("why", "")),
            fix=str(row.get("fix", "")),
            file=str(row.get("file", "")),
            line=int(row.get("line") or 0),
            severity=Severity(row.get("severity", "error")),
            entry=str(row.get("entry", "")),
        )
        for row in rows
    ]


def clock_problems(told: LedgerStatus) -> list[Problem]:
    """Return what is to be said of a ledger that has believed a time which has not come; none for any other."""
    from offbeat.runners.tick import ahead_problem

    return [ahead_problem(told.where, told.now, told.ahead)] if told.ahead > 0 else []


def _no_ledger(session: Session, site: Site, max_age: float | None, as_json: bool) -> int:
    """Tell how things stand before the first tick; return the exit code."""
    schedule, problems = site.read()
    if as_json:
        print_json(
            [
                {
                    "ledger": conceal(site.ledger_address),
                    "project": schedule.project if schedule else None,
                    "revision": 0,
                    "tree": str(site.tree),
                    "tree_state": "new" if schedule else "refused",
                    "last_tick_at": None,
                    "problems": [problem_row(problem) for problem in by_place(problems)],
                }
            ]
        )
    else:
        click.echo(f"ledger:     {printable(conceal(site.ledger_address))}, not there yet; the first `offbeat tick` makes it")
        click.echo(f"tree:       {printable(str(site.tree))}")
        if schedule is None:
            print_problems(by_place(errors_in(problems)), err=False)
    return int(schedule is None or max_age is not None)


def _tree_state(told: LedgerStatus) -> str:
    if told.refused_whole:
        return "refused"
    return "accepted" if told.revision else "new"


def _lines(site: Site, told: LedgerStatus, ticked: float | None) -> list[tuple[str, str]]:
    since = f", in force since {format_utc(told.activated_at)}" if told.activated_at is not None else ""
    revision = f"{told.revision}{since}" if told.revision else "none yet; the first `offbeat tick` compiles the tree"
    if told.refused_whole:
        tree = f"{site.tree}: REFUSED, the last good schedule (revision {told.revision}) stays in force"
    else:
        errors = len(errors_in(refused_problems(told)))
        tree = f"{site.tree}" + (f": in force but for {count_of(errors, 'problem')}" if errors else "")
    lines = [
        ("project", told.project),
        ("ledger", f"{told.where}, schema {told.schema}"),
        ("tree", tree),
        ("revision", revision),
        ("last tick", _when(ticked, told.now, "none seen; offbeat install crontab, or offbeat run")),
        ("next due", _when(told.next_due, told.now, "nothing")),
        ("waiting", f"{told.pending} pending, {told.claimed} claimed, {told.undelivered} undelivered"),
    ]
    return lines + _runners(told)


def _runners(told: LedgerStatus) -> list[tuple[str, str]]:
    """Return a line for each resident runner, and one for all of the others of one kind on one host."""
    lately: dict[tuple[str, str, str], list[float]] = {}
    for seen in told.runners:
        role, host, name = seen.runner.role, seen.runner.host, seen.runner.id
        lately.setdefault((role, host, name if role == "run" else ""), []).append(seen.seen_at)
    lines = []
    for (role, host, name), times in lately.items():
        often = f", {len(times)} lately" if len(times) > 1 else ""
        who = f"{role} on {host}{f' ({name})' if name else ''}"
        lines.append(("runner", f"{who}, seen {format_relative(max(times), told.now)}{often}"))
    return lines


def _when(instant: float | None, now: float, none: str) -> str:
    return none if instant is None else f"{format_utc(instant)}, {format_relative(instant, now)}"


def _row(site: Site, told: LedgerStatus, problems: Sequence[Problem]) -> Mapping[str, object]:
    return {
        "ledger": conceal(told.where),
        "project": told.project,
        "schema": told.schema,
        "revision": told.revision,
        "digest": told.digest,
        "activated_at": format_utc(told.activated_at) or None,
        "tree": str(site.tree),
        "tree_state": _tree_state(told),
        "problems": [problem_row(problem) for problem in by_place(problems)],
        "now": format_utc(told.now),
        "last_tick_at": format_utc(last_tick(told)) or None,
        "next_due_at": format_utc(told.next_due) or None,
        "pending": told.pending,
        "claimed": told.claimed,
        "undelivered": told.undelivered,
        "runners": [
            {"id": seen.runner.id, "role": seen.runner.role, "host": seen.runner.host, "seen_at": format_utc(seen.seen_at)}
            for seen in told.runners
        ],
    }
