"""What was started while the ledger was silent: no second attempt of it starts on this host, and the ledger is told later.

Never asks the ledger before a task; never waits for it.
"""

from __future__ import annotations

from itertools import groupby
from typing import Callable

from offbeat.ports.clock import Clock
from offbeat.ports.worker_host import HostRecord, Started
from offbeat.ports.worker_values import Ask, NoAnswer

AT_ONCE = 500  # starts that the ledger is told of in one question


class Unasked:
    """The host's record of one ledger."""

    def __init__(self, ledger: str, clock: Clock) -> None:
        self.record = HostRecord(ledger, clock)
        # There is something that the ledger is still to be told. At first there may be: of a process that died meanwhile.
        self.is_owing = True

    def has_another(self, project: str, ask: Ask) -> bool:
        """Return whether this host has started another attempt of the occurrence."""
        return self.record.winner(project, ask.occurrence) not in (0, ask.attempt)

    def has_any(self, project: str, ask: Ask) -> bool:
        """Return whether this host has started an attempt of the occurrence."""
        return self.record.winner(project, ask.occurrence) != 0

    def admitted(self, project: str, ask: Ask) -> None:
        """Remember what the ledger let start."""
        self.record.note(Started(project, ask.occurrence, ask.attempt, ask.keep), told=True)

    def start(self, project: str, ask: Ask) -> bool:
        """Return whether this attempt may start unasked, as far as this host knows; the ledger will be told."""
        return self.record.note(Started(project, ask.occurrence, ask.attempt, ask.keep), told=False) == ask.attempt

    def tell(self, admit_late: Callable[[str, list[Ask]], list[bool]]) -> int:
        """Tell the ledger what it was not asked; return how many of these occurrences another host has started as well.

        admit_late: called with a project and some of it. Raises: NoAnswer; then what is left is told the next time.
        """
        self.is_owing = self.is_owing or self.record.owes()
        twice = 0
        silent: set[str] = set()
        why: NoAnswer | None = None
        while self.is_owing:
            some = self.record.untold(AT_ONCE, silent)
            for project, group in groupby(sorted(some), key=lambda one: one.project):
                these = list(group)
                try:
                    won = admit_late(project, [Ask(one.occurrence, one.attempt, one.keep) for one in these])
                except NoAnswer as error:  # the others' ledgers may answer
                    silent.add(project)
                    why = error
                else:
                    twice += won.count(False)
                    self.record.told(these)
            self.is_owing = len(some) == AT_ONCE
        if why is not None:
            self.is_owing = True
            self.record.owe()
            raise why
        return twice
