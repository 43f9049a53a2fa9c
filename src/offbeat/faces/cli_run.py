"""`offbeat tick` and `offbeat run`: the two runners, started by cron or by whatever keeps services alive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from offbeat.errors import Problem, Severity
from offbeat.faces.cli_session import LOG_INFO, LOG_WARNING, Command, Session, by_place, print_problems
from offbeat.faces.words import parse_span

if TYPE_CHECKING:
    from offbeat.runners.site import Site

ADOPT = "Take over a ledger file that belongs to another tree or host (the tree has moved), or was used with newer zones."


LONGEST_SPAN = 366 * 86_400  # seconds; the system's own waits end at some hundred years


class Span(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks only
    """A span of time: "50s", "2m"; a bare number is seconds."""

    name = "SPAN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value)
        seconds = parse_span(f"{text}s" if text.isdecimal() else text)
        if not seconds:
            self.fail(f'"{text}" is no span of time; write it like 50s or 2m', param, ctx)
        if seconds > LONGEST_SPAN:
            self.fail(f'"{text}" is longer than a year', param, ctx)
        return float(seconds)


@click.command(
    cls=Command,
    examples=(
        "* * * * * cd /srv/app && venv/bin/offbeat tick        the line of a crontab",
        "offbeat tick -v        and say what was sent",
    ),
)
@click.option("--max-time", type=Span(), default="50s", show_default=True, help="Stop in good time before the next one starts.")
@click.option("--adopt", is_flag=True, help=ADOPT)
@click.pass_context
def tick(ctx: click.Context, max_time: float, adopt: bool) -> None:
    """Send what is due, once, and end. Prints nothing when all is well, so that cron mails only what matters.

    Safe to start twice in the same second. A problem of the tree, or a ledger or broker that is out of reach, is told
    once for each change of it; a wrong address of the ledger by every tick. SIGTERM or Ctrl-C: settles what it has sent,
    hands back the rest, and ends with 128 and the signal's number.
    """
    from offbeat.faces.logs import TOLD
    from offbeat.ports.stop import heed
    from offbeat.runners.tick import tick as do_tick

    session: Session = ctx.obj
    site = session.open_site(base=LOG_WARNING, told=TOLD, adopt=adopt)
    heed(site.stop, site.clock)
    done = do_tick(site, seconds=max_time, again=session.verbose > 0)
    if done.problems:
        tell(session, done.problems)
    if session.verbose and not done.exit_code:
        _tell_undeployed(site)
    ctx.exit(128 + site.stop.number if site.stop.is_set else done.exit_code)


@click.command(cls=Command, examples=("offbeat run", "offbeat run --log-format json -v"))
@click.option("--adopt", is_flag=True, help=ADOPT)
@click.pass_obj
def run(session: Session, adopt: bool) -> None:
    """Stay and send what is due, to the second; log lines go to stderr.

    Picks up a changed tree by itself. SIGTERM or Ctrl-C: settles what it has sent, hands back the rest, and ends.
    """
    from offbeat.ports.stop import heed
    from offbeat.runners.daemon import Daemon

    site = session.open_site(base=LOG_INFO, adopt=adopt)
    heed(site.stop, site.clock)
    Daemon(site=site, stop=site.stop, tell=log_problems).run()


def _tell_undeployed(site: Site) -> None:
    """Say so where the tree is not what is deployed: its changes count for nothing until they are."""
    from offbeat.faces.ledger_check import ledger_summary, tell_undeployed

    schedule, _ = site.read()
    if schedule is not None:
        tell_undeployed(schedule, ledger_summary(site))


def tell(session: Session, problems: Iterable[Problem]) -> None:
    """Print problems for people; as log lines where those are JSON, so that stderr has one form only."""
    if session.log_format == "json":
        log_problems(tuple(problems))
    else:
        print_problems(by_place(problems))


def log_problems(problems: tuple[Problem, ...]) -> None:
    """Log each problem as an event of its own."""
    import logging

    from offbeat.core.events import Event

    for problem in by_place(problems):
        level = logging.WARNING if problem.severity is Severity.WARNING else logging.ERROR
        fields = {"code": problem.code, "where": problem.where, "what": problem.what, "why": problem.why, "fix": problem.fix}
        logging.getLogger("offbeat").log(level, "problem", extra={"event": Event.PROBLEM, "fields": fields})
