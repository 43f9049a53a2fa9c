"""`offbeat status`: where the ledger is, which tree is in force, and who ticks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from offbeat.core.passwords import shown_address
from offbeat.errors import Problem, Severity
from offbeat.faces.cli_check import problem_row
from offbeat.faces.cli_history import open_existing
from offbeat.faces.cli_pause import pause_row
from offbeat.faces.cli_run import Span
from offbeat.faces.cli_session import Command, Session, by_place, errors_in, json_option, print_json, print_problems
from offbeat.faces.delivery import WORKER, delivery_of, ledger_kind
from offbeat.faces.status_lines import TICKERS, Standing, status_lines
from offbeat.faces.words import conceal, format_duration, format_utc, printable

if TYPE_CHECKING:
    from offbeat.ports.ledger_values import LedgerStatus, Rewound, SeenRunner
    from offbeat.runners.site import Site


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
    standing = Standing(
        told=told,
        pauses=tuple(ledger.pauses()),
        delivery=delivery_of(site, ledger, told),
        errors=len(errors_in(refused_problems(told))),
        rules=ledger.rules(),
    )
    if as_json:
        print_json([_row(site, standing, problems)])
    else:
        for label, text in status_lines(site, standing, ticked):
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
                    "ledger": shown_address(site.ledger_address),
                    "project": schedule.project if schedule else None,
                    "revision": 0,
                    "tree": None if site.from_ledger else str(site.tree),
                    "tree_state": "new" if schedule else "refused",
                    "last_tick_at": None,
                    "problems": [problem_row(problem) for problem in by_place(problems)],
                }
            ]
        )
    else:
        where = printable(shown_address(site.ledger_address))
        click.echo(f"ledger:     {where}, not there yet; the first `offbeat tick` makes it")
        click.echo(f"tree:       {'none here' if site.from_ledger else printable(str(site.tree))}")
        if schedule is None:
            print_problems(by_place(errors_in(problems)), err=False)
    return int(schedule is None or max_age is not None)


def _tree_state(told: LedgerStatus) -> str:
    if told.refused_whole:
        return "refused"
    return "accepted" if told.revision else "new"


def _row(site: Site, standing: Standing, problems: Sequence[Problem]) -> Mapping[str, object]:
    told = standing.told
    ours, guards = (
        [_runner_row(seen) for seen in told.runners if (seen.runner.role == WORKER) is guard] for guard in (False, True)
    )
    return {
        "ledger": conceal(told.where),
        "ledger_kind": ledger_kind(told.where),
        "project": told.project,
        "schema": told.schema,
        "revision": told.revision,
        "digest": told.digest,
        "rules": standing.rules,
        "activated_at": format_utc(told.activated_at) or None,
        "is_deployed": told.deployed,
        "commit": told.origin.commit,
        "author": conceal(told.origin.author),
        "is_dirty": told.origin.dirty,
        "note": conceal(told.origin.note),
        "tree": None if site.from_ledger else str(site.tree),
        "tree_state": _tree_state(told),
        "problems": [problem_row(problem) for problem in by_place(problems)],
        "now": format_utc(told.now),
        "last_tick_at": format_utc(last_tick(told)) or None,
        "looked_at": format_utc(told.looked_at) or None,
        "next_due_at": format_utc(told.next_due) or None,
        "restored_at": format_utc(told.restored_at) or None,
        "rewound": _rewound(told.rewound),
        "pending": told.pending,
        "waiting": told.waiting,
        "waits_since_at": format_utc(told.waits_since) or None,
        "claimed": told.claimed,
        "undelivered": told.undelivered,
        "delivery": str(standing.delivery),
        "pauses": [pause_row(each) for each in standing.pauses],
        "runners": ours,
        "workers": guards,
    }


def _runner_row(seen: SeenRunner) -> Mapping[str, object]:
    runner = seen.runner
    return {
        "id": runner.id,
        "role": runner.role,
        "host": runner.host,
        "seen_at": format_utc(seen.seen_at),
        "revision": runner.revision,
        "skew": runner.skew,
        "version": runner.version,
    }


def _rewound(rewound: Rewound | None) -> Mapping[str, object] | None:
    if rewound is None:
        return None
    return {"at": format_utc(rewound.at), "to_at": format_utc(rewound.to), "who": rewound.who}
