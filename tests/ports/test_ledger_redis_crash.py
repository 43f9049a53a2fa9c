"""Runners that die between any two commands, replies that are lost, and many processes on one ledger in Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.ports.ledger_world import NOON, entry, outcome, pass_once, report, runner, schedule
from tests.ports.redis_place import own_place, post, record_and_push

from offbeat.core.model import CatchUp, Overlap, State
from offbeat.core.plan import plan
from offbeat.ports.broker import Push
from offbeat.ports.clock import FakeClock
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_mail import Mail
from offbeat.ports.ledger_redis import LedgerRedis, Place, schema
from offbeat.ports.ledger_redis.address import parse
from offbeat.ports.ledger_redis.client import RedisClient
from offbeat.ports.ledger_values import LEASE

A, B = runner("a"), runner("b")
WRITER = Path(__file__).with_name("redis_writer.py")


class Died(BaseException):
    """The process is gone."""


class Mortal(RedisClient):
    """A client whose process dies before or after its n-th command."""

    left = 10**9
    after = False

    def run(self, text: str, keys: Sequence[str], args: Sequence[str | bytes | int], *, again: bool = True) -> Any:
        self._before()
        answer = super().run(text, keys, args, again=again)
        self._behind()
        return answer

    def say(self, *words: str | bytes | int) -> Any:
        self._before()
        answer = super().say(*words)
        self._behind()
        return answer

    def _before(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Died

    def _behind(self) -> None:
        if self.left == 0:
            raise Died


@pytest.fixture
def place(durable_redis_address: str) -> Iterator[Place]:
    with own_place(durable_redis_address) as found:
        yield found


def work(ledger: LedgerRedis, clock: FakeClock, who: Any, queue: str) -> None:
    """Do what a runner does: look, take, record, push; claim what is left, push; report."""
    ledger.look(who)
    for claims in (record_and_push(ledger, who, queue, every=2), ledger.claim(who, 100)):
        half = len(claims) // 2
        ledger.enqueue(who, [post(claim, queue) for claim in claims[:half]])
        ledger.enqueue(who, [post(claim, queue) for claim in claims[half:]])
        if claims:
            ledger.report(who, [report(claims[0], State.STARTED)])
            ledger.report(who, [report(claims[0], State.SUCCEEDED)])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_runner_may_die_at_any_command(place: Place, after: bool) -> None:
    deaths = 0
    for number in range(1, 100):
        deaths += 1
        if not _dies(place, number, after=after):
            break
    assert 10 < deaths < 99


def _dies(place: Place, number: int, *, after: bool) -> bool:
    """Let a runner die at its command of this number, and another one go on; return whether it died."""
    clock = FakeClock(float(NOON))
    mine = Place(address=place.address, project=f"shop{number}{after}")
    queue = f"{{{parse(place.address).prefix}:queue}}{number}{after}"
    client = Mortal(parse(mine.address))
    with closing(LedgerRedis(mine, horizon=clock, client=client)) as first, closing(LedgerRedis(mine, horizon=clock)) as second:
        first.activate(schedule(*(entry(f"e{n}", "every 20 0", catch_up=CatchUp.ALL, jitter=n) for n in range(5))), "s")
        clock.advance(60)
        client.left, client.after = number, after
        died = False
        try:
            work(first, clock, A, queue)
        except Died:
            died = True
        for _ in range(5):
            clock.advance(LEASE)
            work(second, clock, B, queue)
        rows = second.history(limit=1000)
        pushed = Counter(second.client.say("LRANGE", queue, 0, -1))
        assert Counter(row.entry for row in rows) == {f"e{n}": 5 for n in range(5)}  # one row for each due time in 110 s
        assert {row.state for row in rows} <= {State.DISPATCHED, State.STARTED, State.SUCCEEDED}
        assert set(pushed.values()) == {1} and len(pushed) == len(rows)  # each message once
        assert second.status().claimed == second.status().pending == 0
        assert int(second.facts("rows")[0]) == len(rows)
    return died


def test_a_compile_step_that_dies_leaves_the_old_or_the_new_revision(place: Place) -> None:
    clock = FakeClock(float(NOON))
    for number in range(1, 40):
        mine = Place(address=place.address, project=f"c{number}")
        client = Mortal(parse(mine.address))
        with (
            closing(LedgerRedis(mine, horizon=clock, client=client)) as first,
            closing(LedgerRedis(mine, horizon=clock)) as second,
        ):
            first.activate(schedule(entry("a"), entry("b")), "s")
            client.left, client.after = number, number % 2 == 0
            new = schedule(entry("b", "every 30 0"), entry("c"))
            died = False
            try:
                first.activate(new, "t")
            except Died:
                died = True
            names = [one.name for one, _ in second.entries()]
            assert (second.status().revision, names) in ((1, ["a", "b"]), (2, ["b", "c"]))
            assert second.activate(new, "t") == 2
            assert [one.name for one, _ in second.entries()] == ["b", "c"]
            if not died:
                return
    raise AssertionError("it never came to an end")


def test_a_reply_that_was_lost_repeats_nothing(place: Place) -> None:
    clock = FakeClock(float(NOON))
    client = Deaf(parse(place.address))
    queue = f"{{{parse(place.address).prefix}:queue}}"
    with closing(LedgerRedis(place, horizon=clock, client=client)) as ledger:
        ledger.activate(schedule(*(entry(f"e{n}") for n in range(5))), "s")
        ledger.server_id()
        clock.advance(60)
        client.deaf = True
        claims = pass_once(ledger, A)
        client.deaf = True
        answers = ledger.enqueue(A, [post(claim, queue) for claim in claims])
        client.deaf = True
        ledger.look(A)

        assert (len(claims), answers) == (5, [""] * 5)
        assert ledger.client.say("LLEN", queue) == 5
        assert client.lost == 3
        assert ledger.settle(A, [outcome(claim) for claim in claims]) == [claim.key for claim in claims]


def test_a_reply_to_the_fused_step_that_was_lost_is_asked_for_again_and_pushes_nothing_twice(place: Place) -> None:
    clock = FakeClock(float(NOON))
    client = Deaf(parse(place.address))
    queue = f"{{{parse(place.address).prefix}:queue}}"
    with closing(LedgerRedis(place, horizon=clock, client=client)) as ledger:
        ledger.activate(schedule(*(entry(f"e{n}") for n in range(5))), "s")
        ledger.server_id()
        clock.advance(60)
        windows = plan(portion := ledger.take(9))
        draft = ledger.draft(portion, windows)
        mail = Mail(mark=draft.mark, until=draft.now + 8, posts=tuple(post(claim, queue) for claim in draft.claims[:4]))
        client.deaf = True
        recorded = ledger.record_and_push(A, windows, portion.revision, mail)

        assert (client.lost, recorded.answers, [claim.key for claim in recorded.claims]) == (
            1,
            ("",) * 4,
            [draft.claims[4].key],
        )
        assert ledger.client.say("LLEN", queue) == 4


def test_of_large_messages_a_script_has_only_some(place: Place) -> None:
    clock = FakeClock(float(NOON))
    queue = f"{{{parse(place.address).prefix}:queue}}"
    with closing(LedgerRedis(place, horizon=clock)) as ledger:
        ledger.activate(schedule(*(entry(f"e{n}") for n in range(9))), "s")
        clock.advance(60)
        windows = plan(portion := ledger.take(9))
        draft = ledger.draft(portion, windows)
        large = [
            replace(post(c, queue), push=Push(database=0, key=queue, payload=b"%d" % n * 3 * 2**20))
            for n, c in enumerate(draft.claims)
        ]
        mail = Mail(mark=draft.mark, until=draft.now + 8, posts=tuple(large))
        recorded = ledger.record_and_push(A, windows, portion.revision, mail)
        assert recorded.answers == ("",) * 3 + (FENCED,) * 6

        assert ledger.enqueue(A, large) == [""] * 9
        assert ledger.client.say("LLEN", queue) == 9
        ledger.client.say("UNLINK", queue)


@pytest.mark.parametrize("fused", [False, True], ids=["enqueue", "record and push"])
def test_what_one_queue_refuses_does_not_hinder_the_others(place: Place, fused: bool) -> None:
    clock = FakeClock(float(NOON))
    lists = [f"{{{parse(place.address).prefix}:queue}}{number}" for number in range(3)]
    with closing(LedgerRedis(place, horizon=clock)) as ledger:
        slot: dict[str, Any] = {"overlap": Overlap.SKIP, "max_runtime": 100}
        ledger.activate(schedule(*(entry(f"e{n}", **(slot if n % 2 else {})) for n in range(9))), "s")
        clock.advance(60)
        ledger.client.say("SET", lists[1], "no list")
        windows = plan(portion := ledger.take(9))
        draft = ledger.draft(portion, windows)
        posts = [post(claim, lists[claim.key.eno % 3]) for claim in draft.claims]
        if fused:
            mail = Mail(mark=draft.mark, until=draft.now + 8, posts=tuple(posts))
            recorded = ledger.record_and_push(A, windows, portion.revision, mail)
            answers, left = list(recorded.answers), [claim.key for claim in recorded.claims]
        else:
            ledger.record(A, windows, portion.revision)
            answers, left = list(ledger.enqueue(A, [*posts, *posts]))[:9], []

        refused = [claim.key for claim in draft.claims if claim.key.eno % 3 == 1]
        said = "the queue's key is of the type string"
        assert answers == [said if claim.key in refused else "" for claim in draft.claims]
        assert left in (refused, []) and bool(left) is fused
        assert [ledger.client.say("LLEN", lists[number]) for number in (0, 2)] == [3, 3]
        assert sorted(row.state for row in ledger.history()) == sorted([State.CLAIMED] * 3 + [State.DISPATCHED] * 6)


class Overtaken(RedisClient):
    """A client that lets somebody else act just before it writes what was worked out."""

    meanwhile: Any = None

    def run(self, text: str, keys: Sequence[str], args: Sequence[str | bytes | int], *, again: bool = True) -> Any:
        if self.meanwhile is not None and text in (schema.script("apply"), schema.script("rewind")):
            act, self.meanwhile = self.meanwhile, None
            act()
        return super().run(text, keys, args, again=again)


def test_what_others_write_while_a_revision_is_worked_out_is_in_it(place: Place) -> None:
    clock = FakeClock(float(NOON))
    client = Overtaken(parse(place.address))
    with closing(LedgerRedis(place, horizon=clock, client=client)) as slow, closing(LedgerRedis(place, horizon=clock)) as fast:
        client.meanwhile = lambda: fast.fire(A, "task", "x", entry().call)  # a new name gets a number
        slow.activate(schedule(entry("a")), "s")
        assert {row.entry for row in fast.history()} == {"task"} and len(set(fast.hash("names").values())) == 2

        clock.advance(60)
        client.meanwhile = lambda: pass_once(fast, A)  # the cursor moves
        slow.activate(schedule(entry("a"), entry("b")), "t")
        assert [row.due_at for row in fast.history("a")] == [NOON + 60]
        assert [int(text.split()[0]) for text in fast.hash("groups").values()] == [NOON + 60]

        client.meanwhile = lambda: fast.pause("a", "me", "")
        slow.rewind(NOON, "me")
        assert [pause.name for pause in fast.pauses()] == ["a"]


class Deaf(RedisClient):
    """A client whose connection is cut when the next script has run, before its reply is read."""

    deaf = False
    lost = 0

    def _once(self, words: Sequence[str | bytes | int]) -> Any:
        answer = super()._once(words)
        if self.deaf and words[0] in ("EVAL", "EVALSHA"):
            import redis

            self.deaf = False
            self.lost += 1
            self.close()
            raise redis.exceptions.ConnectionError("Connection reset by peer")
        return answer


@pytest.fixture
def processes(place: Place) -> Iterator[Any]:
    """Return a function that starts a process which plans, records, claims and pushes until it is stopped."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        words = [sys.executable, str(WRITER), place.address, name]
        path = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_four_processes_send_each_due_time_once_though_two_are_killed(place: Place, processes: Any) -> None:
    entries = [entry(f"e{number}", f"every 1 {number}", catch_up=CatchUp.ALL) for number in range(20)]
    queue = f"{{{parse(place.address).prefix}:queue}}"
    with closing(LedgerRedis(place)) as ledger:
        ledger.activate(schedule(*entries), "s")
        running = [processes(f"p{number}") for number in range(4)]
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for seconds, victim in ((2, running[0]), (4, running[1])):
            while ledger.client.say("LLEN", queue) < 20 * seconds:
                pass
            os.kill(victim.pid, signal.SIGKILL)
        while ledger.client.say("LLEN", queue) < 20 * 6:
            pass
        for process in running[2:]:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0

        clock = FakeClock(ledger.look(B).now + 2 * LEASE)  # what the dead ones held is handed out
        with closing(LedgerRedis(place, horizon=clock)) as last:
            while claims := last.claim(B, 500):
                last.enqueue(B, [post(claim, queue) for claim in claims])
        rows = ledger.history(limit=100_000)
        pushed = Counter(ledger.client.say("LRANGE", queue, 0, -1))

    due = {(row.entry, row.due_at) for row in rows}
    assert len(due) == len(rows) and {row.state for row in rows} == {State.DISPATCHED}
    assert set(pushed.values()) == {1} and len(pushed) == len(rows)
    newest = max(row.due_at for row in rows)
    for name in (one.name for one in entries):
        mine = sorted(at for whose, at in due if whose == name)
        assert mine == list(range(mine[0], mine[-1] + 1)) and mine[-1] >= newest - 1
