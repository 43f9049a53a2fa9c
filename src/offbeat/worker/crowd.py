"""Admissions that several threads of a process ask for at once: they go to the ledger as one question, which is one sync.

Never makes anybody wait who is alone. A process of a prefork pool has one thread: there nothing is gathered.
"""

from __future__ import annotations

import threading
from typing import Callable

from offbeat.ports.worker_values import Ask, NoAnswer

MOST = 200  # asks in one question
LONGEST = 15.0  # seconds to wait for who asks for us: longer than any question takes


class Place:
    """One who waits."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.called = threading.Event()
        self.leads = False
        self.verdict = ""
        self.why = "nobody asked for it"


class Crowd:
    """Who comes while `lanes` questions are under way waits for the next one; the first of those asks it, for all of them."""

    def __init__(self, ask_all: Callable[[list[Ask]], list[str]], lanes: int) -> None:
        self._ask_all = ask_all
        self._lanes = lanes
        self._lock = threading.Lock()
        self._waiting: list[Place] = []
        self._under_way = 0

    def admit(self, ask: Ask) -> str:
        """Return the ledger's verdict. Raises: NoAnswer."""
        place = Place(ask)
        with self._lock:
            place.leads = self._under_way < self._lanes
            self._under_way += place.leads
            self._waiting.append(place)
        try:
            if not place.leads:
                place.called.wait(LONGEST)
            if place.leads:
                self._ask_for_all(place)
        finally:
            self._leave(place)
        if not place.verdict:
            raise NoAnswer(place.why)
        return place.verdict

    def _ask_for_all(self, mine: Place) -> None:
        some = self._gather(mine)
        why = "the question was stopped"
        try:
            for place, verdict in zip(some, self._ask_all([place.ask for place in some])):
                place.verdict = verdict
        except NoAnswer as error:
            why = str(error)
        finally:
            for place in some:
                place.why = why
                place.called.set()

    def _gather(self, mine: Place) -> list[Place]:
        """Take who waits, each occurrence once: its other attempts go with the next question."""
        with self._lock:
            found = {mine.ask.occurrence: mine}
            for place in self._waiting:
                if len(found) < MOST and not place.leads:  # who leads asks for itself
                    found.setdefault(place.ask.occurrence, place)
            some = list(found.values())
            self._waiting = [place for place in self._waiting if found.get(place.ask.occurrence) is not place]
        return some

    def _leave(self, place: Place) -> None:
        """Let the next one lead, if this one did; whatever ended its wait."""
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
            if not place.leads:
                return
            following = next((one for one in self._waiting if not one.leads), None)
            if following is None:
                self._under_way -= 1
            else:
                following.leads = True
                following.called.set()
