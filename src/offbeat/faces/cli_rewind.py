"""`offbeat rewind`: set back what was decided while a clock was wrong."""

from __future__ import annotations

import sys

import click

from offbeat.faces.cli_session import LOG_CRITICAL, Command, Session, is_terminal, json_option, print_json
from offbeat.faces.people import actor
from offbeat.faces.words import count_of, format_relative, format_utc, parse_when, printable


@click.command(cls=Command, examples=("offbeat rewind --to 2026-03-01T12:00:00Z", "offbeat rewind --to 2h --yes"))
@click.option(
    "--to", "to", required=True, metavar="T", help='The last instant that was right: ISO 8601, or a span before now like "2h".'
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def rewind(session: Session, to: str, yes: bool, as_json: bool) -> None:
    """Set back what was decided for due times after T: the way home after a clock that was years ahead.

    What was decided after T is decided again, once its time comes (again). What was sent stays sent, and is not sent again.
    """
    site = session.open_site(base=LOG_CRITICAL)
    told = site.ledger.status()
    schedule = site.ledger.schedule()
    instant = parse_when(to, told.now, schedule.timezone if schedule else "UTC", past=True)
    if instant is None:
        raise click.BadParameter(f'"{printable(to)}" is no instant; write it like 2026-03-01T12:00:00Z', param_hint="--to")
    if instant > told.now:
        raise click.BadParameter(
            f"{format_utc(instant)} is after now ({format_utc(told.now)}); set the clock right first", param_hint="--to"
        )
    if not yes:
        if not is_terminal(sys.stdin):
            raise click.UsageError("nobody can be asked here; say --yes if it is meant")
        when = f"{format_utc(instant)}, {format_relative(instant, told.now)}"
        click.confirm(f"decide everything after {when} again, in {told.where}?", abort=True, err=True)
    who = actor(session)
    groups = site.ledger.rewind(instant, who)
    rewound = site.ledger.status().rewound
    went = format_utc(rewound.to if rewound else instant)
    if as_json:
        print_json([{"to": went, "groups": groups, "who": who}])
    elif not session.quiet:
        short = "" if went == format_utc(instant) else "; before that nothing can be decided again"
        click.echo(f"{count_of(groups, 'group')} set back to {went}{short}" if groups else "nothing was decided after that")
