"""What `offbeat check` says of the ledger: whether its place is a good one, and what it cannot promise.

Reads only; a server is asked only when its ledger is there already, and what it does not answer is no problem of the tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from offbeat.core.model import CommandCall, Overlap
from offbeat.core.passwords import shown_address
from offbeat.errors import OffbeatError, Problem, Severity
from offbeat.faces.delivery import LIMITS, guards_seen, ledger_kind
from offbeat.faces.words import conceal, count_of

if TYPE_CHECKING:
    from offbeat.core.model import Entry, Schedule
    from offbeat.ports.ledger_values import LedgerStatus
    from offbeat.runners.site import Site

MOUNTS = Path("/proc/self/mountinfo")
LAYERS = frozenset({"overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs"})
SHARED = "OFFBEAT_LEDGER=postgresql://... or redis://..., the same for all of them"


def ledger_promise(site: Site) -> str:
    """Return where the ledger is, and what it cannot promise, in one line."""
    where, kind = shown_address(site.ledger_address), ledger_kind(site.ledger_address)
    limit = LIMITS.get(kind, "")
    return f"ledger: {kind}, {where}" + (f"; {limit}" if limit else "")


def ledger_problems(site: Site, schedule: Schedule, told: LedgerStatus | None, mounts: Path = MOUNTS) -> list[Problem]:
    """Return warnings of the ledger's place, of who shares it, and of overlap that nobody reports the end of.

    told: the ledger's summary, None where there is none yet.
    """
    found = [_layer(site, mounts), _hosts(told), *(_unguarded(entry, told) for entry in schedule.entries)]
    return [problem for problem in found if problem is not None]


def undeployed(schedule: Schedule, told: LedgerStatus | None) -> str:
    """Return what to say of a tree that is not what is deployed, "" where it is, or where the files count."""
    if told is None or not told.deployed or told.digest == schedule.digest:
        return ""
    return (
        f"what is deployed counts (revision {told.revision}), and these files are another schedule: "
        "offbeat diff tells the two apart, offbeat deploy puts the files in force"
    )


def tell_undeployed(schedule: Schedule, told: LedgerStatus | None) -> None:
    """Say so on stderr."""
    if words := undeployed(schedule, told):
        click.echo(f"offbeat: {words}", err=True)


def ledger_summary(site: Site, *, strict: bool = False) -> LedgerStatus | None:
    """Return the ledger's summary, None when there is none yet or it cannot be read; strict: then OffbeatError is raised.

    Also raised when the address is refused: no tick can do anything with that.
    """
    from offbeat.faces.cli_history import open_existing
    from offbeat.runners.tick import is_address_refused

    try:
        ledger = open_existing(site)
        return ledger.status() if ledger else None
    except OffbeatError as error:
        if strict or is_address_refused(error):
            raise
        return None


def _layer(site: Site, mounts: Path) -> Problem | None:
    from offbeat.ports.ledger_sqlite.mounts import file_system_of

    file = site.ledger_address.partition("?")[0].removeprefix("sqlite:///")
    if file == site.ledger_address.partition("?")[0]:
        return None
    try:
        kind = file_system_of(str(Path(file).resolve()), mounts.read_text("utf-8", "surrogateescape"))
    except OSError:  # no Linux
        return None
    if kind not in LAYERS:
        return None
    return Problem(
        code="C310",
        file=shown_address(site.ledger_address),
        what=f"the ledger is a file in a container's own layer ({kind})",
        why="it is gone when the container is replaced: what was due meanwhile is not caught up with, and pauses are forgotten",
        fix="put it on a volume: OFFBEAT_LEDGER=sqlite:////VOLUME/ledger.db, or use PostgreSQL or Redis",
        severity=Severity.WARNING,
    )


def _hosts(told: LedgerStatus | None) -> Problem | None:
    hosts = sorted({seen.runner.host for seen in told.runners}) if told else []
    if told is None or len(hosts) < 2 or ledger_kind(told.where) != "SQLite":
        return None
    return Problem(
        code="C311",
        file=conceal(told.where),
        what=f"the ledger is SQLite, and {count_of(len(hosts), 'host')} were seen in it: {', '.join(hosts[:5])}",
        why="a file is safe with the locks of one host only; runners of several send twice, or break it",
        fix=SHARED,
        severity=Severity.WARNING,
    )


def _unguarded(entry: Entry, told: LedgerStatus | None) -> Problem | None:
    """Return the warning for an overlap whose end nobody reports; None before a ledger can tell."""
    if told is None or entry.policy.overlap is Overlap.ALLOW or isinstance(entry.call, CommandCall) or guards_seen(told):
        return None
    return Problem(
        code="C312",
        file=entry.file,
        line=entry.line,
        entry=entry.name,
        what=f'entry "{entry.name}": overlap = "{entry.policy.overlap}", but no worker with the guard was seen in the last day',
        why="nobody reports the end of a run, so each one counts as running for all of max_runtime",
        fix='imports = ["offbeat.worker"] in the configuration of the Celery app',
        severity=Severity.WARNING,
    )
