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
from typing import TYPE_CHECKING, Any, Callable
from weakref import WeakValueDictionary

from offbeat import __version__
from offbeat.ports.clock import Clock, SystemClock
from offbeat.ports.worker_store import REDIS, WorkerStore, open_store, shown
from offbeat.ports.worker_values import PASSED, REFUSED_ATTEMPT, Ask, Me, NoAnswer, Said
from offbeat.worker.link import Link
from offbeat.worker.message import Delivery, Occurrence, delivery_of
from offbeat.worker.settings import RUN, read_settings, visibility_of
from offbeat.worker.watch import KEEP, Watch, active, ask_of, once_each

if TYPE_CHECKING:
    from offbeat.worker.unasked import Unasked

log = logging.getLogger("offbeat.worker")

BEAT = 30.0  # seconds between two signs of life
LOOK, SOON = 1.0, 0.25  # seconds between two looks whether the ledger is to be told something; and while it is
LANES = 8  # connections by which a process asks for admissions, before it gathers what its threads ask
PROBE = 0.25  # seconds between two tries to reach a ledger that is silent
FORK = 5.0  # seconds for which a fork waits for what is being asked: longer than the ledger has to answer
QUIET = 60.0  # seconds between two complaints about the same thing
LONGEST_KEPT = 400 * 86_400.0
OWED = 1000  # reports that wait for the ledger to come back, at most
OWED_AT_ONCE = 20  # of them that are told with the next report: a task waits meanwhile
MOST_LINKS = 50  # projects; messages name them, and anybody may write a message


class Life:
    """One for each process; a process of the pool gets a copy of its worker's."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.settings = read_settings({})
        self._received: WeakValueDictionary[int, Any] = WeakValueDictionary()  # by the id() of their arguments
        self._is_open = False
        self._me = Me("", "", 0, __version__)
        self._links: dict[str, Link] = {}
        self._told: dict[str, tuple[float, int]] = {}
        self._owed: deque[tuple[Said, str]] = deque(maxlen=OWED)
        self._later: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self.watch = Watch()
        self._unasked: Unasked | None = None
        self._running: set[Ask] = set()  # what ran at the last sign of life
        self._due = {"beat": 0.0, "watch": 0.0, "tell": 0.0}  # when the thread does what, by the monotonic clock
        self._thread: threading.Thread | None = None
        self._busy = threading.Lock()  # held while the thread talks, so that no process is forked in the middle of it
        self._forker = 0  # the thread that holds it in order to fork

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
        else:
            log.info("the guard is on: project %s, ledger %s", self.settings.project, shown(self.settings.ledger))

    def _read(self, app: Any) -> None:
        self.settings = read_settings(app.conf)
        host = socket.gethostname()
        # Containers share names and process ids: neither tells two workers apart.
        self._me = Me(f"{host}:{os.getpid()}:worker:{os.urandom(4).hex()}", host, os.getpid(), __version__)
        self.watch = Watch(visibility_of(app))
        if self.settings.ledger and self.settings.on_error == RUN:
            self._unasked = _unasked(self.settings.ledger, self.clock)
        self._is_open = True

    def is_on(self, app: Any) -> bool:
        """Return whether there is a ledger to ask. app: to read the settings of, where nobody has yet."""
        if not self._is_open and app is not None:
            self._read(app)
        return bool(self.settings.ledger)

    @property
    def by(self) -> str:
        """Return the note by which `offbeat history` says who has started something, and since when it was not seen."""
        return f"by {self._me.id}"

    def link(self, project: str) -> Link:
        """Return the link to a project's ledger. project: "" for the one of the settings."""
        name = project or self.settings.project
        if name not in self._links:
            if len(self._links) >= MOST_LINKS:
                self._links.pop(next(iter(self._links))).close()
            address = self.settings.ledger
            lanes = 1 if address.startswith("sqlite:") else LANES  # a file has one writer
            self._links[name] = Link(lambda: open_store(address, name), self.clock, self._aside, lanes=lanes)
        return self._links[name]

    def _aside(self, is_over: Callable[[], bool]) -> None:
        def probe() -> None:
            over = False
            while not over:
                self.clock.sleep_until(self.clock.now() + PROBE)
                with self._busy:
                    over = is_over()

        threading.Thread(target=probe, name="offbeat-probe", daemon=True).start()

    def ask(self, found: Occurrence, delivery: Delivery, late: bool) -> Ask:
        """Return what to ask the ledger about a delivery. late: it is acknowledged when the task has ended.

        It is watched if there is another one of the same message, or may be soon.
        """
        keep = KEEP + int(min(max(found.expires_at - self.clock.now(), 0.0), LONGEST_KEPT))
        ask = ask_of(found, delivery, keep)
        if self.watch.visibility and (late or self.may_be_out_twice(found, delivery)):
            return self._mine(ask)
        return ask

    def _mine(self, ask: Ask) -> Ask:
        return ask._replace(owner=self._me.id, patience=self.watch.patience)

    def may_be_out_twice(self, found: Occurrence, delivery: Delivery) -> bool:
        """Return whether there may be a copy of this message."""
        return self.watch.may_be_out_twice(found, delivery, self.clock.now())

    def admit(self, ask: Ask, project: str) -> str:
        """Return whether this delivery may start, as WorkerStore.admit says it. Raises: NoAnswer."""
        if self._unasked is not None and self._unasked.has_another(self._named(project), ask):
            return REFUSED_ATTEMPT
        link = self.link(project)
        # Redis waits for no disk: many connections are quicker there than one question for many.
        alone = self.settings.ledger.partition(":")[0].lower() in REDIS
        verdict = link.ask(lambda store: store.admit(ask)) if alone else link.admit(ask)
        if self._unasked is not None and verdict == PASSED:
            self._unasked.admitted(self._named(project), ask)
        return verdict

    def has_started(self, ask: Ask, project: str) -> bool:
        """Return whether this host has started the occurrence, by whatever attempt."""
        return self._unasked is not None and self._unasked.has_any(self._named(project), ask)

    def start_unasked(self, ask: Ask, project: str) -> bool:
        """Return whether this attempt may start though the ledger is silent; it is told afterwards."""
        if self._unasked is None:
            return True
        may = self._unasked.start(self._named(project), ask)
        if self._unasked.record.why:
            self.complain("W108", "what is started unasked cannot be written down on this host", self._unasked.record.why)
        return may

    def _named(self, project: str) -> str:
        return project or self.settings.project

    def end(self, ask: Ask, project: str, done: bool) -> None:
        """Let the ledger know that a delivery runs no more; done: its message is settled. Nothing is lost if it never hears."""
        with suppress(NoAnswer):
            self.link(project).ask(lambda store: store.ended(self._mine(ask), done))

    def say(self, said: Said, project: str) -> None:
        """Report now; what the ledger does not take is kept, and told with the next reports. No project waits for another's."""
        mine = said, project
        self._owed.append(mine)
        silent = set()
        earlier = [one for one in list(self._owed) if one is not mine]
        for owed in [*earlier[:OWED_AT_ONCE], mine]:
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
        """Report from the thread."""
        self.later(lambda: self.say(said, project))

    def say_unstarted(self, found: Occurrence, state: str, note: str) -> None:
        """Report from the thread what becomes of a message that no task has got, unless another attempt has started."""
        if found.row is None or not self.settings.ledger:
            return
        row, winner = found.row, 0

        def say() -> None:
            nonlocal winner
            with suppress(NoAnswer):
                winner = self.link(found.project).ask(lambda store: store.winner(found.id))
            if winner in (0, found.attempt):
                self.say(Said(row, found.attempt, state, note=note, admitted=winner == found.attempt), found.project)

        self.later(say)

    def later(self, work: Callable[[], None]) -> None:
        """Do it in the thread: the worker's first process must not wait."""
        if self._thread is None:
            work()
        else:
            self._later.put(work)

    def receive(self, request: Any) -> None:
        """Remember, in the worker's first process, a message that was received, for as long as Celery does.

        By its arguments: each message has its own, also where several have one id, and Celery names them when a task fails.
        """
        if self.settings.ledger and "offbeat_occurrence" in request.request_dict:
            self._received[id(request.kwargs)] = request

    def received(self, kwargs: Any) -> Any:
        """Return the message that these very arguments came with; None when it is not known."""
        return self._received.get(id(kwargs))

    def let_go(self, request: Any, found: Occurrence, done: bool) -> None:
        """Say, in the worker's first process, that a task's own process is gone. done: no copy of its message is to run."""
        if self.watch.visibility:
            delivery = delivery_of(request.request_dict, request.delivery_info, request.request_dict.get("retries"))
            self.later(lambda: self.end(ask_of(found, delivery, KEEP), found.project, done))

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
        """Wait until the thread says nothing; but a name server may keep it for longer than tasks can wait for a process."""
        if self._busy.acquire(timeout=FORK):
            self._forker = threading.get_ident()

    def _go_on(self) -> None:
        if self._forker == threading.get_ident():
            self._forker = 0
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
                wait = self._do_what_is_due()
            try:
                work = self._later.get(timeout=wait)
            except queue.Empty:
                continue
            while work is not None:
                with self._busy:
                    work()
                try:
                    work = self._later.get_nowait()
                except queue.Empty:
                    break
            else:
                self._let_go()
                return

    def _do_what_is_due(self) -> float:
        """Return in how many seconds to come again."""
        pauses = {
            "beat": BEAT,
            "watch": self.watch.beat if self.watch.visibility else BEAT,
            "tell": BEAT if self._unasked is None else LOOK,
        }
        for name, work in (("beat", self._beat), ("watch", self._give_signs), ("tell", self._tell_unasked)):
            if self.clock.monotonic() >= self._due[name]:
                work()
                self._due[name] = self.clock.monotonic() + pauses[name]
        if self._unasked is not None and self._unasked.is_owing:
            self._due["tell"] = self.clock.monotonic() + SOON
        return max(min(self._due.values()) - self.clock.monotonic(), 0.0)

    def _give_signs(self) -> None:
        """Say what still runs, of what ran the last time too: most tasks end before, and nothing need be said of them."""
        if not self.watch.visibility:
            return
        running = active()
        asks: dict[str, list[Ask]] = {}
        for ask in self._running.intersection(running):
            asks.setdefault(running[ask], []).append(self._mine(ask))
        self._running = set(running)
        for project, these in asks.items():
            for some in once_each(these):
                with suppress(NoAnswer):
                    self.link(project).ask(lambda store, some=some: store.running(some))  # type: ignore[misc]

    def _let_go(self) -> None:
        """What a worker that is stopped had not ended comes again, and shall not be taken for running."""
        if self.watch.visibility:
            for ask, project in active().items():
                self.end(ask, project, done=False)

    def _tell_unasked(self) -> None:
        if self._unasked is None:
            return

        def admit_late(project: str, asks: list[Ask]) -> list[bool]:
            return self.link(project).ask(lambda store: store.admit_late(asks))

        with suppress(NoAnswer):  # who was not asked complained already
            twice = self._unasked.tell(admit_late)
            if twice:
                self.complain("W109", "started unasked here, and by another attempt elsewhere", f"{twice} occurrences")

    def _beat(self) -> None:
        def beat(store: WorkerStore) -> None:
            store.beat(self._me)

        try:
            self.link("").ask(beat)
        except NoAnswer as error:
            self.complain("W107", "no sign of life could be given, so `offbeat status` may miss this guard", str(error))


def _unasked(ledger: str, clock: Clock) -> Unasked | None:
    """Return the host's record of a ledger, None where Python came without SQLite, and on Windows."""
    if not hasattr(os, "geteuid"):
        return None
    try:
        from offbeat.worker.unasked import Unasked
    except ImportError:
        return None
    return Unasked(ledger, clock)
