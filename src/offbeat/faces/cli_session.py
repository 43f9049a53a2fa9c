"""What the subcommands share: the global options, the session that carries them, and how results are printed.

Never decides anything about the schedule.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from offbeat.errors import ConfigError, OffbeatError, Problem, Severity
from offbeat.faces.words import conceal, printable
from offbeat.ports.clock import Clock, SystemClock

if TYPE_CHECKING:
    from offbeat.core.model import Schedule
    from offbeat.runners.site import Site

JSON_VERSION = 1  # of what --json prints; docs/reference/json.md says what each version holds
LOG_CRITICAL, LOG_WARNING, LOG_INFO = 50, 30, 20  # logging's numbers, so that logging waits until it is needed
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """One call of `offbeat`: what the global options said, and the world it was called in."""

    clock: Clock = field(default_factory=SystemClock)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    tree: str | None = None
    from_ledger: bool = False
    verbose: int = 0
    quiet: int = 0
    log_format: str = "text"

    @property
    def louder(self) -> int:
        """Return how many steps more (or, negative, fewer) than usual is logged."""
        return self.verbose - self.quiet

    def open_site(self, *, base: int = LOG_WARNING, told: Collection[str] = (), adopt: bool = False) -> Site:
        """Find the tree and set logging up; the site is closed when the command ends. told: see set_up_logs.

        adopt: take over a ledger file that belongs to another tree or host.
        """
        from pathlib import Path

        from offbeat.faces.logs import set_up_logs
        from offbeat.runners.site import open_site

        if not is_utf8(self.environ.get("OFFBEAT_PROJECT", "")):
            raise ConfigError(_no_project())
        folder = self.environ.get("OPENSHIFT_LOG_DIR", "")
        set_up_logs(base, louder=self.louder, form=self.log_format, told=told, folder=folder)
        site = open_site(
            start=Path.cwd(),
            tree=self.tree,
            environ=self.environ,
            clock=self.clock,
            adopt=adopt,
            from_ledger=True if self.from_ledger else None,
        )
        if ctx := click.get_current_context(silent=True):  # none while a shell completes
            ctx.call_on_close(site.close)
        return site


def global_options() -> list[click.Parameter]:
    """Return the options that every command takes, before or after its name."""
    return [
        click.Option(
            ["--tree"], metavar="DIR", expose_value=False, callback=_keep_tree, help="The cron tree, instead of looking for it."
        ),
        click.Option(
            ["--from-ledger"],
            is_flag=True,
            expose_value=False,
            callback=_keep_from_ledger,
            help="Work by what was deployed, without a tree.",
        ),
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_add_verbose, help="Say more; repeatable."),
        click.Option(["-q", "--quiet"], count=True, expose_value=False, callback=_add_quiet, help="Say less; repeatable."),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            expose_value=False,
            callback=_keep_log_format,
            help="How log lines look on stderr; text unless said.",
        ),
    ]


def _keep_tree(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).tree = value


def _keep_from_ledger(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).from_ledger = True


def _add_verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(Session).verbose += value


def _add_quiet(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(Session).quiet += value


def _keep_log_format(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).log_format = value


class Command(click.Command):
    """A subcommand: its own options, then the global ones; its examples stand at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; refuse text that is not UTF-8, which is in no schedule, and nan. A path may be anything."""
        left = super().parse_args(ctx, args)
        for param in () if ctx.resilient_parsing else self.params:
            value = ctx.params.get(param.name or "")
            if isinstance(value, float) and value != value:  # in no range, and click's ranges let it pass
                raise click.BadParameter("nan is not a number", ctx, param)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and param.name != "path" and not is_utf8(text):
                    raise click.BadParameter(f'"{printable(text)}" is not UTF-8', ctx, param)
        return left

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, a line each, as they can be pasted."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def is_utf8(text: str) -> bool:
    """Return whether the text can be written as UTF-8: no bytes of the command line that are none, no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")(command)


def print_json(rows: Iterable[Mapping[str, object]]) -> None:
    """Print one array, a row a line, as the rows come."""
    import json

    before = "["
    for row in rows:
        click.echo(before + "\n  " + json.dumps(row), nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, plain and aligned; its head is bold on a terminal. Nothing for no rows.

    A line that is wider than the terminal runs on there: a due time that is cut off would be taken for another one.
    """
    if not rows:
        return
    from offbeat.faces.words import align

    head, *lines = align(columns, rows)
    colour = is_colourful(sys.stdout)
    click.echo("\n".join([click.style(head, bold=True) if colour else head, *lines]), color=colour)


def is_terminal(stream: IO[str]) -> bool:
    """Return whether a person reads the stream."""
    return stream.isatty()


def is_colourful(stream: IO[str]) -> bool:
    """Return whether colours are wanted on the stream (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_problems(problems: Iterable[Problem], *, err: bool = True) -> None:
    """Print problems in the order given, each in its three lines."""
    colour = is_colourful(sys.stderr if err else sys.stdout)
    for problem in problems:
        lines = [printable(line) for line in conceal(str(_of_one_line(problem))).split("\n")]
        if colour:
            lines[0] = click.style(lines[0], fg="yellow" if problem.severity is Severity.WARNING else "red")
        click.echo("\n".join(lines), err=err, color=colour)


def _of_one_line(problem: Problem) -> Problem:
    """Return the problem with no line end in what it names: a name with one in it would look like lines of ours."""
    from dataclasses import replace

    return replace(problem, file=printable(problem.file), what=printable(problem.what))


def by_place(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems by file and line, errors before warnings of the same line."""
    return sorted(problems, key=lambda p: (p.file, p.line, p.severity is Severity.WARNING, p.code, p.what))


def errors_in(problems: Iterable[Problem]) -> list[Problem]:
    """Return those that are not warnings."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def read_schedule(site: Site) -> Schedule:
    """Return the schedule as the files have it; print its errors to stderr and go on with the rest.

    Raises: OffbeatError with all problems when nothing of it can be read.
    """
    schedule, problems = site.read()
    if schedule is None:
        raise ConfigError(*(errors_in(problems) or (nothing_deployed(),)))
    if broken := errors_in(problems):
        print_problems(by_place(broken))
    return schedule


def nothing_deployed() -> Problem:
    """Return what to tell where there is neither a tree nor, so far, a schedule in the ledger."""
    from offbeat.runners.tree_problems import empty

    return empty()


def _no_project() -> Problem:
    return Problem(
        code="C303",
        file="OFFBEAT_PROJECT",
        what="the project's name is not UTF-8",
        why="it is part of every occurrence's id, so nothing is recorded and nothing is sent",
        fix="OFFBEAT_PROJECT=NAME, the name that the other runners and the workers use",
    )


def require_known(names: Sequence[str], known: Iterable[str]) -> None:
    """Raise a usage error for the first name that is not an entry's, with the nearest ones."""
    from offbeat.faces.words import did_you_mean

    have = set(known)
    for name in names:
        if name not in have:
            raise click.UsageError(f'there is no entry "{printable(name)}"{did_you_mean(name, have)}')


def complete_entries(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the entries that a shell offers; none when the tree cannot be read."""
    try:
        schedule, _problems = (ctx.find_object(Session) or Session()).open_site(base=LOG_CRITICAL).read()
    except (OffbeatError, OSError):
        return []
    return [entry.name for entry in schedule.entries if entry.name.startswith(incomplete)] if schedule else []
