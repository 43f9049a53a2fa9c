"""What a runner knows of its ledger from look to look: whose clock is wrong, and whether it went back to an older state.

Decides nothing about occurrences: the ledger does. Its authority is rules 6 and 15 of the ledger's design.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.core.marks import format_marks, lost, parse_marks
from offbeat.errors import Problem
from offbeat.ports.ledger_values import Told

if TYPE_CHECKING:
    from offbeat.ports.clock import Clock
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import Outlook, Runner
    from offbeat.runners.notes import Notes

SKEW = 2.0  # seconds by which a runner's clock may differ from the store's; one that differs by more records nothing
log = logging.getLogger("offbeat")


@dataclass(slots=True, kw_only=True)
class Watch:
    """One for each process, kept when the ledger is closed and opened again: the next one may be a backup.

    revision: of the last look. skew: seconds by which our clock is ahead of the store's, 0 within the time that the look took.
    ahead: the same, in the middle of the look. born, told: the ledger that was seen, and how far it was. place: a mark of the
    address that is looked at.
    """

    notes: Notes
    place: str = ""
    revision: int = 0
    skew: float = 0.0
    ahead: float = 0.0
    born: str = field(default="", init=False)
    told: Told = field(default_factory=Told, init=False)
    restored: tuple[Problem, ...] = field(default=(), init=False)  # to be told once
    _noted: str = field(default="", init=False)
    _born_at: str = field(default="", init=False)  # the place at which `born` was seen
    _is_fresh: bool = field(default=True, init=False)

    @property
    def is_skewed(self) -> bool:
        """Return whether our clock differs from the store's by more than is allowed."""
        return abs(self.skew) > SKEW

    def look(self, ledger: Ledger, runner: Runner, clock: Clock) -> Outlook:
        """Look at the ledger as this runner; find out what that tells of clocks and of a restored ledger."""
        if self._is_fresh:  # read before the look: what others note later may be newer than its answer
            self._recall()
        self.hear(ledger)
        outlook = self._measured(ledger, runner, clock)
        if outlook.believed and self._went_back(outlook):
            self._after_restore(ledger, runner, outlook)
            outlook = self._measured(ledger, runner, clock)
        self._see(outlook)
        return outlook

    def hear(self, ledger: Ledger) -> None:
        """Remember how far the ledger was by its replies since the last look: it may lose just these."""
        heard = ledger.told()
        self.told = self.told.and_then(heard.marks, heard.heard_at)

    def introduce(self, runner: Runner) -> Runner:
        """Return the runner with all that is known of it by now."""
        from offbeat import __version__

        return replace(runner, revision=self.revision, skew=round(self.skew, 3), version=__version__)

    def take_restored(self) -> tuple[Problem, ...]:
        """Return what is to be told of a restored ledger, once."""
        problems, self.restored = self.restored, ()
        return problems

    def keep(self) -> None:
        """Remember what was seen for the next process, if there is anything new. Where nothing can be kept, nothing is."""
        text = f"{format_marks(self.told.marks)} {self.told.heard_at:.6f} {self.born} {self.place}"
        if self.born and text != self._noted:
            with contextlib.suppress(OSError):
                self.notes.write(seen=text)
            self._noted = text

    def _recall(self) -> None:
        self._noted, self._is_fresh = self.notes.get("seen"), False
        words = self._noted.split(" ")
        if len(words) == 4 and (heard_at := _instant(words[1])) is not None:
            self.told = Told(marks=parse_marks(words[0]), heard_at=heard_at)
            self.born, self._born_at = words[2:]

    def _measured(self, ledger: Ledger, runner: Runner, clock: Clock) -> Outlook:
        before = clock.now()
        outlook = ledger.look(self.introduce(runner))
        after = clock.now()
        was_skewed = self.is_skewed
        self.ahead = (before + after) / 2 - outlook.now
        # Whatever the answer's instant was, it lay between the two: only what is outside of them is a difference.
        self.skew = before - outlook.now if outlook.now < before else min(after - outlook.now, 0.0)
        if after < before:  # our clock was set back meanwhile: look again to know
            self.skew = 0.0
        self.revision = outlook.revision
        if self.is_skewed and not was_skewed:
            fields = {"skew": round(self.skew, 3)}
            log.error("clock_differs", extra={"event": Event.CLOCK_DIFFERS, "fields": fields})
            ledger.look(self.introduce(runner))  # so that `status` shows it
        return outlook

    def _went_back(self, outlook: Outlook) -> bool:
        return bool(outlook.born) and outlook.born == self.born and bool(lost(self.told.marks, outlook.marks))

    def _see(self, outlook: Outlook) -> None:
        if outlook.born != self.born:
            if self.born and self._born_at == self.place:
                log.error("restored", extra={"event": Event.RESTORED, "fields": {"lost": lost(self.told.marks, {})}})
                self.restored += (exchanged_problem(),)
            self.born, self.told = outlook.born, Told()
        self._born_at = self.place
        self.told = self.told.and_then(outlook.marks, outlook.now)

    def _after_restore(self, ledger: Ledger, runner: Runner, outlook: Outlook) -> None:
        from offbeat.core.model import AfterRestore

        skip = ledger.ledger_settings().after_restore is AfterRestore.SKIP
        if ledger.restored(self.introduce(runner), self.told, skip=skip):
            gone = lost(self.told.marks, outlook.marks)
            fields = {"lost": gone, "after_restore": "skip" if skip else "send"}
            log.error("restored", extra={"event": Event.RESTORED, "fields": fields})
            self.restored += (restored_problem(gone, skip=skip),)
        with contextlib.suppress(OSError):
            self.notes.write(compiled="")  # what this host compiled may be forgotten too


def _instant(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def skew_problem(skew: float) -> Problem:
    """Return what to tell while our clock differs from the ledger's. skew: seconds by which ours is ahead."""
    side = "ahead of" if skew > 0 else "behind"
    return Problem(
        code="L303",
        what=f"this host's clock is {abs(skew):.1f} s {side} the ledger's",
        why=f"with more than {SKEW:g} s between them this runner decides nothing; what others have recorded it still sends",
        fix="timedatectl set-ntp true",
    )


def exchanged_problem() -> Problem:
    """Return what to tell of another ledger, an empty one mostly, where the one was that this host has seen."""
    return Problem(
        code="L314",
        what="the ledger is not the one that this host has seen: it is empty, or another one was put in its place",
        why="what the other remembered is forgotten; this host's tree is compiled into it anew, and what was deployed is gone",
        fix="put the old one back, if you can; else: offbeat deploy, from the revision that is to be in force",
    )


def restored_problem(gone: int, *, skip: bool) -> Problem:
    """Return what to tell of a ledger that went back to an older state. gone: writes that were seen, and are no more."""
    skipped = "what it forgot is not sent again: it is a gap with the reason restored"
    sent = "what it forgot is planned anew, as after any downtime, and may be sent a second time, with the same id"
    return Problem(
        code="L304",
        what=f"the ledger went back to an older state: {gone} of the writes that this host has seen are gone",
        why=skipped if skip else sent,
        fix="offbeat history; what is missing: offbeat backfill NAME --from ... --to ..." if skip else "offbeat history",
    )
