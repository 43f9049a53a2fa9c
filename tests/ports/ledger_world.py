"""A small world for the ledger's tests: entries, schedules, runners, and a store that hears everything twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from math import floor, inf
from typing import Any

from hypothesis import HealthCheck, settings

from offbeat.core.model import CommandCall, Entry, Key, Policy, Schedule, State, TaskCall, Timing
from offbeat.core.plan import Member, Portion, plan
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import Claim, Outcome, Outlook, Report, Runner, Told

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z, a whole hour


def any_order(examples: int) -> settings:
    """Return how a state machine is run: with the same `examples` each time, or as many others as LEDGER_EXAMPLES says."""
    soak = int(os.environ.get("LEDGER_EXAMPLES", "0"))
    return settings(
        max_examples=soak or examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=not soak,
    )


def runner(name: str = "a", role: str = "tick") -> Runner:
    """Return a runner of this name."""
    return Runner(id=f"host:{name}:{role}", host="host", pid=len(name), role=role)


def entry(name: str = "e", recurrence: str = "every 60 0", *, queue: str = "celery", **more: Any) -> Entry:
    """Return a task's entry. more: of Timing, Policy and TaskCall, by their field's name."""
    timing = {key: more.pop(key) for key in ("zone", "starts_at", "ends_at", "enabled") if key in more}
    policy = {key: more.pop(key) for key in ("catch_up", "grace", "jitter", "overlap", "max_runtime") if key in more}
    call = TaskCall(task=more.pop("task", f"shop.{name}"), queue=queue, **more)
    return Entry(name=name, timing=Timing(recurrence=recurrence, **timing), call=call, policy=Policy(**policy))


def command(name: str = "c", recurrence: str = "every 60 0", **policy: Any) -> Entry:
    """Return a command's entry."""
    return Entry(
        name=name,
        timing=Timing(recurrence=recurrence),
        call=CommandCall(argv=(f"hourly/{name}",), directory="hourly"),
        policy=Policy(**policy),
    )


def schedule(*entries: Entry) -> Schedule:
    """Return the schedule of these entries, with a digest that tells it from others."""
    digest = hashlib.sha256(repr(entries).encode()).hexdigest()
    return Schedule(project="shop", timezone="UTC", entries=entries, digest=digest)


def pass_once(ledger: Ledger, who: Runner, limit: int = 10_000) -> Sequence[Claim]:
    """Take, plan and record once; return the claims."""
    portion = ledger.take(limit)
    return ledger.record(who, plan(portion), portion.revision)


def members(portion: Portion) -> dict[str, list[Member]]:
    """Return the members by name, in the order of their groups."""
    found: dict[str, list[Member]] = {}
    for _, group in portion.groups:
        for member in group:
            found.setdefault(member.name, []).append(member)
    return found


def ahead_of(ledger: Ledger, by: int = 1, heard_at: float = inf) -> Told:
    """Return what somebody knows who saw `by` more writes in each slot than the ledger has now."""
    marks = {0: 0, **ledger.look(runner("ahead")).marks}
    return Told(marks={slot: count + by for slot, count in marks.items()}, heard_at=heard_at)


def outcome(claim: Claim, state: State = State.DISPATCHED, **more: Any) -> Outcome:
    """Return the claim's outcome."""
    return Outcome(key=claim.key, attempt=claim.attempt, state=state, **more)


def report(claim: Claim, state: State, **more: Any) -> Report:
    """Return a report on the claim."""
    return Report(key=claim.key, attempt=claim.attempt, state=state, **more)


def states(ledger: Ledger, name: str = "") -> list[tuple[str, int, State, str]]:
    """Return (entry, due time, state, reason) of all rows and gaps, newest first; a gap's state is "skipped xN"."""
    return [
        (row.entry, row.due_at, row.state if row.until is None else f"{row.state} x{row.count}", str(row.reason))  # type: ignore[misc]
        for row in ledger.history(name, limit=1_000_000)
    ]


def minute(instant: float) -> int:
    """Return the last whole minute."""
    return floor(instant) // 60 * 60


class Twice:
    """A store to which every message arrives twice, as after a lost reply: the second answer must be like the first."""

    ALIKE = frozenset({"record", "settle", "activate", "fire", "slot", "skip", "report", "occupy", "admit"})
    SILENT = frozenset({"refuse", "pause", "resume", "vacate"})
    COUNTED = frozenset({"backfill", "rewind", "restored"})  # the answer is what was new, so nothing the second time

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._ledger, name)
        if name not in self.ALIKE | self.SILENT | self.COUNTED | {"look"}:
            return operation

        def twice(*args: Any, **kwargs: Any) -> Any:
            first = operation(*args, **kwargs)
            before = states(self._ledger)
            second = operation(*args, **kwargs)
            assert states(self._ledger) == before
            if name == "record" and any(window.after == window.until for window in args[1]):
                assert set(map(_what, second)) <= set(map(_what, first))  # who cannot tell a repeat waits for the lease's end
                return first
            if name in self.COUNTED:
                assert not second
            elif name != "settle" and name != "report":
                assert _but_marks(second) == _but_marks(first)
            assert not isinstance(first, list) or set(map(_what, second)) >= set(map(_what, first))
            return first

        return twice


def _but_marks(answer: Any) -> Any:
    return replace(answer, marks={}) if isinstance(answer, Outlook) else answer


def _what(answer: Claim | Key) -> object:
    return answer.key if isinstance(answer, Claim) else answer
