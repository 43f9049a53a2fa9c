"""Entries that only wait for a package to be installed here: their last good version stays in force.

Never installs anything, and never hides a problem: `check` tells what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from offbeat.errors import Problem

if TYPE_CHECKING:
    from offbeat.core.model import Schedule
    from offbeat.ports.ledger import Ledger

WAITING = ("S167", "S168")  # a package is missing, or a kind of one's own: mended without a change of the tree
DEPENDENT = ("S163", *WAITING)  # and what is built on such a calendar


def waits(problems: Sequence[Problem]) -> bool:
    """Return whether a package that is not installed here is all that stops some entry."""
    return any(problem.code in WAITING for problem in problems)


def with_waiting(schedule: Schedule, problems: Sequence[Problem], ledger: Ledger) -> Schedule:
    """Return the schedule with the last good version of each entry that only waits for a package to be installed."""
    lost = {problem.entry for problem in problems if problem.code in DEPENDENT} if waits(problems) else set()
    old = ledger.schedule() if lost else None
    kept = tuple(entry for entry in old.entries if entry.name in lost) if old else ()
    if not kept:
        return schedule
    from offbeat.core.identity import fingerprint
    from offbeat.core.serial import canonical_text

    schedule = replace(schedule, entries=schedule.entries + kept)
    return replace(schedule, digest=fingerprint(canonical_text(schedule).encode()))
