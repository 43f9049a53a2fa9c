"""A signal sets a flag, wakes who sleeps, and shortens the time that what hangs may take; it ends nothing by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from offbeat.ports.alarm import shorten, time_limit
from offbeat.ports.clock import FakeClock
from offbeat.ports.stop import ENDS, Stop, heed

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def left() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_remembered_and_wakes_who_sleeps(number: signal.Signals) -> None:
    stop, clock = Stop(), FakeClock()
    heed(stop, clock)

    os.kill(os.getpid(), number)

    assert (stop.is_set, stop.number, len(clock.sleeps)) == (True, number, 1)


def test_what_hangs_has_a_few_seconds_more_and_no_more_than_it_had() -> None:
    stop = Stop()
    heed(stop, FakeClock())
    with time_limit(45):
        os.kill(os.getpid(), signal.SIGTERM)
        assert 0 < left() <= ENDS
    with time_limit(1.5):
        shorten(ENDS)
        assert 0 < left() <= 1.5


def test_a_timer_of_somebody_else_is_left_alone() -> None:
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    timer = signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        shorten(ENDS)
        assert left() > ENDS
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_a_second_ctrl_c_ends_it_at_once_and_a_second_sigterm_changes_nothing() -> None:
    stop = Stop()
    heed(stop, FakeClock())
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.is_set


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    heed(stop, FakeClock())

    os.kill(os.getpid(), signal.SIGHUP)

    assert not stop.is_set
