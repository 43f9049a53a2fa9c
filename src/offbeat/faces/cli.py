"""The command `offbeat`: its subcommands by name, the global options, and what every error looks like.

Never imports a subcommand before it is used. Exit codes: 0 fine, 1 problems found, 2 wrong usage, 3 ledger or broker out
of reach, 70 a bug in offbeat, 130 Ctrl-C, 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from offbeat.errors import OffbeatError
from offbeat.faces.cli_session import JSON_VERSION, Session, global_options, print_problems

# name -> (module below offbeat.faces, attribute, one-line help). A name that starts with "-" would never parse.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("cli_init", "init", "Lay out a cron tree with a commented schedule.toml."),
    "add": ("cli_init", "add", "Add a task to the schedule: a link, or an entry of schedule.toml."),
    "check": ("cli_check", "check", "Show every problem of the tree at once."),
    "next": ("cli_next", "next_", "Show when each entry is due next."),
    "explain": ("cli_explain", "explain", "Say a recurrence in plain English, and what daylight saving does to it."),
    "load": ("cli_load", "load", "Show how many tasks come due in each minute of the day, and the herds."),
    "plan": ("cli_plan", "plan", "Show what would be sent or skipped, and why; changes nothing."),
    "tick": ("cli_run", "tick", "Send what is due, once; for a crontab line."),
    "run": ("cli_run", "run", "Stay and send what is due, to the second."),
    "fire": ("cli_fire", "fire", "Send one entry or task now."),
    "list": ("cli_list", "list_", "List the entries: when, what, and where they are written."),
    "status": ("cli_status", "status", "Show the ledger, the tree in force and who ticks."),
    "history": ("cli_history", "history", "Show what became of the occurrences."),
    "deploy": ("cli_deploy", "deploy", "Make the tree's schedule the active revision for all runners."),
    "log": ("cli_log", "log", "List the revisions that were in force."),
    "diff": ("cli_log", "diff", "Show what a deploy would change, or what has changed since a revision."),
    "rollback": ("cli_deploy", "rollback", "Make an older revision the active one again."),
    "pause": ("cli_pause", "pause", "Send nothing of an entry, or of all, for a while."),
    "resume": ("cli_pause", "resume", "End a pause."),
    "skip": ("cli_pause", "skip", "Skip exactly one occurrence."),
    "backfill": ("cli_backfill", "backfill", "Send an entry for each due time of a span in the past."),
    "rewind": ("cli_rewind", "rewind", "Set back what was decided while a clock was wrong."),
    "install": ("cli_install", "install", "Put the tick into the user's crontab."),
    "uninstall": ("cli_install", "uninstall", "Take the tick out of the user's crontab."),
    "completion": ("cli_completion", "completion", "Print the completion script of a shell."),
    "slot": ("cli_slot", "slot", "What an executed link calls."),
}
HIDDEN = frozenset({"slot"})
BUG, INTERRUPTED, UNREAD = 70, 130, 141

EXAMPLES = """\
  offbeat init && offbeat add hourly search_dates && offbeat check
  offbeat next -n 3                    when is what due
  offbeat fire weekly_report           send it now
  * * * * * cd /srv/app && offbeat tick        in a crontab; or: offbeat install crontab
"""


class Offbeat(click.Group):
    """The group; knows its subcommands by name only, until one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names that people see, in the order of the main job."""
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"offbeat.faces.{module}"), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, or say which one was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from offbeat.faces.words import did_you_mean, printable

            raise click.UsageError(
                f'there is no command "{printable(args[0])}"{did_you_mean(args[0], self.list_commands(ctx))}', ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples as they can be pasted."""
        formatter.write(f"\nExamples:\n{EXAMPLES}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Offer the subcommands from the table, importing none; options as click does."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        return [CompletionItem(name, help=COMMANDS[name][2]) for name in self.list_commands(ctx) if name.startswith(incomplete)]

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Do what the arguments say and exit."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name that the locale cannot write is still written
        given = list(sys.argv[1:] if args is None else args)
        if "_OFFBEAT_COMPLETE" in os.environ:
            sys.exit(self._complete(os.environ["_OFFBEAT_COMPLETE"]))
        session = extra.pop("obj", None) or Session()
        sys.exit(self._exit_code(given, session, extra))

    def _complete(self, instruction: str) -> int:
        from click.shell_completion import shell_complete

        try:
            return shell_complete(self, {}, "offbeat", "_OFFBEAT_COMPLETE", instruction)
        except Exception:  # noqa: BLE001 - a traceback in the middle of somebody's command line helps nobody
            return 1

    def _exit_code(self, args: list[str], session: Session, extra: MutableMapping[str, Any]) -> int:
        try:
            with self.make_context("offbeat", args, obj=session, **extra) as ctx:
                if os.environ.get("NO_COLOR"):
                    ctx.color = False
                self.invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit as exc:
            return exc.exit_code
        except click.ClickException as exc:
            from offbeat.faces.words import printable

            # It repeats what was typed, or pasted; and click calls the text final.
            exc.message = "\n".join(map(printable, exc.message.split("\n")))  # type: ignore[misc, unused-ignore]
            exc.show()
            return exc.exit_code
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        except Exception as exc:  # noqa: BLE001 - the outermost place: whatever it is, it is said in one line
            return report(exc, verbose=session.verbose > 0)
        return 0


def report(exc: Exception, *, verbose: bool) -> int:
    """Say what went wrong on stderr; return the exit code. Without `verbose` never a traceback."""
    if isinstance(exc, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it flushes at the end
        return UNREAD
    if isinstance(exc, OffbeatError):
        return _report_problems(exc)
    from offbeat.faces.words import conceal, printable

    if verbose:
        import traceback

        click.echo(conceal("".join(traceback.format_exception(exc))), err=True, nl=False)
    if isinstance(exc, OSError) and exc.strerror:
        place = f"{exc.filename}: " if exc.filename else ""
        click.echo(f"offbeat: {printable(conceal(f'{place}{exc.strerror}'))}", err=True)
        return 1
    words = printable(conceal(f"{type(exc).__name__}: {exc}"))
    click.echo(f"offbeat: this is a bug in offbeat: {words}", err=True)
    if not verbose:
        click.echo("  fix: run the same again with -v, and report what it prints", err=True)
    return BUG


def _report_problems(exc: OffbeatError) -> int:
    from offbeat.faces.words import conceal, printable

    print_problems(exc.problems)
    for plain in exc.args:
        if isinstance(plain, str):
            click.echo(f"offbeat: {printable(conceal(plain))}", err=True)
    return exc.exit_code


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            known = version("offbeat")
        except PackageNotFoundError:
            known = "of a checkout that is not installed"
        click.echo(f"offbeat {known} (--json output version {JSON_VERSION})")
        ctx.exit()


cli = Offbeat(
    name="offbeat",
    help="Periodic Celery tasks off beat: the schedule is a cron tree in git, any cron makes it due, a ledger remembers.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        *global_options(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
        ),
    ],
)
