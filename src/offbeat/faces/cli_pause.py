"""`offbeat pause`, `resume` and `skip`: what an operator says of due times to come, kept in the ledger.

Changes no file: what belongs to the schedule (`enabled = false`) is said in git.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from offbeat.core.model import Reason, State
from offbeat.faces.cli_session import LOG_CRITICAL, Command, Session, complete_entries, json_option, print_json
from offbeat.faces.people import Note, actor, entry_of
from offbeat.faces.words import conceal, format_local, format_local_words, format_utc, parse_when, printable

if TYPE_CHECKING:
    from offbeat.core.model import DueTime, Entry
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import Paused, Slot
    from offbeat.runners.site import Site

WHENS = 'an instant (ISO 8601, in the tree\'s zone without an offset), a time of day like "09:00", or a span like "2h"'


@click.command(
    cls=Command,
    examples=(
        "offbeat pause weekly_report --note 'the archive is moving'",
        "offbeat pause --all --until 2h",
        "offbeat pause search_dates --until 09:00 --shorten",
    ),
)
@click.argument("name", required=False, default="", shell_complete=complete_entries)
@click.option("--all", "everything", is_flag=True, help="All entries, also those to come.")
@click.option("--until", metavar="WHEN", help=f"Goes on by itself then: {WHENS}.")
@click.option("--shorten", is_flag=True, help="Also if it is paused for longer already.")
@click.option("--note", type=Note(), default="", help="Why; `status` and `list` show it.")
@json_option
@click.pass_obj
def pause(session: Session, /, name: str, everything: bool, until: str | None, note: str, **flags: bool) -> None:
    """Send nothing of NAME, or of all, from now on. Deploys do not end it.

    What comes due meanwhile is skipped, with reason `paused`; it is not missed, and is not sent afterwards. A backfill of it
    waits, and goes on within five minutes of `resume`. What a person fires goes out all the same. A pause that holds for longer
    stays as it is; one that ends earlier is prolonged, and is of the last who said it.
    """
    site = _open(session, name, everything, "pause")
    now, zone = site.ledger.status().now, _zone(site)
    end = None if until is None else parse_when(until, now, zone)
    if until is not None and (end is None or end <= now):
        what = "is not in the future" if end is not None else "is no time"
        raise click.BadParameter(f'"{printable(until)}" {what}; write {WHENS}', param_hint="--until")
    held = next((each for each in pauses_now(site.ledger) if each.name == name), None)
    stays = held is not None and not flags["shorten"] and _ends_before(end, held)
    if not stays:
        site.ledger.pause(name, actor(session), conceal(note), None if end is None else float(end))
    if flags["as_json"]:
        print_json([pause_row(each) for each in pauses_now(site.ledger) if each.name == name])
    elif held is not None and stays:  # whoever has asked for less is to know, also with --quiet
        click.echo(f"{_whom(name)} paused for longer already, and stays so: {pause_words(held, zone)} (or --shorten)", err=True)
    elif not session.quiet:
        before = f"; before: {pause_words(held, zone)}" if held else ""
        click.echo(f"{_whom(name)} paused {_until(end, zone)}{before}")


def _ends_before(end: DueTime | None, held: Paused) -> bool:
    """Return whether a pause until `end` would end earlier than the one that holds."""
    return end is not None and (held.until_at is None or end < held.until_at)


@click.command(cls=Command, examples=("offbeat resume weekly_report", "offbeat resume --all"))
@click.argument("name", required=False, default="", shell_complete=complete_entries)
@click.option("--all", "everything", is_flag=True, help="End the pause of all entries; those paused by name stay so.")
@json_option
@click.pass_obj
def resume(session: Session, name: str, everything: bool, as_json: bool) -> None:
    """End the pause of NAME, or the one of all, now. What a `skip` named stays skipped."""
    site = _open(session, name, everything, "resume")
    holding = pauses_now(site.ledger)
    site.ledger.resume(name)
    ended = any(each.name == name for each in holding)
    if as_json:
        still = [pause_row(each) for each in holding if (not each.name if name else each.name)]
        print_json([{"entry": name or None, "was_paused": ended, "still": still}])
    elif not session.quiet:
        _tell_resumed(name, holding, ended)


def _tell_resumed(name: str, holding: list[Paused], ended: bool) -> None:
    click.echo(f"{_whom(name)} {'resumed' if ended else 'not paused'}")
    others = [each for each in holding if (not each.name if name else each.name)]
    if name and others:
        click.echo("all entries are paused still; offbeat resume --all", err=True)
    elif others:
        names = ", ".join(sorted({printable(each.name) for each in others}))
        click.echo(f"paused by name still: {names}; offbeat resume NAME", err=True)


@click.command(
    cls=Command,
    examples=(
        "offbeat skip weekly_report                                 the next one",
        "offbeat skip weekly_report --due 2026-03-02T04:30 --note 'no data'",
    ),
)
@click.argument("name", shell_complete=complete_entries)
@click.option("--due", metavar="T", help="Which one: a due time, ISO 8601 (in the entry's zone without an offset).")
@click.option("--note", type=Note(), default="", help="Why; `history` shows it.")
@json_option
@click.pass_context
def skip(ctx: click.Context, name: str, due: str | None, note: str, as_json: bool) -> None:
    """Skip exactly one occurrence of NAME: the next one, or the one due at T.

    Exit 1: it was sent already, or is being sent now, or the entry was not in force then.
    """
    session: Session = ctx.obj
    site = _open(session, name, said="skip")
    entry = entry_of(site.ledger, name)
    now = site.ledger.status().now
    due_at = _next_due(entry, now) if due is None else _named_due(entry, due, now)
    slot = site.ledger.skip(name, due_at, actor(session), conceal(note))
    done = slot.state is State.SKIPPED and slot.reason is not Reason.NONE
    if as_json:
        print_json([_row(entry, due_at, slot)])
    elif not done or not session.quiet:
        click.echo(f"{printable(name)}: {_fate(slot, entry, due_at)}", err=not done)
    ctx.exit(int(not done))


def pauses_now(ledger: Ledger) -> list[Paused]:
    """Return the pauses that hold now, without those of a single due time."""
    now = ledger.status().now
    return [each for each in ledger.pauses() if not each.once and each.from_at <= now]


def pause_words(paused: Paused, zone: str) -> str:
    """Return until when a pause holds, by whom, and why."""
    note = f": {conceal(paused.note)}" if paused.note else ""
    return f"{_until(paused.until_at, zone)}, by {paused.who}{note}"


def pause_row(paused: Paused) -> dict[str, object]:
    """Return a pause as --json prints it; entry None for all."""
    return {
        "entry": paused.name or None,
        "from_at": format_utc(paused.from_at),
        "until_at": format_utc(paused.until_at) or None,
        "who": paused.who,
        "note": conceal(paused.note),
        "once": paused.once,
    }


def _open(session: Session, name: str, everything: bool = False, said: str = "pause") -> Site:
    """Return the site, its tree compiled. Raises a usage error unless one of NAME and --all is said. said: the command."""
    if bool(name) == everything:
        raise click.UsageError("say one of NAME and --all")
    site = session.open_site(base=LOG_CRITICAL)  # what hinders it is told by the command
    site.sync(site.runner(said))  # or an entry that was added just now would not be known
    if name and not any(each.name == name for each in site.ledger.pauses()):  # one that is paused may be removed by now
        entry_of(site.ledger, name)
    return site


def _zone(site: Site) -> str:
    schedule = site.ledger.schedule()
    return schedule.timezone if schedule else "UTC"


def _whom(name: str) -> str:
    return f"{printable(name)}:" if name else "all entries:"


def _until(end: float | None, zone: str) -> str:
    return "until somebody resumes" if end is None else f"until {both_ways(int(end), zone)}"


def both_ways(instant: int, zone: str) -> str:
    """Return an instant in its zone and, where that is another text, in UTC."""
    local = format_local_words(instant, zone)
    return local if zone == "UTC" else f"{local} ({format_utc(instant)})"


def _next_due(entry: Entry, now: float) -> DueTime:
    from offbeat.faces.cli_next import coming

    due_at = next((due for due, _ in coming(entry, int(now), 1)), None)
    if due_at is None:
        why = "it is disabled" if not entry.timing.enabled else "it is never due again"
        raise click.UsageError(f'"{printable(entry.name)}" has no next due time: {why}')
    return due_at


def _named_due(entry: Entry, text: str, now: float) -> DueTime:
    """Return the due time that was named. Raises a usage error, with the nearest ones, when the entry is not due then."""
    from offbeat.core.recurrences.recurrence import compile_recurrence
    from offbeat.faces.words import parse_instant

    timing = entry.timing
    wanted = parse_instant(text, now, timing.zone)
    if wanted is None:
        raise click.BadParameter(f'"{printable(text)}" is no instant; write it like 2026-03-02T04:30', param_hint="--due")
    rule = compile_recurrence(timing.recurrence, timing.zone)
    before, after = rule.last_at_or_before(wanted), rule.next_after(wanted)
    near = [at for at in (before, after) if at is not None and _counts(entry, at)]
    if wanted in near:
        return wanted
    nearest = " and ".join(f"{both_ways(at, timing.zone)}" for at in near)
    told = f"the nearest due times are {nearest}" if len(near) > 1 else f"the nearest is {nearest}" if near else "it never is"
    raise click.BadParameter(
        f'"{printable(entry.name)}" is not due at {both_ways(wanted, timing.zone)}; {told}', param_hint="--due"
    )


def _counts(entry: Entry, at: DueTime) -> bool:
    timing = entry.timing
    return (timing.starts_at is None or timing.starts_at <= at) and (timing.ends_at is None or at <= timing.ends_at)


def _fate(slot: Slot, entry: Entry, due_at: DueTime) -> str:
    when = f"the one due {both_ways(due_at, entry.timing.zone)}"
    if slot.state is State.SKIPPED and slot.reason is Reason.NONE:
        return f"{when} came before the schedule began, or while it was not in force: nothing of it is sent, nothing is skipped"
    if slot.state is State.SKIPPED:
        return f"{when} is skipped" + ("" if slot.reason is Reason.BY_HAND else f", as it was already: {slot.reason}")
    sent = f" at {format_utc(slot.dispatched_at)}" if slot.dispatched_at is not None else ""
    return f"{when} is {slot.state} already{sent}, and cannot be skipped any more"


def _row(entry: Entry, due_at: DueTime, slot: Slot) -> dict[str, object]:
    return {
        "entry": entry.name,
        "due_at": format_utc(due_at),
        "local": format_local(due_at, entry.timing.zone),
        "zone": entry.timing.zone,
        "state": str(slot.state) if slot.state is not State.SKIPPED or slot.reason else None,
        "reason": str(slot.reason),
        "dispatched_at": format_utc(slot.dispatched_at) or None,
    }
