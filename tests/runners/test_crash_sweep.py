"""Every ledger, broker and supervisor call of tick, run, fire, deploy and backfill fails, or the process dies, before or after
it, or its message comes twice; another runner goes on. Nothing is lost; what is repeated has an unknown outcome behind it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.runners.conftest import NOON
from tests.runners.crash_world import CALLS, DEEDS, PLACES, SPAN, Fault, Fuse, World, do_deploy, sweep

from offbeat.core.model import Kind, State
from offbeat.runners.backfill import backfill
from offbeat.runners.deploy import deploy
from offbeat.runners.tick import tick

ONE_PAST = "2026-03-01T12:01:00Z"
OLD_NAMES, NEW_NAMES = {"ping", "slow", "sweep", "tight"}, {"ping", "pong"}
swept: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say at the end how many points were swept on each ledger."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("".join(f"\n{points} crash points on {place}" for place, points in swept.items()))


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_befalls_a_call_nothing_is_lost(request: pytest.FixtureRequest, place: str, deed: str, fault: Fault) -> None:
    burnt: Counter[str] = Counter()
    for world, fuse in sweep(request, place, deed, fault):
        burnt[fuse.burnt] += 1
        check_schedule(world, fuse, exact=PLACES[place][1])
        check_rest(world, fuse)
        if deed == "deploy":
            check_deploy(world, fuse)
        if deed == "backfill":
            check_backfill(world, fuse)
    swept[place] += burnt.total()
    assert burnt.total() >= 2
    if "one server" in place and deed in ("tick", "run", "fire"):
        assert burnt["enqueue"] and (burnt["record_and_push"] or deed == "fire")


def check_schedule(world: World, fuse: Fuse, *, exact: bool) -> None:
    """Each due time is one row or in one gap, and sent; as often as it was tried at most, and mostly once."""
    ledger = world.bystander
    rows = [row for row in ledger.history(limit=5000) if row.kind == Kind.SCHEDULE]
    present = {entry.name for entry, _ in ledger.entries()}
    for name in OLD_NAMES:
        for due_at in range(NOON + 60, int(world.clock.now()) + 1, 60):
            assert [row.due_at <= due_at <= (row.until or row.due_at) for row in rows if row.entry == name].count(True) == 1, (
                fuse
            )
    sent = Counter(letter[:3] for letter in world.letters())
    assert len(set(world.letters())) == len(sent), fuse  # what is repeated has the same id
    first = {row.entry: row for row in rows if row.due_at == NOON + 60}
    for name in present & {"ping", "slow"}:
        assert first[name].state is State.DISPATCHED, fuse
        assert 1 <= sent[name, ONE_PAST, "schedule"] <= first[name].attempt, fuse
    assert max(sent.values()) <= (2 if fuse.may_repeat and not exact else 1), fuse
    if "sweep" in present:
        assert any(step.key.due_at == NOON + 60 for order in world.hands.orders for step in order.steps), fuse


def check_rest(world: World, fuse: Fuse) -> None:
    """One tick more, with nothing due, changes nothing."""
    ledger = world.bystander
    settled = [row for row in ledger.history(limit=5000) if row.send_at is None or row.send_at <= world.clock.now()]
    assert not [row for row in settled if row.state in (State.PENDING, State.CLAIMED) and row.entry != "sweep"], fuse
    before, sent = ledger.history(limit=5000), world.letters()
    tick(world.site("three"))
    assert (ledger.history(limit=5000), world.letters()) == (before, sent), fuse


def check_deploy(world: World, fuse: Fuse) -> None:
    """One whole schedule is in force, the old or the new one; the deploy said again makes it the new one, and again nothing."""
    site, ledger = world.site("three"), world.bystander
    names, schedule = {entry.name for entry, _ in ledger.entries()}, ledger.schedule()
    assert names in (OLD_NAMES, NEW_NAMES), fuse
    assert schedule is not None and {entry.name for entry in schedule.entries} == names, fuse
    assert schedule.digest == ledger.status().digest, fuse
    do_deploy(world, site)
    number = ledger.status().revision
    deploy(site)
    assert {entry.name for entry, _ in ledger.entries()} == NEW_NAMES, fuse
    assert (ledger.status().revision, ledger.status().deployed) == (number, True), fuse
    assert number <= 2, fuse


def check_backfill(world: World, fuse: Fuse) -> None:
    """There is one row for each due time of the span once the backfill is said again; said once more it records nothing."""
    site = world.site("three")
    list(backfill(site, "ping", *SPAN, per_minute=1.0))
    due = [row.due_at for row in world.bystander.history("ping", limit=5000) if row.kind == Kind.BACKFILL]
    assert sorted(due) == list(range(SPAN[0] + 60, SPAN[1] + 1, 60)), fuse
    assert [step.new for step in backfill(site, "ping", *SPAN, per_minute=1.0)] == [0, 0], fuse


def test_the_sweep_reaches_every_kind_of_call(request: pytest.FixtureRequest) -> None:
    reached = {
        (deed, fuse.burnt)
        for deed in DEEDS
        for place in ("memory", "memory, one server with the broker", "memory, a broker that remembers")
        for _, fuse in sweep(request, place, deed, Fault.DIES_BEFORE)
    }

    tickers = {
        "look",
        "take",
        "record",
        "claim",
        "settle",
        "prune",
        "publish",
        "prepare",
        "enqueue",
        "draft",
        "record_and_push",
        "start",
        "server_id",
        "forget",
    }
    assert {call for _, call in reached} <= frozenset().union(*CALLS.values())
    assert {call for deed, call in reached if deed == "tick"} >= tickers
    assert {call for deed, call in reached if deed == "run"} >= tickers
    assert {call for deed, call in reached if deed == "fire"} >= {"look", "fire", "publish", "settle", "prepare", "enqueue"}
    assert {call for deed, call in reached if deed == "deploy"} >= {"look", "activate"}
    assert {call for deed, call in reached if deed == "backfill"} >= {"entries", "status", "backfill"}
