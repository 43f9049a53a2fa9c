"""What a worker writes into a ledger is what a runner reads there: admissions, reports that free slots, signs of life."""

from __future__ import annotations

import itertools
import uuid
from contextlib import closing

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.ports.ledger_world import entry, outcome, runner, schedule
from tests.worker.conftest import PROJECT, Sides

from offbeat.core.model import Key, Overlap, Reason, State
from offbeat.core.transitions import judge_report
from offbeat.faces.cli_history import say_who_runs
from offbeat.ports.ledger_values import Claim
from offbeat.ports.worker_store import WorkerStore, open_store
from offbeat.ports.worker_values import (
    ALIVE,
    ENDED,
    PASSED,
    REFUSED_ATTEMPT,
    Ask,
    Held,
    Me,
    NoAnswer,
    Row,
    Said,
    judge,
    judge_again,
)

ME = Me("web1:7:worker", "web1", 7, "0.1.0")
KEEP = 8 * 86_400


def is_admitted(worker: WorkerStore, occurrence: str, attempt: int) -> bool:
    return worker.admit(Ask(occurrence, attempt, KEEP)) == PASSED


def row_of(key: Key) -> Row:
    return Row(key.eno, key.due_at, str(key.kind), key.kind_id)


def claim(sides: Sides) -> list[Claim]:
    sides.ledger.look(runner())
    return list(sides.ledger.claim(runner(), 100))


@pytest.fixture
def claimed(sides: Sides) -> Claim:
    """Return an occurrence that was sent and has its entry's slot, while another one waits for it."""
    sides.ledger.look(runner())
    sides.ledger.activate(schedule(entry("e", overlap=Overlap.WAIT, max_runtime=3600)), "stamp")
    due = 1_772_366_400
    sides.ledger.backfill("e", "t", [(due, due)])
    (one,) = claim(sides)
    sides.ledger.settle(runner(), [outcome(one)])
    sides.ledger.backfill("e", "t", [(due + 60, due + 60)])
    assert claim(sides) == []
    return one


def state_of(sides: Sides, one: Claim) -> State:
    sides.ledger.look(runner())
    (row,) = [row for row in sides.ledger.history("e") if row.key == one.key]
    return row.state


def test_the_first_attempt_to_ask_wins_and_passes_again(sides: Sides) -> None:
    asked = [is_admitted(sides.worker, "an id", attempt) for attempt in (2, 1, 2, 3, 2)]

    assert asked == [True, False, True, False, True]
    assert [sides.ledger.admit("an id", attempt) for attempt in (1, 2)] == [False, True], "a runner's side agrees"


def test_what_an_id_is_made_of_never_matters(sides: Sides) -> None:
    for name in ("'; DROP TABLE admitted; --", '"}', "{a}*?[", "a\nb", "ключ", ""):
        assert is_admitted(sides.worker, name, 1)
        assert not is_admitted(sides.worker, name, 2)


def test_who_has_won_is_told_without_a_word_of_ones_own(sides: Sides) -> None:
    seen = [sides.worker.winner("an id"), is_admitted(sides.worker, "an id", 2), sides.worker.winner("an id")]

    assert seen == [0, True, 2]


COPY = Ask("an id", 1, KEEP, again=True, owner="w2", patience=3600.0)
FIRST = COPY._replace(again=False, owner="w1")


def test_a_copy_of_what_runs_or_has_ended_is_told_from_it(sides: Sides) -> None:
    seen = [sides.worker.admit(FIRST), sides.worker.admit(COPY)]
    sides.worker.ended(FIRST, True)
    seen += [sides.worker.admit(COPY), sides.worker.admit(COPY._replace(attempt=2))]

    assert seen == [PASSED, ALIVE, ENDED, REFUSED_ATTEMPT]


def test_a_copy_of_what_was_given_up_or_is_silent_for_too_long_passes_once(sides: Sides) -> None:
    sides.worker.admit(FIRST)
    sides.worker.ended(FIRST, False)
    others = [COPY, COPY._replace(owner="w3"), COPY._replace(owner="w4", patience=0.0)]

    assert [sides.worker.admit(ask) for ask in others] == [PASSED, ALIVE, PASSED]


def test_a_retry_passes_and_what_it_came_from_does_not_any_more(sides: Sides) -> None:
    retry = FIRST._replace(turn=1)
    sides.worker.admit(FIRST)
    seen = [sides.worker.admit(retry)]
    sides.worker.ended(FIRST, True)  # its word comes after its retry has started
    seen += [sides.worker.admit(COPY), sides.worker.admit(COPY._replace(turn=1)), sides.worker.admit(COPY._replace(turn=2))]

    assert seen == [PASSED, ENDED, ALIVE, PASSED]


def test_what_has_ended_is_not_given_up_by_a_worker_that_stops(sides: Sides) -> None:
    sides.worker.admit(FIRST)
    sides.worker.ended(FIRST, True)
    sides.worker.ended(FIRST, False)

    assert sides.worker.admit(COPY) == ENDED


def test_what_is_sent_anew_by_somebody_passes(sides: Sides) -> None:
    sides.worker.admit(FIRST)
    sides.worker.ended(FIRST, True)

    assert sides.worker.admit(FIRST) == PASSED


def test_a_sign_of_life_of_what_asked_nobody_makes_it_known(sides: Sides) -> None:
    sides.worker.running([FIRST, FIRST._replace(occurrence="another")])
    seen = [sides.worker.admit(COPY)]
    sides.worker.ended(FIRST, True)
    sides.worker.running([FIRST])  # too late: it has ended

    assert [*seen, sides.worker.admit(COPY)] == [ALIVE, ENDED]


def test_an_end_that_nobody_knew_of_is_known_then(sides: Sides) -> None:
    sides.worker.ended(FIRST, True)

    assert [sides.worker.admit(COPY), sides.worker.admit(COPY._replace(attempt=2))] == [ENDED, REFUSED_ATTEMPT]


def test_no_sign_of_life_is_given_for_what_another_worker_has_taken_over(sides: Sides) -> None:
    sides.worker.admit(FIRST)
    sides.worker.admit(COPY._replace(patience=0.0))
    sides.worker.running([FIRST])
    sides.worker.ended(FIRST, False)

    assert sides.worker.admit(COPY._replace(owner="w3")) == ALIVE, "w2 runs it"


def test_several_are_answered_at_once_as_each_would_be(sides: Sides) -> None:
    sides.worker.admit(FIRST)
    sides.worker.admit(Ask("b", 2, KEEP))

    asks = [Ask("c", 3, KEEP), Ask("b", 1, KEEP), COPY, Ask("a", 1, KEEP)]

    assert sides.worker.admit_all(asks) == [PASSED, REFUSED_ATTEMPT, ALIVE, PASSED]


def test_what_was_started_unasked_is_told_and_those_that_lost_are_named(sides: Sides) -> None:
    sides.worker.admit(Ask("b", 2, KEEP))

    told = [Ask("c", 3, KEEP), Ask("b", 1, KEEP), Ask("a", 1, KEEP)]

    assert [sides.worker.admit_late(told), sides.worker.admit_late(told)] == [[True, False, True]] * 2
    assert [is_admitted(sides.worker, name, 1) for name in "abc"] == [True, False, False]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from(["ask", "quiet", "done", "gone", "sign"])), max_size=8)
)
@example(steps=[(1, False, "ask"), (1, False, "gone"), (0, True, "ask")])
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_store_judges_copies_alike(sides: Sides, steps: list[tuple[int, bool, str]]) -> None:
    name, twin = uuid.uuid4().hex, Twin()
    for turn, again, what in steps:
        ask = Ask(name, 1, KEEP, turn=turn, again=again, owner="w1", patience=0.0 if what == "quiet" else 3600.0)
        if what in ("ask", "quiet"):
            assert sides.worker.admit(ask) == twin.admit(ask), steps
        elif what == "sign":
            sides.worker.running([ask])
            twin.running(ask)
        else:
            sides.worker.ended(ask, what == "done")
            twin.ended(ask, what == "done")


class Twin:
    """What a store is to remember of one attempt."""

    held: Held | None = None

    def admit(self, ask: Ask) -> str:
        verdict = PASSED if self.held is None else judge_again(ask, self.held)
        if verdict == PASSED:
            self._hold(ask, ended=False)
        return verdict

    def running(self, ask: Ask) -> None:
        if self.held is None or (not self.held.ended and (not self.held.owner or self._is_mine(ask))):
            self._hold(ask, ended=False)

    def ended(self, ask: Ask, done: bool) -> None:
        if done and (self.held is None or self.held.turn <= ask.turn):
            self._hold(ask, ended=True)
        elif not done and (self.held is None or (self._is_mine(ask) and not self.held.ended)):
            self.held = Held(0, False, "", 0.0, False)

    def _hold(self, ask: Ask, *, ended: bool) -> None:
        self.held = Held(ask.turn, ask.again, ask.owner, 0.0, ended)

    def _is_mine(self, ask: Ask) -> bool:
        return self.held is not None and (self.held.turn, self.held.again, self.held.owner) == (ask.turn, ask.again, ask.owner)


@pytest.mark.parametrize("end", ["succeeded", "failed", "revoked"])
def test_the_start_holds_the_slot_and_the_end_frees_it(sides: Sides, claimed: Claim, end: str) -> None:
    sides.worker.report(ME, Said(row_of(claimed.key), 1, "started"))
    assert (state_of(sides, claimed), claim(sides)) == (State.STARTED, [])

    sides.worker.report(ME, Said(row_of(claimed.key), 1, end, note="ValueError"))

    assert state_of(sides, claimed) == end
    assert [one.key.due_at for one in claim(sides)] == [claimed.key.due_at + 60]


def test_a_retry_goes_back_and_forth(sides: Sides, claimed: Claim) -> None:
    seen = []
    for state in ("started", "retrying", "started", "succeeded", "started"):
        sides.worker.report(ME, Said(row_of(claimed.key), 1, state))
        seen.append(state_of(sides, claimed))

    assert seen == [State.STARTED, State.RETRYING, State.STARTED, State.SUCCEEDED, State.SUCCEEDED]


def test_reports_of_another_attempt_do_not_count(sides: Sides, claimed: Claim) -> None:
    for attempt in (2, 7):
        sides.worker.report(ME, Said(row_of(claimed.key), attempt, "succeeded", admitted=True))

    assert state_of(sides, claimed) is State.DISPATCHED


def test_an_earlier_attempt_counts_if_it_was_the_one_that_was_admitted(sides: Sides) -> None:
    sides.ledger.look(runner())
    sides.ledger.activate(schedule(entry("e", overlap=Overlap.SKIP, max_runtime=3600)), "stamp")
    sides.ledger.backfill("e", "t", [(1_772_366_400, 1_772_366_400)])
    (first,) = claim(sides)
    sides.ledger.settle(runner(), [outcome(first, State.PENDING)])
    (second,) = claim(sides)
    assert (first.attempt, second.attempt) == (1, 2)

    sides.worker.report(ME, Said(row_of(first.key), 1, "started"))
    assert state_of(sides, second) is State.CLAIMED
    sides.worker.report(ME, Said(row_of(first.key), 1, "started", admitted=True))

    assert state_of(sides, second) is State.STARTED


def test_a_report_on_a_row_that_is_not_there_is_dropped(sides: Sides) -> None:
    sides.worker.report(ME, Said(Row(99, 60, "schedule", ""), 1, "started", admitted=True))

    sides.ledger.look(runner())
    assert sides.ledger.history() == []


def test_a_sign_of_life_shows_a_worker(sides: Sides) -> None:
    sides.worker.beat(ME)
    sides.worker.beat(ME)
    sides.ledger.look(runner())

    (seen,) = [seen.runner for seen in sides.ledger.status().runners if seen.runner.role == "worker"]
    assert (seen.id, seen.host, seen.pid, seen.version) == ME


def test_history_names_the_worker_that_runs_something(sides: Sides, claimed: Claim) -> None:
    sides.worker.report(ME, Said(row_of(claimed.key), 1, "started", note=f"by {ME.id}"))
    sides.worker.beat(ME)
    sides.ledger.look(runner())

    (row,) = [row for row in say_who_runs(sides.ledger, sides.ledger.history("e")) if row.key == claimed.key]

    assert (row.state, row.note) == (State.STARTED, "on web1 (pid 7)")


def test_a_closed_connection_does_not_answer(sides: Sides) -> None:
    with closing(open_store(sides.address, PROJECT)) as other:
        other.close()
        with pytest.raises(NoAnswer):
            is_admitted(other, "an id", 1)


@pytest.mark.parametrize(
    "address", ["sqlite:////nowhere/at/all", "mysql://u:hunter2@h/x", "sqlite:x", "redis://u:hunter2@127.0.0.1:1/0", "hunter2"]
)
def test_an_address_that_leads_nowhere_is_no_answer_and_shows_no_password(address: str) -> None:
    with pytest.raises(NoAnswer) as told:
        open_store(address, PROJECT).beat(ME)

    assert "u:hunter2" not in str(told.value)


def test_workers_and_runners_judge_reports_alike() -> None:
    for held, state, mine in itertools.product(State, (State(word) for word in SAID), (True, False)):
        for why in (Reason.NONE, Reason.RUNNER_DIED):
            expected = judge_report(held, why, state, mine=mine).value
            assert judge(str(held), str(why), str(state), mine) == expected, (held, why, state, mine)


SAID = ("started", "retrying", "succeeded", "failed", "revoked")
