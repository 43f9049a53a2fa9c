"""`offbeat fire`: a person sends one entry or task now, or runs its task in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from offbeat.core.model import Json, State, TaskCall
from offbeat.errors import ConfigError
from offbeat.faces.cli_session import LOG_CRITICAL, Command, Session, complete_entries, is_utf8, nothing_deployed
from offbeat.faces.words import conceal, did_you_mean, printable

if TYPE_CHECKING:
    from offbeat.runners.fire import Fired
    from offbeat.runners.site import Site


DEEPEST = 100  # lists in lists; each program that reads the message has a limit of its own
SHOWN = 200  # characters of a wrong value that are repeated


class JsonText(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks only
    """JSON of one type."""

    def __init__(self, wanted: type, name: str, example: str) -> None:
        self.wanted, self.name, self.example = wanted, name, example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value."""
        if isinstance(value, self.wanted):
            return value
        shown = repr(value if len(str(value)) <= SHOWN else f"{str(value)[:SHOWN]}...")
        try:
            parsed = read_json(str(value))
        except ValueError as exc:
            self.fail(f"{shown} is no JSON: {exc}; write it like '{self.example}'", param, ctx)
        if not isinstance(parsed, self.wanted):
            self.fail(f"{shown} is not {self.name}; write it like '{self.example}'", param, ctx)
        if why := unfit(parsed):
            self.fail(f"{shown}: {why}", param, ctx)
        return parsed


def read_json(text: str) -> Json:
    """Return what JSON says; one that is nested out of reach is given as one that is nested too deep. Raises ValueError."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        parsed: Json = json.loads(text, parse_constant=refuse)
    except RecursionError:
        parsed = []
        for _ in range(DEEPEST):
            parsed = [parsed]
    return parsed


def unfit(value: Json) -> str:
    """Return why no message can hold the value, "" when one can."""
    level: list[Json] = [value]
    for _ in range(DEEPEST):
        deeper: list[Json] = []
        for one in level:
            if isinstance(one, float) and one - one != 0:
                return "a number is too large"
            if isinstance(one, str) and not is_utf8(one):
                return "half of a character (a lone surrogate) is in it"
            if isinstance(one, dict):
                deeper += [*one, *one.values()]
            elif isinstance(one, list):
                deeper += one
        if not deeper:
            return ""
        level = deeper
    return f"it is nested more than {DEEPEST} deep"


def _require_text(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty; leave it out for the entry's own", ctx, param)
    return value


@click.command(
    cls=Command,
    examples=(
        "offbeat fire weekly_report",
        'offbeat fire search_dates full=true names=\'["a", "b"]\' --queue slow',
        "offbeat fire difio.tasks.search_dates        a task that no entry names",
        "offbeat fire search_date --unlisted          one whose name is nearly that of an entry",
        "offbeat fire weekly_report --here -A proj    run it in this process, with its traceback and pdb",
    ),
)
@click.argument("name", shell_complete=complete_entries)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--args", "positional", type=JsonText(list, "a JSON array", '[1, "a"]'), metavar="JSON", help="Instead of the entry's args."
)
@click.option(
    "--kwargs",
    "keywords",
    type=JsonText(dict, "a JSON object", '{"a": 1}'),
    metavar="JSON",
    help="Instead of the entry's kwargs.",
)
@click.option("--queue", callback=_require_text, help="Instead of the entry's queue.")
@click.option("--unlisted", is_flag=True, help="Send the task NAME even where NAME is nearly that of an entry.")
@click.option("--here", is_flag=True, help="Run the task in this process; the ledger and the broker stay untouched.")
@click.option("-A", "--app", metavar="APP", help="The Celery app for --here, as for `celery -A`.")
@click.pass_context
def fire(ctx: click.Context, /, name: str, pairs: tuple[str, ...], **options: Any) -> None:
    """Send NAME now, out of band; print the task's id.

    NAME is an entry, a task without task_prefix, or a task's full name. KEY=VALUE are keyword arguments; VALUE is read as
    JSON where it is JSON, as text else.
    """
    session: Session = ctx.obj
    keywords = options["keywords"]
    if pairs:
        keywords = {**(keywords or {}), **parse_pairs(pairs)}
    if options["app"] and not options["here"]:
        raise click.UsageError("-A is for --here only; without it no task code is imported")
    if options["here"]:
        if not options["app"]:
            raise click.UsageError("--here needs the Celery app: -A proj")
        from offbeat.faces.cli_here import run_here

        ctx.exit(run_here(session, name, app=options["app"], args=options["positional"], kwargs=keywords))
    from offbeat.runners.fire import Changes
    from offbeat.runners.fire import fire as do_fire

    site = session.open_site(base=LOG_CRITICAL)  # what hinders it is told below
    remark = _look_up(site, name, unlisted=options["unlisted"])
    fired = do_fire(site, name, Changes(args=options["positional"], kwargs=keywords, queue=options["queue"]))
    if remark and fired.state is State.DISPATCHED and not session.quiet:
        click.echo(remark, err=True)
    ctx.exit(tell_fired(fired))


def parse_pairs(pairs: Iterable[str]) -> dict[str, Json]:
    """Return what KEY=VALUE words say; each key once."""
    said: dict[str, Json] = {}
    for key, value in map(parse_pair, pairs):
        if key in said:
            raise click.UsageError(f'"{key}" is given twice')
        said[key] = value
    return said


def parse_pair(pair: str) -> tuple[str, Json]:
    """Return (key, value) of KEY=VALUE."""
    key, equals, text = pair.partition("=")
    if not equals or not key.isidentifier():
        raise click.UsageError(f'"{printable(pair)}" is not KEY=VALUE')
    try:
        value = read_json(text)
    except ValueError:
        value = text
    if why := unfit(value):
        raise click.UsageError(f'"{key}": {why}')
    return key, value


def tell_fired(fired: Fired) -> int:
    """Print the id, and on stderr what hinders it; return the exit code."""
    from offbeat.faces.cli_session import print_problems

    print_problems(fired.problems)
    if fired.state in {State.SKIPPED, State.UNDELIVERED, State.FAILED}:
        click.echo(f"not sent: {fired.state}, {fired.reason or fired.error}", err=True)
        return 1
    click.echo(fired.occurrence)
    if fired.state in {State.PENDING, State.WAITING, State.CLAIMED}:
        words = f": {conceal(fired.error)}" if fired.error and not fired.problems else ""
        click.echo(f"not sent yet{words}; it is recorded, and the next tick sends it", err=True)
        return 3
    return 0


def _look_up(site: Site, name: str, *, unlisted: bool) -> str:
    """Return the remark for a name that is sent although nothing in the schedule has it; "" for all else.

    Raises: a usage error for a name without a dot that is nearly an entry's, unless it may be `unlisted`.
    """
    site.sync(site.runner("fire"))  # or an entry that was added just now would not be known
    schedule = site.ledger.schedule()
    if schedule is None and site.from_ledger:
        raise ConfigError(nothing_deployed())
    known = [entry.name for entry in schedule.entries] if schedule else []
    if schedule is None or name in known:
        return ""
    task = name if "." in name else schedule.task_prefix + name if schedule.task_prefix and "/" not in name else ""
    near = "" if unlisted or "." in name else did_you_mean(name, known)
    if near:
        way = f" fire {printable(name)} --unlisted sends the task {printable(task)}" if task else ""
        raise click.UsageError(f'"{printable(name)}" is not an entry{near}{way}')
    if any(isinstance(entry.call, TaskCall) and entry.call.task == task for entry in schedule.entries):
        return "" if task == name else f'"{printable(name)}" is sent as the task {printable(task)}'
    return f'"{printable(name)}" is sent as the task {printable(task)}, which is not in the schedule' if task else ""
