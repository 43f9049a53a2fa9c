"""One pass, and one tick: look, compile a changed tree, plan and record what is due, dispatch what is claimed.

Safe to run any number of times at once: the ledger lets one of them record each window, and hands each row to one of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.core.identity import format_due_at
from offbeat.errors import BrokerError, OffbeatError, Problem, Severity

if TYPE_CHECKING:
    from offbeat.ports.ledger_values import HistoryRow, Outlook
    from offbeat.runners.dispatch import Dispatcher, Tally
    from offbeat.runners.site import Site, Synced

FAILURES = 20  # failed commands told at once
PRUNE = 5000  # settled rows that one pass removes at most
log = logging.getLogger("offbeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """What a tick did. problems: to be told now. exit_code: 0, 1 problems in the files, 3 ledger or broker out of reach."""

    dispatched: int = 0
    skipped: int = 0
    retried: int = 0
    undelivered: int = 0
    started: int = 0
    problems: tuple[Problem, ...] = ()
    exit_code: int = 0
    wake_at: float = 0.0


def tick(site: Site, *, seconds: float = 50.0, again: bool = False) -> Ticked:
    """Do one pass for a crontab line, within `seconds`. Never raises OffbeatError: its problems are in the answer.

    The same trouble is told once, until it changes, so that cron does not mail it every minute; `again` tells it each time.
    """
    try:
        done = _tick(site, seconds)
    except OffbeatError as error:
        told = again or site.is_news("trouble", str(error))
        problems = error.problems or (_unknown(str(error)),)
        return Ticked(problems=problems if told else (), exit_code=error.exit_code)
    site.is_news("trouble", "")
    if not done.dispatched and not done.exit_code:
        return done
    told = site.is_news("broker", "\n".join(map(str, done.problems)) if done.exit_code == BrokerError.exit_code else "")
    return done if told or again or done.exit_code != BrokerError.exit_code else replace(done, problems=())


def _tick(site: Site, seconds: float) -> Ticked:
    deadline = site.clock.monotonic() + seconds
    runner = site.runner("tick")
    synced = site.sync(runner)
    report_sync(synced)
    outlook = synced.outlook or site.ledger.look(runner)
    if not outlook.believed:
        log.warning("clock_doubted", extra={"event": Event.CLOCK_DOUBTED, "fields": {"believe_at": outlook.believe_at}})
    # Warnings are for `check`.
    problems = tuple(problem for problem in synced.problems if problem.severity is Severity.ERROR and not synced.told)
    problems += failed_commands(site, outlook)
    if site.is_news("ahead", "yes" if outlook.ahead else "") and outlook.ahead:
        problems += (ahead_problem(site.ledger_address, outlook.now, outlook.ahead),)
    if not outlook.due:
        return Ticked(problems=problems, exit_code=int(bool(problems)), wake_at=outlook.wake_at)
    from offbeat.runners.dispatch import Dispatcher

    dispatcher = Dispatcher(site=site, runner=runner)
    work(dispatcher, deadline)
    site.ledger.prune(PRUNE)
    return _ticked(dispatcher.tally, problems, site.ledger.look(runner).wake_at)


def work(dispatcher: Dispatcher, deadline: float) -> None:
    """Record and dispatch all that is due, then all that can be claimed, until `deadline` (monotonic)."""
    from offbeat.core.plan import plan
    from offbeat.runners.dispatch import BATCH

    site, ledger, runner = dispatcher.site, dispatcher.ledger, dispatcher.runner
    before = None
    while (since := site.clock.monotonic()) < deadline:
        portion = ledger.take(BATCH)
        asked = (portion.revision, portion.groups)
        if not portion.groups or asked == before:  # the same again: somebody else records, or refuses, this one
            break
        before = asked
        windows = plan(portion)
        claims = ledger.record(runner, windows, portion.revision)
        for problem in (problem for window in windows for problem in window.problems):
            log.error("recurrence_failed", extra={"event": Event.RECURRENCE_FAILED, "fields": {"error": problem.what}})
        fields = {"groups": len(windows), "rows": sum(len(w.rows) for w in windows), "gaps": sum(len(w.gaps) for w in windows)}
        log.debug("recorded", extra={"event": Event.RECORDED, "fields": fields})
        dispatcher.dispatch(claims, since)
    while (since := site.clock.monotonic()) < deadline:
        backoff = dispatcher.backoff
        if backoff.is_down() and not backoff.may_probe(since):
            break
        limit = 1 if backoff.is_down() else dispatcher.batch
        claims = ledger.claim(runner, limit, backoff.closed_queues(since))
        if not claims:
            break
        dispatcher.dispatch(claims, since)


def failed_commands(site: Site, outlook: Outlook) -> tuple[Problem, ...]:
    """Return what to tell of commands that failed since it was told last, by whichever tick."""
    told = float(site.notes.get("failed_at", "0"))
    if outlook.failed_at <= told:
        return ()
    rows = site.ledger.failures(told, FAILURES)
    site.is_news("failed_at", repr(outlook.failed_at))
    return tuple(_failed(row) for row in rows)


def report_sync(synced: Synced) -> None:
    """Log what a sync found."""
    if not synced.changed:
        return
    event = Event.REFUSED if synced.refused else Event.ACTIVATED
    level = logging.ERROR if synced.refused else logging.INFO
    log.log(level, event, extra={"event": event, "fields": {"revision": synced.revision, "problems": len(synced.problems)}})


def _ticked(tally: Tally, problems: tuple[Problem, ...], wake_at: float) -> Ticked:
    exit_code = int(bool(problems))
    if tally.error:
        problems += tally.problems or (_unsent(tally),)
        exit_code = BrokerError.exit_code
    return Ticked(
        dispatched=tally.dispatched,
        skipped=tally.skipped,
        retried=tally.retried,
        undelivered=tally.undelivered,
        started=tally.started,
        problems=problems,
        exit_code=exit_code,
        wake_at=wake_at,
    )


def _unsent(tally: Tally) -> Problem:
    return Problem(
        code="B210",
        what=f"not everything could be sent: {tally.error}",
        why="what was not sent waits in the ledger and is tried again by every tick, until its grace ends",
        fix="offbeat history",
    )


def ahead_problem(where: str, now: float, ahead: float) -> Problem:
    """Return what to tell while the clock is behind a time that the ledger has believed. ahead: seconds."""
    return Problem(
        code="L302",
        file=where,
        what=f"the ledger is {round(ahead / 3600)} h ahead of the clock",
        why=f"a clock was wrong, and believed: what was decided until {format_due_at(int(now + ahead))} is not decided again",
        fix="set the clock right if it is behind; else wait till then, or move its file aside to begin anew from now on",
    )


def _failed(row: HistoryRow) -> Problem:
    return Problem(
        code="C150",
        what=f'"{row.entry}" due {format_due_at(row.due_at)} failed: {row.note or row.reason}',
        why="what it wrote last is kept in the ledger; it is not run again before it is due again",
        fix=f"offbeat history --output {row.entry}",
        entry=row.entry,
    )


def _unknown(text: str) -> Problem:
    return Problem(code="C199", what=text, why="this tick did nothing", fix="offbeat check")
