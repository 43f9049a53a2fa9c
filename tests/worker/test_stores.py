"""What a worker writes into a ledger is what a runner reads there: admissions, reports that free slots, signs of life."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest
from tests.ports.ledger_world import entry, outcome, runner, schedule
from tests.worker.conftest import PROJECT, Sides

from offbeat.core.model import Key, Overlap, Reason, State
from offbeat.core.transitions import judge_report
from offbeat.ports.ledger_values import Claim
from offbeat.ports.worker_store import open_store
from offbeat.ports.worker_values import Me, NoAnswer, Row, Said, judge

ME = Me("web1:7:worker", "web1", 7, "0.1.0")
KEEP = 8 * 86_400


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
    asked = [sides.worker.admit("an id", attempt, KEEP) for attempt in (2, 1, 2, 3, 2)]

    assert asked == [True, False, True, False, True]
    assert [sides.ledger.admit("an id", attempt) for attempt in (1, 2)] == [False, True], "a runner's side agrees"


def test_what_an_id_is_made_of_never_matters(sides: Sides) -> None:
    for name in ("'; DROP TABLE admitted; --", '"}', "{a}*?[", "a\nb", "ключ", ""):
        assert sides.worker.admit(name, 1, KEEP)
        assert not sides.worker.admit(name, 2, KEEP)


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


def test_a_closed_connection_does_not_answer(sides: Sides) -> None:
    with closing(open_store(sides.address, PROJECT)) as other:
        other.close()
        with pytest.raises(NoAnswer):
            other.admit("an id", 1, KEEP)


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
