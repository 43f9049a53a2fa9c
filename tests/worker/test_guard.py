"""What the guard makes of messages, settings and connections, without any server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import Ignore
from hypothesis import given
from hypothesis import strategies as st

from offbeat.ports.clock import FakeClock
from offbeat.ports.worker_store import open_store, shown
from offbeat.ports.worker_values import PASSED, REFUSED_ATTEMPT, Ask, Me, NoAnswer, Row, Said
from offbeat.worker import guard
from offbeat.worker.life import MOST_LINKS, OWED_AT_ONCE, Life
from offbeat.worker.link import PROBED, Link
from offbeat.worker.message import occurrence_of, of_request, row_of
from offbeat.worker.settings import read_settings

A = Ask("a", 1, 60)
OURS = {"offbeat_occurrence": "a", "offbeat_attempt": 2}


class Store:
    """A ledger that answers or not."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.is_closed = False
        self.heard: list[Said] = []
        self.told: list[Ask] = []

    def admit(self, ask: Ask) -> str:
        self._answer()
        return PASSED if ask.attempt == 1 else REFUSED_ATTEMPT

    def admit_all(self, asks: Sequence[Ask]) -> list[str]:
        return [self.admit(ask) for ask in asks]

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        self._answer()
        self.told.extend(asks)
        return [True for _ in asks]

    def winner(self, occurrence: str) -> int:
        self._answer()
        return 0

    def running(self, asks: Sequence[Ask]) -> None:
        self._answer()

    def ended(self, ask: Ask, done: bool) -> None:
        self._answer()

    def report(self, me: Me, said: Said) -> bool:
        self._answer()
        self.heard.append(said)
        return True

    def beat(self, me: Me) -> None:
        self._answer()

    def close(self) -> None:
        self.is_closed = True

    def _answer(self) -> None:
        if self.silent:
            raise NoAnswer("it is down")


def nobody(is_over: Callable[[], bool]) -> None:
    """Try nothing aside."""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"offbeat_attempt": 1},
        {**OURS, "offbeat_occurrence": "another"},
        {**OURS, "offbeat_attempt": True},
        {**OURS, "offbeat_attempt": "2"},
        {**OURS, "offbeat_attempt": 0},
        {**OURS, "offbeat_occurrence": None},
        {**OURS, "offbeat_attempt": 2**31},
        {**OURS, "offbeat_project": "\ud800"},
        {**OURS, "offbeat_project": "x" * 1001},
    ],
)
def test_a_message_without_our_headers_or_with_anothers_is_not_ours(headers: dict[str, Any]) -> None:
    assert occurrence_of(headers, "a") is None


@given(
    st.dictionaries(
        st.sampled_from([*OURS, "offbeat_row", "offbeat_atomic", "expires"]), st.one_of(st.text(), st.integers(), st.none())
    )
)
def test_no_header_breaks_the_guard(headers: dict[str, Any]) -> None:
    found = occurrence_of(headers, str(headers.get("offbeat_occurrence")))

    assert found is None or found.attempt >= 1


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 1001, ""])
def test_an_id_that_no_ledger_can_store_is_not_ours(name: str) -> None:
    assert occurrence_of({**OURS, "offbeat_occurrence": name}, name) is None


@pytest.mark.parametrize(
    "row", ["-1:60:schedule:", f"{10**15}:60:schedule:", "1:" + "9" * 5000 + ":schedule:", "٣:60:schedule:", "1:60:backfill:\0"]
)
def test_a_row_that_no_ledger_can_have_is_none(row: str) -> None:
    assert row_of(row) is None


COUNTS = st.integers(0, 10**15 - 1)


@given(
    COUNTS,
    COUNTS,
    st.sampled_from(["schedule", "manual", "backfill"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
def test_a_row_is_read_as_it_was_written(eno: int, due_at: int, kind: str, kind_id: str) -> None:
    assert row_of(f"{eno}:{due_at}:{kind}:{kind_id}") == Row(eno, due_at, kind, kind_id)


def test_headers_are_found_as_attributes_and_as_headers_but_not_in_eager_tasks() -> None:
    flat = Context({"id": "a", **OURS})
    flat.headers = None  # Celery 5.2
    inner = Context({"id": "a", "headers": OURS})
    eager = Context({"id": "a", "headers": OURS, "is_eager": True})

    assert [found is not None for found in map(of_request, (flat, inner, eager))] == [True, True, False]


def test_no_header_takes_a_message_past_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("forged", set_as_current=False)

    def forged() -> None:
        raise AssertionError("it is not called")

    task = app.task(name="forged")(forged)
    monkeypatch.setattr(guard, "life", Life(FakeClock()))
    monkeypatch.setattr(guard.life, "is_on", lambda app: True)
    monkeypatch.setattr(guard.life, "admit", lambda ask, project: REFUSED_ATTEMPT)
    task.push_request(id="a", **OURS, **{guard.MARK: True, "offbeat_guarded": None})

    with pytest.raises(Ignore):
        guard.check(task)
    assert set(task.request.headers) <= {*OURS, "offbeat_guarded", guard.MARK}, "what we mark a request with is in no retry"
    assert not any(isinstance(value, guard.Passage) for value in task.request.headers.values())


def test_settings_come_from_the_app_then_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFBEAT_LEDGER", "sqlite:////of/the/environment")
    monkeypatch.setenv("OFFBEAT_GUARD_ON_ERROR", "refuse")
    app = Celery("settings", set_as_current=False)
    bare = read_settings(app.conf)
    app.conf.update(offbeat_ledger="sqlite:////of/the/app", offbeat_requeue_pause=3)
    prefixed = Celery("prefixed", set_as_current=False)
    prefixed.config_from_object({"CELERY_OFFBEAT_PROJECT": "difio"}, namespace="CELERY")

    assert (bare.ledger, bare.project, bare.on_error, bare.pause) == (
        "sqlite:////of/the/environment",
        "default",
        "refuse",
        10.0,
    )
    assert (read_settings(app.conf).ledger, read_settings(app.conf).pause) == ("sqlite:////of/the/app", 3.0)
    assert read_settings(prefixed.conf).project == "difio"


def test_a_setting_that_makes_no_sense_is_told_and_replaced() -> None:
    found = read_settings({"offbeat_on_error": "refsue", "offbeat_requeue_pause": "soon"})

    assert (found.on_error, found.pause) == ("run", 10.0)
    assert [sentence.partition(" is ")[0] for sentence in found.wrong] == ["offbeat_on_error", "offbeat_requeue_pause"]


def test_no_address_is_shown_with_what_is_secret_in_it() -> None:
    assert shown("redis://:hunter2@cache:6379/0?password=hunter2&prefix=x") == "redis://cache:6379/0"
    assert shown("postgresql://u:p@ss@h/db") == "postgresql://h/db"
    assert shown("hunter2") == "(not an address)"


@pytest.mark.parametrize(
    "password", ["hun/ter2", "hun#ter2", "hun?ter2", "hun@ter2", "hun:ter2", "hun ter2", "hun[ter2", "hun%00ter2"]
)
@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_an_address_with_an_odd_password_shows_none_of_it(scheme: str, password: str) -> None:
    address = f"{scheme}://u:{password}@127.0.0.1:1/0"
    with pytest.raises(NoAnswer) as told:
        Link(lambda: open_store(address, "difio"), FakeClock(), nobody).ask(lambda store: store.admit(A))

    assert not [part for part in ("hun", "ter2") if part in shown(address) + str(told.value)]


def test_an_address_whose_host_was_forgotten_shows_no_password() -> None:
    assert shown("redis://:hunter2/0") == "redis://..."


def test_a_connection_is_used_again_and_one_that_broke_is_replaced_at_once() -> None:
    stores: list[Store] = []
    link = Link(lambda: stores.append(Store()) or stores[-1], FakeClock(), nobody)  # type: ignore[func-returns-value]

    assert [link.ask(lambda store: store.admit(A)) for _ in range(3)] == [PASSED] * 3
    assert len(stores) == 1
    stores[0].silent = True

    assert link.ask(lambda store: store.admit(A))
    assert [store.is_closed for store in stores] == [True, False]


def test_a_host_that_is_gone_is_waited_for_by_one_task_and_then_probed_aside_until_it_answers() -> None:
    clock, tries, store = FakeClock(), [], Store(silent=True)
    probes: list[Callable[[], bool]] = []

    def connect() -> Store:
        tries.append(clock.monotonic())
        if store.silent:
            clock.advance(2)
            raise NoAnswer("timed out")
        return store

    link = Link(connect, clock, probes.append)
    for _ in range(5):
        with pytest.raises(NoAnswer, match="timed out"):
            link.ask(lambda store: store.admit(A))
    assert (len(tries), len(probes)) == (1, 1)
    (is_over,) = probes
    assert not is_over()
    store.silent = False
    assert is_over()

    assert (link.ask(lambda store: store.admit(A)), len(tries)) == (PASSED, 3)


def test_a_probe_of_which_nothing_is_heard_keeps_nobody_from_asking() -> None:
    clock, stores = FakeClock(), [Store(), Store(silent=True)]

    def connect() -> Store:
        clock.advance(2)
        return stores.pop()

    link = Link(connect, clock, nobody)
    for _ in range(2):
        with pytest.raises(NoAnswer):
            link.ask(lambda store: store.admit(A))
    assert len(stores) == 1
    clock.advance(PROBED)

    assert link.ask(lambda store: store.admit(A)) == PASSED


def test_a_ledger_that_says_no_at_once_is_asked_by_everybody() -> None:
    tries: list[str] = []

    def connect() -> Store:
        tries.append("refused")
        raise NoAnswer("refused")

    link = Link(connect, FakeClock(), nobody)
    for _ in range(3):
        with pytest.raises(NoAnswer):
            link.ask(lambda store: store.admit(A))

    assert len(tries) == 3


def test_whatever_stops_a_question_in_the_middle_closes_its_connection() -> None:
    store = Store()
    link = Link(lambda: store, FakeClock(), nobody)

    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.ask(stopped)

    assert store.is_closed


def test_a_report_that_is_not_taken_comes_with_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    store, life = Store(silent=True), Life(FakeClock())
    link = Link(lambda: store, FakeClock(), nobody)
    monkeypatch.setattr(life, "link", lambda project: link)
    said = [Said(Row(1, 60, "schedule", ""), 1, state) for state in ("started", "succeeded")]

    life.say(said[0], "")
    store.silent = False
    life.say(said[1], "")

    assert store.heard == said


def test_no_task_waits_for_all_that_is_to_be_told_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    store, life = Store(silent=True), Life(FakeClock())
    link = Link(lambda: store, FakeClock(), nobody)
    monkeypatch.setattr(life, "link", lambda project: link)
    said = [Said(Row(1, 60 * number, "schedule", ""), 1, "started") for number in range(50)]
    for one in said[:-1]:
        life.say(one, "")
    store.silent = False
    life.say(said[-1], "")

    assert store.heard == [*said[:OWED_AT_ONCE], said[-1]]


def test_no_projects_reports_wait_for_another_projects_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    stores, life = {"away": Store(silent=True), "here": Store()}, Life(FakeClock())
    links = {name: Link(lambda store=store: store, FakeClock(), nobody) for name, store in stores.items()}  # type: ignore[misc]
    monkeypatch.setattr(life, "link", links.__getitem__)
    said = [Said(Row(1, 60, "schedule", ""), 1, state) for state in ("started", "succeeded")]

    life.say(said[0], "away")
    life.say(said[1], "here")

    assert (stores["away"].heard, stores["here"].heard) == ([], [said[1]])


def test_what_a_library_cannot_make_out_is_no_answer() -> None:
    def asked(store: object) -> bool:
        return bool("\ud800".encode())

    with pytest.raises(NoAnswer, match="UnicodeEncodeError"):
        Link(Store, FakeClock(), nobody).ask(asked)


def test_no_child_closes_what_it_inherited() -> None:
    store = Store()
    link = Link(lambda: store, FakeClock(), nobody)
    link.ask(lambda store: store.admit(A))
    child = os.fork()
    if child == 0:
        link.close()
        os._exit(store.is_closed)

    assert os.waitpid(child, 0)[1] == 0


def test_a_fork_waits_for_what_is_being_asked_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offbeat.worker.life.FORK", 0.01)
    life = Life(FakeClock())
    life._busy.acquire()

    life._pause()
    life._go_on()
    was_held = life._busy.locked()
    life._busy.release()
    life._pause()
    is_held = life._busy.locked()
    life._go_on()

    assert (was_held, is_held, life._busy.locked()) == (True, True, False)


def test_messages_of_many_projects_leave_no_heap_of_connections() -> None:
    life = Life(FakeClock())
    for number in range(1000):
        life.link(f"p{number}")

    assert len(life._links) == MOST_LINKS


def test_a_complaint_is_made_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    life = Life(clock)

    for _ in range(5):
        life.complain("W102", "it is down", "why")
    clock.advance(61)
    life.complain("W102", "it is down", "why")

    assert [record.message.partition("why")[2] for record in caplog.records] == [
        " [W102]",
        " (4 times more since the last such line) [W102]",
    ]
