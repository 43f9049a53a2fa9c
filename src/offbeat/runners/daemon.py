"""The resident runner: one thread, one pass at a time, asleep until the next due time.

A signal only sets a flag and wakes the clock; the step in hand is finished, and what it leaves is handed back. Decides nothing.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.core.passwords import shown_address
from offbeat.errors import LedgerAwayError, LedgerError, OffbeatError
from offbeat.ports import files
from offbeat.ports.stop import Stop as Stop
from offbeat.runners.backoff import delay
from offbeat.runners.dispatch import Dispatcher
from offbeat.runners.retention import Retention
from offbeat.runners.tick import FAILURES, ahead_problem, interrupted, report_sync, work
from offbeat.runners.watch import skew_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.errors import Problem
    from offbeat.ports.ledger_values import Outlook
    from offbeat.runners.site import Site

POLL = 0.5  # seconds between two looks at the tree's stamp: with the time it must hold still, a change counts within 2 s
LOOK = 1.0  # seconds between two questions whether others have put rows into the ledger (ledger rule 14)
AGAIN = 60.0  # seconds between two looks whether a package that an entry waits for is installed
BEAT = 10.0  # seconds between two signs of life of an idle runner
PASS = 30.0  # seconds that one pass may take before the tree and the signals are looked at again
HANGS = 15.0  # seconds more after which a pass is interrupted
AWAY = 5.0  # seconds at most between two tries of a ledger that is away: asking costs one connection
JUMP = 1.0  # seconds by which the wall clock went otherwise than time: it was set, or the machine slept
log = logging.getLogger("offbeat")


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A resident runner. `step` does one thing and says when to wake; `run` only loops."""

    site: Site
    stop: Stop
    tell: Callable[[tuple[Problem, ...]], None]  # prints problems, once a change
    dispatcher: Dispatcher = field(init=False)
    retention: Retention = field(init=False)
    _stamp: str = field(default="", init=False)
    _wake_at: float = field(default=0.0, init=False)  # by our wall clock
    _look_at: float = field(default=-inf, init=False)  # monotonic, as the next two: a clock that is set stops nothing
    _beat_at: float = field(default=-inf, init=False)
    _ask_again_at: float = field(default=-inf, init=False)
    _offset: float | None = field(default=None, init=False)  # of the wall clock from the monotonic one, when it was last seen
    _failed_at: float | None = field(default=None, init=False)
    _was_ahead: bool = field(default=False, init=False)
    _was_skewed: bool = field(default=False, init=False)
    _were_older: bool = field(default=False, init=False)  # our rules, than the ledger's
    _revision: int = field(default=0, init=False)  # that was told
    _failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.site.stop = self.stop
        self.dispatcher = Dispatcher(site=self.site, runner=self.site.runner("run"))
        self.retention = Retention(site=self.site)

    def run(self) -> None:
        """Step until told to stop. Raises OffbeatError only when there is no schedule to start with."""
        gc.enable()
        site = self.site
        if not self._begin():
            self._end()
            return
        tree, where = "" if site.from_ledger else str(site.tree), shown_address(site.ledger_address)
        _event(logging.INFO, Event.STARTED, runner=self.dispatcher.runner.id, tree=tree, ledger=where)
        while not self.stop.is_set:
            site.clock.sleep_until(self._step_safely())
        _event(logging.INFO, Event.STOPPING, runner=self.dispatcher.runner.id)
        self._end()

    def _end(self) -> None:
        self.site.watch.keep()
        _event(logging.INFO, Event.STOPPED, runner=self.dispatcher.runner.id, **self._counts())
        self.site.close()

    def _begin(self) -> bool:
        """Read the schedule, and wait for a ledger that is away; return False when told to stop before it was there."""
        site = self.site
        while not self.stop.is_set:
            try:
                with interrupted(site, PASS + HANGS):
                    report_sync(synced := site.sync(self.dispatcher.runner))
            except LedgerAwayError as error:
                site.clock.sleep_until(self._lost(error))
                continue
            self.tell(synced.problems + synced.notices)
            self._stamp, self._revision = synced.stamp if synced.settled else "", synced.revision
            return True
        return False

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
        now, mono = self.site.clock.now(), self.site.clock.monotonic()
        try:
            jumped = self._has_jumped(now - mono)
            changed = self._sync_if_changed()
            if self.stop.is_set:
                return now
            asked = mono >= self._look_at and self.site.ledger.changed()
            if jumped or changed or asked or now >= self._wake_at or mono >= self._beat_at:
                self._pass()
            if mono >= self._look_at:
                self._look_at = mono + LOOK
            if self._failures:
                self._failures = 0
                _event(logging.WARNING, Event.LEDGER_BACK)
        except LedgerError as error:
            return self._lost(error)
        later = self.site.clock.now() + min(self._look_at - self.site.clock.monotonic(), POLL)
        return min(max(self._wake_at, now), later)

    def _lost(self, error: LedgerError) -> float:
        """Tell once that the ledger cannot be used, let go of it, and return the instant to try again at."""
        self._failures += 1
        if self._failures == 1:
            self.tell(error.problems)
            _event(logging.ERROR, Event.LEDGER_ERROR, error=error.problems[0].what if error.problems else str(error))
        self._forget()
        return self.site.clock.now() + min(delay(self._failures), AWAY)

    def _has_jumped(self, offset: float) -> bool:
        """Return whether the wall clock was set, or the machine slept, since this was asked last."""
        before, self._offset = self._offset, offset
        return before is not None and abs(offset - before) > JUMP

    def _forget(self) -> None:
        """Start afresh with the ledger: the one that is opened next may be another, a backup that was put back, say."""
        self.site.close()
        self._stamp, self._failed_at = "", None

    def _pass(self) -> None:
        with interrupted(self.site, PASS + HANGS):
            outlook = self._work()
        clock = self.site.clock
        wake_at = outlook.wake_at if outlook.believed else outlook.believe_at
        self._wake_at = wake_at + self.site.watch.ahead  # the ledger's clock is not ours
        if outlook.due:  # still due: what is left waits for the broker, or for somebody else
            self._wake_at = clock.now() + POLL
        self._look_at = clock.monotonic() + LOOK

    def _work(self) -> Outlook:
        """Look, do what is due, and look again; return what is to come."""
        site, dispatcher = self.site, self.dispatcher
        dispatcher.runner = site.watch.introduce(dispatcher.runner)
        outlook = site.look(dispatcher.runner, patient=False)
        self._tell(outlook)
        if not outlook.due or not outlook.believed:
            self._keep()
            return outlook
        deadline = site.clock.monotonic() + PASS
        work(dispatcher, deadline)
        if self.stop.is_set:
            return outlook
        self.retention.prune(deadline)
        self._tell_rules()
        outlook = site.look(dispatcher.runner, patient=False)
        self._keep()
        return outlook

    def _tell_rules(self) -> None:
        """Tell once that our rules are older than the ledger's."""
        before, self._were_older = self._were_older, self.site.rules.problem is not None
        if self.site.rules.problem and not before:
            self.tell((self.site.rules.problem,))

    def _keep(self) -> None:
        """Note now and then what was seen: each time would be a file written a second."""
        mono = self.site.clock.monotonic()
        if mono >= self._beat_at:
            self.site.watch.keep()
            self._beat_at = mono + BEAT

    def _tell(self, outlook: Outlook) -> None:
        """Tell once what the look found out."""
        site = self.site
        if self._revision not in (0, outlook.revision):  # somebody else's deploy, or tree
            _event(logging.INFO, Event.ACTIVATED, revision=outlook.revision, problems=0)
        self._revision = outlook.revision
        self._tell_failures(outlook.failed_at)
        if outlook.ahead and not self._was_ahead:
            self.tell((ahead_problem(shown_address(site.ledger_address), outlook.now, outlook.ahead),))
        if site.watch.is_skewed and not self._was_skewed:
            self.tell((skew_problem(site.watch.skew),))
        if restored := site.watch.take_restored():
            self.tell(restored)
            self._stamp = ""  # what was compiled may be forgotten too
        self._was_ahead, self._was_skewed = bool(outlook.ahead), site.watch.is_skewed

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
        if self.site.from_ledger:
            return False
        clock = self.site.clock
        try:
            stamp = files.stamp(self.site.tree).text
            if stamp == self._stamp and clock.monotonic() < self._ask_again_at:
                return False
            changed = self._sync()
            waits = self.site.notes.get("waiting")  # a package may be installed by then
            self._ask_again_at = clock.monotonic() + AGAIN if waits else inf
            return changed
        except LedgerError:
            raise
        except OffbeatError as error:  # the tree is away or unreadable: the last good schedule stays in force
            if self._stamp != (mark := str(error)):
                self._stamp = mark
                self.tell(error.problems)
            return False

    def _sync(self) -> bool:
        with interrupted(self.site, PASS + HANGS):
            synced = self.site.sync(self.dispatcher.runner, patience=0.0)
        if not synced.settled:
            return False
        self._stamp = synced.stamp
        report_sync(synced)
        if synced.changed:
            self._revision = synced.revision or self._revision
            self.tell(synced.problems + synced.notices)
        self._tell_rules()
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
