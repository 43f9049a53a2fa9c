"""The supervisor's steps on the ledger in memory: what it writes, in which order, and what a death between any two leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from offbeat.core.model import BrokerSettings, CommandCall, Entry, Reason, Schedule, State, Timing
from offbeat.errors import LedgerError
from offbeat.ports.clock import FakeClock
from offbeat.ports.command import ABREAST, Order, Step
from offbeat.ports.command_process import Ended
from offbeat.ports.command_start import Errand
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_values import Outcome, Report, Runner
from offbeat.runners import supervise
from offbeat.runners.supervise import Supervisor

NAMES = ("hourly/a", "hourly/b", "hourly/c")
TICK = Runner(id="web1:1:tick", host="web1", pid=1, role="tick")
OTHER = Runner(id="web1:2:tick", host="web1", pid=2, role="tick")
DUE = 1_767_225_600
NEXT = DUE + 3600
LIMIT = 61  # seconds, and the heartbeat is over


class Died(BaseException):
    """The supervisor is gone, as with kill -9: nothing of ours catches it."""


@dataclass
class Faulty:
    """A ledger whose n-th call fails: before it did anything, or after all of it (then only the reply is lost)."""

    ledger: LedgerMemory
    fails: int = 0
    after: bool = False
    error: Callable[[], BaseException] = Died
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.ledger, name)

        def call(*args: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) != self.fails:
                return method(*args)
            if self.after:
                method(*args)
            raise self.error()

        return call


@dataclass
class Hands:
    """Runs each step when its end is waited for, the newest of those begun first; no process anywhere."""

    run: Callable[[Step], Ended]
    begun: list[Step] = field(default_factory=list)
    most: int = 0  # that were begun and had not ended

    def begin(self, step: Step) -> None:
        self.begun.append(step)
        self.most = max(self.most, len(self.begun))

    def wait(self) -> list[tuple[Step, Ended]]:
        step = self.begun.pop()
        return [(step, self.run(step))]


@dataclass
class House:
    """A ledger with three commands of one directory, and who has run what."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(float(DUE)))
    ran: list[str] = field(default_factory=list)
    stopping: str = ""
    ends: dict[str, Ended] = field(default_factory=dict)
    seen: list[tuple[str, State]] = field(default_factory=list)
    names: tuple[str, ...] = NAMES

    def __post_init__(self) -> None:
        self.ledger = LedgerMemory(clock=self.clock, project="difio")
        entries = tuple(
            Entry(name=name, timing=Timing(recurrence="every 3600 0"), call=CommandCall(argv=(name,), directory="hourly"))
            for name in self.names
        )
        self.ledger.look(TICK)
        self.ledger.activate(Schedule(project="difio", timezone="UTC", entries=entries, digest="1"), "stamp")

    def order(self, due_at: int = DUE, *, slot: str = "hourly") -> Order:
        claims = [self.ledger.slot(TICK, name, due_at).claim for name in self.names]
        return Order(slot=slot, steps=tuple(step(claim) for claim in claims))

    def supervisor(self, ledger: Any = None, pid: int = 100) -> Any:
        runner = Runner(id=f"web1:{pid}:supervisor", host="web1", pid=pid, role="supervisor")
        return Supervisor(
            ledger=ledger or self.ledger,
            runner=runner,
            clock=self.clock,
            hands=Hands(self.run),
            stopping=lambda: self.stopping,
        )

    def run(self, step: Step) -> Ended:
        self.seen.append((step.name, self.states()[step.name]))
        self.ran.append(step.name)
        return self.ends.get(step.name, Ended(exit_status=0, output=b"done"))

    def rows(self, due_at: int = DUE) -> dict[str, Any]:
        return {row.entry: row for row in self.ledger.history() if row.due_at == due_at}

    def states(self, due_at: int = DUE) -> dict[str, State]:
        return {name: row.state for name, row in self.rows(due_at).items()}


def step(claim: Any) -> Step:
    return Step(key=claim.key, attempt=claim.attempt, name=claim.name, call=claim.call)


@pytest.fixture
def house() -> House:
    return House()


def test_the_commands_of_a_slot_run_one_after_the_other_and_each_end_is_recorded(house: House) -> None:
    house.ends["hourly/b"] = Ended(reason=Reason.EXIT_STATUS, exit_status=3, output=b"no", note="exit status 3")

    order = house.order()
    house.supervisor().supervise(order)

    assert house.ran == list(NAMES)
    rows = house.rows()
    told = {name: (row.state, row.reason, row.exit_status, row.note) for name, row in rows.items()}
    assert told == {
        "hourly/a": (State.SUCCEEDED, Reason.NONE, 0, ""),
        "hourly/b": (State.FAILED, Reason.EXIT_STATUS, 3, "exit status 3"),
        "hourly/c": (State.SUCCEEDED, Reason.NONE, 0, ""),
    }
    assert house.ledger.output(order.steps[1].key) == b"no"


def test_a_command_is_marked_started_before_it_is_executed(house: House) -> None:
    house.supervisor().supervise(house.order())

    assert house.seen == [(name, State.STARTED) for name in NAMES]


def test_those_that_wait_for_their_turn_are_dispatched_and_live_by_the_supervisors_heartbeat(house: House) -> None:
    supervisor = house.supervisor()

    def slow(step: Step) -> Ended:
        for _ in range(30):
            house.clock.advance(10)
            supervisor.beat()
            house.ledger.look(OTHER)
        return house.run(step)

    supervisor.hands.run = slow
    supervisor.supervise(house.order())

    assert set(house.states().values()) == {State.SUCCEEDED}


def test_a_slot_that_finds_its_predecessor_running_is_skipped_and_says_so(house: House) -> None:
    first, second = house.order(), house.order(NEXT)
    supervisor = house.supervisor(pid=100)

    def meanwhile(step: Step) -> Ended:
        if step.name == NAMES[0]:
            house.supervisor(pid=200).supervise(second)
        return house.run(step)

    supervisor.hands.run = meanwhile
    supervisor.supervise(first)

    assert {(row.state, row.reason) for row in house.rows(NEXT).values()} == {(State.SKIPPED, Reason.OVERLAP)}
    assert house.ran == list(NAMES)


def test_the_next_slot_may_start_as_soon_as_the_predecessor_has_ended(house: House) -> None:
    house.supervisor(pid=100).supervise(house.order())
    house.supervisor(pid=200).supervise(house.order(NEXT))

    assert house.ran == [*NAMES, *NAMES]


def test_orders_without_a_slot_run_side_by_side(house: House) -> None:
    first, second = house.order(slot=""), house.order(NEXT, slot="")
    supervisor = house.supervisor(pid=100)

    def meanwhile(step: Step) -> Ended:
        if step.name == NAMES[0]:
            house.supervisor(pid=200).supervise(second)
        return Ended(exit_status=0)

    supervisor.hands.run = meanwhile
    supervisor.supervise(first)

    assert set(house.states(NEXT).values()) == {State.SUCCEEDED}


MANY = tuple(f"n{number:02}" for number in range(20))


@pytest.fixture
def many() -> House:
    return House(names=MANY)


def test_steps_without_a_slot_run_side_by_side_but_only_so_many_at_once(many: House) -> None:
    supervisor = many.supervisor()
    supervisor.supervise(many.order(slot=""))

    assert sorted(many.ran) == sorted(MANY)
    assert supervisor.hands.most == ABREAST == 8
    assert set(many.states().values()) == {State.SUCCEEDED}
    assert {state for _, state in many.seen} == {State.STARTED}


def test_the_steps_of_a_slot_are_never_side_by_side(many: House) -> None:
    supervisor = many.supervisor()
    supervisor.supervise(many.order())

    assert (many.ran, supervisor.hands.most) == (list(MANY), 1)


def test_one_that_hangs_keeps_none_of_the_others_waiting(many: House) -> None:
    supervisor = many.supervisor()
    seen: list[int] = []

    def wait() -> list[tuple[Step, Ended]]:
        hands = supervisor.hands
        index = 1 if len(hands.begun) > 1 else 0  # n00 hangs: it ends when nothing else is left
        one = hands.begun.pop(index)
        if one.name == "n00":
            seen.append(sum(state is State.SUCCEEDED for state in many.states().values()))
        return [(one, many.run(one))]

    supervisor.hands.wait = wait
    supervisor.supervise(many.order(slot=""))

    assert seen == [len(MANY) - 1]


def test_a_request_to_end_begins_nothing_more_and_tells_the_ends_of_those_that_run(many: House) -> None:
    supervisor = many.supervisor()

    def asked_to_end(step: Step) -> Ended:
        many.ran.append(step.name)
        many.stopping = "SIGTERM"
        return Ended(reason=Reason.RUNNER_DIED, exit_status=143, note="stopped: its supervisor got SIGTERM")

    supervisor.hands.run = asked_to_end
    supervisor.supervise(many.order(slot=""))

    assert sorted(many.ran) == sorted(MANY[:8])
    notes = [row.note for row in many.rows().values()]
    assert notes.count("stopped: its supervisor got SIGTERM") == 8
    assert notes.count("not run: its supervisor got SIGTERM") == 12


def test_while_a_start_cannot_be_written_what_runs_is_waited_for_and_told(many: House) -> None:
    class Full(Faulty):
        def __getattr__(self, name: str) -> Any:
            return self._down if name == "report" else super().__getattr__(name)

        def _down(self, runner: Runner, reports: list[Report]) -> Any:
            if reports[0].state is State.STARTED and reports[0].key.eno == order.steps[5].key.eno:
                raise LedgerError("disk full")
            return self.ledger.report(runner, reports)

    order = many.order(slot="")
    with pytest.raises(LedgerError, match="disk full"):
        many.supervisor(Full(many.ledger)).supervise(order)

    assert sorted(many.ran) == list(MANY[:5])
    states = many.states()
    assert {states[name] for name in MANY[:5]} == {State.SUCCEEDED}
    assert {states[name] for name in MANY[5:]} == {State.DISPATCHED}  # they are given up with our heartbeat


def calls_of_many() -> int:
    house = House(names=MANY)
    ledger = Faulty(house.ledger)
    house.supervisor(ledger).supervise(house.order(slot=""))
    return len(ledger.calls)


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("at", range(1, calls_of_many() + 1))
def test_a_death_while_many_run_side_by_side_runs_nothing_twice_and_loses_nothing(many: House, at: int, after: bool) -> None:
    order = many.order(slot="")
    with pytest.raises(Died):
        many.supervisor(Faulty(many.ledger, fails=at, after=after), pid=100).supervise(order)
    many.clock.advance(LIMIT)
    many.ledger.look(OTHER)

    if claims := many.ledger.claim(OTHER, 100):
        many.supervisor(pid=200).supervise(Order(slot="", steps=tuple(map(step, claims))))

    assert len(many.ran) == len(set(many.ran))
    assert set(many.states().values()) <= {State.SUCCEEDED, State.FAILED}
    assert {name for name, state in many.states().items() if state is State.SUCCEEDED} <= set(many.ran)


def test_a_step_that_another_attempt_has_is_left_to_it(house: House) -> None:
    old = house.order()
    house.clock.advance(11)  # the lease is over, and a second tick takes the rows
    new = Order(slot="hourly", steps=tuple(map(step, house.ledger.claim(OTHER, 10))))

    house.supervisor(pid=100).supervise(old)
    assert house.ran == []
    house.supervisor(pid=200).supervise(new)

    assert sorted(house.ran) == list(NAMES)
    assert set(house.states().values()) == {State.SUCCEEDED}


def test_a_supervisor_that_has_no_step_left_does_not_free_the_slot_of_the_one_that_has(house: House) -> None:
    old = house.order()
    house.clock.advance(11)
    new = Order(slot="hourly", steps=tuple(map(step, house.ledger.claim(OTHER, 10))))
    supervisor = house.supervisor(pid=200)

    def meanwhile(step: Step) -> Ended:
        house.supervisor(pid=100).supervise(old)
        assert not house.ledger.occupy("hourly", "the next slot", 60)
        return house.run(step)

    supervisor.hands.run = meanwhile
    supervisor.supervise(new)

    assert house.ran == list(NAMES)


def test_an_order_that_is_carried_out_twice_runs_once(house: House) -> None:
    order = house.order()

    house.supervisor(pid=100).supervise(order)
    house.supervisor(pid=200).supervise(order)

    assert house.ran == list(NAMES)


@pytest.mark.parametrize("due_at", [DUE, NEXT], ids=["the same occurrence", "the next one"])
def test_two_supervisors_at_once_never_run_a_command_twice(house: House, due_at: int) -> None:
    first = house.order()
    second = first if due_at == DUE else house.order(due_at)
    supervisor = house.supervisor(pid=100)

    def meanwhile(step: Step) -> Ended:
        ended = house.run(step)
        house.supervisor(pid=200).supervise(second)
        return ended

    supervisor.hands.run = meanwhile
    supervisor.supervise(first)

    assert sorted(house.ran) == list(NAMES)


def test_a_request_to_end_fails_the_rest_and_says_so(house: House) -> None:
    def asked_to_end(step: Step) -> Ended:
        house.ran.append(step.name)
        house.stopping = "SIGTERM"
        return Ended(reason=Reason.RUNNER_DIED, exit_status=143, note="stopped: its supervisor got SIGTERM")

    supervisor = house.supervisor()
    supervisor.hands.run = asked_to_end
    supervisor.supervise(house.order())

    assert house.ran == ["hourly/a"]
    told = {name: (row.state, row.reason, row.note) for name, row in house.rows().items()}
    assert told == {
        "hourly/a": (State.FAILED, Reason.RUNNER_DIED, "stopped: its supervisor got SIGTERM"),
        "hourly/b": (State.FAILED, Reason.RUNNER_DIED, "not run: its supervisor got SIGTERM"),
        "hourly/c": (State.FAILED, Reason.RUNNER_DIED, "not run: its supervisor got SIGTERM"),
    }
    assert house.ledger.occupy("hourly", "the next slot", 60)


def test_a_supervisor_that_was_away_while_its_slot_went_to_the_next_runs_nothing_more(house: House) -> None:
    supervisor = house.supervisor(pid=100)

    def sleeps(step: Step) -> Ended:
        house.clock.advance(59)  # the rows still live, by the report of the start
        house.ledger.busy["hourly"] = ("the next slot", house.clock.now() + 60)
        return house.run(step)

    supervisor.hands.run = sleeps
    supervisor.supervise(house.order())

    assert house.ran == ["hourly/a"]
    assert house.rows()["hourly/b"].reason is Reason.OVERLAP


def test_the_end_of_a_command_is_told_even_when_its_supervisor_was_given_up(house: House) -> None:
    def sleeps(step: Step) -> Ended:
        house.clock.advance(LIMIT)
        house.ledger.look(OTHER)
        assert house.rows()["hourly/a"].reason is Reason.RUNNER_DIED
        house.ran.append(step.name)
        return Ended(exit_status=0)

    supervisor = house.supervisor()
    supervisor.hands.run = sleeps
    supervisor.supervise(house.order())

    assert house.states()["hourly/a"] is State.SUCCEEDED
    assert house.ran == ["hourly/a"]  # the others were given up for good, and a command is never run again


def calls_of_a_whole_order() -> int:
    house = House()
    ledger = Faulty(house.ledger)
    house.supervisor(ledger).supervise(house.order())
    return len(ledger.calls)


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("at", range(1, calls_of_a_whole_order() + 1))
def test_a_death_between_any_two_steps_runs_nothing_twice_and_loses_nothing(house: House, at: int, after: bool) -> None:
    order = house.order()
    with pytest.raises(Died):
        house.supervisor(Faulty(house.ledger, fails=at, after=after), pid=100).supervise(order)
    before = house.states()

    house.clock.advance(LIMIT)
    house.ledger.look(OTHER)
    for name, state in before.items():
        if state in (State.DISPATCHED, State.STARTED):
            assert (house.rows()[name].state, house.rows()[name].reason) == (State.FAILED, Reason.RUNNER_DIED)
    if claims := house.ledger.claim(OTHER, 10):  # nobody had taken them: a second tick starts a second supervisor
        house.supervisor(pid=200).supervise(Order(slot="hourly", steps=tuple(map(step, claims))))

    assert len(house.ran) == len(set(house.ran))
    assert set(house.states().values()) <= {State.SUCCEEDED, State.FAILED}
    assert {name for name, state in house.states().items() if state is State.SUCCEEDED} <= set(house.ran)


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("at", range(1, calls_of_a_whole_order() + 1))
def test_a_ledger_that_is_locked_for_a_moment_or_loses_a_reply_changes_nothing(house: House, at: int, after: bool) -> None:
    ledger = Faulty(house.ledger, fails=at, after=after, error=lambda: LedgerError("locked"))

    house.supervisor(ledger).supervise(house.order())

    assert house.ran == list(NAMES)
    assert set(house.states().values()) == {State.SUCCEEDED}


def test_nothing_is_executed_while_its_start_cannot_be_written(house: House) -> None:
    class Down(Faulty):
        def __getattr__(self, name: str) -> Any:
            return self._down if name == "report" else super().__getattr__(name)

        def _down(self, runner: Runner, reports: list[Report]) -> Any:
            if reports[0].state is State.STARTED:
                raise LedgerError("disk full")
            return self.ledger.report(runner, reports)

    with pytest.raises(LedgerError, match="disk full"):
        house.supervisor(Down(house.ledger)).supervise(house.order())

    assert house.ran == []
    assert house.clock.now() - DUE >= supervise.TRIES - 1


def test_a_heartbeat_that_the_ledger_does_not_take_is_no_reason_to_end(house: House) -> None:
    supervisor = house.supervisor(Faulty(house.ledger, fails=1, error=lambda: LedgerError("locked")))

    supervisor.beat()

    assert house.clock.sleeps == []


def test_what_is_skipped_is_settled_only_while_the_claim_is_ours(house: House) -> None:
    order = house.order()
    house.ledger.settle(TICK, [Outcome(key=s.key, attempt=s.attempt, state=State.PENDING) for s in order.steps[:1]])
    house.ledger.claim(OTHER, 1)
    house.ledger.occupy("hourly", "another", 60)

    house.supervisor().supervise(order)

    assert house.states() == {"hourly/a": State.CLAIMED, "hourly/b": State.SKIPPED, "hourly/c": State.SKIPPED}


# --- what a command is given ----------------------------------------------------------------------------------------------


@pytest.fixture
def errand(house: House, tmp_path: Path) -> Errand:
    (tmp_path / "cron/hourly").mkdir(parents=True)
    return Errand(
        address="memory:", project="difio", owner="", tree=str(tmp_path / "cron"), root=str(tmp_path), order=house.order()
    )


def test_a_command_is_told_which_occurrence_it_is(errand: Errand) -> None:
    env = supervise.environment({"PATH": "/p", "HOME": "/h", "CELERY_BROKER_URL": "redis://"}, errand, errand.order.steps[0])

    assert env == {
        "PATH": "/p",
        "HOME": "/h",
        "CELERY_BROKER_URL": "redis://",
        "OFFBEAT_ENTRY": "hourly/a",
        "OFFBEAT_DUE_AT": "2026-01-01T00:00:00Z",
        "OFFBEAT_OCCURRENCE": env["OFFBEAT_OCCURRENCE"],
    }
    assert len(env["OFFBEAT_OCCURRENCE"]) == 36


@dataclass
class Settings:
    """A ledger that knows only where env_file is."""

    env_file: str

    def broker_settings(self) -> BrokerSettings:
        return BrokerSettings(env_file=self.env_file)


def test_commands_get_what_env_file_sets_unless_it_is_set_already(errand: Errand) -> None:
    (Path(errand.root) / ".env").write_text("export DATABASE_URL='postgres://x'\nEMPTY=filled\nPATH=/wrong\n")

    env = supervise.with_env_file({"PATH": "/bin", "EMPTY": ""}, errand, Settings(".env"))  # type: ignore[arg-type]

    assert env == {"PATH": "/bin", "EMPTY": "filled", "DATABASE_URL": "postgres://x"}


def test_an_env_file_that_is_not_there_adds_nothing(errand: Errand) -> None:
    assert supervise.with_env_file({"PATH": "/bin"}, errand, Settings(".env")) == {"PATH": "/bin"}  # type: ignore[arg-type]
    assert supervise.with_env_file({"PATH": "/bin"}, errand, Settings("")) == {"PATH": "/bin"}  # type: ignore[arg-type]


def test_a_script_that_anybody_may_write_to_fails_and_says_so(errand: Errand) -> None:
    script = Path(errand.tree) / "hourly/a"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o757)

    ended = supervise.start_step(errand.order.steps[0], errand, process=None, environ={})  # type: ignore[arg-type]

    assert isinstance(ended, Ended)
    assert ended.reason is Reason.NOT_STARTED
    assert "world-writable" in ended.note
