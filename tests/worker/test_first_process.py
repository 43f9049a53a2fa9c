"""What Celery tells the guard in a worker's first process: of tasks whose own process cannot, by the very message."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.app.trace import ExceptionInfo
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.request import Request
from tests.worker.test_guard import Store, nobody

from offbeat.ports.clock import FakeClock
from offbeat.ports.worker_values import Ask
from offbeat.worker import guard
from offbeat.worker.life import Life
from offbeat.worker.link import Link
from offbeat.worker.watch import Watch

app = Celery("first", broker="memory://", set_as_current=False)
app.conf.update(offbeat_ledger="sqlite:////nowhere", offbeat_on_error="refuse")


@app.task(name="first.task", shared=False)  # type: ignore[untyped-decorator]
def task() -> None:
    """Do nothing."""


@app.task(name="first.late", shared=False, acks_late=True)  # type: ignore[untyped-decorator]
def late() -> None:
    """Do nothing."""


class Ledger(Store):
    """One that writes down what it is told of ends and signs of life."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[int, bool]] = []
        self.signs: list[list[Ask]] = []
        self.won = 0

    def winner(self, occurrence: str) -> int:
        return self.won

    def ended(self, ask: Ask, done: bool) -> None:
        self.ends.append((ask.attempt, done))

    def running(self, asks: Any) -> None:
        self.signs.append(list(asks))


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Return what the guard of this process tells the ledger, whose broker is one like Redis."""
    ledger, life = Ledger(), Life(FakeClock())
    guard.install()
    monkeypatch.setattr(guard, "life", life)
    life.open(app)
    life.watch = Watch(3600.0)
    link = Link(lambda: ledger, FakeClock(), nobody)
    monkeypatch.setattr(life, "link", lambda project: link)
    yield ledger
    state.reset_state()


def test_a_worker_says_once_that_the_guard_is_on_with_its_ledger_but_no_password(caplog: pytest.LogCaptureFixture) -> None:
    guarded = Celery("guarded", broker="memory://", set_as_current=False)
    guarded.conf.update(offbeat_ledger="redis://me:s3cret@cache:6379/0", offbeat_project="shop")

    with caplog.at_level("INFO", "offbeat"):
        Life(FakeClock()).open(guarded)

    assert [record.message for record in caplog.records] == ["the guard is on: project shop, ledger redis://cache:6379/0"]


def received(attempt: int, name: str = "first.task") -> Request:
    """Return an attempt's message as a worker has received it."""
    headers = {"id": "a", "task": name, "offbeat_occurrence": "a", "offbeat_attempt": attempt, "offbeat_row": "1:60:schedule:"}
    payload: Any = ([], {}, {})
    message = SimpleNamespace(
        headers=headers, body=b"", payload=payload, properties={}, delivery_info={}, content_type="", content_encoding=""
    )
    request = Request(message, app=app, task=app.tasks[name], on_ack=lambda *_: None, on_reject=lambda *_: None)
    guard.on_received(request)
    state.task_accepted(request, _all_total_count=[0])
    return request


def failure(error: Exception) -> ExceptionInfo:
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def killed(request: Request) -> None:
    request.on_failure(failure(WorkerLostError("it was killed")), return_ok=False)


def outlasted(request: Request) -> None:
    request.on_timeout(soft=False, timeout=1)
    request.on_failure(failure(TimeLimitExceeded(1)), return_ok=False)


@pytest.mark.parametrize(
    ("end", "reason", "note"), [(killed, "", "WorkerLostError"), (outlasted, "timed_out", "TimeLimitExceeded")]
)
def test_what_was_killed_is_told_though_another_message_of_its_id_came_and_went(
    ledger: Ledger, end: Any, reason: str, note: str
) -> None:
    first = received(1)
    other = received(2)
    state.task_ready(other)
    del other
    gc.collect()

    end(first)

    assert {(said.attempt, said.state, said.reason, said.note) for said in ledger.heard} == {(1, "failed", reason, note)}


def test_what_was_killed_is_told_of_its_own_attempt_while_another_message_of_its_id_is_there(ledger: Ledger) -> None:
    messages = [received(attempt) for attempt in (2, 1, 3)]

    killed(messages[1])

    assert [said.attempt for said in ledger.heard] == [1]


@pytest.mark.parametrize(("end", "done"), [(killed, False), (outlasted, True)])
def test_a_copy_of_what_was_lost_may_run_and_one_of_what_was_too_slow_may_not(ledger: Ledger, end: Any, done: bool) -> None:
    end(received(1, "first.late"))

    assert {end for _, end in ledger.ends} == {done}


def test_signs_of_life_are_given_of_every_message_of_an_id(ledger: Ledger) -> None:
    messages = [received(attempt) for attempt in (1, 2)]

    guard.life._give_signs()
    guard.life._give_signs()

    assert sorted(ask.attempt for question in ledger.signs for ask in question) == [1, 2]
    assert [len(question) for question in ledger.signs] == [1, 1], "no occurrence twice in one question"
    assert len(messages) == 2


def revoked(attempt: int) -> None:
    guard.on_revoked(request=Context(received(attempt).request_dict), expired=True)


def unknown(attempt: int) -> None:
    guard.on_unknown(message=received(attempt).message)


def rejected(attempt: int) -> None:
    guard.on_rejected(message=received(attempt).message)


@pytest.mark.parametrize(("end", "state"), [(revoked, "revoked"), (unknown, "failed"), (rejected, "failed")])
@pytest.mark.parametrize(("won", "said"), [(0, [(2, False)]), (1, []), (2, [(2, True)])])
def test_what_no_task_has_got_is_told_unless_another_attempt_has_started(
    ledger: Ledger, end: Any, state: str, won: int, said: list[tuple[int, bool]]
) -> None:
    ledger.won = won

    end(2)

    assert [(one.attempt, one.admitted) for one in ledger.heard] == said
    assert {one.state for one in ledger.heard} <= {state}


@pytest.mark.parametrize("headers", [None, {}, {"id": 7}, {"id": "b", "offbeat_occurrence": "a", "offbeat_attempt": 1}])
def test_what_is_thrown_away_of_others_is_nobodys_business(ledger: Ledger, headers: Any) -> None:
    guard.on_unknown(message=SimpleNamespace(headers=headers))
    guard.on_rejected(message=SimpleNamespace(headers=headers))

    assert ledger.heard == []
