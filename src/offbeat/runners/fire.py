"""Fire: a person, or an executed link, sends one occurrence now, through the same ledger.

Recorded before it is published: if this process dies in between, the next runner sends it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offbeat.core.identity import occurrence_id
from offbeat.core.model import CommandCall, Json, Reason, State, TaskCall
from offbeat.errors import ConfigError, LedgerError, Problem
from offbeat.runners.dispatch import Dispatcher
from offbeat.runners.unsent import unsent

if TYPE_CHECKING:
    from offbeat.core.model import Entry, Key, Schedule
    from offbeat.ports.ledger_values import Slot
    from offbeat.runners.site import Site

RECENT = 100  # rows of an entry, from a due time on, among which one is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What became of it. known: the ledger had it already, nothing was sent. error: why it waits, "" when it went out."""

    entry: str
    due_at: int
    occurrence: str
    state: State
    reason: Reason = Reason.NONE
    known: bool = False
    dispatched_at: float | None = None
    error: str = ""
    problems: tuple[Problem, ...] = ()
    is_command: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a person says otherwise than the entry does; None: as the entry says."""

    args: Sequence[Json] | None = None
    kwargs: Mapping[str, Json] | None = None
    queue: str | None = None
    priority: int | None = None
    expires: int | None = None

    def apply(self, call: TaskCall) -> TaskCall:
        """Return the call with these changes; another queue also replaces exchange and routing key."""
        if self.args is not None:
            call = replace(call, args=tuple(self.args))
        if self.kwargs is not None:
            call = replace(call, kwargs=dict(self.kwargs))
        if self.queue is not None:
            call = replace(call, queue=self.queue, exchange="", routing_key="")
        if self.priority is not None:
            call = replace(call, priority=self.priority)
        return call if self.expires is None else replace(call, expires=self.expires)

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.args, self.kwargs, self.queue, self.priority, self.expires))


def fire(site: Site, name: str, changes: Changes | None = None) -> Fired:
    """Send `name` now: an entry, or any task (task_prefix + name, or a dotted name as it is).

    Raises ConfigError for a name that is neither, LedgerError when the ledger is out of reach.
    """
    changes = changes or Changes()
    site.sync(site.runner("fire"))
    call = None
    known = {entry.name: entry for entry, _ in site.ledger.entries()} if changes else {}
    if name in known:
        own = known[name].call
        if not isinstance(own, TaskCall):
            raise ConfigError(_problem(f'"{name}" is a command and takes no arguments', f"offbeat fire {name}"))
        call = changes.apply(own)
    token = secrets.token_hex(8)
    try:
        slot = site.ledger.fire(site.runner("fire"), name, token, call)
    except ConfigError:
        call = changes.apply(_unlisted(site.ledger.schedule(), name))
        slot = site.ledger.fire(site.runner("fire"), name, token, call)
    return _send(site, name, slot)


def send_slot(site: Site, directory: str, name: str) -> Fired:
    """Send the occurrence of an executed link's calendar period, unless the ledger knows it already.

    directory, name: where the link is ("hourly", "search_dates"). Raises ConfigError when that is no entry.
    """
    from offbeat.core.period import due_in_period, period
    from offbeat.core.recurrences.recurrence import compile_recurrence

    runner = site.runner("fire")
    site.sync(runner)
    if not site.rules.hold(site, runner, site.ledger.status().revision) and site.rules.problem:
        raise LedgerError(site.rules.problem)
    entry = _linked(site.ledger.schedule(), directory, name)
    now = int(site.ledger.status().now)
    rule = compile_recurrence(entry.timing.recurrence, entry.timing.zone)
    due_at = due_in_period(rule, period(directory, now, entry.timing.zone))
    return _send(site, entry.name, site.ledger.slot(site.runner("fire"), entry.name, due_at))


def _send(site: Site, name: str, slot: Slot) -> Fired:
    key = slot.key
    occurrence = occurrence_id(site.project, name, key.due_at, key.kind, key.kind_id)
    told = Fired(
        entry=name,
        due_at=key.due_at,
        occurrence=occurrence,
        state=slot.state,
        reason=slot.reason,
        known=True,
        dispatched_at=slot.dispatched_at,
    )
    if slot.claim is None:
        return told
    dispatcher = Dispatcher(site=site, runner=site.runner("fire"))
    dispatcher.dispatch([slot.claim], site.clock.monotonic())
    tally, problems = dispatcher.tally, unsent(dispatcher)
    state = State.DISPATCHED if tally.dispatched or tally.started else State.PENDING
    if tally.skipped or tally.undelivered:
        state = State.UNDELIVERED if tally.undelivered else State.SKIPPED
    return replace(
        told,
        known=False,
        state=state,
        reason=_reason(site, name, slot.key) if tally.skipped else slot.reason,
        error=tally.error,
        problems=problems,
        is_command=isinstance(slot.claim.call, CommandCall),
    )


def _reason(site: Site, name: str, key: Key) -> Reason:
    """Return why it was not sent, as the ledger has it."""
    rows = site.ledger.history(name, RECENT, key.due_at, states=(State.SKIPPED,))
    return next((row.reason for row in rows if row.key == key), Reason.NONE)


def _unlisted(schedule: Schedule | None, name: str) -> TaskCall:
    """Return the call for a task that is not in the schedule, named in full or without task_prefix."""
    from offbeat.core.routes import queue_of

    if schedule is None or not name or any(c.isspace() or not c.isprintable() for c in name) or "/" in name:
        raise ConfigError(_problem(f'"{name}" is neither an entry nor a task', "offbeat list"))
    if "." not in name and not schedule.task_prefix:
        raise ConfigError(
            _problem(
                f'"{name}" is not an entry, and without task_prefix it names no task', 'set task_prefix = "yourapp.tasks."'
            )
        )
    task = name if "." in name else schedule.task_prefix + name
    return TaskCall(task=task, queue=queue_of(task, schedule.routes, schedule.default_queue))


def _linked(schedule: Schedule | None, directory: str, name: str) -> Entry:
    entries = {entry.name: entry for entry in schedule.entries} if schedule else {}
    for known in (f"{directory}/{name}", name):
        if known in entries and entries[known].file.endswith(f"{directory}/{name}"):
            return entries[known]
    raise ConfigError(_problem(f'"{directory}/{name}" is not an entry of the schedule in force', "offbeat check"))


def _problem(what: str, fix: str) -> Problem:
    return Problem(code="C130", what=what, why="nothing was sent", fix=fix)
