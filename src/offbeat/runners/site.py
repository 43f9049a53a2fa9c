"""A site: one tree on this host, with its ledger, its broker and its commands, each opened when it is first needed.

Holds no rule. Where things are (state folder, project, addresses) is decided here and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.errors import ConfigError, OffbeatError, Problem
from offbeat.ports import files
from offbeat.ports.clock import Clock
from offbeat.ports.ledger_open import open_ledger
from offbeat.ports.ledger_values import Runner

if TYPE_CHECKING:
    from offbeat.core.listing import TreeFiles
    from offbeat.core.model import Schedule
    from offbeat.ports.broker import Broker
    from offbeat.ports.command import Commands
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import Outlook

SUPERVISOR_LOG = "supervisor.log"  # what supervisors say when they fail; beside the ledger, or in OpenShift's folder
WAITING = ("S167", "S168")  # a package is missing, or a kind of one's own: mended without a change of the tree
DEPENDENT = ("S163", *WAITING)  # and what is built on such a calendar
TRIES = 3  # how often a tree is read again because somebody else compiled it in the meantime
NOTES = "tree.json"  # beside the ledger: what the newest tree was, so that an unchanged one is not parsed again


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What `Site.sync` found.

    stamp: of the tree that is compiled now. changed: a tree was read. settled: it held still long enough to be read.
    problems: of that tree. told: another runner read it before, and told them. refused: the tree was refused whole.
    outlook: of the look that found the ledger up to date, None when the tree was read.
    """

    stamp: str = ""
    changed: bool = False
    settled: bool = True
    revision: int = 0
    problems: tuple[Problem, ...] = ()
    told: bool = False
    refused: bool = False
    outlook: Outlook | None = None


@dataclass(slots=True, kw_only=True)
class Site:
    """One tree on this host. Close it when done; every part is opened at its first use."""

    tree: Path
    root: Path
    environ: Mapping[str, str]
    clock: Clock
    adopt: bool = False
    _ledger: Ledger | None = field(default=None, init=False)
    _broker: Broker | None = field(default=None, init=False)
    _project: str = field(default="", init=False)
    _state: Path | None = field(default=None, init=False)

    @property
    def state(self) -> Path:
        """The folder of this tree's ledger and notes: below the XDG state folder, or OPENSHIFT_DATA_DIR.

        Found by where the tree really is, or by the name under which it is known: a tree that is reached by two names has one
        ledger, and so have the releases that one link leads to in turn.
        """
        if self._state is None:
            base = _state_home(self.environ)
            places = [base / "offbeat" / name for name in self._names()]
            self._state = next((place.resolve() for place in places if place.is_dir()), places[-1])
        return self._state

    def _names(self) -> tuple[str, str]:
        """Return what this tree's folder is called: by where it really is, and by how it is known."""
        paths = (self.tree.resolve(), self.tree)
        real, known = (f"{files.repository_of(path).name}-{zlib.crc32(os.fsencode(path)):08x}" for path in paths)
        return real, known

    @property
    def owner(self) -> str:
        """Which tree on which host a ledger file belongs to: by the name under which it was first known."""
        return f"{os.uname().nodename}:{self.notes.get('tree') or self.tree}"

    @property
    def project(self) -> str:
        """The project's name: from the notes of the last tree that was read, else from the files."""
        if not self._project:
            named = self.environ.get("OFFBEAT_PROJECT") or self.notes.get("project", "")
            self._project = named or self._parse()[0].project
        return self._project

    @property
    def ledger_address(self) -> str:
        """$OFFBEAT_LEDGER, or SQLite in the state folder."""
        return self.environ.get("OFFBEAT_LEDGER") or f"sqlite:///{self.state / _file_name(self.project)}"

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = open_ledger(
                self.ledger_address, clock=self.clock, project=self.project, owner=self.owner, adopt=self.adopt
            )
        return self._ledger

    def broker(self) -> Broker:
        """Return the broker, its address looked up now. Raises ConfigError when there is no address."""
        if self._broker is None:
            from offbeat.ports.broker_address import broker_url
            from offbeat.ports.broker_kombu import BrokerKombu

            settings = self.ledger.broker_settings()
            if settings is None:
                raise OffbeatError("no schedule is in force yet")
            url = broker_url(self.environ, settings, self.root)
            self._broker = BrokerKombu(url, settings, clock=self.clock, root=self.root)
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
        host, pid = os.uname().nodename, os.getpid()
        return Runner(id=f"{host}:{pid}:{role}", host=host, pid=pid, role=role)

    def read(self) -> tuple[Schedule | None, tuple[Problem, ...]]:
        """Parse the files as they are now; no ledger is touched."""
        from offbeat.core.parse import parse
        from offbeat.ports.treereader import read_tree

        return parse(read_tree(self.tree), self.environ)

    def sync(self, runner: Runner, *, patience: float = files.PATIENCE) -> Synced:
        """Compile the tree into the ledger if its stamp is another than the ledger knows.

        patience: seconds to wait for a tree that is being written, and whether to wait for a clock that is doubted. Raises
        OffbeatError with all problems when there is no schedule at all: none in the files and none in the ledger.
        """
        for _ in range(TRIES):
            stamp, outlook = files.stamp(self.tree), None
            if self._is_known:
                outlook = self._look(runner, patient=patience > 0)
                same = outlook.stamp == stamp.text
                if not outlook.believed or (same and not self.notes.get("waiting")):
                    return Synced(stamp=stamp.text, settled=same, revision=outlook.revision, outlook=outlook)
            from offbeat.ports.treereader import read_tree

            accepted = files.accept(self.tree, self.clock, read_tree, patience=patience)
            if accepted is None:
                break
            known = outlook.stamp if outlook else None
            if synced := self._compile(accepted.files, accepted.stamp.text, known):
                same = synced.told and outlook is not None and synced.revision == outlook.revision
                return replace(synced, changed=False, outlook=outlook) if same else synced
        return Synced(settled=False, outlook=outlook)

    def _look(self, runner: Runner, *, patient: bool) -> Outlook:
        """Look at the ledger; a second time, a little later, when its clock is doubted and we may wait."""
        outlook = self.ledger.look(runner)
        if patient and not outlook.believed:
            self.clock.sleep_until(outlook.believe_at)
            outlook = self.ledger.look(runner)
        return outlook

    @property
    def _is_known(self) -> bool:
        """Whether the project's name can be told without reading the tree."""
        return bool(self.environ.get("OFFBEAT_PROJECT") or self.notes.get("project"))

    def is_news(self, topic: str, text: str) -> bool:
        """Return whether `text` differs from what was told of `topic` last, and remember it; "" when there is nothing to tell.

        Keeps a crontab line from mailing the same trouble every minute. Where nothing can be remembered, all is news.
        """
        notes = self.notes
        if notes.get(topic, "") == text:
            return False
        try:
            self._note(**{topic: text})
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Release the ledger and the broker. Safe to call twice."""
        for part in (self._ledger, self._broker):
            if part is not None:
                part.close()
        self._ledger = self._broker = None

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
            self._note(stamp=stamp, waiting="")
            return Synced(stamp=stamp, changed=True, problems=problems, told=told, refused=True)
        if schedule.project != self._project:
            self.close()
            self._project, known = schedule.project, None
        schedule = self._with_waiting(schedule, problems)
        revision = self.ledger.activate(schedule, stamp, text, known=known)
        if not revision:
            return None
        own = {} if self.environ.get("OFFBEAT_PROJECT") else {"project": schedule.project}
        self._note(stamp=stamp, waiting="yes" if _waits(problems) else "", **own)
        if self._broker is not None:
            self._broker.close()
            self._broker = None
        return Synced(stamp=stamp, changed=True, revision=revision, problems=problems, told=told)

    def _with_waiting(self, schedule: Schedule, problems: Sequence[Problem]) -> Schedule:
        """Return the schedule with the last good version of each entry that only waits for a package to be installed."""
        lost = {problem.entry for problem in problems if problem.code in DEPENDENT} if _waits(problems) else set()
        old = self.ledger.schedule() if lost else None
        kept = tuple(entry for entry in old.entries if entry.name in lost) if old else ()
        if not kept:
            return schedule
        from offbeat.core.identity import fingerprint
        from offbeat.core.serial import canonical_text

        schedule = replace(schedule, entries=schedule.entries + kept)
        return replace(schedule, digest=fingerprint(canonical_text(schedule).encode()))

    def _missing(self, tree_files: TreeFiles, schedule: Schedule | None) -> Problem | None:
        """Return what is missing of a tree that is only half there, None when nothing is known to be."""
        if not files.is_tree(self.tree):
            return _gone(self.tree)
        from offbeat.core.listing import Kind

        known = self.notes.get("project", "")
        lost = tree_files.schedule.kind is Kind.MISSING and known and schedule and schedule.project != known
        return _nameless(tree_files.schedule.path, known) if lost else None

    def _parse(self) -> tuple[Schedule, tuple[Problem, ...]]:
        schedule, problems = self.read()
        if schedule is None:
            raise OffbeatError(*problems)
        return schedule, problems

    @property
    def notes(self) -> dict[str, str]:
        """What is remembered beside the ledger: the newest tree's stamp and project, and what was told last."""
        try:
            notes = json.loads((self.state / NOTES).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def _note(self, **notes: str) -> None:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.state / f"{NOTES}.{os.getpid()}"
        draft.write_text(json.dumps({"tree": str(self.tree), **self.notes, **notes}), "utf-8")
        draft.replace(self.state / NOTES)
        for name in self._names():
            if not (self.state.parent / name).exists():
                with contextlib.suppress(FileExistsError):
                    (self.state.parent / name).symlink_to(self.state.name)


def open_site(*, start: Path, tree: str | None, environ: Mapping[str, str], clock: Clock, adopt: bool = False) -> Site:
    """Return the site whose tree is found from `start`, or given. Raises ConfigError when there is none."""
    found = files.find_tree(_as_entered(start, environ), tree, environ)
    return Site(tree=found, root=files.repository_of(found), environ=environ, clock=clock, adopt=adopt)


def _waits(problems: Sequence[Problem]) -> bool:
    """Return whether a package that is not installed here is all that stops some entry."""
    return any(problem.code in WAITING for problem in problems)


def _as_entered(start: Path, environ: Mapping[str, str]) -> Path:
    """Return `start` as the shell knows it: a link such as `current` stays, so that a new release keeps its ledger."""
    entered = environ.get("PWD", "")
    try:
        return Path(entered) if entered.startswith("/") and os.path.samefile(entered, start) else start
    except OSError:
        return start


def _state_home(environ: Mapping[str, str]) -> Path:
    """Return the folder for state; a relative XDG_STATE_HOME does not count, as its specification says."""
    for name in ("OPENSHIFT_DATA_DIR", "XDG_STATE_HOME"):
        if (place := environ.get(name, "")).startswith("/"):
            return Path(place)
    if (home := environ.get("HOME", "")).startswith("/"):
        return Path(home) / ".local" / "state"
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError as exc:  # a user without an entry in passwd
        raise ConfigError(
            Problem(
                code="C107",
                what="there is no place for the ledger: neither HOME nor XDG_STATE_HOME is set, and the user has no home",
                why="nothing can be remembered, so nothing was done",
                fix="set XDG_STATE_HOME=/var/lib/offbeat, or OFFBEAT_LEDGER and HOME",
            )
        ) from exc


def _file_name(project: str) -> str:
    """Return a file name for any project name: what is not plain becomes %XX."""
    plain = "".join(c if c.isalnum() and c.isascii() or c in "-_." else f"%{ord(c):02X}" for c in project)
    return f"{plain.lstrip('.') or 'default'}.db"


def _gone(tree: Path) -> Problem:
    return Problem(
        code="C105",
        file=str(tree),
        what="the cron tree is gone: the folder is missing or empty",
        why="an empty checkout looks like a schedule without entries; the last good schedule stays in force",
        fix="check the repository out again, or `offbeat uninstall crontab` if it is to be gone",
    )


def _nameless(file: str, project: str) -> Problem:
    return Problem(
        code="C106",
        file=file,
        what=f'schedule.toml is gone, which said that the project is "{project}"',
        why="under another name everything would be sent again with other ids; the last good schedule stays in force",
        fix=f"put the file back, or set OFFBEAT_PROJECT={project}",
    )
