"""Revisions and where they come from, the marks that rise, and what a runner says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.ports.ledger_world import NOON, entry, outcome, pass_once, report, runner, schedule

from offbeat.core.marks import lost
from offbeat.core.model import AfterRestore, LedgerSettings, Overlap, State
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import Ledger
from offbeat.ports.ledger_values import COMPILED, Origin, Revision

A = runner("a")
FIRST, SECOND = schedule(entry("x")), schedule(entry("x"), entry("y"))
DEPLOYED = Origin(commit="abc123", author="Ann <ann@example.org>", dirty=True, note="by hand", deployed=True)


def test_revisions_are_kept_with_their_origin_newest_first(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.revisions(10) == []
    ledger.activate(FIRST, "s1")
    clock.advance(5.5)
    ledger.activate(SECOND, "s2", origin=DEPLOYED)

    first = Revision(number=1, digest=FIRST.digest, activated_at=NOON, origin=COMPILED, entries=1, active=False)
    second = Revision(number=2, digest=SECOND.digest, activated_at=NOON + 5.5, origin=DEPLOYED, entries=2, active=True)
    assert list(ledger.revisions(10)) == [second, first]
    assert list(ledger.revisions(1)) == [second]


def test_every_revision_can_be_read_again(ledger: Ledger) -> None:
    assert ledger.schedule() is None and ledger.schedule(1) is None
    ledger.activate(FIRST, "s1")
    ledger.activate(SECOND, "s2")

    assert ledger.schedule() == ledger.schedule(2) == SECOND
    assert ledger.schedule(1) == FIRST
    assert ledger.schedule(0) is None and ledger.schedule(3) is None


def test_an_older_revision_in_force_again_is_a_new_one(ledger: Ledger) -> None:
    ledger.activate(FIRST, "s1")
    ledger.activate(SECOND, "s2")

    assert ledger.activate(FIRST, "s3", origin=replace(DEPLOYED, note="rollback to 1")) == 3
    assert [(found.number, found.digest, found.active) for found in ledger.revisions(2)] == [
        (3, FIRST.digest, True),
        (2, SECOND.digest, False),
    ]


def test_after_the_first_deploy_trees_are_not_compiled(ledger: Ledger) -> None:
    ledger.activate(FIRST, "s1")
    assert not ledger.look(A).deployed and not ledger.status().deployed
    assert ledger.activate(SECOND, "s2", origin=DEPLOYED) == 2
    assert ledger.look(A).deployed and ledger.status().deployed

    assert ledger.activate(FIRST, "s3", "problems") == 0
    assert ledger.schedule() == SECOND
    assert (ledger.look(A).stamp, ledger.status().refused) == ("s2", "")
    assert ledger.activate(FIRST, "s4", origin=DEPLOYED) == 3


def test_the_origin_of_an_equal_tree_is_that_of_its_deploy(ledger: Ledger) -> None:
    ledger.activate(FIRST, "s1", origin=Origin(commit="old"))
    ledger.activate(FIRST, "s1", origin=Origin(commit="new"))
    assert [found.origin.commit for found in ledger.revisions(9)] == ["old"]

    assert ledger.activate(FIRST, "s1", origin=DEPLOYED) == 1
    assert [found.origin for found in ledger.revisions(9)] == [DEPLOYED]
    assert ledger.status().origin == DEPLOYED
    assert ledger.look(A).deployed


def test_ledger_settings_are_those_of_the_active_revision(ledger: Ledger) -> None:
    assert ledger.ledger_settings() == LedgerSettings()
    kept = LedgerSettings(keep_seconds=86_400, keep_rows=1000, keep_bytes=10**9, after_restore=AfterRestore.SEND)
    ledger.activate(replace(FIRST, ledger=kept), "s1")

    assert ledger.ledger_settings() == kept
    assert ledger.broker_settings() == FIRST.broker


def test_a_policy_with_overlap_comes_back_in_claims_and_members(ledger: Ledger, clock: FakeClock) -> None:
    one = entry(overlap=Overlap.WAIT, max_runtime=77, jitter=3)
    ledger.look(A)
    ledger.activate(schedule(one), "s1")
    clock.advance(65)

    assert ledger.take(10).groups[0][1][0].policy == one.policy
    (claim,) = pass_once(ledger, A)
    assert claim.policy == one.policy
    assert not claim.waited


def test_a_ledger_has_a_name_of_its_own(handles: Callable[[], Ledger]) -> None:
    one, other = handles(), handles()

    assert one.look(A).born
    assert one.look(A).born == other.look(A).born


def test_marks_rise_with_what_is_recorded_claimed_and_settled(ledger: Ledger, clock: FakeClock) -> None:
    before = ledger.look(A).marks

    def risen() -> bool:
        nonlocal before
        before, earlier = ledger.look(A).marks, before
        assert not lost(earlier, before)
        return lost(before, earlier) > 0

    ledger.activate(schedule(entry()), "s1")
    clock.advance(60)
    before = ledger.look(A).marks
    (claim,) = pass_once(ledger, A)
    assert risen()
    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=clock.now() + 1)])
    assert risen()
    clock.advance(1)
    (claim,) = ledger.claim(A, 1)
    assert risen()
    ledger.settle(A, [outcome(claim)])
    assert risen()
    ledger.fire(A, "e", "token")
    assert risen()
    ledger.slot(A, "e", NOON + 120)
    assert risen()
    ledger.skip("e", NOON + 240, "ann", "")
    assert risen()
    ledger.backfill("e", "token", [(NOON - 60, NOON)])
    assert risen()
    assert not risen()


def test_what_a_runner_says_of_itself_is_shown(ledger: Ledger, clock: FakeClock) -> None:
    told = replace(A, revision=3, skew=-0.25, version="1.2.3")
    ledger.look(A)
    ledger.look(told)
    worker = replace(runner("w", "worker"), version="1.2.4")
    clock.advance(1)
    ledger.report(worker, [])

    assert [seen.runner for seen in ledger.status().runners] == [worker, told]


def test_status_tells_since_when_something_should_be_out(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry("x", "every 60 0"), entry("y", "every 600 0", jitter=300)), "s1")
    assert ledger.status().waits_since is None
    clock.advance(60)
    (claim,) = pass_once(ledger, A)
    assert ledger.status().waits_since is None  # claimed: on its way
    ledger.settle(A, [outcome(claim, State.PENDING, next_try_at=clock.now() + 60)])

    assert (ledger.status().waits_since, ledger.status().pending) == (NOON + 60, 1)
    ledger.backfill("y", "token", [(NOON - 60, NOON + 3600)])  # not to be out yet
    assert ledger.status().waits_since == NOON + 60


def test_how_a_run_went_is_no_new_record(ledger: Ledger, clock: FakeClock) -> None:
    ledger.look(A)
    ledger.activate(schedule(entry()), "s1")
    clock.advance(60)
    (claim,) = pass_once(ledger, A)

    assert list(ledger.report(runner("w", "worker"), [report(claim, State.STARTED)])) == [claim.key]
    assert ledger.status().restored_at is None
