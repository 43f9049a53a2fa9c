"""Several threads that ask at once: one question, everybody's own answer, and nobody left behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from offbeat.ports.worker_values import PASSED, REFUSED_ATTEMPT, Ask, NoAnswer
from offbeat.worker.crowd import MOST, Crowd


class Ledger:
    """A ledger whose first question waits until it is let go. At the "fatal" one the thread is stopped."""

    def __init__(self) -> None:
        self.questions: list[list[Ask]] = []
        self.is_asked, self.go = threading.Event(), threading.Event()

    def ask_all(self, asks: list[Ask]) -> list[str]:
        self.questions.append(asks)
        self.is_asked.set()
        assert self.go.wait(20)
        if any(ask.occurrence == "silent" for ask in asks):
            raise NoAnswer("it is down")
        if any(ask.occurrence == "fatal" for ask in asks):
            raise KeyboardInterrupt
        return [PASSED if ask.attempt == 1 else REFUSED_ATTEMPT for ask in asks]


def gathered(ledger: Ledger, first: Ask, rest: list[Ask]) -> list[str | type[BaseException]]:
    """Return what each is told: the first one asks alone, the rest while it waits."""
    crowd = Crowd(ledger.ask_all, lanes=1)

    def told(ask: Ask) -> str | type[BaseException]:
        try:
            return crowd.admit(ask)
        except (NoAnswer, KeyboardInterrupt) as error:
            return type(error)

    with ThreadPoolExecutor(len(rest) + 1) as pool:
        waiting = [pool.submit(told, first)]
        assert ledger.is_asked.wait(20)
        waiting += [pool.submit(told, ask) for ask in rest]
        while len(crowd._waiting) < len(rest):
            pass
        ledger.go.set()
        answers = [one.result(20) for one in waiting]
    assert (crowd._waiting, crowd._under_way) == ([], 0)
    return answers


def test_who_comes_during_a_question_is_asked_for_with_the_next_one() -> None:
    ledger = Ledger()
    rest = [Ask(f"o{number}", 1 + number % 2, 60) for number in range(20)]

    assert gathered(ledger, Ask("first", 1, 60), rest) == [PASSED, *[PASSED, REFUSED_ATTEMPT] * 10]
    assert [len(question) for question in ledger.questions] == [1, 20]


def test_two_attempts_at_one_occurrence_are_never_in_one_question() -> None:
    ledger = Ledger()

    assert gathered(ledger, Ask("first", 1, 60), [Ask("a", 2, 60), Ask("a", 1, 60)]) == [PASSED, REFUSED_ATTEMPT, PASSED]
    assert [len(question) for question in ledger.questions] == [1, 1, 1]


@pytest.mark.parametrize(("word", "leader"), [("silent", NoAnswer), ("fatal", KeyboardInterrupt)])
def test_a_question_without_an_answer_is_one_for_nobody_and_the_next_one_is_asked(
    word: str, leader: type[BaseException]
) -> None:
    ledger = Ledger()

    assert gathered(ledger, Ask(word, 1, 60), [Ask("a", 1, 60)]) == [leader, PASSED]


def test_no_question_grows_without_end() -> None:
    ledger = Ledger()
    gathered(ledger, Ask("first", 1, 60), [Ask(f"o{number}", 1, 60) for number in range(MOST + 10)])

    assert [len(question) for question in ledger.questions] == [1, MOST, 10]


def test_as_many_ask_alone_as_there_are_lanes() -> None:
    ledger = Ledger()
    crowd = Crowd(ledger.ask_all, lanes=3)

    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(crowd.admit, Ask(f"o{number}", 1, 60)) for number in range(5)]
        while len(ledger.questions) < 3 or len(crowd._waiting) < 2:
            pass
        ledger.go.set()
        assert [one.result(20) for one in answers] == [PASSED] * 5

    assert sorted(ask.occurrence for question in ledger.questions for ask in question) == [f"o{n}" for n in range(5)], (
        "once each"
    )
    assert crowd._under_way == 0
