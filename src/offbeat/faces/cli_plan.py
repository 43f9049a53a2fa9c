"""`offbeat plan`: what would be sent or skipped now, and in the next hour, and why. Changes nothing."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import click

from offbeat.core.model import Cause, Entry, Key, Kind, Overlap, Reason, Schedule, State
from offbeat.errors import ConfigError, OffbeatError
from offbeat.faces.cli_history import open_existing
from offbeat.faces.cli_session import (
    Command,
    Session,
    by_place,
    errors_in,
    json_option,
    nothing_deployed,
    print_json,
    print_problems,
    print_table,
)
from offbeat.faces.words import conceal, count_of, format_duration, format_relative, format_utc

if TYPE_CHECKING:
    from offbeat.core.plan import Portion, Window
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import Claim, Paused

MOST = 100_000  # groups and rows that are looked at
WAITING = 10_000  # of the newest rows, those that wait for a later instant are shown
SHOWN = 3  # due times of one entry in a row that people are shown one by one
WAITS = "waits for the end of the one before"
HELD = "a pause holds it"
WHY = {
    Reason.COALESCED: "late, and a newer due time has come",
    Reason.MISSED: 'late, and catch_up = "none"',
    Reason.TOO_LATE: "its grace is over",
    Reason.REMOVED: "the entry is no longer in the schedule",
    Reason.DISABLED: "enabled = false",
    Reason.PAUSED: "paused",
    Reason.OVERLAP: "the one before is still running",
    Reason.BY_HAND: "skipped by hand",
    Reason.RESTORED: "the ledger went back to an older state",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What would become of one occurrence, or (count > 1) of a gap of them up to `until`. when: now | later."""

    entry: str
    due_at: int
    send_at: int
    when: str
    reason: Reason = Reason.NONE
    cause: str = Cause.SCHEDULE
    until: int | None = None
    count: int = 1
    note: str = ""

    @property
    def action(self) -> str:
        """Return dispatch or skip."""
        return "skip" if self.reason else "dispatch"


@click.command(cls=Command, examples=("offbeat plan", "offbeat plan --hours 24 --json"))
@click.option("--hours", type=click.FloatRange(0, 24 * 366), default=1.0, show_default=True, help="How far to look ahead.")
@json_option
@click.pass_obj
def plan(session: Session, hours: float, as_json: bool) -> None:
    """Show what would be sent or skipped now, and in the next hour, and why. Changes nothing."""
    site = session.open_site()
    schedule, problems = site.read()
    ledger = open_existing(site)
    standing = ledger.schedule() if ledger else None
    print_problems(by_place(errors_in(problems)))
    deployed = False
    if ledger and standing:
        from offbeat.faces.cli_status import clock_problems

        told = ledger.status()
        deployed = told.deployed
        print_problems(clock_problems(told))
    ahead = standing if deployed else schedule or standing
    if ahead is None and site.from_ledger:
        raise ConfigError(nothing_deployed())
    if ahead is None:
        raise OffbeatError("nothing can be planned: the tree is refused, and no schedule was in force before it")
    now = session.clock.now()
    present = sorted(_present(ledger), key=_order) if ledger and standing else []
    coming = _coming(ahead, now, int(now + hours * 3600), ledger.pauses() if ledger and standing else ())
    if as_json:
        print_json(_row(step) for steps in (present, coming) for step in steps)
        return
    if not session.quiet:
        for note in _notes(schedule, standing, deployed=deployed):
            click.echo(note, err=True)
    slots = {entry.name: entry.policy.overlap for entry in ahead.entries if entry.policy.overlap is not Overlap.ALLOW}
    _print_part("now", [step for step in present if step.when == "now"], now, slots)
    waiting = [step for step in present if step.when != "now"]
    _print_part(f"in the next {format_duration(hours * 3600)}", [*waiting, *coming], now, slots)


def _notes(schedule: Schedule | None, standing: Schedule | None, *, deployed: bool) -> Iterator[str]:
    if deployed and standing:
        if schedule is None or schedule.digest != standing.digest:
            yield "this is what is deployed; the tree is another: offbeat diff"
    elif standing is None:
        yield "nothing has ticked yet: the first tick or fire fixes the starting point; nothing before it is sent"
    elif schedule is None:
        yield "the tree is refused; this is the last good schedule, which stays in force"
    elif schedule.digest != standing.digest:
        yield "the tree has changed since the last tick; what follows is how it will be from the next one on"


def _order(step: Step) -> tuple[int, str]:
    return step.due_at, step.entry


def _present(ledger: Ledger) -> Iterator[Step]:
    """Yield what a tick would do now: what is due and not recorded yet, then what waits to be claimed."""
    from offbeat.core.plan import plan as decide
    from offbeat.core.recheck import decide_at_claim

    portion, claims = ledger.peek(MOST)
    for window in decide(portion):
        yield from _planned(window, portion)
    for row in ledger.history(limit=WAITING):
        if row.state is State.WAITING:
            yield Step(entry=row.entry, due_at=row.due_at, send_at=row.due_at, when="later", cause=str(row.cause), note=WAITS)
        elif row.state is State.PENDING and row.next_try_at is not None and row.next_try_at > portion.now:
            note = f"again at {format_utc(row.next_try_at)}, after: {row.note}" if row.note else ""
            send_at = row.send_at or row.due_at
            yield Step(
                entry=row.entry, due_at=row.due_at, send_at=send_at, when="later", cause=str(row.cause), note=conceal(note)
            )
    for claim in claims:
        if claim.paused and claim.key.kind is Kind.BACKFILL:
            due_at, send_at = claim.key.due_at, claim.send_at
            yield Step(entry=claim.name, due_at=due_at, send_at=send_at, when="later", cause=str(claim.cause), note=HELD)
            continue
        enabled = claim.timing.enabled if claim.timing else None
        reason = (
            Reason.REMOVED
            if claim.call is None
            else decide_at_claim(
                kind=claim.key.kind,
                due_at=claim.key.due_at,
                send_at=claim.send_at,
                policy=claim.policy,
                next_due=claim.next_due,
                enabled=enabled,
                paused=claim.paused,
                expires_at=claim.expires_at,
                now=portion.now,
            )
        )
        yield _claimed(claim, claim.key, reason)


def _planned(window: Window, portion: Portion) -> Iterator[Step]:
    from offbeat.core.recurrences.recurrence import compile_recurrence

    group, members = next(pair for pair in portion.groups if pair[0].gid == window.gid)
    names = {member.eno: member.name for member in members}
    for row in window.rows:
        when = "now" if row.send_at <= portion.now or row.reason else "later"
        yield Step(entry=names[row.eno], due_at=row.due_at, send_at=row.send_at, when=when, reason=row.reason, cause=row.cause)
    rule = compile_recurrence(group.recurrence, group.zone)
    for gap in window.gaps:
        for member in members:
            if gap.eno not in {None, member.eno}:
                continue
            after, until = max(gap.after, member.first - 1), gap.until if member.last is None else min(gap.until, member.last)
            first, last = rule.next_after(after), rule.last_at_or_before(until)
            if first is not None and last is not None and first <= last:
                count = sum(1 for _ in rule.due_times(after, until))
                yield Step(
                    entry=member.name, due_at=first, send_at=first, when="now", reason=gap.reason, until=last, count=count
                )


def _claimed(claim: Claim, key: Key, reason: Reason) -> Step:
    note = f"again, after: {claim.last_error}" if claim.last_error else ""
    return Step(
        entry=claim.name,
        due_at=key.due_at,
        send_at=claim.send_at,
        when="now",
        reason=reason,
        cause=claim.cause if key.kind is Kind.SCHEDULE else str(key.kind),
        note=note,
    )


def _coming(schedule: Schedule, now: float, until: int, pauses: Sequence[Paused]) -> Iterator[Step]:
    """Yield what will be due in (now, until], the soonest first."""
    return heapq.merge(
        *(
            _coming_of(entry, int(now), until, [each for each in pauses if each.name in ("", entry.name)])
            for entry in schedule.entries
        ),
        key=lambda step: (step.due_at, step.entry),
    )


def _coming_of(entry: Entry, after: int, until: int, pauses: Sequence[Paused]) -> Iterator[Step]:
    from offbeat.core.plan import send_time
    from offbeat.core.recurrences.recurrence import compile_recurrence

    timing = entry.timing
    rule = compile_recurrence(timing.recurrence, timing.zone)
    first = after if timing.starts_at is None else max(after, timing.starts_at - 1)
    last = until if timing.ends_at is None else min(until, timing.ends_at)
    for due_at in rule.due_times(first, last):
        reason = _paused(due_at, pauses) if timing.enabled else Reason.DISABLED
        send_at = due_at if reason else send_time(rule, entry.name, due_at, entry.policy)
        yield Step(entry=entry.name, due_at=due_at, send_at=send_at, when="later", reason=reason)


def _paused(due_at: int, pauses: Sequence[Paused]) -> Reason:
    """Return why a due time to come is skipped, by the pauses of its entry and of all."""
    holding = [each for each in pauses if each.from_at <= due_at and (each.until_at is None or due_at < each.until_at)]
    if not holding:
        return Reason.NONE
    return Reason.BY_HAND if any(each.once for each in holding) else Reason.PAUSED


def _row(step: Step) -> Mapping[str, object]:
    row: dict[str, object] = {
        "entry": step.entry,
        "due_at": format_utc(step.due_at),
        "send_at": format_utc(step.send_at),
        "when": step.when,
        "action": step.action,
        "reason": str(step.reason),
        "cause": str(step.cause),
    }
    return row if step.until is None else {**row, "until": format_utc(step.until), "count": step.count}


def _print_part(title: str, steps: Sequence[Step], now: float, slots: Mapping[str, Overlap]) -> None:
    click.echo(f"{title}:" if steps else f"{title}: nothing is due")
    print_table(("ENTRY", "DUE", "", "WHAT", "WHY"), [_cells(step, now, slots.get(step.entry)) for step in _folded(steps)])


def _folded(steps: Iterable[Step]) -> list[Step]:
    """Return the steps by due time, but only the first ones of each entry and fate; the rest of them as one."""
    folded: list[Step] = []
    for _, same in groupby(sorted(steps, key=lambda s: (s.entry, s.reason, s.due_at)), key=lambda s: (s.entry, s.reason)):
        alike = list(same)
        folded += alike[:SHOWN]
        if rest := alike[SHOWN:]:
            folded.append(
                Step(
                    entry=rest[0].entry,
                    due_at=rest[0].due_at,
                    send_at=rest[0].send_at,
                    when=rest[0].when,
                    reason=rest[0].reason,
                    until=rest[-1].until or rest[-1].due_at,
                    count=sum(step.count for step in rest),
                )
            )
    return sorted(folded, key=lambda step: (step.due_at, step.entry, step.count > 1))


def _cells(step: Step, now: float, overlap: Overlap | None) -> tuple[str, str, str, str, str]:
    why = step.note or WHY.get(step.reason, str(step.reason)) or ("late" if step.cause == Cause.CATCH_UP else "due")
    if step.send_at != step.due_at and not step.reason:
        why += f", sent {step.send_at - step.due_at} s later (jitter)"
    if overlap and not step.reason and not step.note:
        why += f", unless the one before still runs (overlap: {overlap})"
    if step.count > 1:
        why += f"; {count_of(step.count, 'time')} until {format_utc(step.until)}"
    return step.entry, format_utc(step.due_at), format_relative(step.due_at, now), step.action, why
