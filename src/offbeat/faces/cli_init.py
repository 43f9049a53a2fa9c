"""`offbeat init` and `offbeat add`: lay out a cron tree, and put a task into it. Overwrites nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offbeat.core.model import DIRECTORIES
from offbeat.faces.cli_fire import JsonText
from offbeat.faces.cli_session import Command, Session
from offbeat.faces.words import did_you_mean, format_local_words, format_relative, printable

if TYPE_CHECKING:
    from offbeat.core.model import Entry

RECURRENCES = ("cron", "every", "at")
FIELDS = ("task", "queue", "args", "kwargs", "timezone", "grace", "jitter", "description")


@click.command(
    cls=Command,
    examples=(
        "offbeat init                                    in the repository's root",
        "offbeat init --project difio --prefix difio.tasks.",
    ),
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[DIR]")
@click.option("--project", metavar="NAME", help="The same on every host, for ever; the folder's name unless said.")
@click.option(
    "--prefix", metavar="PREFIX", default="", help='How task names begin, "difio.tasks."; guessed from the project unless said.'
)
@click.option(
    "--timezone", metavar="ZONE", default="UTC", show_default=True, help="The zone of all times that are written there."
)
@click.pass_obj
def init(session: Session, directory: Path, project: str | None, prefix: str, timezone: str) -> None:
    """Lay out cron/ with a commented schedule.toml and the multi-call script."""
    from offbeat.core.recurrences.zones import find_zone
    from offbeat.ports.treewriter import init_tree

    find_zone(timezone)
    root = directory.absolute()
    if not root.is_dir():
        root.mkdir(parents=True)
    given = session.environ.get("OFFBEAT_PROJECT") or session.environ.get("OPENSHIFT_APP_NAME")
    name = project or given or root.resolve().name or "default"
    if prefix and not prefix.endswith("."):
        prefix += "."
    for path in init_tree(root, name, zone=timezone, task_prefix=prefix):
        _say(session, f"wrote {path}")
    if not (root / ".git").exists() and any((parent / ".git").exists() for parent in root.parents):
        click.echo("this is not the repository's root; offbeat looks for the tree from a folder upwards", err=True)
    _say(session, "next: see that task_prefix in cron/schedule.toml is right, then: offbeat add hourly NAME")


def _complete_directories(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    return [] if ctx.params.get("words") else [name for name in DIRECTORIES if name.startswith(incomplete)]


@click.command(
    cls=Command,
    examples=(
        "offbeat add hourly search_dates                        a link; its name is the task's",
        "offbeat add weekly_report --cron '30 4 * * mon'        an entry of schedule.toml",
        "offbeat add refresh --every 45m --kwargs '{\"full\": true}' --jitter 5m",
        "offbeat add migrate --at 2026-03-01T04:30:00 --task difio.tasks.once",
    ),
)
@click.argument("words", nargs=-1, metavar="[DIRECTORY] NAME", shell_complete=_complete_directories)
@click.option("--cron", metavar="FIELDS", help='Five to seven fields, or a nickname: "30 4 * * mon".')
@click.option("--every", metavar="SPAN", help='An interval: "45m", "1h30m".')
@click.option("--at", metavar="INSTANT", multiple=True, help="Once, at a date and time; repeatable.")
@click.option("--task", metavar="TASK", help="The task's full name; task_prefix + NAME unless said.")
@click.option("--queue", help="The queue, where routes do not say it.")
@click.option("--args", type=JsonText(list, "a JSON array", '[1, "a"]'), metavar="JSON", help="Arguments by position.")
@click.option("--kwargs", type=JsonText(dict, "a JSON object", '{"a": 1}'), metavar="JSON", help="Arguments by name.")
@click.option("--timezone", metavar="ZONE", help="Another zone than the tree's.")
@click.option("--grace", metavar="SPAN", help="How late it may still go out.")
@click.option(
    "--jitter", metavar="SPAN", help='At most so much later, by a hash: "5m", or "10%" of the time to the next due time.'
)
@click.option("--description", metavar="TEXT", help="For people.")
@click.pass_obj
def add(session: Session, /, words: tuple[str, ...], **options: Any) -> None:
    """Add a task: DIRECTORY NAME makes a link, NAME with --cron, --every or --at an entry of schedule.toml.

    DIRECTORY is minutely, hourly, daily, weekly or monthly.
    """
    for key in (*RECURRENCES, *FIELDS):
        given = options[key] if isinstance(options[key], tuple) else (options[key],)
        if any(isinstance(text, str) and not text.strip() for text in given):
            raise click.UsageError(f"--{key}: it is empty; leave it out")
    recurrences = [key for key in RECURRENCES if options[key]]
    fields = {key: options[key] for key in (*RECURRENCES, *FIELDS) if options[key]}
    if recurrences:
        if len(words) != 1 or len(recurrences) > 1:
            raise click.UsageError("an entry has one NAME and one of --cron, --every and --at")
        _add_entry(session, words[0], fields)
        return
    if len(words) != 2:
        raise click.UsageError("say DIRECTORY NAME for a link, or NAME with one of --cron, --every and --at for an entry")
    if words[0] not in DIRECTORIES:
        near = did_you_mean(words[0], DIRECTORIES)
        raise click.UsageError(f'"{printable(words[0])}" is none of {", ".join(DIRECTORIES)}{near}')
    if fields:
        raise click.UsageError(
            f"--{min(fields)} is for an entry; a link has none: say --cron, --every or --at instead of {words[0]}"
        )
    _add_link(session, *words)


def _add_entry(session: Session, name: str, fields: dict[str, Any]) -> None:
    from offbeat.ports.treewriter import add_entry, heading

    if "at" in fields:
        fields["at"] = fields["at"][0] if len(fields["at"]) == 1 else list(fields["at"])
    site = session.open_site()
    site.require_tree("add to")
    path = add_entry(site.tree, name, fields)
    _say(session, f"wrote {printable(heading(name))} into {path}")
    _say_next(session, name)


def _add_link(session: Session, directory: str, name: str) -> None:
    from offbeat.ports.treewriter import add_link

    site = session.open_site()
    site.require_tree("add to")
    for path in add_link(site.tree, directory, name):
        _say(session, f"wrote {printable(str(path))}")
    _say_next(session, name)


def _say_next(session: Session, name: str) -> None:
    """Say when the new entry is due, or what keeps it from being loaded."""
    from dataclasses import replace

    from offbeat.core.past import past_warnings
    from offbeat.faces.cli_next import coming
    from offbeat.faces.cli_session import by_place, print_problems

    schedule, problems = session.open_site().read()
    entries: Sequence[Entry] = schedule.entries if schedule else ()
    entry = next((entry for entry in entries if entry.name.rpartition("/")[2] == name), None)
    told = problems if schedule is None else (each for each in problems if each.entry.rpartition("/")[2] == name)
    print_problems(by_place(told))  # all of them where the schedule is refused whole: nothing of it is due
    if entry is None:
        return
    now = session.clock.now()
    print_problems(past_warnings(replace(schedule, entries=(entry,)), now) if schedule else ())
    for due, _ in coming(entry, int(now), 1):
        _say(session, f"{printable(name)} is due {format_local_words(due, entry.timing.zone)}, {format_relative(due, now)}")


def _say(session: Session, text: str) -> None:
    if not session.quiet:
        click.echo(text)
