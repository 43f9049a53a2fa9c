"""Anything in any order, in memory and in SQLite at once: both answer alike, and the invariants hold after every step."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.ports.ledger_world import NOON, ahead_of, any_order, command, entry, outcome, report, runner, schedule

from offbeat.core.marks import Marks, lost
from offbeat.core.model import RANK, TROUBLE, CatchUp, Entry, Key, Kind, LedgerSettings, Overlap, State
from offbeat.core.plan import Portion, plan
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import OffbeatError
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_sqlite import LedgerSqlite, Place
from offbeat.ports.ledger_values import Claim, Runner

NAMES = ("a", "b", "c")
RECURRENCES = ("every 20 0", "every 20 7", "every 60 0", "cron * * * * *", f"at {NOON + 50},{NOON + 51},{NOON + 900}")
RUNNERS = (runner("one"), runner("two"))


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, ...]:
    made = []
    for name in draw(st.sets(st.sampled_from(NAMES))):
        recurrence = draw(st.sampled_from(RECURRENCES))
        if draw(st.integers(0, 4)) == 0:
            made.append(command(name, recurrence, overlap=draw(st.sampled_from(Overlap)), max_runtime=40))
            continue
        made.append(
            entry(
                name,
                recurrence,
                enabled=draw(st.integers(0, 5)) > 0,
                catch_up=draw(st.sampled_from(CatchUp)),
                grace=draw(st.sampled_from([None, 30, 600])),
                jitter=draw(st.sampled_from([0, 5])),
                queue=draw(st.sampled_from(["q", "r"])),
                expires=draw(st.sampled_from([None, 100])),
                starts_at=draw(st.sampled_from([None, NOON + 130])),
                ends_at=draw(st.sampled_from([None, NOON + 400])),
                overlap=draw(st.sampled_from(Overlap)),
                max_runtime=draw(st.sampled_from([15, 100])),
            )
        )
    return tuple(sorted(made, key=lambda one: one.name))


class Both(RuleBasedStateMachine):
    """Two stores that hear the same, and what a bystander remembers of their answers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock(float(NOON))
        self.memory: Ledger = LedgerMemory(clock=self.clock, project="shop")
        self.place = Place(path=str(Path(self.folder.name) / "ledger.sqlite3"), project="shop")
        self.sqlite: Ledger = LedgerSqlite(self.place, clock=self.clock)
        self.claims: list[Claim] = []
        self.portions: list[Portion] = []
        self.attempts: dict[Key, int] = {}
        self.ranks: dict[tuple[Key, int], int] = {}
        self.cursors: dict[int, int] = {}
        self.marks: Marks = {}
        self.spans: list[tuple[str, str, int, float]] = []  # (name, recurrence, first, last)

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()

    def ask(self, question: Callable[[Ledger], Any]) -> Any:
        """Return what both stores answer."""
        answers: list[Any] = []
        for ledger in (self.memory, self.sqlite):
            try:
                answers.append(question(ledger))
            except OffbeatError as error:
                answers.append(error.problems[0].code)
        assert answers[0] == answers[1]
        return answers[0]

    def keep(self, claims: list[Claim], *, fresh: bool) -> None:
        """Remember claims; those handed out anew have an attempt that nobody had before (fencing)."""
        for claim in claims:
            if fresh:
                assert claim.attempt == self.attempts.get(claim.key, 0) + 1
                assert claim.send_at <= self.clock.now()
            self.attempts[claim.key] = claim.attempt
        self.claims = [*claims, *self.claims][:30]

    @initialize(made=entries())
    def first(self, made: tuple[Entry, ...]) -> None:
        self.look(RUNNERS[0])
        self.activate(made)

    @rule(made=entries())
    def activate(self, made: tuple[Entry, ...]) -> None:
        self.ask(lambda ledger: ledger.activate(schedule(*made), "stamp"))

    @rule(seconds=st.sampled_from([0.3, 1, 5, 10, 20, 61, 200, 4000]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([0.2, 15, 100]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.clock.advance(-seconds)

    @rule(who=st.sampled_from(RUNNERS))
    def look(self, who: Runner) -> None:
        self.ask(lambda ledger: replace(ledger.look(who), born="", marks={}))

    @rule(limit=st.integers(1, 4))
    def take(self, limit: int) -> None:
        self.portions = [self.ask(lambda ledger: ledger.take(limit)), *self.portions][:3]

    @precondition(lambda self: self.portions)
    @rule(who=st.sampled_from(RUNNERS), which=st.integers(0, 2), burst=st.sampled_from([1, 2, 1000]), again=st.booleans())
    def record(self, who: Runner, which: int, burst: int, again: bool) -> None:
        portion = self.portions[which % len(self.portions)]
        windows = plan(portion, burst=burst)
        claims = self.ask(lambda ledger: ledger.record(who, windows, portion.revision))
        self.keep(claims, fresh=False)
        if again:
            assert self.ask(lambda ledger: ledger.record(who, windows, portion.revision)) == claims

    @rule(who=st.sampled_from(RUNNERS), limit=st.integers(1, 5), closed=st.sampled_from([(), ("q",), ("q", "r")]))
    def claim(self, who: Runner, limit: int, closed: tuple[str, ...]) -> None:
        self.keep(self.ask(lambda ledger: ledger.claim(who, limit, closed)), fresh=True)

    @precondition(lambda self: self.claims)
    @rule(
        which=st.integers(0, 29),
        state=st.sampled_from([State.DISPATCHED, State.DISPATCHED, State.SKIPPED, State.UNDELIVERED, State.PENDING]),
        wait=st.sampled_from([0.0, 15.0]),
        again=st.booleans(),
    )
    def settle(self, which: int, state: State, wait: float, again: bool) -> None:
        claim = self.claims[which % len(self.claims)]
        told = [outcome(claim, state, next_try_at=self.clock.now() + wait, error="x")]
        accepted = self.ask(lambda ledger: ledger.settle(RUNNERS[0], told))
        assert not accepted or claim.attempt == self.attempts[claim.key]
        if again:
            assert self.ask(lambda ledger: ledger.settle(RUNNERS[0], told)) == accepted

    @precondition(lambda self: self.claims)
    @rule(
        which=st.integers(0, 29),
        who=st.sampled_from([runner("h", "supervisor"), runner("i", "supervisor")]),
        state=st.sampled_from([State.DISPATCHED, State.STARTED, State.RETRYING, State.SUCCEEDED, State.FAILED]),
        again=st.booleans(),
    )
    def report(self, which: int, who: Runner, state: State, again: bool) -> None:
        claim = self.claims[which % len(self.claims)]
        told = [report(claim, state, output=b"out")]
        accepted = self.ask(lambda ledger: ledger.report(who, told))
        assert not accepted or claim.attempt == self.attempts[claim.key]
        if again:
            assert self.ask(lambda ledger: ledger.report(who, told)) == accepted
        self.ask(lambda ledger: ledger.output(claim.key))

    @rule(who=st.sampled_from(RUNNERS), name=st.sampled_from(NAMES), token=st.sampled_from("xy"), own=st.booleans())
    def fire(self, who: Runner, name: str, token: str, own: bool) -> None:
        call = entry(name, queue="own").call if own else None
        self.keep_slot(self.ask(lambda ledger: ledger.fire(who, name, token, call)))

    @rule(who=st.sampled_from(RUNNERS), name=st.sampled_from(NAMES), ahead=st.integers(-1, 1))
    def slot(self, who: Runner, name: str, ahead: int) -> None:
        due_at = floor(self.clock.now()) // 20 * 20 + 20 * ahead
        self.keep_slot(self.ask(lambda ledger: ledger.slot(who, name, due_at)))

    def keep_slot(self, slot: Any) -> None:
        if not isinstance(slot, str) and slot.claim is not None:
            self.keep([slot.claim], fresh=False)

    @rule(name=st.sampled_from(["", *NAMES]), seconds=st.sampled_from([None, 30, 300]))
    def pause(self, name: str, seconds: int | None) -> None:
        until = None if seconds is None else self.clock.now() + seconds
        self.ask(lambda ledger: ledger.pause(name, "ann", "", until))

    @rule(name=st.sampled_from(["", *NAMES]))
    def resume(self, name: str) -> None:
        self.ask(lambda ledger: ledger.resume(name))

    @rule(name=st.sampled_from(NAMES), ahead=st.integers(-2, 3))
    def skip(self, name: str, ahead: int) -> None:
        due_at = floor(self.clock.now()) // 20 * 20 + 20 * ahead
        self.ask(lambda ledger: ledger.skip(name, due_at, "ann", "why"))

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 3), wait=st.sampled_from([0, 30]), again=st.booleans())
    def backfill(self, name: str, count: int, wait: int, again: bool) -> None:
        rows = [(NOON - 20 * number, floor(self.clock.now()) + wait) for number in range(count)]
        self.ask(lambda ledger: ledger.backfill(name, "token", rows))
        if again:
            assert self.ask(lambda ledger: ledger.backfill(name, "token", rows)) in (0, "C301")

    @rule(name=st.sampled_from(NAMES), token=st.sampled_from(["", "token", "x"]), limit=st.integers(1, 3))
    def cancel(self, name: str, token: str, limit: int) -> None:
        self.ask(lambda ledger: ledger.cancel(name, "ann", "why", limit, token))

    @rule(back=st.sampled_from([0, 30, 300]), again=st.booleans())
    def rewind(self, back: int, again: bool) -> None:
        to = floor(self.clock.now()) - back
        self.ask(lambda ledger: ledger.rewind(to, "ann"))
        if again:
            assert self.ask(lambda ledger: ledger.rewind(to, "ann")) == 0
        assert isinstance(self.memory, LedgerMemory)
        self.cursors = {}
        self.ranks = {which: rank for which, rank in self.ranks.items() if which[1]}  # what nobody claimed may come back

    @rule(ahead=st.integers(0, 5), back=st.sampled_from([0, 0, 30, 300]), skip=st.booleans())
    def restored(self, ahead: int, back: int, skip: bool) -> None:
        heard_at = self.clock.now() - back
        self.ask(lambda ledger: ledger.restored(RUNNERS[1], ahead_of(ledger, ahead, heard_at), skip=skip))

    @rule(limit=st.integers(1, 3), rows=st.sampled_from([None, 1, 5]))
    def prune(self, limit: int, rows: int | None) -> None:
        self.ask(lambda ledger: ledger.prune(limit, LedgerSettings(keep_seconds=1, keep_rows=rows)))

    @rule()
    def the_runner_dies(self) -> None:
        self.claims = []
        self.portions = []
        self.sqlite.close()
        self.sqlite = LedgerSqlite(self.place, clock=self.clock)

    @invariant()
    def both_show_the_same(self) -> None:
        self.ask(lambda ledger: ledger.history(limit=10_000))
        self.ask(lambda ledger: ledger.history(limit=5, states=TROUBLE))
        self.ask(lambda ledger: ledger.history("a", 5, NOON, states=(State.SKIPPED, State.PENDING)))
        self.ask(lambda ledger: ledger.failures(NOON, 3))
        self.ask(lambda ledger: ledger.entries())
        self.ask(lambda ledger: ledger.peek(5))
        self.ask(lambda ledger: ledger.pauses())
        self.ask(lambda ledger: ledger.revisions(9))
        self.ask(lambda ledger: replace(ledger.status(), where="", schema=0, owner=""))

    @invariant()
    def ranks_and_cursors_and_marks_never_fall(self) -> None:
        assert isinstance(self.memory, LedgerMemory)
        for key, row in self.memory.rows.items():
            rank = RANK[row.state]
            assert row.attempt >= self.attempts.get(key, 0)
            if rank > RANK[State.CLAIMED] or (key, row.attempt) not in self.ranks:
                assert rank >= self.ranks.get((key, row.attempt), 0)
                self.ranks[key, row.attempt] = rank
            else:
                assert self.ranks[key, row.attempt] <= RANK[State.CLAIMED]
        for gid, group in self.memory.groups.items():
            assert group.cursor >= self.cursors.get(gid, group.cursor)
            self.cursors[gid] = group.cursor
        assert not lost(self.marks, self.memory.marks)
        self.marks = dict(self.memory.marks)

    @invariant()
    def every_decided_due_time_is_in_one_row_or_one_gap(self) -> None:
        """I1, and no due time belongs to two versions."""
        assert isinstance(self.memory, LedgerMemory)
        for eno, versions in self.memory.versions.items():
            due: list[int] = []
            for version in versions:
                if not version.yields or version.gid is None:
                    continue
                span, cursor = version.span, self.memory.groups[version.gid].cursor
                last = cursor if span.last is None else min(span.last, cursor)
                rule_ = compile_recurrence(span.recurrence, span.zone)
                due.extend(rule_.due_times(span.first - 1, max(last, span.first - 1)))
            assert all(count == 1 for count in Counter(due).values())
            for due_at in due:
                row = Key(eno=eno, due_at=due_at, kind=Kind.SCHEDULE) in self.memory.rows
                gap = self.memory.decided_in_gap(eno, due_at) is not None
                assert row or gap


TestBoth = Both.TestCase
TestBoth.settings = any_order(60)
