"""Mutants: each takes one rule out of the ledger, the planner or the dispatch, the way a simpler design would have it.

A simulation that does not notice one of them proves nothing. Each comes with a plan in which its mistake can show.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from unittest.mock import patch

from tests.simulation.doors import BrokerDoor, LedgerDoor
from tests.simulation.faults import Faults
from tests.simulation.scenario import Plan, Run
from tests.simulation.world import Clock, Crash

from offbeat.core import plan as planning
from offbeat.core import recheck
from offbeat.core.identity import spread
from offbeat.core.model import CatchUp, Key, Policy, Reason, State
from offbeat.core.slots import Hold
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_memory.enqueuing import EnqueuingMemory
from offbeat.ports.ledger_values import Outcome, Runner
from offbeat.runners import dispatch, fused
from offbeat.runners import letter as letters
from offbeat.worker import guard

Patch = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A rule taken out. first: the seed to begin with. seeds: how many runs of the plan find it at the latest."""

    name: str
    patch: Patch
    plan: Plan
    seeds: int = 12
    first: int = 0


def _instead(method: str, new: Callable[..., Any]) -> Patch:
    """Return a patch of a method of the ledger; `new` gets the old one first."""

    @contextmanager
    def patched() -> Iterator[None]:
        old = getattr(LedgerMemory, method)

        def mutated(self: Any, *args: Any, **kwargs: Any) -> Any:
            return new(old, self, *args, **kwargs)

        with patch.object(LedgerMemory, method, mutated):
            yield

    return patched


def _all(*patches: Patch) -> Patch:
    @contextmanager
    def patched() -> Iterator[None]:
        if not patches:
            yield
            return
        with patches[0](), _all(*patches[1:])():
            yield

    return patched


def _scratch(ledger: Any) -> Any:
    """Return a copy of the ledger that nobody else sees."""
    other = copy.copy(ledger)
    vars(other).update({name: copy.deepcopy(value) for name, value in vars(ledger).items() if name not in ("clock", "wire")})
    return other


def _record_later(old: Any, self: Any, runner: Runner, windows: Any, revision: int) -> Any:
    claims = old(_scratch(self), runner, windows, revision)
    if not claims:
        return old(self, runner, windows, revision)
    vars(self).setdefault("late", {}).setdefault(runner.id, []).append((windows, revision))
    return claims


def _settle_and_record(old: Any, self: Any, runner: Runner, outcomes: Any) -> Any:
    for windows, revision in vars(self).setdefault("late", {}).pop(runner.id, ()):
        LedgerMemory.record.__wrapped__(self, runner, windows, revision)  # type: ignore[attr-defined]
    return old(self, runner, outcomes)


@contextmanager
def _publish_before_record() -> Iterator[None]:
    real = LedgerMemory.record
    with _instead("record", _record_later)(), _instead("settle", _settle_and_record)():
        LedgerMemory.record.__wrapped__ = real  # type: ignore[attr-defined]
        yield


def _no_compare(old: Any, self: Any, window: Any, now: float) -> bool:
    group = self.groups.get(window.gid)
    if group is None or window.until > now:
        return False
    group.cursor, group.next_due = window.until, window.next_due
    return True


def _no_version(old: Any, self: Any, window: Any, now: float) -> bool:
    group = self.groups.get(window.gid)
    return cast("bool", group is not None and old(self, replace(window, version=group.version), now))


def _any_revision(old: Any, self: Any, runner: Runner, windows: Any, revision: int) -> Any:
    return old(self, runner, windows, self.revision)


def _since_from_caller(old: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    clock, caller = self.clock, self.clock.world.current
    self.clock = caller.clock if caller else clock
    try:
        return old(self, *args, **kwargs)
    finally:
        self.clock = clock


def _no_lease(old: Any, self: Any, row: Any, now: float) -> float:
    return float(row.next_try_at if row.state is State.CLAIMED else old(self, row, now))


def _by_send_time(old: Any, self: Any, row: Any, now: float) -> float:
    return float(row.send_at if row.state is State.PENDING else old(self, row, now))


def _any_attempt(old: Any, self: Any, outcome: Outcome, now: float) -> bool:
    row = self.rows.get(outcome.key)
    return cast("bool", old(self, replace(outcome, attempt=row.attempt) if row else outcome, now))


@contextmanager
def _coalesce_by_window() -> Iterator[None]:
    real = planning._bounds

    def mutated(rule: Any, member: Any, pieces: Any, now: float) -> Any:
        newest = planning._newest(rule, pieces)
        if member.policy.catch_up is CatchUp.LATEST and newest is not None:
            return [(newest - 1, Reason.COALESCED)]
        return real(rule, member, pieces, now)

    with patch.object(planning, "_bounds", mutated):
        yield


def _stale_slots(old: Any, self: Any, rows: Any, runner: Runner, now: float) -> Any:
    """Judge by the slots as they were before another runner's last claim."""
    present = dict(self.slots)
    before = vars(self).setdefault("seen_slots", [{}, {}])
    self.slots = dict(before[0])
    begun = old(self, rows, runner, now)
    taken = {eno: held for eno, held in self.slots.items() if before[0].get(eno) != held}
    self.slots = {**present, **taken}
    self.seen_slots = [before[1], dict(self.slots)]
    return begun


@contextmanager
def _mark_before_push() -> Iterator[None]:
    real = BrokerDoor.publish

    def mutated(self: Any, messages: Sequence[Any], seconds: float) -> Any:
        run, process = self._run, self._process
        outcomes = [
            Outcome(key=run.checker.key_of(message), attempt=message.headers["offbeat_attempt"], state=State.DISPATCHED)
            for message in messages
        ]
        LedgerDoor(run, process).settle(Runner(id=process.name, host="", pid=0, role="run"), outcomes)
        return real(self, messages, seconds)

    with patch.object(BrokerDoor, "publish", mutated):
        yield


def _cursor_first(old: Any, self: Any, runner: Runner, windows: Any, revision: int) -> Any:
    """Move the cursors in a transaction of their own; now and then the process dies before the next one."""
    world = self.clock.world
    moved = [window for window in windows if revision == self.revision and self._moved(window, self.clock.now())]
    if moved and world.draw.random() < 0.2:
        raise Crash
    for window in moved:
        self.groups[window.gid].cursor = window.after
    return old(self, runner, windows, revision)


def _present_pauses(old: Any, self: Any, eno: int, after: int) -> Any:
    now = self.clock.now()
    return tuple((since, until) for since, until in old(self, eno, after) if since <= now and (until is None or now < until))


class RunnersClock(Clock):
    """The store's clock, were it the clock of whoever asks."""

    def now(self) -> float:
        asking = self.world.current
        return asking.clock.now() if asking and asking.role == "runner" else super().now()


@contextmanager
def _runners_clock() -> Iterator[None]:
    real = Run.__init__

    def mutated(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.store.clock = RunnersClock(self.world)

    with patch.object(Run, "__init__", mutated):
        yield


def _admit_all(old: Any, self: Any, occurrence: str, attempt: int) -> bool:
    return True


def _attribute(where: object, name: str, new: object) -> Patch:
    """Return a patch of a name that a module or class has."""
    return lambda: patch.object(where, name, new)


@contextmanager
def _never_missed() -> Iterator[None]:
    """Plan and send what is late of `none` as if it were `all`."""
    real_bounds, real_decide = planning._bounds, recheck.decide_at_claim

    def kept(policy: Policy) -> Policy:
        return replace(policy, catch_up=CatchUp.ALL) if policy.catch_up is CatchUp.NONE else policy

    def bounds(rule: Any, member: Any, pieces: Any, now: float) -> Any:
        return real_bounds(rule, replace(member, policy=kept(member.policy)), pieces, now)

    def decide(*, policy: Policy, **more: Any) -> Any:
        return real_decide(policy=kept(policy), **more)

    with patch.object(planning, "_bounds", bounds), patch.object(letters, "decide_at_claim", decide):
        yield


def _grace_from_due(*, send_at: int, due_at: int, **more: Any) -> Reason:
    return recheck.decide_at_claim(send_at=due_at, due_at=due_at, **more)


def _far_jitter(rule: Any, name: str, due_at: int, policy: Policy) -> int:
    return due_at + (spread(name, due_at, policy.jitter) if policy.jitter else 0)


def _new_expiry(old: Any, self: Any, row: Any, runner: Runner, now: float) -> Any:
    row.expires_at = None
    return old(self, row, runner, now)


def _all_queues(old: Any, self: Any, limit: int, closed: Any, now: float) -> Any:
    return old(self, limit, (), now)


def _sent_anew(old: Any, self: Any, runner: Runner, name: str, due_at: int) -> Any:
    self.rows.pop(Key(eno=self.present(name), due_at=due_at), None)
    return old(self, runner, name, due_at)


def _forget_attempts(old: Any, self: Any, to: int, who: str) -> Any:
    for row in self.rows.values():
        if row.state in (State.PENDING, State.SKIPPED):
            row.attempt = 0
    return old(self, to, who)


def _always_atomic(claim: Any, **more: Any) -> Any:
    return letters.letter(claim, **{**more, "atomic": True})


def _held_by_present_policy(self: Hold, runtime: float, now: float) -> bool:
    return runtime > 0 and now < self.until <= now + runtime + 60


CRASHES = Faults(crash=0.02, stall=0.01)
STALLS = Faults(stall=0.04, longest=31.0)
CROWD = Plan(kind="crowd", span=400.0, run=4, hosts=3, faults=STALLS, overlap=False)

CALM_CROWD = replace(CROWD, faults=Faults())

MUTANTS = (
    Mutant(name="publish before record", patch=_publish_before_record, plan=replace(CROWD, faults=CRASHES)),
    Mutant(name="no compare-and-set", patch=_instead("_moved", _no_compare), plan=CROWD),
    Mutant(
        name="no group version in it",
        patch=_all(_instead("_moved", _no_version), _instead("record", _any_revision)),
        plan=replace(CROWD, actors=("deploys",) * 12, faults=Faults(stall=0.1, longest=3.0)),
        seeds=30,
    ),
    Mutant(
        name="since from the caller",
        patch=_instead("activate", _since_from_caller),
        plan=replace(CROWD, actors=("deploys", "deploys"), skew=4.0, faults=Faults()),
    ),
    Mutant(name="lease ignored", patch=_instead("try_at", _no_lease), plan=CROWD),
    Mutant(name="settle without attempt", patch=_instead("_settled", _any_attempt), plan=CROWD),
    Mutant(name="coalescing by the window's end", patch=_coalesce_by_window, plan=replace(CROWD, run=0, tick=2)),
    Mutant(
        name="claim by send_at alone",
        patch=_instead("try_at", _by_send_time),
        plan=replace(CROWD, actors=("brokers", "brokers"), faults=Faults()),
    ),
    Mutant(
        name="overlap not atomic", patch=_instead("begin", _stale_slots), plan=replace(CROWD, overlap=True, faults=Faults())
    ),
    Mutant(name="mark before push", patch=_mark_before_push, plan=replace(CROWD, faults=CRASHES)),
    Mutant(name="cursor moved before the batch", patch=_instead("record", _cursor_first), plan=replace(CROWD, faults=Faults())),
    Mutant(
        name="pause as present state only",
        patch=_instead("pauses_of", _present_pauses),
        plan=replace(CROWD, run=0, tick=1, actors=("pauses", "pauses", "pauses"), faults=Faults()),
    ),
    Mutant(name="the runner's clock as horizon", patch=_runners_clock, plan=replace(CROWD, skew=4.0, faults=Faults())),
    Mutant(
        name="guard off",
        patch=_instead("admit", _admit_all),
        plan=replace(CROWD, guarded=True, faults=replace(CRASHES, stall=0.03)),
    ),
    Mutant(
        name="late ones of none sent",
        first=9,
        patch=_never_missed,
        plan=replace(CROWD, actors=("brokers", "brokers", "outages"), faults=Faults()),
    ),
    Mutant(
        name="grace counted from the due time",
        first=5,
        patch=_attribute(letters, "decide_at_claim", _grace_from_due),
        plan=replace(CROWD, faults=Faults()),
    ),
    Mutant(name="jitter past the next due time", patch=_attribute(planning, "send_time", _far_jitter), plan=CALM_CROWD),
    Mutant(
        name="expires counted anew by each attempt",
        patch=_instead("hold", _new_expiry),
        plan=replace(CROWD, actors=("brokers", "brokers"), faults=CRASHES),
    ),
    Mutant(
        name="no margin before the end of the lease",
        first=14,
        patch=_all(_attribute(dispatch, "MARGIN", 0.0), _attribute(fused, "MARGIN", 0.0)),
        plan=replace(CROWD, actors=("brokers",) * 4, faults=Faults()),
        seeds=30,
    ),
    Mutant(
        name="closed queues claimed",
        patch=_instead("claimable", _all_queues),
        plan=replace(CROWD, actors=("brokers",) * 4, faults=Faults()),
    ),
    Mutant(
        name="an executed link sends what was sent",
        patch=_instead("slot", _sent_anew),
        plan=replace(CROWD, actors=("slots", "slots"), faults=Faults()),
    ),
    Mutant(
        name="attempts forgotten by a rewind",
        patch=_instead("rewind", _forget_attempts),
        plan=replace(CROWD, actors=("rewinds",) * 4 + ("brokers",), faults=Faults(stall=0.01, unconfirmed=0.2)),
        seeds=30,
    ),
    Mutant(
        name="every attempt atomic",
        patch=_attribute(dispatch, "letter", _always_atomic),
        plan=replace(
            CROWD, fused=True, guarded=True, actors=("switches",) * 6 + ("brokers",), faults=Faults(unconfirmed=0.1, stall=0.01)
        ),
        seeds=30,
    ),
    Mutant(
        name="a silent ledger taken for a yes",
        patch=_attribute(guard, "REFUSE", "never"),
        plan=replace(CROWD, guarded=True, actors=("cuts", "cuts"), faults=Faults()),
    ),
    Mutant(
        name="recorded and pushed by an old definition",
        first=8,
        patch=_attribute(EnqueuingMemory, "_mark", lambda self: ""),
        plan=replace(CROWD, fused=True, actors=("pauses",) * 12, faults=Faults(stall=0.1, longest=3.0)),
        seeds=30,
    ),
    Mutant(
        name="a slot held by the present max_runtime",
        patch=_attribute(Hold, "holds", _held_by_present_policy),
        plan=replace(CROWD, overlap=True, guarded=True, actors=("deploys",) * 8, faults=Faults()),
        seeds=30,
    ),
)
