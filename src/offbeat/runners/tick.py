"""One pass, and one tick: look, compile a changed tree, plan and record what is due, dispatch what is claimed.

Safe to run any number of times at once: the ledger lets one of them record each window, and hands each row to one of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.errors import Problem

if TYPE_CHECKING:
    from offbeat.ports.ledger import Outlook
    from offbeat.runners.dispatch import Dispatcher, Tally
    from offbeat.runners.site import Site, Synced

GROUPS = 50  # due groups in hand at once
PRUNE = 200  # settled rows that one tick removes at most
log = logging.getLogger("offbeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """What a tick did. problems: to be told now, each once a change. wake_at: when there is something to do again."""

    dispatched: int = 0
    skipped: int = 0
    retried: int = 0
    undelivered: int = 0
    started: int = 0
    problems: tuple[Problem, ...] = ()
    error: str = ""
    wake_at: float = 0.0


def tick(site: Site, *, seconds: float = 50.0) -> Ticked:
    """Do one pass for a crontab line, within `seconds`. Raises LedgerError or ConfigError when nothing could be done at all."""
    deadline = site.clock.monotonic() + seconds
    runner = site.runner("tick")
    synced = site.sync()
    report_sync(synced)
    outlook = site.ledger.look(runner)
    if not outlook.believed:
        log.warning("clock_doubted", extra={"event": Event.CLOCK_DOUBTED, "fields": {"believe_at": outlook.believe_at}})
        site.clock.sleep_until(outlook.believe_at)
        outlook = site.ledger.look(runner)
    if not outlook.due:
        return Ticked(problems=synced.problems, wake_at=outlook.wake_at)
    from offbeat.runners.dispatch import Dispatcher

    dispatcher = Dispatcher(site=site, runner=runner)
    work(dispatcher, deadline)
    site.ledger.prune(PRUNE)
    done = _ticked(dispatcher.tally, site.ledger.look(runner))
    return replace(done, problems=synced.problems)


def work(dispatcher: Dispatcher, deadline: float) -> None:
    """Record and dispatch all that is due, then all that can be claimed, until `deadline` (monotonic)."""
    from offbeat.core.plan import plan

    site, ledger, runner = dispatcher.site, dispatcher.ledger, dispatcher.runner
    before = None
    while (since := site.clock.monotonic()) < deadline:
        portion = ledger.take(GROUPS)
        if not portion.groups or portion.groups == before:  # the same again: somebody else records, or refuses, this one
            break
        before = portion.groups
        dispatcher.dispatch(ledger.record(runner, plan(portion), portion.revision), since)
    while (since := site.clock.monotonic()) < deadline:
        backoff = dispatcher.backoff
        if backoff.is_down() and not backoff.may_probe(since):
            break
        limit = 1 if backoff.is_down() else dispatcher.batch
        claims = ledger.claim(runner, limit, backoff.closed_queues(since))
        if not claims:
            break
        dispatcher.dispatch(claims, since)


def report_sync(synced: Synced) -> None:
    """Log what a sync found."""
    if not synced.changed:
        return
    event = Event.REFUSED if synced.refused else Event.ACTIVATED
    level = logging.ERROR if synced.refused else logging.INFO
    log.log(level, event, extra={"event": event, "fields": {"revision": synced.revision, "problems": len(synced.problems)}})


def _ticked(tally: Tally, outlook: Outlook) -> Ticked:
    return Ticked(
        dispatched=tally.dispatched,
        skipped=tally.skipped,
        retried=tally.retried,
        undelivered=tally.undelivered,
        started=tally.started,
        error=tally.error,
        wake_at=outlook.wake_at,
    )


