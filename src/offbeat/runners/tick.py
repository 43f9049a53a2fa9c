"""One pass, and one tick: look, compile a changed tree, plan and record what is due, dispatch what is claimed.

Safe to run any number of times at once: the ledger lets one of them record each window, and hands each row to one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.core.identity import format_due_at
from offbeat.errors import BrokerError, LedgerError, OffbeatError, Problem, Severity
from offbeat.ports.alarm import TimeIsUp
from offbeat.ports.files import PATIENCE
from offbeat.ports.stop import ENDS
from offbeat.runners.watch import skew_problem

if TYPE_CHECKING:
    from offbeat.ports.ledger_values import HistoryRow, Outlook
    from offbeat.runners.dispatch import Dispatcher
    from offbeat.runners.site import Site, Synced

FAILURES = 20  # failed commands told at once
OVER = 1.0  # seconds past its time after which a tick is interrupted: something hangs
SHORT = 10.0  # seconds; a tick that has less does not wait for a tree or a clock
OTHERS = 4  # portions recorded in a row, before what waits gets its share
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

    The same trouble is told once, until it changes, so that cron does not mail it every minute; `again` tells it each time,
    and a wrong address of the ledger is told each time anyway.
    Whatever hangs, it ends at most 5 s later; what it held then is sent by others when the lease has ended.
    """
    try:
        with interrupted(site, seconds + OVER):
            done = _tick(site, seconds, again)
            site.watch.keep()
            return done
    except OffbeatError as error:
        site.hear()
        site.watch.keep()
        told = site.is_news("trouble", str(error)) or again or is_address_refused(error)
        problems = error.problems or (_unknown(str(error)),)
        return Ticked(problems=problems if told else (), exit_code=error.exit_code)


def is_address_refused(error: OffbeatError) -> bool:
    """Return whether it is the address of the ledger that is wrong: that ends by nothing but a person's doing."""
    return any(problem.file == "OFFBEAT_LEDGER" for problem in error.problems)


@contextmanager
def interrupted(site: Site, seconds: float) -> Iterator[None]:
    """End what hangs after so many seconds, with a LedgerError, and drop the connections, which would hang again."""
    try:
        with site.limit(seconds):
            yield
    except TimeIsUp:
        site.drop()
        stopped = site.stop.is_set
        seconds = min(seconds, ENDS) if stopped else seconds
        log.error("overtime", extra={"event": Event.OVERTIME, "fields": {"seconds": round(seconds, 1)}})
        raise LedgerError(_cut_short(seconds) if stopped else _overtime(seconds)) from None


def _tick(site: Site, seconds: float, again: bool) -> Ticked:
    deadline = site.clock.monotonic() + seconds
    runner = site.runner("tick")
    synced = site.sync(runner, patience=PATIENCE if seconds >= SHORT else 0.0)
    report_sync(synced)
    outlook = synced.outlook or site.look(runner, patient=seconds >= SHORT)
    if not outlook.believed:
        log.warning("clock_doubted", extra={"event": Event.CLOCK_DOUBTED, "fields": {"believe_at": outlook.believe_at}})
    site.is_news("trouble", "")
    # Warnings are for `check`.
    problems = tuple(problem for problem in synced.problems if problem.severity is Severity.ERROR and not synced.told)
    problems += synced.notices + site.watch.take_restored() + failed_commands(site, outlook)
    if site.is_news("ahead", "yes" if outlook.ahead else "") and outlook.ahead:
        from offbeat.core.passwords import shown_address

        problems += (ahead_problem(shown_address(site.ledger_address), outlook.now, outlook.ahead),)
    exit_code = int(any(problem.severity is Severity.ERROR for problem in problems))
    if site.watch.is_skewed:
        problems += (skew_problem(site.watch.skew),) if site.is_news("skew", "yes") or again else ()
        exit_code = LedgerError.exit_code
    else:
        site.is_news("skew", "")
    done = Ticked(problems=problems, exit_code=exit_code, wake_at=outlook.wake_at)
    done = _send(site, deadline, done, again) if outlook.due else _with_rules(site, done, again)
    return _with_waiting(site, done)


def _with_waiting(site: Site, so_far: Ticked) -> Ticked:
    """Return the same, and no success while something waits for a broker that an earlier tick did not reach."""
    if so_far.exit_code == BrokerError.exit_code or not site.notes.get("broker"):
        return so_far
    from offbeat.runners.unsent import still_waits

    return replace(so_far, exit_code=BrokerError.exit_code) if still_waits(site) else so_far


def _with_rules(site: Site, so_far: Ticked, again: bool) -> Ticked:
    """Return the same with what is to be told of older zones, holidays or suns than the ledger's."""
    problem = site.rules.problem
    if problem is None:
        if site.rules.seen:
            site.is_news("rules", "")
        return so_far
    told = (problem,) if site.is_news("rules", problem.what) or again else ()
    return replace(so_far, problems=so_far.problems + told, exit_code=LedgerError.exit_code)


def _send(site: Site, deadline: float, so_far: Ticked, again: bool) -> Ticked:
    """Do what is due; return what was done, with the problems so far."""
    from offbeat.runners.dispatch import Dispatcher
    from offbeat.runners.retention import Retention

    runner = site.runner("tick")
    dispatcher = Dispatcher(site=site, runner=runner, deadline=deadline)
    work(dispatcher, deadline)
    if not site.stop.is_set:
        Retention(site=site).prune(deadline)
    wake_at = so_far.wake_at if site.stop.is_set else site.look(runner, patient=False).wake_at
    so_far = _with_rules(site, so_far, again)
    tally, problems = dispatcher.tally, so_far.problems
    if tally.error:
        from offbeat.runners.unsent import unsent

        told = unsent(dispatcher)
        problems += told if site.is_news("broker", "\n".join(map(str, told))) or again else ()
    return Ticked(
        dispatched=tally.dispatched,
        skipped=tally.skipped,
        retried=tally.retried,
        undelivered=tally.undelivered,
        started=tally.started,
        problems=problems,
        exit_code=BrokerError.exit_code if tally.error else so_far.exit_code,
        wake_at=wake_at,
    )


def work(dispatcher: Dispatcher, deadline: float) -> None:
    """Record and dispatch all that is due, then all that can be claimed, until `deadline` (monotonic), or till told to stop.

    A runner whose clock differs from the ledger's, or whose rules are older, records nothing, and dispatches what others
    recorded.
    """
    dispatcher.deadline = deadline
    dispatcher.site.rules.forget()
    while True:  # of a backlog more is recorded as it is sent
        is_more = _record(dispatcher)
        if not _claim(dispatcher) or not is_more or dispatcher.is_over():
            return


def _record(dispatcher: Dispatcher) -> bool:
    """Record all that is due, as far as there is room for it; return whether there is more."""
    portions, before, asked = 0, None, None
    while not dispatcher.site.watch.is_skewed and not dispatcher.is_over():
        asked = _record_once(dispatcher, before)
        if asked is None or asked is before:
            break
        before, portions = asked, portions + 1
        if portions % OTHERS == 0:  # what waits is not to starve while more and more comes due
            _claim_once(dispatcher, max(1, dispatcher.batch // 2))
    return asked is not None


def _claim(dispatcher: Dispatcher) -> bool:
    """Dispatch all that can be claimed; return whether there was anything."""
    any_claimed = False
    while not dispatcher.is_over() and _claim_once(dispatcher, dispatcher.batch):
        any_claimed = True
    return any_claimed


def _record_once(dispatcher: Dispatcher, before: object) -> object:
    """Record one portion and dispatch what is due of it; return what was asked, None when there is no more for us.

    `before` itself is returned when the same is asked again: others record it, or refuse it, or there is no room for more.
    """
    from offbeat.core.plan import plan
    from offbeat.runners.fused import SCRIPT

    site, since = dispatcher.site, dispatcher.site.clock.monotonic()
    if site.rules.problem and not site.rules.hold(site, dispatcher.runner, site.watch.revision):
        return None
    portion = dispatcher.ledger.take(dispatcher.batch)
    asked = (portion.revision, portion.groups)
    if not portion.groups:
        return None
    if asked == before:
        return before
    if not site.rules.hold(site, dispatcher.runner, portion.revision):
        return None
    windows = plan(portion, burst=SCRIPT) if dispatcher.ledger.enqueuing() else plan(portion)
    dispatcher.record(portion, windows, since)
    for problem in (problem for window in windows for problem in window.problems):
        log.error("recurrence_failed", extra={"event": Event.RECURRENCE_FAILED, "fields": {"error": problem.what}})
    fields = {"groups": len(windows), "rows": sum(len(w.rows) for w in windows), "gaps": sum(len(w.gaps) for w in windows)}
    log.debug("recorded", extra={"event": Event.RECORDED, "fields": fields})
    return asked


def _claim_once(dispatcher: Dispatcher, limit: int) -> bool:
    """Claim once and dispatch; return whether there was anything. A broker that is down gets one message, when it is time."""
    since, backoff = dispatcher.site.clock.monotonic(), dispatcher.backoff
    if not dispatcher.may_claim(since):
        return False
    limit = 1 if backoff.is_down() else limit
    claims = dispatcher.ledger.claim(dispatcher.runner, limit, dispatcher.closed_queues(since))
    dispatcher.dispatch(claims, since)
    return bool(claims)


def failed_commands(site: Site, outlook: Outlook) -> tuple[Problem, ...]:
    """Return what to tell of commands that failed since it was told last, by whichever tick."""
    told = _number(site.notes.get("failed_at", "0"))
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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def ahead_problem(where: str, now: float, ahead: float) -> Problem:
    """Return what to tell while the clock is behind a time that the ledger has believed. ahead: seconds."""
    return Problem(
        code="L302",
        file=where,
        what=f"the ledger is {round(ahead / 3600)} h ahead of the clock",
        why=f"a clock was wrong, and believed: what was decided until {format_due_at(int(now + ahead))} is not decided again",
        fix=f"set the clock right if it is behind; if it is right now: offbeat rewind --to {format_due_at(int(now))}",
    )


def _failed(row: HistoryRow) -> Problem:
    """Return what to tell of a failure. Only a task has an id; and only a command leaves what it wrote."""
    again = "it is not run again before it is due again"
    why = f"what it said is in the worker's log, by its id {row.task_id}; {again}"
    return Problem(
        code="C150",
        what=f'"{row.entry}" due {format_due_at(row.due_at)} failed: {row.note or row.reason}',
        why=why if row.task_id else f"what it wrote last is kept in the ledger; {again}",
        fix=f"offbeat history {'--failed' if row.task_id else '--output'} {row.entry}",
        entry=row.entry,
    )


def _unknown(text: str) -> Problem:
    return Problem(code="C199", what=text, why="this tick did nothing", fix="offbeat check")


def _cut_short(seconds: float) -> Problem:
    return Problem(
        code="L309",
        what=f"told to end, and what was in hand was not done within {seconds:g} s, so it was left",
        why="it is sent by the next runner, once its lease has ended; nothing is lost",
        fix="nothing, if the host was going down; else: offbeat check --broker",
    )


def _overtime(seconds: float) -> Problem:
    return Problem(
        code="L309",
        what=f"something did not answer within {seconds:g} s, and was left",
        why="what was in hand is sent by the next runner, once its lease has ended; nothing is lost",
        fix="offbeat check --broker; and look whether the ledger's server answers",
    )
