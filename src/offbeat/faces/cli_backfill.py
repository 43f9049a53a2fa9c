"""`offbeat backfill`: the due times of an entry in a span of the past, sent again or for the first time, at a bounded rate.

Sends nothing itself: runners do, behind all that is live.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from offbeat.core.model import Kind, State
from offbeat.errors import ConfigError, OffbeatError
from offbeat.faces.cli_pause import both_ways
from offbeat.faces.cli_session import (
    LOG_CRITICAL,
    Command,
    Session,
    complete_entries,
    is_terminal,
    json_option,
    nothing_deployed,
    print_json,
)
from offbeat.faces.people import actor, entry_of, pick
from offbeat.faces.words import count_of, format_duration, format_utc, parse_when, printable

if TYPE_CHECKING:
    from offbeat.core.model import Entry
    from offbeat.runners.backfill import Extent
    from offbeat.runners.site import Site

UNSETTLED = frozenset({State.PENDING, State.WAITING, State.CLAIMED})
RATE = 60.0  # a minute
POLL = 2.0  # seconds between two looks of --wait
MOST_CANCELLED = 1_000  # rows in one step
MOST_LOOKED_AT = 100_000  # rows of history that are gone through to count what is out


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be backfilled: due times in [start, end), each once for a token; "" is the same for all of the entry."""

    entry: Entry
    start: int
    end: int
    per_minute: float
    token: str = ""

    @property
    def again(self) -> str:
        """Return the command that goes on with it."""
        words = ["offbeat", "backfill", self.entry.name, "--from", format_utc(self.start), "--to", format_utc(self.end)]
        words += ["--per-minute", f"{self.per_minute:g}"] if self.per_minute != RATE else []
        return shlex.join([*words, "--token", self.token] if self.token else words)


@click.command(
    cls=Command,
    examples=(
        "offbeat backfill weekly_report --from 2026-02-01 --to 2026-03-01 --dry-run",
        "offbeat backfill search_dates --from 12h --to 6h --per-minute 10",
        "offbeat backfill search_dates --from 2026-03-01T00:00Z --to now --wait",
        "offbeat backfill search_dates --cancel        what is not out yet, of all its backfills",
    ),
)
@click.argument("name", shell_complete=complete_entries)
@click.option("--from", "start", metavar="T", help='The first instant: ISO 8601, or a span before now like "2d".')
@click.option("--to", "end", metavar="T", help="The end, which is not in it: alike, or `now`.")
@click.option(
    "--per-minute", type=click.FloatRange(0.01, 60_000), default=RATE, show_default=True, help="How many are sent at most."
)
@click.option("--dry-run", is_flag=True, help="Say what it would be; record nothing.")
@click.option("--wait", is_flag=True, help="Stay until all of it is sent.")
@click.option("--again", is_flag=True, help="All of the span, also what was backfilled before.")
@click.option(
    "--token", default="", metavar="TEXT", help="Go on with a backfill that was begun with --again, or cancel this one."
)
@click.option("--cancel", is_flag=True, help="Skip what is not out yet of NAME's backfills, or of the one that --token names.")
@json_option
@click.pass_obj
def backfill(session: Session, /, name: str, start: str | None, end: str | None, **options: bool | float | str) -> None:
    """Send NAME for each of its due times from T up to (without) T, by its recurrence and arguments as they are now.

    Whether the schedule has sent them does not matter. The messages have ids of their own and cause `backfill`. What an
    earlier backfill of NAME has recorded is not sent again, whatever its span was (--again sends it): so the same words go on
    where they were cut off. Due times to come are left to the schedule.
    """
    if options["cancel"]:
        _cancel(session, name, str(options["token"]), as_json=bool(options["as_json"]), spanned=bool(start or end))
    elif start is None or end is None:
        raise click.UsageError("say from when to when: --from T --to T (or --cancel)")
    else:
        _fill(session, name, (start, end), options)


def _fill(session: Session, name: str, span: tuple[str, str], options: dict[str, bool | float | str]) -> None:
    from offbeat.runners.backfill import foresee

    site = session.open_site(base=LOG_CRITICAL)
    if options["dry_run"]:
        entry, now = _foreseen(session, site, name)
    else:
        site.sync(site.runner("backfill"))
        entry, now = entry_of(site.ledger, name), site.ledger.status().now
    order = _order(entry, now, span, options)
    extent = foresee(entry, (order.start - 1, order.end - 1), now, per_minute=order.per_minute, token=order.token)
    said = not options["as_json"] and not session.quiet
    if said:
        click.echo(_extent(order, extent))
    new = 0
    try:
        if extent.count and not options["dry_run"]:
            new = _record(site, order, extent, said)
            if options["wait"]:
                _wait(session, site, order, extent, said)
    except KeyboardInterrupt:
        click.echo(f"\nstopped; what is recorded goes out all the same, the rest is for: {order.again}", err=True)
        raise
    if options["as_json"]:
        print_json([_row(order, extent, new, dry_run=bool(options["dry_run"]))])
    elif said and extent.count:
        click.echo(_outcome(order, extent, new, dry_run=bool(options["dry_run"])))


def _cancel(session: Session, name: str, token: str, *, as_json: bool, spanned: bool) -> None:
    """Skip what is not out yet, step by step, and say what it was too late for."""
    if spanned:
        raise click.UsageError("--cancel is for all of a backfill: it goes by NAME and --token, not by --from and --to")
    site = session.open_site(base=LOG_CRITICAL)
    who, cancelled = actor(session), 0
    while gone := site.ledger.cancel(name, who, "cancelled", MOST_CANCELLED, token):
        cancelled += gone
    out = _out(site, name, token)
    if as_json:
        print_json([{"entry": name, "token": token or None, "cancelled": cancelled, "out": out}])
    elif not session.quiet:
        told = f"{count_of(cancelled, 'occurrence')} cancelled"
        click.echo(f"{printable(name)}: {told}; {out} {'was' if out == 1 else 'were'} out already")


def _out(site: Site, name: str, token: str) -> int:
    """Return how many of the newest occurrences that are kept were handed out, or are being handed out now."""
    rows = (row for row in site.ledger.history(name, MOST_LOOKED_AT) if row.key and row.key.kind is Kind.BACKFILL)
    ours = (row.state for row in rows if row.key and token in ("", row.key.kind_id))
    return sum(state not in (State.SKIPPED, State.PENDING, State.WAITING) for state in ours)


def _foreseen(session: Session, site: Site, name: str) -> tuple[Entry, float]:
    """Return the entry as a real run would find it, and the time, from a ledger that is only read, or is not there yet."""
    from offbeat.faces.cli_history import open_existing

    ledger = open_existing(site)
    told = ledger.status() if ledger else None
    schedule, problems = (None, ()) if site.from_ledger or (told and told.deployed) else site.read()
    schedule = schedule or (ledger.schedule() if ledger else None)
    if schedule is None:
        raise OffbeatError(*problems) if problems else ConfigError(nothing_deployed())
    return pick({entry.name: entry for entry in schedule.entries}, name), told.now if told else session.clock.now()


def _order(entry: Entry, now: float, span: tuple[str, str], options: dict[str, bool | float | str]) -> Order:
    instants = []
    for option, text in zip(("--from", "--to"), span, strict=True):
        instant = parse_when(text, now, entry.timing.zone, past=True)
        if instant is None:
            raise click.BadParameter(f'"{printable(text)}" is no instant; write it like 2026-03-01T02:30', param_hint=option)
        instants.append(instant)
    start, end = instants
    if start >= end:
        raise click.BadParameter(f"{format_utc(end)} is not after --from {format_utc(start)}", param_hint="--to")
    token = str(options["token"])
    if options["again"] and not token:
        import secrets

        token = secrets.token_hex(8)
    return Order(entry=entry, start=start, end=end, per_minute=float(options["per_minute"]), token=token)


def _extent(order: Order, extent: Extent) -> str:
    name, zone = printable(order.entry.name), order.entry.timing.zone
    if extent.first is None or extent.last is None:
        return f"{name}: not due from {both_ways(order.start, zone)} to {both_ways(order.end, zone)}; nothing to do"
    span = f"from {both_ways(extent.first, zone)} to {both_ways(extent.last, zone)}"
    return f"{name}: {count_of(extent.count, 'occurrence')}, due {span}, in {format_duration(extent.seconds)}"


def _outcome(order: Order, extent: Extent, new: int, *, dry_run: bool) -> str:
    if dry_run:
        return "nothing is recorded (--dry-run)"
    if not new:
        return "all of it was recorded before: nothing is sent twice; --again sends it once more"
    known = f"\n{extent.count - new} were recorded before, and are not sent twice (--again)" if new < extent.count else ""
    return f"recorded {new}; runners send them, {order.per_minute:g} a minute, behind what is live{known}"


def _record(site: Site, order: Order, extent: Extent, said: bool) -> int:
    """Record it step by step, and show how far it is; return how many were new."""
    from offbeat.runners.backfill import backfill as do_backfill

    new = 0

    def steps() -> Iterator[int]:
        nonlocal new
        span = (order.start - 1, order.end - 1)
        for step in do_backfill(site, order.entry.name, *span, per_minute=order.per_minute, token=order.token):
            new = step.new
            yield step.done

    show(steps(), extent.count, "recorded", said)
    return new


def _wait(session: Session, site: Site, order: Order, extent: Extent, said: bool) -> None:
    """Stay until nothing of it is left to be sent, and show how far it is."""

    def looks() -> Iterator[int]:
        while True:
            settled = _settled(site, order, extent)
            yield settled
            if settled >= extent.count:
                return
            session.clock.sleep_until(session.clock.now() + POLL)

    show(looks(), extent.count, "sent", said)


def _settled(site: Site, order: Order, extent: Extent) -> int:
    """Return how many of its occurrences are sent, or will not be."""
    limit = 2 * extent.count + 100
    while True:
        rows = site.ledger.history(order.entry.name, limit, extent.first)
        of_token = (row for row in rows if row.key and row.key.kind_id == extent.token)
        ours = [row.state for row in of_token if extent.last is None or row.due_at <= extent.last]
        if len(ours) >= extent.count or len(rows) < limit:
            return extent.count - sum(state in UNSETTLED for state in ours)
        limit *= 4


def show(steps: Iterator[int], total: int, word: str, said: bool) -> None:
    """Go through the steps; show how far each is: a bar on a terminal, a line for each change elsewhere."""
    if said and is_terminal(sys.stderr):
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task(word, total=total)
            for done in steps:
                progress.update(bar, completed=done)
        return
    before = None
    for done in steps:
        if said and done != before:
            click.echo(f"{word} {done} of {total}", err=True)
        before = done


def _row(order: Order, extent: Extent, new: int, *, dry_run: bool) -> dict[str, object]:
    return {
        "entry": order.entry.name,
        "from": format_utc(order.start),
        "to": format_utc(order.end),
        "first_due_at": format_utc(extent.first) or None,
        "last_due_at": format_utc(extent.last) or None,
        "count": extent.count,
        "new": new,
        "per_minute": order.per_minute,
        "token": extent.token,
        "dry_run": dry_run,
    }
