"""`offbeat load`: how many tasks come due in each minute of the day, by queue, and the herds. Touches no ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from offbeat.faces.cli_session import (
    Command,
    Session,
    complete_entries,
    is_colourful,
    is_terminal,
    json_option,
    print_json,
    print_table,
    read_schedule,
    require_known,
)
from offbeat.faces.words import count_of, format_local_words, parse_instant, printable

if TYPE_CHECKING:
    from offbeat.core.herds import Herd
    from offbeat.core.load import Load, LoadRow

DAY = 86_400
BUSIEST = 5  # minutes in the table
QUEUES = 6  # with a line of their own
NAMED = 6  # entries of a herd that are named
HERDS = 5  # that are told; -v tells all
PIPED = 80  # columns where no terminal says how many


@click.command(
    cls=Command,
    examples=(
        "offbeat load                                   the week to come",
        "offbeat load --svg load.svg                    the same as a picture",
        "offbeat load --days 28 --json search_dates     one entry, as numbers",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_entries)
@click.option("--days", type=click.IntRange(1, 31), default=7, show_default=True, help="How many days are counted.")
@click.option("--from", "start", metavar="INSTANT", help="Instead of now: ISO 8601 (in the tree's zone without an offset).")
@click.option("--svg", "picture", type=click.Path(dir_okay=False), metavar="FILE", help="Write a drawing too; - for stdout.")
@json_option
@click.pass_obj
def load(session: Session, names: tuple[str, ...], days: int, start: str | None, picture: str | None, as_json: bool) -> None:
    """Show how many tasks come due in each minute of the day, by queue, and which herds are worth spreading."""
    from offbeat.core.herds import find_herds
    from offbeat.core.load import measure_load

    schedule = read_schedule(session.open_site())
    require_known(names, (entry.name for entry in schedule.entries))
    chosen = [entry for entry in schedule.entries if not names or entry.name in names]
    after = _begin(start, session.clock.now(), schedule.timezone) - 1
    measured = measure_load(chosen, after=after, until=_end(after, days, schedule.timezone), zone=schedule.timezone)
    herds = find_herds(measured)
    if picture is not None and measured.rows:
        _draw(measured, herds, picture, quiet=session.quiet > 0)
    if as_json:
        print_json(_json_rows(measured, herds))
    elif not measured.rows:
        click.echo(f"nothing comes due in {count_of(days, 'day')}", err=True)
    elif picture != "-":
        _print(measured, herds, verbose=session.verbose > 0)


def _end(after: int, days: int, zone: str) -> int:
    """Return the instant so many days later by the calendar: a day on which the clock changes has 23 or 25 hours."""
    from offbeat.core.recurrences.zones import find_zone

    clock = find_zone(zone)
    return clock.first_instant(after + 1 + clock.offset_at(after + 1) + days * DAY) - 1


def _begin(start: str | None, now: float, zone: str) -> int:
    """Return the instant that counting begins at, a whole minute."""
    begin = int(now) if start is None else parse_instant(start, now, zone)
    if begin is None:
        raise click.BadParameter(f'"{start}" is no instant; write it like 2026-03-01T02:30:00Z', param_hint="--from")
    return begin - begin % 60


def _json_rows(load: Load, herds: Sequence[Herd]) -> Iterator[Mapping[str, object]]:
    from offbeat.core.herds import herd_minutes

    crowded = herd_minutes(herds)
    for row in load.rows:
        yield {
            "minute": _clock(row.minute),
            "queue": row.queue,
            "due": round(row.due, 3),
            "max": round(row.most, 3),
            "entries": row.entries,
            "herd": row.minute in crowded,
        }


def _draw(load: Load, herds: Sequence[Herd], picture: str, *, quiet: bool) -> None:
    from offbeat.faces.svg_load import draw

    subtitle = f"the busiest minute of each five, {_when(load)}"
    text = draw(load, herds, title="Tasks that come due, by minute of the day and queue", subtitle=subtitle)
    with click.open_file(picture, "w", encoding="utf-8", atomic=picture != "-") as file:
        file.write(text)
    if picture != "-" and not quiet:
        click.echo(f"wrote {printable(picture)}", err=True)


def _when(load: Load) -> str:
    begin, end = (format_local_words(each, load.zone)[:20] for each in (load.after + 1, load.until + 1))
    return f"{begin[:14]} to {end[:14]} ({count_of(round(load.days), 'day')}), {load.zone} time".replace("  ", " ")


def _print(load: Load, herds: Sequence[Herd], *, verbose: bool) -> None:
    from offbeat.faces.histogram import amount

    entries = sum(len(member.names) for member in load.members)
    total = amount(sum(row.due for row in load.rows))
    echo_folded(f"{count_of(entries, 'entry', 'entries')}, {total} tasks a day; {_when(load)}")
    click.echo()
    for line in _picture(load, herds):
        click.echo(line, color=is_colourful(sys.stdout))
    click.echo()
    print_table(("BUSIEST", "A DAY", "AT MOST", "ENTRIES", "QUEUES"), list(_busiest(load)))
    if load.jittered:
        are = count_of(load.jittered, "entry has", "entries have")
        click.echo()
        echo_folded(f"{are} jitter, counted as the expected share of each minute that it spreads over")
    click.echo()
    for line in _told(herds, most=len(herds) if verbose else HERDS, named=None if verbose else NAMED):
        echo_folded(line)


def echo_folded(line: str) -> None:
    """Print a line; on a terminal that is too narrow for it, folded between words, what follows indented."""
    width = _size()[0]
    if not is_terminal(sys.stdout) or len(line) <= width:
        click.echo(line)
        return
    import textwrap

    indent = " " * (len(line) - len(line.lstrip()) + 4)
    click.echo(textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def _picture(load: Load, herds: Sequence[Herd]) -> Iterator[str]:
    """Yield the histogram of all queues, and a line of each queue below it, under the same hours."""
    from offbeat.core.herds import herd_minutes
    from offbeat.core.load import by_queue
    from offbeat.faces.histogram import POINTER, POINTER_ASCII, amount, histogram, sparkline

    width, lines = _size()
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    chart = histogram(
        load.most, herd_minutes(herds), width=width, height=max(5, min(14, lines // 3)), plain=plain, paint=_paint
    )
    yield from chart.lines
    pointer = POINTER_ASCII if plain else POINTER
    remark = f"one column is {count_of(chart.minutes, 'minute')}, the busiest of them" + (
        f"; {pointer}: a herd" if herds else ""
    )
    yield " " * chart.margin + remark
    queues = by_queue(load.rows)
    if len(queues) < 2:
        return
    for queue in list(queues)[:QUEUES]:
        most = [0.0] * len(load.most)
        for row in load.rows:
            if row.queue == queue:
                most[row.minute] = row.most
        told = f"{_name(queue)}: {amount(queues[queue])} a day, {amount(max(most))} at most"
        yield f"\n{' ' * chart.margin}{printable(told)}"
        yield " " * chart.margin + _paint(sparkline(most, chart.minutes, plain=plain).rstrip(), False)
    if len(queues) > QUEUES:
        yield f"\n{' ' * chart.margin}{len(queues) - QUEUES} more queues: offbeat load --json has them"


def _paint(piece: str, marked: bool) -> str:
    return click.style(piece, fg="yellow" if marked else "cyan") if piece.strip() else piece


def _size() -> tuple[int, int]:
    """Return the columns and lines there are to draw in."""
    import shutil

    size = shutil.get_terminal_size((PIPED, 24))
    if not is_terminal(sys.stdout) and "COLUMNS" not in os.environ:
        return PIPED, 24
    return size.columns, size.lines


def _busiest(load: Load) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the cells of the busiest minutes; those that are alike in everything are one row."""
    from offbeat.faces.histogram import amount

    rows: dict[int, list[LoadRow]] = {}
    for row in load.rows:
        rows.setdefault(row.minute, []).append(row)
    alike: dict[tuple[str, str, str, str], list[int]] = {}
    for minute in sorted(rows, key=lambda at: (-load.most[at], -load.due[at], at)):
        if amount(load.due[minute]) == amount(load.most[minute]) == "0":
            continue  # a last thousandth of a jitter
        parts = sorted(rows[minute], key=lambda row: (-row.most, row.queue or ""))
        queues = ", ".join(f"{_name(row.queue)} {amount(row.most)}" for row in parts[:QUEUES] if amount(row.most) != "0")
        cells = (amount(load.due[minute]), amount(load.most[minute]), str(sum(row.entries for row in parts)), queues)
        alike.setdefault(cells, []).append(minute)
    for cells, minutes in list(alike.items())[:BUSIEST]:
        more = f" and {len(minutes) - 1} more" if len(minutes) > 1 else ""
        yield f"{_clock(minutes[0])}{more}", cells[0], cells[1], cells[2], cells[3]


def _told(herds: Sequence[Herd], *, most: int, named: int | None) -> Iterator[str]:
    """Yield what is to be said of the herds, the largest first."""
    if not herds:
        yield "no herds: no minute stands out by enough entries to be worth spreading"
        return
    yield "herds worth spreading:"
    for herd in herds[:most]:
        names = [printable(name) for name in herd.names[:named]]
        more = f" and {len(herd.names) - len(names)} more" if len(names) < len(herd.names) else ""
        days = f", {herd.most} of them on one day" if herd.most < len(herd.names) else ""
        yield f"  {len(herd.names)} entries come due at {herd.when}{days}: {', '.join(names)}{more}"
        hint = "cron minute H" if herd.hourly else "H for the minute of their cron"
        yield f'    spread them: jitter = "{herd.spread}m", or {hint}'
    if len(herds) > most:
        yield f"  {count_of(len(herds) - most, 'more herd')}: offbeat load -v tells all, with all names"


def _name(queue: str | None) -> str:
    return "(commands)" if queue is None else queue


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
