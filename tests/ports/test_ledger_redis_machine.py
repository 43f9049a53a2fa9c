"""Anything in any order, in memory and in Redis at once: both answer alike, and the invariants hold after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from tests.ports.ledger_queues import Wire
from tests.ports.ledger_world import any_order
from tests.ports.redis_place import own_place, post
from tests.ports.test_ledger_machine import RUNNERS, Both

from offbeat.core.plan import plan
from offbeat.ports.ledger import FENCED, Ledger
from offbeat.ports.ledger_mail import Mail
from offbeat.ports.ledger_memory import LedgerMemory
from offbeat.ports.ledger_redis import LedgerRedis, Place
from offbeat.ports.ledger_values import Runner


class Beside(Both):
    """The machine of the other stores, with Redis in the place of SQLite, and a broker's queue beside each."""

    address = ""  # of the server

    def __init__(self) -> None:
        super().__init__()
        self.sqlite.close()
        self.stack = ExitStack()
        place = self.stack.enter_context(own_place(self.address))
        self.redis_place = Place(address=place.address, project="shop")
        self.sqlite = LedgerRedis(self.redis_place, horizon=self.clock)
        self.wire = Wire()
        self.memory = LedgerMemory(clock=self.clock, project="shop", wire=self.wire, server_id="server")
        self.queue = f"{{{place.address.rpartition('=')[2]}:queue}}"

    def ask(self, question: Callable[[Ledger], Any]) -> Any:
        self.clock.wall = round(self.clock.wall, 6)  # Redis knows microseconds, a float now and then more

        def plain(ledger: Ledger) -> Any:
            answer = question(ledger)
            if not isinstance(answer, tuple):
                return answer
            return answer[0], [replace(claim, lease_until=0.0) for claim in answer[1]]  # peek's; a lease that is over

        return super().ask(plain)

    def teardown(self) -> None:
        super().teardown()
        self.stack.close()

    @rule(
        who=st.sampled_from(RUNNERS),
        which=st.integers(0, 3),
        burst=st.sampled_from([1, 2, 1000]),
        seconds=st.sampled_from([0, 8, 8, 100_000]),
        every=st.integers(1, 3),
        again=st.booleans(),
    )
    def record_and_push(self, who: Runner, which: int, burst: int, seconds: int, every: int, again: bool) -> None:
        """which: portion, 0 for a new one. every: of which of the drafted there is a message: all, each second, each third."""
        if not which or not self.portions:
            self.take(4)
        portion = self.portions[max(which - 1, 0) % len(self.portions)]
        windows = plan(portion, burst=burst)

        def told(ledger: Any) -> Any:
            part = ledger.enqueuing()
            draft = part.draft(portion, windows)
            posts = tuple(post(claim, self.queue) for claim in draft.claims[::every])
            mail = Mail(mark=draft.mark, until=draft.now + seconds, posts=posts)
            first = part.record_and_push(who, windows, portion.revision, mail)
            if again:
                assert set(part.record_and_push(who, windows, portion.revision, mail).answers) <= {"", FENCED}
            return [list(draft.claims), list(first.claims), list(first.answers)]

        _, left, _ = self.ask(told)
        self.keep(left, fresh=False)

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 29))
    def enqueue(self, which: int) -> None:
        claim = self.claims[which % len(self.claims)]
        self.ask(lambda ledger: list(ledger.enqueuing().enqueue(RUNNERS[0], [post(claim, self.queue)])))  # type: ignore[union-attr]

    @invariant()
    def each_message_is_in_the_queue_once(self) -> None:
        if isinstance(self.sqlite, LedgerRedis):
            pushed = Counter(self.sqlite.client.say("LRANGE", self.queue, 0, -1))
            assert pushed == Counter(push.payload for push in self.wire.pushed)
            assert set(pushed.values()) <= {1}

    @rule()
    def the_runner_dies(self) -> None:
        self.claims = []
        self.portions = []
        self.sqlite.close()
        self.sqlite = LedgerRedis(self.redis_place, horizon=self.clock)


def test_redis_and_memory_answer_alike(durable_redis_address: str) -> None:
    class Here(Beside):
        address = durable_redis_address

    run_state_machine_as_test(Here, settings=any_order(20))
