"""The resident runner: one thread, one pass at a time, asleep until the next due time.

A signal only sets a flag and wakes the clock; the batch in hand is finished first. Nothing here decides anything.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.errors import LedgerError, OffbeatError
from offbeat.ports import files
from offbeat.runners.backoff import delay
from offbeat.runners.dispatch import Dispatcher
from offbeat.runners.tick import FAILURES, PRUNE, ahead_problem, report_sync, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.errors import Problem
    from offbeat.runners.site import Site

POLL = 0.5  # seconds between two looks at the tree's stamp: with the time it must hold still, a change counts within 2 s
LOOK = 1.0  # seconds between two questions whether others have put rows into the ledger (ledger rule 14)
AGAIN = 60.0  # seconds between two looks whether a package that an entry waits for is installed
BEAT = 10.0  # seconds between two signs of life of an idle runner
PASS = 30.0  # seconds that one pass may take before the tree and the signals are looked at again
log = logging.getLogger("offbeat")


@dataclass(slots=True)
class Stop:
    """Set by a signal; looked at between steps."""

    is_set: bool = False


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A resident runner. `step` does one thing and says when to wake; `run` only loops."""

    site: Site
    stop: Stop
    tell: Callable[[tuple[Problem, ...]], None]  # prints problems, once a change
    dispatcher: Dispatcher = field(init=False)
    _stamp: str = field(default="", init=False)
    _wake_at: float = field(default=0.0, init=False)
    _look_at: float = field(default=0.0, init=False)
    _beat_at: float = field(default=0.0, init=False)
    _failed_at: float | None = field(default=None, init=False)
    _ask_again_at: float = field(default=0.0, init=False)
    _was_ahead: bool = field(default=False, init=False)
    _failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(site=self.site, runner=self.site.runner("run"))

    def run(self) -> None:
        """Step until told to stop. Raises OffbeatError only when there is no schedule to start with."""
        gc.enable()
        site = self.site
        report_sync(synced := site.sync(self.dispatcher.runner))
        self.tell(synced.problems)
        self._stamp = synced.stamp if synced.settled else ""
        _event(logging.INFO, Event.STARTED, runner=self.dispatcher.runner.id, tree=str(site.tree), ledger=site.ledger_address)
        while not self.stop.is_set:
            site.clock.sleep_until(self._step_safely())
        _event(logging.INFO, Event.STOPPING, runner=self.dispatcher.runner.id)
        _event(logging.INFO, Event.STOPPED, runner=self.dispatcher.runner.id, **self._counts())
        site.close()

    def _step_safely(self) -> float:
        """Step; a mistake of ours is logged and must not end everybody's schedule."""
        try:
            return self.step()
        except Exception as error:
            self._failures += 1
            log.exception("bug", extra={"event": Event.BUG, "fields": {"error": f"{type(error).__name__}: {error}"}})
            self._forget()
            return self.site.clock.now() + delay(self._failures)

    def step(self) -> float:
        """Compile a changed tree, do what is due, and return the instant to wake at. Never raises OffbeatError."""
        now = self.site.clock.now()
        try:
            changed = self._sync_if_changed()
            if changed or now >= min(self._wake_at, self._beat_at) or (now >= self._look_at and self.site.ledger.changed()):
                self._pass()
            if now >= self._look_at:
                self._look_at = now + LOOK
            if self._failures:
                self._failures = 0
                _event(logging.WARNING, Event.LEDGER_BACK)
        except LedgerError as error:
            self._failures += 1
            if self._failures == 1:
                self.tell(error.problems)
                _event(logging.ERROR, Event.LEDGER_ERROR, error=error.problems[0].what if error.problems else str(error))
            self._forget()
            return now + delay(self._failures)
        return min(max(self._wake_at, now), self._look_at, self.site.clock.now() + POLL)

    def _forget(self) -> None:
        """Start afresh with the ledger: the one that is opened next may be another, a backup that was put back, say."""
        self.site.close()
        self._stamp, self._failed_at = "", None

    def _pass(self) -> None:
        site, dispatcher = self.site, self.dispatcher
        outlook = site.ledger.look(dispatcher.runner)
        self._tell_failures(outlook.failed_at)
        if outlook.ahead and not self._was_ahead:
            self.tell((ahead_problem(site.ledger_address, outlook.now, outlook.ahead),))
        self._was_ahead = bool(outlook.ahead)
        if outlook.due and outlook.believed:
            work(dispatcher, site.clock.monotonic() + PASS)
            site.ledger.prune(PRUNE)
            outlook = site.ledger.look(dispatcher.runner)
        now = site.clock.now()
        self._wake_at = outlook.wake_at if outlook.believed else outlook.believe_at
        if outlook.due:  # still due: what is left waits for the broker, or for somebody else
            self._wake_at = now + POLL
        self._look_at, self._beat_at = now + LOOK, now + BEAT

    def _tell_failures(self, failed_at: float) -> None:
        if self._failed_at is None:  # what failed before we came is told by `history`
            self._failed_at = failed_at
        if failed_at <= self._failed_at:
            return
        for row in self.site.ledger.failures(self._failed_at, FAILURES):
            fields = {"entry": row.entry, "due_at": row.due_at, "reason": str(row.reason), "note": row.note}
            _event(logging.WARNING, Event.COMMAND_FAILED, **fields)
        self._failed_at = failed_at

    def _sync_if_changed(self) -> bool:
        try:
            stamp = files.stamp(self.site.tree).text
            if stamp == self._stamp and self.site.clock.now() < self._ask_again_at:
                return False
            changed = self._sync()
            waits = self.site.notes.get("waiting")  # a package may be installed by then
            self._ask_again_at = self.site.clock.now() + AGAIN if waits else inf
            return changed
        except LedgerError:
            raise
        except OffbeatError as error:  # the tree is away or unreadable: the last good schedule stays in force
            if self._stamp != (mark := str(error)):
                self._stamp = mark
                self.tell(error.problems)
            return False

    def _sync(self) -> bool:
        synced = self.site.sync(self.dispatcher.runner, patience=0.0)
        if not synced.settled:
            return False
        self._stamp = synced.stamp
        report_sync(synced)
        if synced.changed:
            self.tell(synced.problems)
        return synced.changed

    def _counts(self) -> dict[str, int]:
        tally = self.dispatcher.tally
        return {
            "dispatched": tally.dispatched,
            "skipped": tally.skipped,
            "retried": tally.retried,
            "undelivered": tally.undelivered,
        }


def _event(level: int, event: Event, **fields: object) -> None:
    log.log(level, event, extra={"event": event, "fields": fields})
