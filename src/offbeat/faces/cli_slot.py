"""`offbeat slot`: what an executed link calls, to send its directory's calendar period once."""

from __future__ import annotations

import click

from offbeat.core.model import State
from offbeat.faces.cli_session import LOG_CRITICAL, Command, Session
from offbeat.faces.words import format_utc, printable


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
            how = _known(fired.state, fired.due_at, fired.dispatched_at)
            click.echo(f"{shown}: {how}; run_celery_task {printable(name)} sends it anyway")
        ctx.exit(0)
    if fired.state is State.DISPATCHED:
        if not session.quiet:
            click.echo(
                f"{shown}: {'started' if fired.is_command else 'sent'}, due {format_utc(fired.due_at)}, id {fired.occurrence}"
            )
        ctx.exit(0)
    from offbeat.faces.cli_fire import tell_fired

    ctx.exit(tell_fired(fired))


def _known(state: State, due_at: int, dispatched_at: float | None) -> str:
    if dispatched_at is not None:
        return f"already sent at {format_utc(dispatched_at)}"
    return f"already recorded for {format_utc(due_at)}, {state}"
