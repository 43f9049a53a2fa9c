"""What a worker knows of its ledger: the settings, the links, what is still to be told, and the signs of life.

Never decides whether a task runs. The signs of life come from a thread of the worker's first process.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from offbeat import __version__
from offbeat.ports.clock import Clock, SystemClock
from offbeat.ports.worker_store import WorkerStore, open_store, shown
from offbeat.ports.worker_values import Me, NoAnswer, Said
from offbeat.worker.link import Link
from offbeat.worker.message import Occurrence, occurrence_of
from offbeat.worker.settings import read_settings

log = logging.getLogger("offbeat.worker")

BEAT = 30.0  # seconds between two signs of life
QUIET = 60.0  # seconds between two complaints about the same thing
KEEP = 8 * 86_400  # seconds after a message's expiry, or from now, for which it is remembered who has won
LONGEST_KEPT = 400 * 86_400.0
OWED = 1000  # reports that wait for the ledger to come back, at most
MOST_LINKS = 50  # projects; messages name them, and anybody may write a message


class Life:
    """One for each process; a process of the pool gets a copy of its worker's."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.settings = read_settings({})
        self.received: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._is_open = False
        self._me = Me("", "", 0, __version__)
        self._links: dict[str, Link] = {}
        self._told: dict[str, tuple[float, int]] = {}
        self._owed: deque[tuple[Said, str]] = deque(maxlen=OWED)
        self._later: queue.Queue[tuple[Said, str] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._busy = threading.Lock()  # held while the thread talks, so that no process is forked in the middle of it

    def open(self, app: Any) -> None:
        """Read the settings, in the worker's first process, and say what is wrong with them."""
        self._read(app)
        for sentence in self.settings.wrong:
            log.error("%s [%s]", sentence, "W105")
        if not self.settings.ledger:
            log.warning(
                "the guard is off: neither offbeat_ledger nor OFFBEAT_LEDGER says where the ledger is, so an occurrence that "
                "is published twice is started twice [%s]",
                "W101",
            )

    def _read(self, app: Any) -> None:
        self.settings = read_settings(app.conf)
        host = socket.gethostname()
        # Containers share names and process ids: neither tells two workers apart.
        self._me = Me(f"{host}:{os.getpid()}:worker:{os.urandom(4).hex()}", host, os.getpid(), __version__)
        self._is_open = True

    def is_on(self, app: Any) -> bool:
        """Return whether there is a ledger to ask. app: to read the settings of, where nobody has yet."""
        if not self._is_open and app is not None:
            self._read(app)
        return bool(self.settings.ledger)

    def link(self, project: str) -> Link:
        """Return the link to a project's ledger. project: "" for the one of the settings."""
        name = project or self.settings.project
        if name not in self._links:
            if len(self._links) >= MOST_LINKS:
                self._links.pop(next(iter(self._links))).close()
            address = self.settings.ledger
            self._links[name] = Link(lambda: open_store(address, name), self.clock)
        return self._links[name]

    def admit(self, found: Occurrence) -> bool:
        """Return whether this attempt of the occurrence may start. Raises: NoAnswer."""
        keep = KEEP + int(min(max(found.expires_at - self.clock.now(), 0.0), LONGEST_KEPT))
        return self.link(found.project).ask(lambda store: store.admit(found.id, found.attempt, keep))

    def say(self, said: Said, project: str) -> None:
        """Report now; what the ledger does not take is kept, and told with the next report. No project waits for another's."""
        self._owed.append((said, project))
        silent = set()
        for owed in list(self._owed):
            first, its_project = owed
            if its_project in silent:
                continue
            try:
                self.link(its_project).ask(lambda store, first=first: store.report(self._me, first))  # type: ignore[misc]
            except NoAnswer as error:
                self.complain("W106", "the ledger does not take reports; the next ones will bring these along", str(error))
                silent.add(its_project)
            else:
                with suppress(ValueError):  # of several threads another may have been quicker
                    self._owed.remove(owed)

    def say_later(self, said: Said, project: str) -> None:
        """Report from the thread: the worker's first process must not wait."""
        if self._thread is None:
            self.say(said, project)
        else:
            self._later.put((said, project))

    def of_received(self, task_id: str) -> Occurrence | None:
        """Return the occurrence of a message that this worker has received and still knows."""
        request = self.received.get(task_id)
        return None if request is None or not self.settings.ledger else occurrence_of(request.request_dict, request.id)

    def complain(self, code: str, what: str, why: str) -> None:
        """Log a warning, once a minute for each code, with how often it was since."""
        now = self.clock.monotonic()
        at, count = self._told.get(code, (-QUIET, 0))
        if now - at < QUIET:
            self._told[code] = (at, count + 1)
            return
        self._told[code] = (now, 0)
        more = f" ({count} times more since the last such line)" if count else ""
        log.warning("%s: %s: %s%s [%s]", shown(self.settings.ledger), what, why, more, code)

    def wait(self) -> None:
        """Wait as long as a message that is put back does."""
        self.clock.sleep_until(self.clock.now() + self.settings.pause)

    def start(self) -> None:
        """Begin the signs of life."""
        if self.settings.ledger and self._thread is None:
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self._pause, after_in_parent=self._go_on, after_in_child=self._forked)
            self._thread = threading.Thread(target=self._live, name="offbeat", daemon=True)
            self._thread.start()

    def _pause(self) -> None:
        self._busy.acquire()

    def _go_on(self) -> None:
        self._busy.release()

    def _forked(self) -> None:
        self._busy = threading.Lock()
        self._thread = None
        self._owed.clear()

    def stop(self) -> None:
        """Tell what is still to be told, and end."""
        thread = self._thread
        if thread is not None:
            self._later.put(None)
            thread.join(5)

    def _live(self) -> None:
        while True:
            with self._busy:
                self._beat()
            try:
                word = self._later.get(timeout=BEAT)
            except queue.Empty:
                continue
            while word is not None:
                with self._busy:
                    self.say(*word)
                try:
                    word = self._later.get_nowait()
                except queue.Empty:
                    break
            else:
                return

    def _beat(self) -> None:
        def beat(store: WorkerStore) -> None:
            store.beat(self._me)

        try:
            self.link("").ask(beat)
        except NoAnswer as error:
            self.complain("W107", "no sign of life could be given, so `offbeat status` may miss this guard", str(error))
