"""Deploy: make the tree's schedule, or an older revision's, the active one for all runners of a ledger; say what differs.

Never half: a revision is stored and activated in one step of the ledger, and only if nobody else changed it in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offbeat.errors import ConfigError, LedgerError, Problem, ScheduleError, Severity
from offbeat.ports.ledger_values import Origin

if TYPE_CHECKING:
    from offbeat.core.difference import EntryChange
    from offbeat.core.model import Schedule
    from offbeat.runners.site import Site

TRIES = 3  # how often it is begun again because somebody else activated a revision in the meantime
SEARCHED = 10_000  # revisions, newest first, among which the origin of an old one is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a deploy or a rollback did.

    revision: the number in force. changed: False when its schedule was in force already. origin: of the revision in force: one
    that was deployed already keeps its own.
    problems: warnings of the tree, and, if allowed, its errors. first: until now the files of the tree counted.
    """

    revision: int
    digest: str
    entries: int
    changed: bool
    origin: Origin
    problems: tuple[Problem, ...] = ()
    first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs from revision `old` (0: none yet) to revision `new` (None: the tree as it is now).

    settings: those of all entries that differ. now: the store's clock; the due times told are after it. problems: of the tree.
    deployed: whether anything was ever deployed into the ledger, so that the files do not count.
    """

    old: int
    new: int | None
    changes: tuple[EntryChange, ...]
    settings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    now: float = 0.0
    deployed: bool = False


def deploy(site: Site, *, origin_note: str = "", allow_problems: bool = False) -> Deployed:
    """Store the tree's schedule and make it the active revision. From the first on, runners compile no trees of their own.

    What is deployed already stays as it is, with the note and the author of whoever deployed it.
    Raises ScheduleError with all problems when the tree has errors (unless allow_problems: its good entries count then),
    OffbeatError when nothing of it can be read or it does not hold still, LedgerError when the ledger cannot be used.
    """
    from offbeat.ports.git import read_commit

    site.require_tree("deploy")
    runner = site.runner("deploy")
    for _ in range(TRIES):
        outlook = site.look(runner)
        schedule, problems, stamp = site.read_still()
        errors = tuple(problem for problem in problems if problem.severity is Severity.ERROR)
        if schedule is None or (errors and not allow_problems):
            raise ScheduleError(*errors)
        if site.turn_to(schedule.project):
            outlook = site.look(runner)
        active = site.ledger.status()
        if active.origin.deployed and active.digest == schedule.digest:  # whoever deployed it stays in the log
            origin = active.origin
        else:
            git = read_commit(site.tree, site.environ)
            origin = Origin(commit=git.commit, author=git.author, dirty=git.dirty, note=origin_note, deployed=True)
        number = site.ledger.activate(schedule, stamp, _text(problems), known=outlook.stamp, origin=origin)
        if number:
            site.compiled(stamp, schedule, problems)
            done = _deployed(number, schedule, origin, changed=number != outlook.revision, problems=problems)
            return replace(done, first=not outlook.deployed)
    raise _overtaken()


def rollback(site: Site, number: int) -> Deployed:
    """Make the schedule of revision `number` the active one again, as a new revision. No tree is read.

    Raises ConfigError for a revision that the ledger does not have, LedgerError when the ledger cannot be used.
    """
    runner = site.runner("deploy")
    for _ in range(TRIES):
        outlook = site.look(runner)
        schedule = site.rules.ruled(_revision(site, number), site.ledger)
        active = next((known for known in site.ledger.revisions(SEARCHED) if known.active), None)
        if active and active.origin.deployed and active.digest == schedule.digest:  # whoever deployed it stays in the log
            return _deployed(active.number, schedule, active.origin, changed=False)
        old = next((known.origin for known in site.ledger.revisions(SEARCHED) if known.number == number), Origin())
        origin = Origin(commit=old.commit, author=old.author, dirty=old.dirty, note=f"rollback to {number}", deployed=True)
        done = site.ledger.activate(schedule, outlook.stamp, known=outlook.stamp, origin=origin)
        if done:
            return replace(_deployed(done, schedule, origin, changed=done != outlook.revision), first=not outlook.deployed)
    raise _overtaken()


def difference(site: Site, number: int | None = None) -> Difference:
    """Return what differs from the active revision to the tree as it is now; or from revision `number` to the active one.

    Nothing is written. Raises ConfigError for a revision that the ledger does not have, or when there is no tree.
    """
    from offbeat.core.difference import changed_settings, compare_schedules

    status = site.ledger.status()
    active = site.ledger.schedule()
    old: Schedule | None
    if number is None:
        site.require_tree("compare")
        new, problems = site.read()
        if new is None:
            raise ScheduleError(*(problem for problem in problems if problem.severity is Severity.ERROR))
        old = active
    else:
        old, problems = _revision(site, number), ()
        new = active or old
    return Difference(
        old=status.revision if number is None else number,
        new=None if number is None else status.revision,
        changes=tuple(compare_schedules(old, new, int(status.now))),
        settings=changed_settings(old, new),
        problems=problems,
        now=status.now,
        deployed=status.deployed,
    )


def _revision(site: Site, number: int) -> Schedule:
    schedule = site.ledger.schedule(number)
    if schedule is None:
        raise ConfigError(
            Problem(
                code="L310",
                what=f"the ledger has no revision {number}",
                why="nothing was changed",
                fix="use a number that `offbeat log` prints",
            )
        )
    return schedule


def _deployed(
    number: int, schedule: Schedule, origin: Origin, *, changed: bool, problems: tuple[Problem, ...] = ()
) -> Deployed:
    return Deployed(
        revision=number,
        digest=schedule.digest,
        entries=len(schedule.entries),
        changed=changed,
        origin=origin,
        problems=problems,
    )


def _text(problems: tuple[Problem, ...]) -> str:
    import json

    from offbeat.core.serial import format_problem_json

    return json.dumps([format_problem_json(problem) for problem in problems]) if problems else ""


def _overtaken() -> LedgerError:
    return LedgerError(
        Problem(
            code="L311",
            what=f"others changed the schedule {TRIES} times while it was read",
            why="nothing was changed: what they activated is in force",
            fix="offbeat log, and then the same again",
        )
    )
