"""`offbeat next`: when each entry is due next, by the files as they are now, and what the ledger has paused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from offbeat.core.model import Overlap, Reason
from offbeat.errors import OffbeatError
from offbeat.faces.cli_session import (
    Command,
    Session,
    complete_entries,
    json_option,
    print_json,
    print_table,
    read_schedule,
    require_known,
)
from offbeat.faces.ledger_check import tell_undeployed
from offbeat.faces.words import format_local, format_local_words, format_relative, format_utc, parse_instant, printable

if TYPE_CHECKING:
    from offbeat.core.model import DueTime, Entry
    from offbeat.ports.ledger_values import LedgerStatus, Paused
    from offbeat.runners.site import Site


@click.command(
    "next",
    cls=Command,
    examples=(
        "offbeat next                                   every entry's next due times",
        "offbeat next -n 10 weekly_report",
        "offbeat next --from 2026-03-29T00:00 --json    over a change of the clocks",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_entries)
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=3, show_default=True, help="Due times of each entry.")
@click.option("--from", "start", metavar="INSTANT", help="Instead of now: ISO 8601 (in the tree's zone without an offset).")
@json_option
@click.pass_obj
def next_(session: Session, names: tuple[str, ...], count: int, start: str | None, as_json: bool) -> None:
    """Show when each entry is due next, the soonest first."""
    site = session.open_site()
    schedule = read_schedule(site)
    require_known(names, (entry.name for entry in schedule.entries))
    now = session.clock.now()
    after = int(now)
    if start is not None:
        begin = parse_instant(start, now, schedule.timezone)
        if begin is None:
            raise click.BadParameter(f'"{start}" is no instant; write it like 2026-03-01T02:30:00Z', param_hint="--from")
        after = begin - 1
    chosen = [entry for entry in schedule.entries if not names or entry.name in names]
    rows = sorted(((due, send, entry) for entry in chosen for due, send in coming(entry, after, count)), key=_order)
    told, pauses = _standing(site)
    if as_json:
        print_json(_row(due, send, entry, _stop(pauses, entry, due)) for due, send, entry in rows)
        return
    cells = [_cells(due, send, entry, now, _stop(pauses, entry, due)) for due, send, entry in rows]
    heads = ("ENTRY", "DUE", "", "SENT", "")
    shown = [n for n in range(len(heads)) if n < 3 or any(row[n] for row in cells)]
    print_table([heads[n] for n in shown], [[row[n] for n in shown] for row in cells])
    tell_undeployed(schedule, told)
    named = {entry.name for _, _, entry in rows}
    for entry in chosen:
        if entry.name in named:
            continue
        click.echo(f"{entry.name}: {'disabled' if not entry.timing.enabled else 'never due again'}", err=True)


def coming(entry: Entry, after: DueTime, count: int) -> Iterator[tuple[DueTime, DueTime]]:
    """Yield (due time, send time) of an entry's first `count` due times > after; none of a disabled one."""
    from offbeat.core.plan import next_usable, send_time
    from offbeat.core.recurrences.recurrence import compile_recurrence

    if not entry.timing.enabled:
        return
    rule = compile_recurrence(entry.timing.recurrence, entry.timing.zone)
    first = after + 1 if entry.timing.starts_at is None else entry.timing.starts_at
    for _ in range(count):
        due = next_usable([(rule, first, entry.timing.ends_at)], after)
        if due is None:
            return
        yield due, send_time(rule, entry.name, due, entry.policy)
        after = due


def _standing(site: Site) -> tuple[LedgerStatus | None, list[Paused]]:
    """Return the ledger's summary, and the pauses that hold or are still to come; none when it cannot be read."""
    from offbeat.faces.cli_history import open_existing

    try:
        ledger = open_existing(site)
        return (ledger.status(), list(ledger.pauses())) if ledger else (None, [])
    except OffbeatError:
        return None, []


def _stop(pauses: list[Paused], entry: Entry, due: DueTime) -> Paused | None:
    """Return what keeps the occurrence from being sent, as things stand: a skip of it before a pause."""
    mine = (each for each in pauses if each.name in ("", entry.name))
    holding = [each for each in mine if each.from_at <= due and (each.until_at is None or due < each.until_at)]
    return next((each for each in holding if each.once), holding[0] if holding else None)


def _order(row: tuple[DueTime, DueTime, Entry]) -> tuple[DueTime, str]:
    return row[0], row[2].name


def _row(due: DueTime, send: DueTime, entry: Entry, stop: Paused | None) -> Mapping[str, object]:
    return {
        "entry": entry.name,
        "due_at": format_utc(due),
        "send_at": format_utc(send),
        "local": format_local(due, entry.timing.zone),
        "zone": entry.timing.zone,
        "reason": str(_reason(stop)),
        "overlap": str(entry.policy.overlap),
    }


def _reason(stop: Paused | None) -> Reason:
    return Reason.NONE if stop is None else Reason.BY_HAND if stop.once else Reason.PAUSED


def _cells(due: DueTime, send: DueTime, entry: Entry, now: float, stop: Paused | None) -> tuple[str, str, str, str, str]:
    later = f"+{send - due} s" if send != due else ""
    remarks = [f"not sent: {_reason(stop)}, by {printable(stop.who)}"] if stop else []
    if entry.policy.overlap is not Overlap.ALLOW:
        remarks.append(f"overlap: {entry.policy.overlap}")
    when = format_local_words(due, entry.timing.zone)
    return entry.name, when, format_relative(due, now), later, ", ".join(remarks)
