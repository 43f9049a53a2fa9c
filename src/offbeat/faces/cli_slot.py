"""`offbeat slot`: what an executed link calls, to send its directory's calendar period once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from offbeat.core.model import Reason, State
from offbeat.faces.cli_session import LOG_CRITICAL, Command, Session
from offbeat.faces.words import format_utc, printable

if TYPE_CHECKING:
    from offbeat.runners.fire import Fired


@click.command(cls=Command, hidden=True, examples=("offbeat slot hourly/search_dates",))
@click.argument("path")
@click.pass_context
def slot(ctx: click.Context, path: str) -> None:
    """Send the occurrence of this minute, hour, day, week or month, unless it went out already.

    PATH ends in DIRECTORY/NAME, as the link does.
    """
    from offbeat.runners.fire import send_slot

    session: Session = ctx.obj
    directory, _, name = path.rstrip("/").rpartition("/")
    directory = directory.rpartition("/")[2]
    if not directory or not name:
        raise click.UsageError(f'"{printable(path)}" is not DIRECTORY/NAME')
    fired = send_slot(session.open_site(base=LOG_CRITICAL), directory, name)
    shown = printable(fired.entry)
    if fired.known:
        if not session.quiet:
            click.echo(f"{shown}: {_known(fired)}; run_celery_task {printable(name)} sends it anyway")
        ctx.exit(0)
    if fired.state is State.SKIPPED:  # as it was meant: whoever mails what a run-parts says of an error is not to mail that
        if not session.quiet:
            click.echo(f"{shown}: not sent: {_why(fired)}; run_celery_task {printable(name)} sends it anyway")
        ctx.exit(0)
    if fired.state is State.DISPATCHED:
        if not session.quiet:
            click.echo(
                f"{shown}: {'started' if fired.is_command else 'sent'}, due {format_utc(fired.due_at)}, id {fired.occurrence}"
            )
        ctx.exit(0)
    from offbeat.faces.cli_fire import tell_fired

    ctx.exit(tell_fired(fired))


def _known(fired: Fired) -> str:
    if fired.dispatched_at is not None:
        return f"already sent at {format_utc(fired.dispatched_at)}"
    return f"already recorded for {format_utc(fired.due_at)}, {_why(fired)}"


def _why(fired: Fired) -> str:
    """Return the state and its reason, and what ends a pause."""
    ends = f" (offbeat resume {printable(fired.entry)}, or resume --all)" if fired.reason is Reason.PAUSED else ""
    return f"{fired.state}, {fired.reason}{ends}" if fired.reason else str(fired.state)
