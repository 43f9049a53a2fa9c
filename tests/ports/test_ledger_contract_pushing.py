"""A ledger that holds the broker's queues: what is due now is recorded, pushed and settled in one step, or left as a claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.ports.ledger_queues import PLACES, Queues
from tests.ports.ledger_stores import Ground
from tests.ports.ledger_world import NOON, command, entry, outcome, report, runner, schedule, states

from offbeat.core.marks import lost
from offbeat.core.model import CatchUp, Key, Overlap, Reason, State
from offbeat.core.plan import Portion, Window, plan
from offbeat.ports.broker import Push
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_mail import Draft, Mail, Post, Recorded
from offbeat.ports.ledger_values import LEASE, Claim, Runner

A, B, WORKER = runner("a"), runner("b"), runner("w", "worker")
FIRST = NOON + 60


@pytest.fixture(params=PLACES)
def queues(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Queues]:
    with ExitStack() as stack:
        made = PLACES[request.param](Ground(request=request, clock=clock, stack=stack, folder=tmp_path))
        made.ledger.look(A)
        made.ledger.activate(schedule(entry()), "stamp")
        clock.advance(60)
        yield made


class Try:
    """One pass by the fused step, whose parts a test may come between."""

    def __init__(self, queues: Queues, who: Runner = A, *, burst: int = 500) -> None:
        self.queues, self.who = queues, who
        self.portion: Portion = queues.ledger.take(10_000)
        self.windows: Sequence[Window] = plan(self.portion, burst=burst)
        self.draft: Draft = queues.fused.draft(self.portion, self.windows)
        self.posts = [self.post(claim) for claim in self.draft.claims]

    def post(self, claim: Claim) -> Post:
        payload = f"{claim.name} {claim.key.due_at}".encode()
        return Post(outcome=outcome(claim, task_id="id"), push=Push(database=0, key=self.queues.name, payload=payload))

    def record(self, who: Runner | None = None, *, seconds: float = 8.0) -> Recorded:
        mail = Mail(mark=self.draft.mark, until=self.portion.now + seconds, posts=tuple(self.posts))
        return self.queues.fused.record_and_push(who or self.who, self.windows, self.portion.revision, mail)


def keys(claims: Sequence[Claim]) -> list[Key]:
    return [claim.key for claim in claims]


def test_what_is_due_now_is_recorded_pushed_and_settled_in_one_step(queues: Queues) -> None:
    marks = queues.ledger.look(A).marks
    assert Try(queues).record() == Recorded(claims=(), answers=("",))

    assert queues.payloads() == [b"e %d" % FIRST]
    (row,) = queues.ledger.history()
    assert (row.state, row.task_id, row.attempt) == (State.DISPATCHED, "id", 1)
    assert row.recorded_at == row.dispatched_at == FIRST
    outlook = queues.ledger.look(A)
    assert (outlook.wake_at, lost(outlook.marks, marks) > 0) == (FIRST + 60, True)
    assert (queues.ledger.status().claimed, {e.name: at for e, at in queues.ledger.entries()}) == (0, {"e": FIRST})


def test_a_draft_is_what_record_hands_out_and_leaves_no_trace(queues: Queues, clock: FakeClock) -> None:
    queues.ledger.activate(
        schedule(
            entry("expiring", expires=100),
            entry("late", "every 20 0", catch_up=CatchUp.ALL),
            entry("jittered", jitter=30),
            entry("slotted", overlap=Overlap.WAIT, max_runtime=100),
            command("told"),
        ),
        "stamp",
    )
    clock.advance(180)
    tried, marks = Try(queues), queues.ledger.look(A).marks
    assert (states(queues.ledger), queues.ledger.look(A).marks) == ([], marks)

    claims = queues.ledger.record(A, tried.windows, tried.portion.revision)

    assert set(keys(tried.draft.claims)) >= set(keys(claims)) and len(claims) > 4  # not what waits for its slot
    by_key = {claim.key: claim for claim in tried.draft.claims}
    assert [replace(by_key[claim.key], lease_until=claim.lease_until) for claim in claims] == list(claims)


@pytest.mark.parametrize("state", [None, State.STARTED, State.SUCCEEDED])
def test_a_repeat_after_a_lost_reply_learns_that_it_is_settled_and_pushes_nothing(queues: Queues, state: State | None) -> None:
    tried = Try(queues)
    first = tried.record()
    if state:
        queues.ledger.report(WORKER, [report(tried.draft.claims[0], State.STARTED)])
        queues.ledger.report(WORKER, [report(tried.draft.claims[0], state)])
    before = queues.ledger.history()

    assert tried.record() == first == Recorded(claims=(), answers=("",))
    assert (queues.ledger.history(), len(queues.payloads())) == (before, 1)


@pytest.mark.parametrize("name", ["e", "", "other"])
def test_a_pause_between_the_look_and_the_draft_holds_what_is_drafted(queues: Queues, clock: FakeClock, name: str) -> None:
    queues.ledger.activate(schedule(entry(), entry("other", "every 3600 1")), "stamp 2")
    clock.advance(60)
    portion = queues.ledger.take(10)
    clock.advance(1)
    queues.ledger.skip("e", FIRST + 3600, "ann", "")  # no pause of any other one
    queues.ledger.pause(name, "ann", "")
    queues.ledger.look(A)  # the pause is known now

    draft = queues.fused.draft(portion, plan(portion))

    assert {claim.paused for claim in draft.claims if claim.name == "e"} == {name != "other"}


def test_a_repeat_does_not_take_for_its_own_what_somebody_else_had_sent(queues: Queues, clock: FakeClock) -> None:
    queues.ledger.activate(schedule(entry(), entry("f")), "stamp 2")
    clock.advance(60)
    claim = queues.ledger.slot(B, "e", FIRST + 60).claim
    assert claim is not None
    queues.ledger.settle(B, [outcome(claim)])
    clock.advance(1)
    tried = Try(queues)
    first = tried.record()

    assert set(first.answers) == {"", FENCED}
    assert tried.record() == first


def test_somebody_else_with_the_same_plan_pushes_nothing_and_gets_nothing(queues: Queues, clock: FakeClock) -> None:
    mine, theirs = Try(queues), Try(queues, B)
    assert theirs.record().answers == ("",)

    assert mine.record() == Recorded(claims=(), answers=(FENCED,))
    clock.advance(60)
    Try(queues, B).record()
    assert theirs.record() == Recorded(claims=(), answers=(FENCED,))  # nobody knows any more who it was
    assert sorted(queues.payloads()) == [b"e %d" % FIRST, b"e %d" % (FIRST + 60)]


def test_what_the_server_refuses_is_a_claim_with_its_words(queues: Queues) -> None:
    tried = Try(queues)
    queues.spoil(True)
    recorded = tried.record()

    assert keys(recorded.claims) == keys(tried.draft.claims)
    assert "of the type string" in recorded.answers[0]
    assert states(queues.ledger)[0][2] is State.CLAIMED
    queues.spoil(False)
    assert tried.record() == Recorded(claims=recorded.claims, answers=(FENCED,))  # said again: it is for `enqueue` now
    assert list(queues.fused.enqueue(A, tried.posts)) == [""]
    assert len(queues.payloads()) == 1


def test_a_refused_row_that_others_took_over_is_not_pushed_as_attempt_1(queues: Queues, clock: FakeClock) -> None:
    tried = Try(queues)
    queues.spoil(True)
    tried.record()
    queues.spoil(False)
    clock.advance(LEASE)
    (taken,) = queues.ledger.claim(B, 9)

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (list(queues.fused.enqueue(A, tried.posts)), queues.payloads()) == ([FENCED], [])
    assert list(queues.fused.enqueue(B, [tried.post(taken)])) == [""]


def test_after_its_time_nothing_is_pushed_and_all_is_claimed(queues: Queues, clock: FakeClock) -> None:
    tried = Try(queues)
    clock.advance(8.1)
    recorded = tried.record()

    assert (keys(recorded.claims), recorded.answers) == (keys(tried.draft.claims), (FENCED,))
    assert (recorded.claims[0].lease_until, queues.payloads()) == (FIRST + 8.1 + LEASE, [])


def test_a_pause_between_draft_and_record_keeps_the_message_back(queues: Queues) -> None:
    tried = Try(queues)
    queues.ledger.pause("e", "ann", "")
    recorded = tried.record()

    assert [claim.paused for claim in recorded.claims] == [True]  # decided again by whoever dispatches it
    assert (recorded.answers, queues.payloads()) == ((FENCED,), [])


def test_a_skip_by_hand_between_draft_and_record_wins(queues: Queues) -> None:
    tried = Try(queues)
    queues.ledger.skip("e", FIRST, "ann", "")

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (states(queues.ledger), queues.payloads()) == ([("e", FIRST, State.SKIPPED, "by_hand")], [])


@pytest.mark.parametrize(
    "new", [entry(queue="other"), entry(recurrence="every 30 0"), entry("f")], ids=["queue", "timing", "gone"]
)
def test_a_revision_between_draft_and_record_records_nothing(queues: Queues, new: object) -> None:
    tried = Try(queues)
    queues.ledger.activate(schedule(new), "stamp 2")  # type: ignore[arg-type]

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (states(queues.ledger), queues.payloads()) == ([], [])


def test_a_row_that_is_there_already_is_left_alone(queues: Queues) -> None:
    tried = Try(queues)
    assert queues.ledger.slot(B, "e", FIRST).claim is not None

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (states(queues.ledger)[0][2], queues.payloads()) == (State.CLAIMED, [])


@pytest.mark.parametrize(("overlap", "state"), [(Overlap.SKIP, State.SKIPPED), (Overlap.WAIT, State.WAITING)])
def test_what_finds_its_slot_taken_is_not_pushed(queues: Queues, clock: FakeClock, overlap: Overlap, state: State) -> None:
    queues.ledger.activate(schedule(entry(overlap=overlap, max_runtime=100)), "stamp")
    Try(queues).record()
    clock.advance(59)
    queues.ledger.report(WORKER, [])
    clock.advance(1)
    tried = Try(queues)

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (states(queues.ledger)[0][2], len(queues.payloads())) == (state, 1)


def test_of_several_due_times_the_oldest_takes_the_slot(queues: Queues, clock: FakeClock) -> None:
    queues.ledger.activate(schedule(entry(recurrence="every 20 0", overlap=Overlap.SKIP, max_runtime=100)), "stamp")
    clock.advance(60)
    recorded = Try(queues).record()

    skipped = [(FIRST + later, State.SKIPPED) for later in (60, 40, 20)]
    assert [row[1:3] for row in states(queues.ledger)] == [*skipped, (FIRST, State.DISPATCHED)]
    assert len(queues.payloads()) == 1
    assert recorded.claims == ()


def test_nothing_is_pushed_before_its_send_time_whatever_is_said(queues: Queues, clock: FakeClock) -> None:
    tried = Try(queues)
    early = replace(tried.windows[0].rows[0], send_at=FIRST + 5)
    tried.windows = [replace(tried.windows[0], rows=(early,))]

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (states(queues.ledger)[0][2], queues.payloads()) == (State.PENDING, [])
    clock.advance(5)
    assert keys(queues.ledger.claim(A, 9)) == keys(tried.draft.claims)


def test_nothing_is_recorded_nor_pushed_when_the_clock_was_set_back(queues: Queues, clock: FakeClock) -> None:
    tried = Try(queues)
    clock.advance(-1)

    assert tried.record() == Recorded(claims=(), answers=(FENCED,))
    assert (states(queues.ledger), queues.payloads()) == ([], [])


def test_a_message_of_another_attempt_is_not_pushed(queues: Queues) -> None:
    tried = Try(queues)
    tried.posts = [replace(tried.posts[0], outcome=replace(tried.posts[0].outcome, attempt=2))]

    recorded = tried.record()
    assert (recorded.answers, [claim.attempt for claim in recorded.claims], queues.payloads()) == ((FENCED,), [1], [])


def test_all_kinds_of_rows_of_one_plan_stand_as_they_should(queues: Queues, clock: FakeClock) -> None:
    queues.ledger.activate(
        schedule(
            entry("plain"),
            entry("unsaid"),
            entry("jittered", jitter=30),
            entry("missed", catch_up=CatchUp.NONE),
            entry("slotted", overlap=Overlap.SKIP, max_runtime=600),
            command("told"),
        ),
        "stamp",
    )
    clock.advance(120)
    tried = Try(queues)
    tried.posts = [post for post in tried.posts if not post.push.payload.startswith((b"unsaid", b"told", b"jittered"))]
    recorded = tried.record()

    newest = {row.entry: (row.state, row.reason) for row in queues.ledger.history(limit=999) if row.due_at == FIRST + 120}
    assert newest == {
        "plain": (State.DISPATCHED, Reason.NONE),
        "unsaid": (State.CLAIMED, Reason.NONE),
        "jittered": (State.PENDING, Reason.NONE),
        "missed": (State.DISPATCHED, Reason.NONE),
        "slotted": (State.SKIPPED, Reason.OVERLAP),
        "told": (State.CLAIMED, Reason.NONE),
    }
    assert sorted(queues.payloads()) == sorted(
        post.push.payload for post, said in zip(tried.posts, recorded.answers, strict=True) if not said
    )


def test_of_a_window_that_is_too_long_500_are_pushed_and_the_rest_is_claimed(queues: Queues, clock: FakeClock) -> None:
    queues.ledger.activate(schedule(*(entry(f"e{n}", "every 30 0") for n in range(300))), "stamp")
    clock.advance(60)
    tried = Try(queues, burst=2000)
    recorded = tried.record()

    assert (len(tried.windows[-1].rows), len(queues.payloads()), len(recorded.claims)) == (600, 500, 100)
    posts = dict(zip(keys(tried.draft.claims), tried.posts, strict=True))
    assert set(queues.fused.enqueue(A, [posts[key] for key in keys(recorded.claims)])) == {""}
    assert set(tried.record().answers[:500]) == {""}
    assert len(set(queues.payloads())) == len(queues.payloads()) == 600
