"""A site: one tree on this host, with its ledger, its broker and its commands, each opened when it is first needed.

Holds no rule. Where things are (state folder, project, addresses) is decided here and nowhere else.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.core.events import Event
from offbeat.core.identity import fingerprint
from offbeat.errors import ConfigError, OffbeatError, Problem
from offbeat.ports import files
from offbeat.ports.alarm import time_limit
from offbeat.ports.clock import Clock
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_values import Origin, Runner
from offbeat.ports.process import runner_here
from offbeat.ports.stop import Stop
from offbeat.runners.notes import Notes
from offbeat.runners.places import as_entered, file_name, is_shared
from offbeat.runners.rules import Rules
from offbeat.runners.tree_problems import empty, gone, nameless, no_tree, own_tree, restless
from offbeat.runners.waiting import waits, with_waiting
from offbeat.runners.watch import Watch

if TYPE_CHECKING:
    from offbeat.core.listing import TreeFiles
    from offbeat.core.model import Schedule
    from offbeat.ports.broker import Broker
    from offbeat.ports.command import Commands
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import Outlook

SUPERVISOR_LOG = "supervisor.log"  # what supervisors say when they fail; beside the ledger, or in OpenShift's folder
TRIES = 3  # how often a tree is read again because somebody else compiled it in the meantime
SHARED = "set OFFBEAT_LEDGER=postgresql://... or redis://..., and OFFBEAT_PROJECT"
log = logging.getLogger("offbeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What `Site.sync` found.

    stamp: of the tree that is compiled now. changed: a tree was read. settled: it held still long enough to be read.
    problems: of that tree. told: another runner read it before, and told them. refused: the tree was refused whole.
    outlook: of the look that found the ledger up to date, None when the tree was read. notices: to be told whatever it found.
    """

    stamp: str = ""
    changed: bool = False
    settled: bool = True
    revision: int = 0
    problems: tuple[Problem, ...] = ()
    told: bool = False
    refused: bool = False
    outlook: Outlook | None = None
    notices: tuple[Problem, ...] = ()


@dataclass(slots=True, kw_only=True)
class Site:
    """One tree on this host. Close it when done; every part is opened at its first use.

    from_ledger: there is no tree here; what was deployed is all that counts, and `tree` names nothing. limit: what ends a step
    that hangs, after so many seconds. stop: set when this process is told to end: no more is begun then.
    """

    tree: Path
    root: Path
    environ: Mapping[str, str]
    clock: Clock
    adopt: bool = False
    from_ledger: bool = False
    limit: Callable[[float], AbstractContextManager[None]] = lambda _: nullcontext()
    notes: Notes = field(init=False)
    watch: Watch = field(init=False)
    rules: Rules = field(default_factory=Rules, init=False)
    stop: Stop = field(default_factory=Stop, init=False)
    _ledger: Ledger | None = field(default=None, init=False)
    _broker: Broker | None = field(default=None, init=False)
    _project: str = field(default="", init=False)

    def __post_init__(self) -> None:
        tree = "" if self.from_ledger else str(self.tree)
        self.notes = Notes(environ=self.environ, names=self._names(), tree=tree, optional=self.is_shared)
        self.watch = Watch(notes=self.notes)

    def _names(self) -> tuple[str, ...]:
        """Return what this tree's folder is called: by where it really is, and by how it is known."""
        if self.from_ledger:
            known = f"{self.environ.get('OFFBEAT_PROJECT')}\0{self.environ.get('OFFBEAT_LEDGER')}"
            return (f"ledger-{zlib.crc32(os.fsencode(known)):08x}",)
        paths = (self.tree.resolve(), self.tree)
        return tuple(f"{files.repository_of(path).name}-{zlib.crc32(os.fsencode(path)):08x}" for path in paths)

    @property
    def state(self) -> Path:
        """The folder of this tree's ledger and notes: below the XDG state folder, or OPENSHIFT_DATA_DIR."""
        return self.notes.folder

    @property
    def owner(self) -> str:
        """Which tree on which host a ledger file belongs to: by the name under which it was first known."""
        return f"{os.uname().nodename}:{self.notes.get('tree') or self.tree}"

    @property
    def project(self) -> str:
        """The project's name: from the notes of the last tree that was read, else from the files."""
        if not self._project:
            named = self.environ.get("OFFBEAT_PROJECT") or self.notes.get("project")
            self._project = named or self._parse()[0].project
        return self._project

    @property
    def ledger_address(self) -> str:
        """$OFFBEAT_LEDGER, or SQLite in the state folder."""
        return self.environ.get("OFFBEAT_LEDGER") or f"sqlite:///{self.state / file_name(self.project)}"

    @property
    def is_shared(self) -> bool:
        """Whether other hosts work by this ledger too."""
        return is_shared(self.environ.get("OFFBEAT_LEDGER") or "sqlite:")

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self.watch.place = f"{zlib.crc32(os.fsencode(self.ledger_address)):08x}"
            self._ledger = open_ledger(
                self.ledger_address, clock=self.clock, project=self.project, owner=self.owner, adopt=self.adopt
            )
        return self._ledger

    def broker(self) -> Broker:
        """Return the broker, its address looked up now. Raises ConfigError when there is no address."""
        if self._broker is None:
            from offbeat.ports.broker_kombu.address import broker_url
            from offbeat.ports.broker_kombu.broker import BrokerKombu

            settings = self.ledger.broker_settings()
            if settings is None:
                raise OffbeatError("no schedule is in force yet")
            url = broker_url(self.environ, settings, self.root)
            self._broker = BrokerKombu(url, settings, clock=self.clock, root=self.root, stop=self.stop)
        return self._broker

    def commands(self) -> Commands:
        """Return who runs commands on this host."""
        from offbeat.ports.command_start import CommandsDetached

        logs = self.environ.get("OPENSHIFT_LOG_DIR") or str(self.state)
        return CommandsDetached(
            address=self.ledger_address,
            project=self.project,
            owner=self.owner,
            tree=self.tree,
            root=self.root,
            environ=self.environ,
            log=os.path.join(logs, SUPERVISOR_LOG) if os.access(logs, os.W_OK) else "",
        )

    def runner(self, role: str) -> Runner:
        """Return what this process calls itself in the ledger."""
        return self.watch.introduce(runner_here(role))

    def look(self, runner: Runner, *, patient: bool = True) -> Outlook:
        """Look at the ledger; patient: a second time, a little later, when its clock is doubted."""
        before = self.watch.revision
        outlook = self.watch.look(self.ledger, runner, self.clock)
        if patient and not outlook.believed:
            self.clock.sleep_until(outlook.believe_at + self.watch.ahead)
            outlook = self.watch.look(self.ledger, runner, self.clock)
        if outlook.revision != before:  # its settings may be others
            self._hang_up()
        return outlook

    def require_tree(self, purpose: str) -> None:
        """Raise ConfigError when there is no tree here. purpose: what it is needed for, a verb."""
        if self.from_ledger:
            what = f"there is no cron tree here to {purpose}: the ledger is all that this place knows"
            raise ConfigError(no_tree(what, "run it in a checkout of the repository"))

    def read(self) -> tuple[Schedule | None, tuple[Problem, ...]]:
        """Parse the files as they are now; no ledger is touched. Without a tree: what the ledger has in force."""
        if self.from_ledger:
            return self.ledger.schedule(), ()
        from offbeat.core.parse import parse
        from offbeat.ports.treereader import read_tree

        schedule, problems = parse(read_tree(self.tree), self.environ)
        return schedule and self.rules.ruled(schedule), problems

    def read_still(self) -> tuple[Schedule | None, tuple[Problem, ...], str]:
        """Parse the files once they hold still; return the schedule, the problems and the stamp. OffbeatError when restless."""
        from offbeat.core.parse import parse
        from offbeat.ports.treereader import read_tree

        accepted = files.accept(self.tree, self.clock, read_tree)
        if accepted is None:
            raise OffbeatError(restless(self.tree))
        schedule, problems = parse(accepted.files, self.environ)
        if missing := self._missing(accepted.files, schedule):
            schedule, problems = None, (missing,)
        return schedule and self.rules.ruled(schedule), problems, accepted.stamp.text

    def sync(self, runner: Runner, *, patience: float = files.PATIENCE) -> Synced:
        """Compile the tree into the ledger if it changed since that was done last, and nothing was ever deployed.

        On a ledger that hosts share, only a change of this host's own tree counts: what another host compiled is no reason.
        patience: seconds to wait for a tree that is being written, and whether to wait for a clock that is doubted. Raises
        OffbeatError with all problems when there is no schedule at all: none in the files and none in the ledger.
        """
        if self.from_ledger:
            return self._sync_without_tree(runner, patient=patience > 0)
        for _ in range(TRIES):
            stamp, outlook = files.stamp(self.tree), None
            if self._is_known:
                outlook = self.look(runner, patient=patience > 0)
                same = self._is_compiled(outlook, stamp.text)
                if outlook.deployed or not outlook.believed or (same and not self.notes.get("waiting")):
                    settled = same or outlook.deployed
                    return Synced(stamp=stamp.text, settled=settled, revision=outlook.revision, outlook=outlook)
            from offbeat.ports.treereader import read_tree

            accepted = files.accept(self.tree, self.clock, read_tree, patience=patience)
            if accepted is None:
                break
            known = outlook.stamp if outlook else None
            if synced := self._compile(accepted.files, accepted.stamp.text, known):
                same = synced.told and outlook is not None and synced.revision == outlook.revision
                return replace(synced, changed=False, outlook=outlook) if same else synced
        return Synced(settled=False, outlook=outlook)

    def _sync_without_tree(self, runner: Runner, *, patient: bool) -> Synced:
        outlook = self.look(runner, patient=patient)
        news = self.is_news("empty", "" if outlook.revision else "yes")
        problems = () if outlook.revision else (empty(),)
        return Synced(revision=outlook.revision, outlook=outlook, problems=problems, changed=news, told=not news)

    def _is_compiled(self, outlook: Outlook, stamp: str) -> bool:
        """Return whether this host's tree, with this stamp, is in the ledger, or was until another host's came."""
        if not self.is_shared:
            return outlook.stamp == stamp
        return bool(outlook.revision) and self.notes.get("compiled") == self._mark(stamp)

    def _mark(self, *words: str) -> str:
        """Return what says that something was done to this very ledger."""
        text = "\0".join((self.ledger_address, self.project, self.watch.born, *words))
        return fingerprint(text.encode("utf-8", "surrogateescape"))

    @property
    def _is_known(self) -> bool:
        """Whether the project's name can be told without reading the tree."""
        return bool(self.environ.get("OFFBEAT_PROJECT") or self.notes.get("project"))

    def is_news(self, topic: str, text: str) -> bool:
        """Return whether `text` differs from what was told of `topic` last, and remember it; "" for nothing to tell."""
        return self.notes.is_news(topic, text)

    def close(self) -> None:
        """Release the ledger and the broker. Safe to call twice."""
        for part in (self._ledger, self._broker):
            if part is not None:
                part.close()
        self.drop()

    def drop(self) -> None:
        """Forget the ledger and the broker without a word to them: one that hangs would hang again."""
        self.hear()
        self._ledger = self._broker = None

    def hear(self) -> None:
        """Remember what the ledger has told so far."""
        if self._ledger is not None:
            self.watch.hear(self._ledger)

    def turn_to(self, project: str) -> bool:
        """Make `project` the one whose ledger is meant; return whether it was another."""
        if project == self.project:
            return False
        self.close()
        self._project = project
        return True

    def compiled(self, stamp: str, schedule: Schedule, problems: Sequence[Problem]) -> None:
        """Remember that the tree with this stamp is in the ledger."""
        own = {} if self.environ.get("OFFBEAT_PROJECT") else {"project": schedule.project}
        mark = {"compiled": self._mark(stamp)} if self.is_shared else {}
        self.notes.write(stamp=stamp, waiting="yes" if waits(problems) else "", **own, **mark)
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the broker: the next one is opened by the settings that are in force then."""
        if self._broker is not None:
            self._broker.close()
            self._broker = None

    def _compile(self, tree_files: TreeFiles, stamp: str, known: str | None) -> Synced | None:
        """Make what was read the active revision; None when somebody else has compiled a tree in the meantime.

        known: the stamp that the ledger had before the tree was read, None when there was no ledger yet.
        """
        from offbeat.core.parse import parse
        from offbeat.core.serial import format_problem_json

        schedule, problems = parse(tree_files, self.environ)
        if missing := self._missing(tree_files, schedule):
            schedule, problems = None, (missing,)
        text = json.dumps([format_problem_json(problem) for problem in problems]) if problems else ""
        told = self.notes.get("stamp") == stamp
        if schedule is None:
            if not self._is_known and not self.environ.get("OFFBEAT_LEDGER"):
                raise OffbeatError(*problems)
            self.ledger.refuse(stamp, text, known=known)
            mark = {"compiled": self._mark(stamp)} if self.is_shared else {}
            self.notes.write(stamp=stamp, waiting="", **mark)
            return Synced(stamp=stamp, changed=True, problems=problems, told=told, refused=True)
        if schedule.project != self._project:
            self.close()
            self._project, known = schedule.project, None
        if self.is_shared and not self._is_known:  # look before it is written: it may be another ledger's time, or deployed
            self.notes.write(project=schedule.project)
            return None
        schedule = self.rules.ruled(with_waiting(schedule, problems, self.ledger), self.ledger)
        if not self.rules.allow(schedule, self.ledger) and not self.adopt:
            self.notes.write(waiting="yes")  # for newer rules, which change nothing in the tree
            return Synced(stamp=stamp, changed=True, problems=problems, told=told)
        revision = self.ledger.activate(schedule, stamp, text, known=known, origin=Origin(lowers=self.adopt))
        if not revision:
            return None
        self.compiled(stamp, schedule, problems)
        notices = self._tell_of_own_tree(revision)
        return Synced(stamp=stamp, changed=True, revision=revision, problems=problems, told=told, notices=notices)

    def _tell_of_own_tree(self, revision: int) -> tuple[Problem, ...]:
        """Return what to tell of a ledger that hosts share and that nobody has deployed to; nothing when it was told."""
        if not self.is_shared:
            return ()
        _event(logging.WARNING, Event.COMPILED, revision=revision)
        return (own_tree(self.ledger.status().where),) if self.is_news("own tree", self._mark()) else ()

    def _missing(self, tree_files: TreeFiles, schedule: Schedule | None) -> Problem | None:
        """Return what is missing of a tree that is only half there, None when nothing is known to be."""
        if not files.is_tree(self.tree):
            return gone(self.tree)
        from offbeat.core.listing import Kind

        known = self.notes.get("project", "")
        lost = tree_files.schedule.kind is Kind.MISSING and known and schedule and schedule.project != known
        return nameless(tree_files.schedule.path, known) if lost else None

    def _parse(self) -> tuple[Schedule, tuple[Problem, ...]]:
        schedule, problems = self.read()
        if schedule is None:
            raise OffbeatError(*problems)
        return schedule, problems


def open_site(
    *,
    start: Path,
    tree: str | None,
    environ: Mapping[str, str],
    clock: Clock,
    adopt: bool = False,
    from_ledger: bool | None = None,
) -> Site:
    """Return the site whose tree is found from `start`, or given. Raises ConfigError when there is none.

    from_ledger: True: work by what was deployed to $OFFBEAT_LEDGER, whatever tree is here; None: do so where there is no tree
    and OFFBEAT_LEDGER is one that hosts share and OFFBEAT_PROJECT says whose schedule.
    """
    may = bool(environ.get("OFFBEAT_PROJECT")) and is_shared(environ.get("OFFBEAT_LEDGER") or "sqlite:")
    if from_ledger and not may:
        raise ConfigError(no_tree("--from-ledger needs a ledger that hosts share, and the project's name", SHARED))
    if not from_ledger:
        try:
            found = files.find_tree(as_entered(start, environ), tree, environ)
        except ConfigError as error:
            none_here = [problem.code for problem in error.problems] == ["C101"]
            if from_ledger is not None or not may or not none_here:
                raise
        else:
            root = files.repository_of(found)
            return Site(tree=found, root=root, environ=environ, clock=clock, adopt=adopt, limit=time_limit)
    here = Path(os.path.abspath(start))
    nowhere = here / files.PLACES[0]
    return Site(tree=nowhere, root=here, environ=environ, clock=clock, adopt=adopt, from_ledger=True, limit=time_limit)


def _event(level: int, event: Event, **fields: object) -> None:
    log.log(level, event, extra={"event": event, "fields": fields})
