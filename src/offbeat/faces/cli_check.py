"""`offbeat check`: every problem of the tree at once, and of the ledger's place. Changes nothing; asks the broker on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from offbeat.errors import BrokerError, ConfigError, OffbeatError, Problem, Severity
from offbeat.faces.cli_session import Command, Session, by_place, errors_in, json_option, print_json, print_problems
from offbeat.faces.words import conceal, count_of, printable

if TYPE_CHECKING:
    from offbeat.core.model import Schedule
    from offbeat.runners.site import Site


@click.command(
    cls=Command,
    examples=(
        "offbeat check",
        "offbeat check --strict        for a commit hook or a pipeline",
        "offbeat check --broker --json",
    ),
)
@click.option("--strict", is_flag=True, help="Warnings are problems too: exit 1.")
@click.option("--broker", is_flag=True, help="Also connect to the broker, and say what it cannot promise.")
@click.option("--ledger", is_flag=True, help="Also open the ledger, and say what it cannot promise.")
@json_option
@click.pass_context
def check(ctx: click.Context, strict: bool, broker: bool, ledger: bool, as_json: bool) -> None:
    """Show every problem of the tree at once, file:line first.

    Exit 0: none, or warnings only. 1: problems (with --strict: or warnings). 3: the broker, or with --ledger the ledger, is out
    of reach, or the broker has no address.
    """
    session: Session = ctx.obj
    entries, found, said, code = _look(session, broker=broker, ledger=ledger)
    problems = by_place(found)
    errors = len(errors_in(problems))
    if as_json:
        print_json(problem_row(problem) for problem in problems)
    else:
        print_problems(problems, err=False)
        if not session.quiet:
            reached = ["the broker answers"] if broker and not code else []
            click.echo(", ".join(_summary(entries, errors, len(problems) - errors) + reached))
            for line in said:
                click.echo(printable(line))
    ctx.exit(code or int(bool(errors or (strict and problems))))


def problem_row(problem: Problem) -> Mapping[str, object]:
    """Return a problem as --json shows it; line is null where none is known."""
    return {
        "file": problem.file,
        "line": problem.line or None,
        "code": problem.code,
        "severity": str(problem.severity),
        "what": conceal(problem.what),
        "why": conceal(problem.why),
        "fix": conceal(problem.fix),
        "entry": problem.entry,
    }


def _look(session: Session, *, broker: bool, ledger: bool) -> tuple[int, list[Problem], list[str], int]:
    """Return how many entries are good, all problems, remarks, and an exit code of its own (0: the problems decide)."""
    found: list[Problem] = []
    said: list[str] = []
    entries = 0
    try:
        site = session.open_site()
        site.require_tree("check")
        schedule, problems = site.read()
        found += problems
        if schedule is not None:
            from offbeat.core.past import past_warnings

            entries = len(schedule.entries)
            found += past_warnings(schedule, session.clock.now())
            found += _look_at_ledger(session, site, schedule, said, strict=ledger)
        if broker and schedule is not None:
            said += _look_at_broker(site, schedule)
    except OffbeatError as exc:
        if not exc.problems:
            raise
        found += [problem for problem in exc.problems if problem not in found]
        return entries, found, said, exc.exit_code
    return entries, found, said, 0


def _look_at_ledger(session: Session, site: Site, schedule: Schedule, said: list[str], *, strict: bool) -> list[Problem]:
    """Return problems of the ledger; add to `said` what it cannot promise, unless it has no place. Raises OffbeatError."""
    from offbeat.faces.ledger_check import ledger_problems, ledger_promise, ledger_summary, undeployed
    from offbeat.runners.tick import is_address_refused

    is_asked = strict or bool(session.verbose or site.environ.get("OFFBEAT_LEDGER"))
    try:
        told = ledger_summary(site, strict=strict)
    except OffbeatError as exc:
        if is_asked and not is_address_refused(exc):
            said.append(ledger_promise(site))
        raise
    if is_asked:
        said.append(ledger_promise(site))
    if words := undeployed(schedule, told):
        said.append(words)
    return ledger_problems(site, schedule, told)


def _look_at_broker(site: Site, schedule: Schedule) -> list[str]:
    """Connect; return what this broker cannot promise.

    Raises BrokerError, also when it is not known where the broker is: a tick's exit code is the same.
    """
    from offbeat.faces.cli_broker import look_at_broker

    try:
        limit = look_at_broker(site, schedule.broker)
    except ConfigError as exc:
        raise BrokerError(*exc.problems) from exc
    return [f"broker: {limit}"] if limit else []


def _summary(entries: int, errors: int, warnings: int) -> list[str]:
    parts = [count_of(entries, "entry", "entries"), count_of(errors, "problem") if errors else "no problems"]
    return [*parts, count_of(warnings, Severity.WARNING)] if warnings else parts
