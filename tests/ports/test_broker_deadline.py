"""Work on a network is waited for as long as it may take, and no longer."""

from __future__ import annotations

import threading

import pytest

from offbeat.ports.broker_kombu.deadline import within
from offbeat.ports.stop import Stop


def test_what_work_returns_or_raises_comes_through() -> None:
    def fail() -> int:
        raise KeyError("no such thing")

    assert within(5, lambda: 42) == 42
    with pytest.raises(KeyError, match="no such thing"):
        within(5, fail)


def test_what_hangs_is_cut_and_ends_in_a_timeout_whatever_it_says_then() -> None:
    cut = threading.Event()

    def hang() -> None:
        cut.wait(20)
        raise OSError("bad file descriptor")

    with pytest.raises(TimeoutError, match="no answer within 0.1 s"):
        within(0.1, hang, cut=cut.set)
    assert cut.is_set()


def test_what_ends_well_although_it_was_cut_has_ended_well() -> None:
    cut = threading.Event()

    assert within(0.1, lambda: cut.wait(20), cut=cut.set) is True


def test_what_cannot_be_cut_is_left_behind_and_thrown_away_when_it_comes() -> None:
    """As a name server that does not answer."""
    answered, thrown = threading.Event(), threading.Event()
    late: list[str] = []

    def resolve() -> str:
        answered.wait(20)
        return "a connection"

    def throw(connection: str) -> None:
        late.append(connection)
        thrown.set()

    with pytest.raises(TimeoutError):
        within(0.1, resolve, late=throw)
    assert late == []
    answered.set()
    assert thrown.wait(20)
    assert late == ["a connection"]


def test_who_interrupts_the_wait_cuts_the_work() -> None:
    started, cut = threading.Event(), threading.Event()

    class Interrupted(BaseException):
        pass

    class Job:
        """Work whose end raises in the waiting thread, as a signal's handler may."""

        def __call__(self) -> None:
            started.set()
            cut.wait(20)

    def interrupt() -> None:
        assert started.is_set()
        if not cut.is_set():
            cut.set()
            raise Interrupted

    with pytest.raises(Interrupted):
        within(0.1, Job(), cut=interrupt)
    assert cut.is_set()


def test_once_told_to_stop_it_waits_a_few_seconds_for_what_was_to_take_a_minute() -> None:
    cut = threading.Event()

    def hang() -> None:
        cut.wait(120)
        raise OSError("bad file descriptor")

    with pytest.raises(TimeoutError):
        within(60, hang, cut=cut.set, stop=Stop(is_set=True))
    assert cut.is_set()
