"""Closed queues: their rows stay, and so do commands for a runner that cannot run them."""

from __future__ import annotations

import pytest
from tests.ports.ledger_world import command, entry, outcome, pass_once, runner, schedule

from offbeat.core.model import State
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger


@pytest.mark.parametrize(("closed", "claimed"), [({""}, ["e"]), ({"celery"}, ["c"]), ({"", "celery"}, []), ((), ["c", "e"])])
def test_rows_of_closed_queues_stay_and_the_queue_of_commands_is_empty(
    ledger: Ledger, clock: FakeClock, closed: set[str], claimed: list[str]
) -> None:
    ledger.look(runner())
    ledger.activate(schedule(entry(), command()), "stamp")
    clock.advance(60)
    ledger.look(runner())
    ledger.settle(runner(), [outcome(claim, State.PENDING, next_try_at=clock.now()) for claim in pass_once(ledger, runner())])

    assert sorted(claim.name for claim in ledger.claim(runner(), 10, closed)) == claimed
