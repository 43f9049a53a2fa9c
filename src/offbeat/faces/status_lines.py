"""What `offbeat status` prints for people, line by line. Reads nothing: what it says is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offbeat.core.rules import NONE
from offbeat.faces.delivery import WORDS, Delivery, guards_seen, ledger_kind
from offbeat.faces.words import count_of, format_relative, format_utc, printable

if TYPE_CHECKING:
    from offbeat.ports.ledger_values import LedgerStatus, Paused, SeenRunner
    from offbeat.runners.site import Site

Line = tuple[str, str]
SKEW = 0.5  # seconds between two clocks that are worth a word
SHORT = 10  # characters of a commit
TICKERS = frozenset({"tick", "run"})  # the roles that plan and send by themselves
GONE = (
    60.0  # seconds without a sign of life, of which an idle resident runner gives one in ten, after which it is taken for gone
)
SHOWN = 10  # skips that are shown one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a ledger stands: its summary, the pauses that hold or are to come, what is known of delivery.

    errors: how many problems, warnings aside, the newest tree has. rules: of the active revision.
    """

    told: LedgerStatus
    pauses: tuple[Paused, ...]
    delivery: Delivery
    errors: int = 0
    rules: str = ""


def status_lines(site: Site, standing: Standing, ticked: float | None) -> list[Line]:
    """Return (label, text) of each line. ticked: when a tick was last seen."""
    told = standing.told
    lines = [
        ("project", told.project),
        ("ledger", f"{told.where}, schema {told.schema}, {ledger_kind(told.where)}"),
        *_restored(told),
        *_rewound(told),
        ("tree", _tree(site, told, standing.errors)),
        ("revision", _revision(told, standing.rules, treeless=site.from_ledger)),
        *_origin(told),
        ("last tick", _when(ticked, told.now, _none_seen(told))),
        ("next due", _when(told.next_due, told.now, "nothing")),
        ("waiting", _waiting(told)),
        *_paused(standing),
        ("delivery", WORDS[standing.delivery]),
    ]
    return [*lines, *_runners(told), *_workers(told)]


def _restored(told: LedgerStatus) -> Iterator[Line]:
    if told.restored_at is not None:
        when = f"{format_utc(told.restored_at)}, {format_relative(told.restored_at, told.now)}"
        yield "RESTORED", f"THE LEDGER WENT BACK TO AN OLDER STATE, found {when}; offbeat history has the gap"


def _rewound(told: LedgerStatus) -> Iterator[Line]:
    if told.rewound is not None:
        when = f"{format_utc(told.rewound.at)}, {format_relative(told.rewound.at, told.now)}"
        yield "rewound", f"to {format_utc(told.rewound.to)} by {printable(told.rewound.who)}, {when}"


def _tree(site: Site, told: LedgerStatus, errors: int) -> str:
    if site.from_ledger:
        return "none here: the ledger says what is due"
    if told.refused_whole:
        return f"{site.tree}: REFUSED, the last good schedule (revision {told.revision}) stays in force"
    if told.deployed:
        return f"{site.tree}: what is deployed counts; offbeat diff tells the two apart"
    return f"{site.tree}" + (f": in force but for {count_of(errors, 'problem')}" if errors else "")


def _revision(told: LedgerStatus, rules: str, *, treeless: bool) -> str:
    if not told.revision:
        first = "offbeat deploy, in a checkout, makes the first" if treeless else "the first `offbeat tick` compiles the tree"
        return f"none yet; {first}"
    by = "" if rules in ("", NONE) else f", by {rules}"
    since = f", in force since {format_utc(told.activated_at)}" if told.activated_at is not None else ""
    return f"{told.revision}, {'deployed' if told.deployed else 'compiled from a tree'}{since}{by}"


def _origin(told: LedgerStatus) -> Iterator[Line]:
    origin = told.origin
    parts = [f"commit {origin.commit[:SHORT]}" if origin.commit else "", f"by {origin.author}" if origin.author else ""]
    parts += ["with changes that are not committed" if origin.dirty else "", origin.note]
    if any(parts):
        yield "from", ", ".join(filter(None, parts))


def _none_seen(told: LedgerStatus) -> str:
    """Return what to say where no tick was seen in the last day: the newest look at the ledger was of one, most probably."""
    how = "offbeat install crontab, or offbeat run"
    if told.looked_at is None or told.ahead:
        return f"none seen; {how}"
    return f"none for a day, the ledger was last looked at {_when(told.looked_at, told.now, '')}; {how}"


def _waiting(told: LedgerStatus) -> str:
    text = (
        f"{told.pending} pending, {told.waiting} for the end of another, {told.claimed} claimed, {told.undelivered} undelivered"
    )
    if told.waits_since is None:
        return text
    return f"{text}; the oldest since {_when(told.waits_since, told.now, '')}"


def _paused(standing: Standing) -> Iterator[Line]:
    skips = [each for each in standing.pauses if each.once]
    for each in standing.pauses:
        if not each.once:
            until = "until somebody resumes" if each.until_at is None else f"until {format_utc(each.until_at)}"
            note = f": {each.note}" if each.note else ""
            yield "PAUSED", f"{each.name or 'ALL ENTRIES'} since {format_utc(each.from_at)}, {until}, by {each.who}{note}"
    for each in skips[:SHOWN]:
        note = f": {each.note}" if each.note else ""
        yield "skip", f"{each.name} due {format_utc(each.from_at)}, by {each.who}{note}"
    if len(skips) > SHOWN:
        yield "skip", f"and {len(skips) - SHOWN} more; offbeat status --json has them all"


def _runners(told: LedgerStatus) -> list[Line]:
    """Return a line for each resident runner, and one for all ticks on one host. Who only asked, or fired, is none."""
    lately: dict[tuple[str, str, str], list[SeenRunner]] = {}
    for seen in told.runners:
        role, host, name = seen.runner.role, seen.runner.host, seen.runner.id
        if role in TICKERS:
            lately.setdefault((role, host, name if role == "run" else ""), []).append(seen)
    return [("runner", _runner(alike, told)) for alike in lately.values()]


def _runner(alike: list[SeenRunner], told: LedgerStatus) -> str:
    newest = max(alike, key=lambda seen: seen.seen_at)
    runner = newest.runner
    often = f", {len(alike)} lately" if len(alike) > 1 else ""
    who = f"{runner.role} on {runner.host}{f' ({runner.id})' if runner.role == 'run' else ''}"
    is_gone = runner.role == "run" and told.now - newest.seen_at > GONE
    text = f"{who}, {'stopped or away, last ' if is_gone else ''}seen {format_relative(newest.seen_at, told.now)}{often}"
    if runner.revision and not is_gone:
        behind = "" if runner.revision == told.revision else f" (not yet {told.revision})"
        text += f", revision {runner.revision}{behind}"
    if runner.version:
        text += f", offbeat {runner.version}"
    if abs(runner.skew) > SKEW:
        text += f", CLOCK {abs(runner.skew):.1f} s {'AHEAD' if runner.skew > 0 else 'BEHIND'}"
    return text


def _workers(told: LedgerStatus) -> Iterator[Line]:
    """Yield a line for the workers with the guard on each host."""
    hosts: dict[str, list[SeenRunner]] = {}
    for seen in guards_seen(told):
        hosts.setdefault(seen.runner.host, []).append(seen)
    for host, workers in hosts.items():
        newest = max(seen.seen_at for seen in workers)
        versions = ", ".join(sorted({f"offbeat {seen.runner.version}" for seen in workers if seen.runner.version}))
        yield (
            "worker",
            f"{len(workers)} with the guard on {host}, seen {format_relative(newest, told.now)}"
            + (f", {versions}" if versions else ""),
        )


def _when(instant: float | None, now: float, none: str) -> str:
    return none if instant is None else f"{format_utc(instant)}, {format_relative(instant, now)}"
