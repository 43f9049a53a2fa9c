"""What the guard does in a task's own process, with Celery's own tracer and a broker that takes what it likes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from kombu.exceptions import OperationalError
from tests.worker.test_guard import Store, nobody

from offbeat.ports.clock import FakeClock
from offbeat.ports.worker_values import PASSED, REFUSED_ATTEMPT, Ask, Held, NoAnswer, judge_again
from offbeat.worker import guard
from offbeat.worker.life import Life
from offbeat.worker.link import Link

Headers = dict[str, Any]
OURS = {"offbeat_occurrence": "a", "offbeat_attempt": 1, "offbeat_row": "1:60:schedule:", "offbeat_project": "shop"}


class Ledger(Store):
    """One that remembers a single occurrence as the rules say, and falls silent at each of the next `silences` questions."""

    def __init__(self) -> None:
        super().__init__()
        self.silences = 0
        self.held: Held | None = None

    def admit(self, ask: Ask) -> str:
        if self.silences:
            self.silences -= 1
            raise NoAnswer("it is down")
        if ask.attempt != 1:
            return REFUSED_ATTEMPT
        verdict = PASSED if self.held is None else judge_again(ask, self.held)
        if verdict == PASSED and (self.held is None or ask.owner):
            self.held = Held(ask.turn, ask.again, ask.owner, 0.0, False)
        return verdict

    def ended(self, ask: Ask, done: bool) -> None:
        if self.held is None or self.held.turn <= ask.turn:
            self.held = Held(ask.turn, ask.again, ask.owner, 0.0, done)


@dataclass
class Host:
    """A process of a worker, its ledger, and what its broker has got. lost: which messages' confirms, by number, are lost."""

    app: Celery
    ledger: Ledger = field(default_factory=Ledger)
    sent: list[Headers] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    def publish(self, headers: Headers) -> None:
        self.sent.append(headers)
        if len(self.sent) in self.lost:
            raise OperationalError("the confirm was lost")

    def deliver(self, headers: Headers) -> None:
        """Run a message to its end."""
        task = self.app.tasks[headers["task"]]
        request = {**headers, "delivery_info": {}, "is_eager": False}
        build_tracer(task.name, task, app=self.app)(headers["id"], (), {}, request)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    app = Celery("own", broker="memory://", set_as_current=False)
    app.conf.update(offbeat_ledger="redis://127.0.0.1:1", offbeat_on_error="refuse")
    host, life = Host(app), Life(FakeClock())

    @app.task(name="own.work", shared=False, bind=True)  # type: ignore[untyped-decorator]
    def work(self: Any) -> None:
        host.ran.append(self.name)

    @app.task(name="own.replaced", shared=False, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
    def replaced(self: Any) -> None:
        host.ran.append(self.name)
        self.replace(work.si())

    @app.task(name="own.retried", shared=False, bind=True)  # type: ignore[untyped-decorator]
    def retried(self: Any) -> None:
        host.ran.append(self.name)
        self.replace(replaced.si()) if self.request.retries else self.retry(countdown=0)

    @app.task(name="own.parent", shared=False)  # type: ignore[untyped-decorator]
    def parent() -> None:
        work.apply_async(task_id="b")

    app.finalize()
    guard.install()
    monkeypatch.setattr(guard, "life", life)
    life.open(app)
    link = Link(lambda: host.ledger, life.clock, nobody)
    monkeypatch.setattr(life, "link", lambda project: link)
    send = app.amqp.send_task_message

    class Producer:
        """Takes the place of one of kombu's."""

        connection = app.connection_for_write()
        auto_declare = False

        def publish(self, body: Any, *, headers: Headers, **_: Any) -> None:
            host.publish(dict(headers))

    monkeypatch.setattr(app.amqp, "send_task_message", lambda producer, *args, **more: send(Producer(), *args, **more))
    yield host


def told(host: Host) -> list[tuple[str, str]]:
    return [(said.state, said.note) for said in host.ledger.heard if said.state != "started"]


def test_what_replaces_a_task_goes_on_with_its_occurrence(host: Host) -> None:
    host.deliver({**OURS, "id": "a", "task": "own.replaced"})
    (replacement,) = host.sent
    assert told(host) == [("retrying", "replaced")]

    host.deliver(replacement)

    assert (host.ran, told(host)[-1]) == (["own.replaced", "own.work"], ("succeeded", ""))


def test_what_replaces_a_task_is_never_taken_for_a_copy_of_it(host: Host) -> None:
    """Its own retries begin to be counted anew, and a copy may have been flagged before."""
    host.deliver({**OURS, "id": "a", "task": "own.retried", "offbeat_copy": True})
    host.deliver(host.sent[-1])
    host.deliver(host.sent[-1])
    host.deliver(host.sent[-1])

    assert host.ran == ["own.retried", "own.retried", "own.replaced", "own.work"]
    assert told(host)[-1] == ("succeeded", "")


def test_what_a_task_sends_by_another_id_is_not_ours(host: Host) -> None:
    host.deliver({**OURS, "id": "a", "task": "own.parent"})

    assert [name for name in host.sent[0] if name.startswith("offbeat_")] == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_what_was_put_back_twice_since_the_broker_said_nothing_one_is_started(host: Host, order: int) -> None:
    host.ledger.silences, host.lost = 2, {1}

    host.deliver({**OURS, "id": "a", "task": "own.work"})
    assert (host.ran, len(host.sent)) == ([], 2)
    for headers in host.sent[::order]:
        host.deliver(headers)

    assert (host.ran, len(host.sent)) == (["own.work"], 2)


def test_what_a_process_kept_since_the_broker_said_nothing_is_not_started_once_more(host: Host) -> None:
    host.ledger.silences, host.lost = 1, {1}

    host.deliver({**OURS, "id": "a", "task": "own.work"})
    assert host.ran == ["own.work"]
    host.deliver(host.sent[0])

    assert (host.ran, host.ledger.held and host.ledger.held.ended) == (["own.work"], True)


def test_what_was_put_back_and_lost_with_its_worker_starts_when_it_comes_again(host: Host) -> None:
    host.ledger.silences = 1
    host.deliver({**OURS, "id": "a", "task": "own.work"})
    put_back = host.sent[0]
    host.app.tasks["own.work"].push_request(**put_back)  # a process that was killed after it had asked, before its first line
    guard.check(host.app.tasks["own.work"])
    host.app.tasks["own.work"].pop_request()

    host.deliver(put_back)

    assert host.ran == ["own.work"]


def test_messages_do_not_multiply_while_ledger_and_broker_are_away(host: Host) -> None:
    host.ledger.silences, host.lost = 60, set(range(1, 1000, 2))
    queue: list[Headers] = [{**OURS, "id": "a", "task": "own.work"}]
    while queue:
        seen = len(host.sent)
        host.deliver(queue.pop(0))
        queue += host.sent[seen:]

    assert host.ran == ["own.work"]
    assert len(host.sent) < 20


def test_a_retry_of_what_was_put_back_is_no_copy(host: Host) -> None:
    host.ledger.silences = 1
    host.deliver({**OURS, "id": "a", "task": "own.retried"})
    host.deliver(host.sent[-1])
    host.deliver(host.sent[-1])

    assert host.ran == ["own.retried", "own.retried"]
