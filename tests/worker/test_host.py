"""What a host remembers of its starts: shared by processes, nobody else's business, told to the ledger, never in the way."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from celery import Celery
from tests.worker.test_guard import OURS, Store, nobody

from offbeat.ports.clock import FakeClock
from offbeat.ports.worker_host import KEPT, PRUNE_EACH, HostRecord, Started, own_folder
from offbeat.ports.worker_values import REFUSED_ATTEMPT, Ask, NoAnswer
from offbeat.worker import unasked as unasked_module
from offbeat.worker.life import Life
from offbeat.worker.link import Link
from offbeat.worker.message import Delivery, Occurrence, occurrence_of
from offbeat.worker.unasked import Unasked
from offbeat.worker.watch import Watch

ONE = Started("shop", "a", 1, 60)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that stands for the host's."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def record() -> HostRecord:
    """Return the record as one more process has it."""
    return HostRecord("redis://h", FakeClock())


def test_the_first_attempt_to_start_is_what_every_process_finds() -> None:
    assert [record().note(ONE._replace(attempt=attempt), told=False) for attempt in (2, 1, 2)] == [2, 2, 2]
    assert (record().winner("shop", "a"), record().winner("other", "a")) == (2, 0)


def _race(number: int) -> int:
    return record().note(ONE._replace(attempt=number), told=False)


def test_of_processes_that_ask_at_once_one_wins() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        winners = pool.map(_race, range(1, 21))

    assert len(set(winners)) == 1


def test_a_child_of_a_process_that_has_it_open_opens_its_own() -> None:
    mine = record()
    mine.note(ONE, told=True)
    child = os.fork()
    if child == 0:
        os._exit(0 if mine.note(ONE._replace(attempt=2), told=True) == 1 else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert mine.winner("shop", "a") == 1


def test_what_is_untold_is_owed_until_it_is_told() -> None:
    one, other = record(), record()
    one.note(ONE, told=False)
    one.note(ONE._replace(occurrence="b"), told=True)

    assert other.owes()
    assert (other.untold(10), other.owes()) == ([ONE], False)
    other.owe()
    assert one.owes()
    one.told([ONE])
    assert one.untold(10) == []


def test_a_folder_that_somebody_else_may_look_into_is_not_used(runtime: Path) -> None:
    own_folder()
    (runtime / f"offbeat-worker-{os.geteuid()}").chmod(0o755)
    mine = record()

    assert (mine.note(ONE, told=False), mine.winner("shop", "a"), mine.owes()) == (1, 0, False)
    assert "0700" in mine.why


def test_a_link_in_the_folders_place_is_not_followed(runtime: Path) -> None:
    (runtime / "elsewhere").mkdir(mode=0o700)
    (runtime / f"offbeat-worker-{os.geteuid()}").symlink_to(runtime / "elsewhere")

    with pytest.raises(PermissionError):
        own_folder()


@pytest.mark.parametrize("harm", ["removed", "half a file"])
def test_a_record_that_is_gone_or_damaged_is_made_anew(runtime: Path, harm: str) -> None:
    mine = record()
    mine.note(ONE, told=True)
    (file,) = runtime.glob("*/*.sqlite3")
    for each in file.parent.iterdir():
        each.unlink()
    if harm == "half a file":
        file.write_bytes(b"half of what it was" * 100)
    mine.note(ONE._replace(attempt=2), told=True)

    assert record().note(ONE._replace(attempt=2), told=True) == 2


def test_old_starts_are_forgotten() -> None:
    clock = FakeClock()
    mine = HostRecord("redis://h", clock)
    mine.note(ONE, told=True)
    clock.advance(KEPT + 1)
    for number in range(PRUNE_EACH):
        mine.note(ONE._replace(occurrence=str(number)), told=True)

    assert mine.winner("shop", "a") == 0


def test_what_could_not_be_told_is_told_the_next_time_and_who_lost_is_counted() -> None:
    unasked = Unasked("redis://h", FakeClock())
    told: list[tuple[str, str, int]] = []
    for name in ("a", "b"):
        assert unasked.start("shop", Ask(name, 1, 60))

    def silent(project: str, asks: Sequence[Ask]) -> list[bool]:
        raise NoAnswer("it is down")

    def answers(project: str, asks: Sequence[Ask]) -> list[bool]:
        told.extend((project, ask.occurrence, ask.attempt) for ask in asks)
        return [True, False]

    with pytest.raises(NoAnswer):
        unasked.tell(silent)
    assert (unasked.is_owing, unasked.tell(answers)) == (True, 1)

    assert told == [("shop", "a", 1), ("shop", "b", 1)]
    assert (unasked.tell(silent), unasked.is_owing) == (0, False)


def test_a_project_whose_ledger_is_silent_keeps_no_other_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unasked_module, "AT_ONCE", 2)
    unasked = Unasked("redis://h", FakeClock())
    told: list[str] = []
    for project, name in (("away", "a"), ("away", "b"), ("away", "c"), ("shop", "d"), ("shop", "e"), ("shop", "f")):
        assert unasked.start(project, Ask(name, 1, 60))

    def admit_late(project: str, asks: Sequence[Ask]) -> list[bool]:
        if project == "away":
            raise NoAnswer("it is of another project")
        told.extend(ask.occurrence for ask in asks)
        return [True for _ in asks]

    with pytest.raises(NoAnswer):
        unasked.tell(admit_late)

    assert (told, unasked.is_owing, unasked.record.owes()) == (["d", "e", "f"], True, True)


def test_what_a_process_was_about_to_tell_when_it_died_is_told_by_the_next_one() -> None:
    first = Unasked("redis://h", FakeClock())
    first.start("shop", Ask("a", 1, 60))
    first.record.untold(10)
    told: list[str] = []

    def admit_late(project: str, asks: Sequence[Ask]) -> list[bool]:
        told.extend(ask.occurrence for ask in asks)
        return [True for _ in asks]

    Unasked("redis://h", FakeClock()).tell(admit_late)

    assert told == ["a"]


def test_somebody_elses_folder_is_not_ours_to_write_into(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setenv("TMPDIR", str(runtime / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (runtime / "tmp").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    with pytest.raises(PermissionError):
        own_folder()
    assert [path.parent.name for path in runtime.rglob("offbeat-worker-*")] == ["tmp"]


def test_where_there_are_no_users_nothing_is_remembered_and_no_task_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid")
    life = Life(FakeClock())
    app = Celery("windows", broker="memory://", set_as_current=False)
    app.conf.update(offbeat_ledger="redis://127.0.0.1:1")
    life.open(app)

    assert life.start_unasked(Ask("a", 1, 60), "")
    assert record().note(ONE, told=False) == 1


def test_another_attempt_is_refused_where_the_first_was_admitted_before_the_ledger_fell_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, life = Store(), Life(FakeClock())
    link = Link(lambda: store, FakeClock(), nobody)
    monkeypatch.setattr(life, "link", lambda project: link)
    monkeypatch.setattr(life, "_unasked", Unasked("redis://h", FakeClock()))
    first = Ask("a", 1, 60)
    life.admit(first, "shop")
    store.silent = True

    assert life.admit(first._replace(attempt=2), "shop") == REFUSED_ATTEMPT
    with pytest.raises(NoAnswer):
        life.admit(first, "shop")
    assert life.start_unasked(first, "shop")
    assert not life.start_unasked(first._replace(attempt=2), "shop")


def found(due_at: float) -> Occurrence:
    one = occurrence_of(OURS, "a")
    assert one is not None
    return one._replace(due_at=due_at)


@pytest.mark.parametrize(
    ("age", "delivery", "visibility", "may_be"),
    [
        (10, Delivery(turn=0, again=False), 3600, False),
        (1900, Delivery(turn=0, again=False), 3600, True),
        (-1900, Delivery(turn=0, again=False), 3600, True),  # of a clock that is wrong
        (10, Delivery(turn=1, again=False), 3600, True),  # nobody knows when the retry was sent
        (10, Delivery(turn=0, again=True), 3600, True),
        (1900, Delivery(turn=0, again=False), 0, False),  # RabbitMQ's
        (10, Delivery(turn=0, again=True), 0, True),
    ],
)
def test_a_young_message_cannot_be_out_twice(age: float, delivery: Delivery, visibility: float, may_be: bool) -> None:
    now = FakeClock().now()

    assert Watch(visibility).may_be_out_twice(found(now - age), delivery, now) is may_be


@pytest.mark.parametrize("visibility", [1.0, 10.0, 3600.0, 86400.0])
def test_signs_of_life_come_often_enough_and_nothing_waits_for_as_long_as_a_copy_takes(visibility: float) -> None:
    watch = Watch(visibility)

    assert watch.beat < watch.patience <= visibility
    assert watch.pause(3600.0) <= visibility / 4
