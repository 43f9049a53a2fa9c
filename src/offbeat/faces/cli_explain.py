"""`offbeat explain`: a recurrence in plain English, its next due times, and what daylight saving does. Touches no ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from offbeat.errors import ConfigError, OffbeatError
from offbeat.faces.cli_load import echo_folded
from offbeat.faces.cli_next import coming
from offbeat.faces.cli_session import (
    Command,
    Session,
    by_place,
    complete_entries,
    errors_in,
    json_option,
    print_json,
    print_problems,
    print_table,
    read_schedule,
    require_known,
)
from offbeat.faces.words import (
    conceal,
    count_of,
    format_local,
    format_local_words,
    format_recurrence,
    format_relative,
    format_utc,
    printable,
)

if TYPE_CHECKING:
    from offbeat.core.daylight import DaylightNote
    from offbeat.core.model import DueTime, Entry, Timing

YEAR = 365 * 86_400


@click.command(
    cls=Command,
    examples=(
        "offbeat explain weekly_report",
        "offbeat explain --cron '30 3 * * *' --timezone Europe/Sofia",
        "offbeat explain --every 45m -n 10",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_entries)
@click.option("--cron", metavar="TEXT", help="Explain this cron expression instead of entries.")
@click.option("--every", metavar="SPAN", help="Explain this interval instead of entries.")
@click.option("--timezone", metavar="ZONE", help="The zone of --cron; the tree's unless said.")
@click.option("--seed", metavar="NAME", default="", help="The entry that --cron belongs to: what H and ~ are resolved by.")
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Due times to show.")
@json_option
@click.pass_obj
def explain(
    session: Session,
    names: tuple[str, ...],
    cron: str | None,
    every: str | None,
    timezone: str | None,
    seed: str,
    count: int,
    as_json: bool,
) -> None:
    """Say in plain English when something is due, with its next due times, and what daylight saving does to them."""
    if sum(map(bool, (names, cron, every))) > 1:
        raise click.UsageError("explain takes entries, or --cron, or --every, and no two of them at once")
    if timezone is not None and not (cron or every):
        raise click.UsageError("--timezone goes with --cron; an entry has a zone of its own")
    now = session.clock.now()
    if cron or every:
        chosen = [_of_text(session, cron, every, timezone=timezone, seed=seed)]
    else:
        chosen = sorted(_of_names(session, names) if names else read_schedule(session.open_site()).entries, key=_by_name)
    if as_json:
        print_json(_row(entry, int(now), count) for entry in chosen)
        return
    for place, entry in enumerate(chosen):
        if place:
            click.echo()
        _print(entry, now, count)


def _by_name(entry: Entry) -> str:
    return entry.name


def _of_names(session: Session, names: Sequence[str]) -> Iterator[Entry]:
    """Yield the entries of these names; what is wrong with others is not said here.

    Raises: click.UsageError for a name that is not in the files, ClickException for one that is but is not loaded.
    """
    schedule, problems = session.open_site().read()
    broken = errors_in(problems)
    if schedule is None:
        raise ConfigError(*broken)
    loaded, theirs = {entry.name: entry for entry in schedule.entries}, [each for each in broken if each.entry in names]
    known = {*loaded, *(each.entry for each in broken if each.entry)}
    unread = [] if known.issuperset(names) else [each for each in broken if not each.entry]  # files that they may be in
    print_problems(by_place([*theirs, *unread]))
    require_known(names, known)
    for name in names:
        if name not in loaded:
            why = next(each.what for each in theirs if each.entry == name).removeprefix(f'entry "{name}": ')
            raise click.ClickException(f'the entry "{printable(name)}" is not loaded: {printable(conceal(why))}')
    yield from (loaded[name] for name in dict.fromkeys(names))


def _of_text(session: Session, cron: str | None, every: str | None, *, timezone: str | None, seed: str) -> Entry:
    """Return a nameless entry that is due by what the options say.

    Raises: ScheduleError with what is wrong with them.
    """
    from offbeat.core.model import Entry, TaskCall, Timing
    from offbeat.core.recurrences.recurrence import cron_text, every_text, parse_duration

    zone = _zone_of_tree(session) if timezone is None else timezone
    if cron is not None:
        text = cron_text(cron, zone=zone, seed=seed)
        if text.startswith("cron "):
            from offbeat.core.recurrences.cron import cron_warnings

            print_problems(cron_warnings(cron))
    else:
        text = every_text(parse_duration(every or ""))
    hashed = f"H and ~ are resolved by the entry's name: {f'here {seed!r}' if seed else '--seed NAME says which'}"
    uses_hash = cron is not None and re.search(r"(^|[\s,])H|~", cron, re.IGNORECASE)
    return Entry(
        name="", timing=Timing(recurrence=text, zone=zone), call=TaskCall(task=""), description=hashed if uses_hash else ""
    )


def _zone_of_tree(session: Session) -> str:
    """Return the zone of the tree that there is, UTC without one."""
    try:
        schedule, _ = session.open_site().read()
    except OffbeatError:
        return "UTC"
    return schedule.timezone if schedule else "UTC"


def _notes(entry: Entry, now: int) -> list[DaylightNote]:
    """Return what daylight saving does in the year to come."""
    from offbeat.core.daylight import daylight_notes

    timing = entry.timing
    if not timing.enabled:
        return []
    after = now if timing.starts_at is None else max(now, timing.starts_at - 1)
    until = now + YEAR if timing.ends_at is None else min(now + YEAR, timing.ends_at)
    return list(daylight_notes(timing.recurrence, timing.zone, after, until))


def _row(entry: Entry, now: int, count: int) -> Mapping[str, object]:
    from offbeat.core.explain import explain as say
    from offbeat.core.explain import policy_words

    timing, notes = entry.timing, _notes(entry, now)
    touched = {due: str(note.effect) for note in notes for due in note.due}
    return {
        "entry": entry.name or None,
        "recurrence": format_recurrence(timing.recurrence),
        "zone": timing.zone,
        "words": say(timing.recurrence, timing.zone),
        "remarks": list(policy_words(entry)) if entry.name else list(filter(None, [entry.description])),
        "next": [
            {"due_at": format_utc(due), "local": format_local(due, timing.zone), "daylight": touched.get(due)}
            for due, _ in coming(entry, now, count)
        ],
        "daylight": [{"at": format_utc(note.at), "effect": str(note.effect), "text": note.text} for note in notes],
    }


def _print(entry: Entry, now: float, count: int) -> None:
    from offbeat.core.explain import explain as say
    from offbeat.core.explain import policy_words

    timing, notes = entry.timing, _notes(entry, int(now))
    name = f"{printable(entry.name)}: " if entry.name else ""
    echo_folded(f"{name}{printable(say(timing.recurrence, timing.zone))}.")
    if not timing.recurrence.startswith("any "):  # its text is for machines: --json has it
        zone = f" in {timing.zone}" if timing.zone != "UTC" else ""
        click.echo(f"  {printable(format_recurrence(timing.recurrence))}{zone}")
    for remark in policy_words(entry) if entry.name else filter(None, [entry.description]):
        echo_folded(f"  {printable(remark)}")
    due_times = [due for due, _ in coming(entry, int(now), count)]
    click.echo()
    if not due_times:
        click.echo("  never due again" if timing.enabled else "  not due while it is switched off")
        return
    rows = list(_table(due_times, notes, timing.zone, now=now))
    width = 4 if any(row[3] for row in rows) else 3
    print_table((f"DUE IN {timing.zone}", "UTC", "", "DAYLIGHT SAVING")[:width], [row[:width] for row in rows])
    click.echo()
    for line in _said(notes, timing):
        echo_folded(line)


def _table(due_times: Sequence[DueTime], notes: Sequence[DaylightNote], zone: str, *, now: float) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the due times, oldest first, and of what is left out among them."""
    from offbeat.core.daylight import Effect

    touched = {due: note.remark(due) for note in notes for due in note.due}
    rows = [
        (due, (format_local_words(due, zone), format_utc(due), format_relative(due, now), touched.get(due, "")))
        for due in due_times
    ]
    for note in notes:
        if note.effect is Effect.DROPPED and note.at <= due_times[-1]:
            rows.append((note.at, ("(not due)", "", "", note.remark())))
    return (cells for _, cells in sorted(rows))


def _said(notes: Sequence[DaylightNote], timing: Timing) -> Iterator[str]:
    """Yield what daylight saving does in the year to come, beyond the due times that are shown."""
    kind = timing.recurrence.partition(" ")[0]
    if notes:
        yield f"in the next 12 months daylight saving touches it {count_of(len(notes), 'time')}:"
    elif kind == "at":
        yield "its instants are fixed"
    elif timing.zone == "UTC" and "TZID=" not in timing.recurrence:
        yield "UTC knows no daylight saving"
    elif kind in ("every", "solar"):
        yield "it does not go by the wall clock, so daylight saving moves and drops nothing"
    else:
        yield "in the next 12 months daylight saving touches none of its due times"
    for note in notes:
        yield f"  {note.text}"
