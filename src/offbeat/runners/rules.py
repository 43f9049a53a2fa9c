"""Whether this runner may decide by its own zones, holidays and sun: they differ between hosts, and the newest count.

Never decides by older data than the ledger was compiled with. Its authority is rule 18 of the ledger's design.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from offbeat.core.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from offbeat.core.model import Schedule
    from offbeat.errors import Problem
    from offbeat.ports.ledger import Ledger
    from offbeat.ports.ledger_values import Outlook, Runner
    from offbeat.runners.watch import Watch

    class Seat(Protocol):
        """What is needed of a site. adopt: older data may be put in force."""

        adopt: bool
        watch: Watch

        @property
        def ledger(self) -> Ledger:
            """Return the ledger."""

        def look(self, runner: Runner, *, patient: bool = True) -> Outlook:
            """Look at the ledger."""


log = logging.getLogger("offbeat")


def _own_rules(packages: tuple[str, ...]) -> str:
    from offbeat.ports.rules import own_rules  # an idle tick needs none

    return own_rules(packages)


class Rules:
    """One for each process. own: says the versions of packages here. problem: what to tell while ours are older, else None.

    seen: whether anything was judged, so that no `problem` means that there is none.
    """

    __slots__ = ("_known", "own", "problem", "seen")

    def __init__(self) -> None:
        self.own: Callable[[tuple[str, ...]], str] = _own_rules
        self.problem: Problem | None = None
        self.seen = False
        self._known: tuple[str, int, str] | None = None  # ledger, revision, its rules

    def ruled(self, schedule: Schedule, ledger: Ledger | None = None) -> Schedule:
        """Return the schedule as this host compiles it. ledger: what it says of packages that are missing here stays."""
        from offbeat.core.rules import packages_of, rules_text, versions_in, with_rules

        packages = packages_of(schedule.entries)
        versions = versions_in(self.own(packages))
        if ledger and len(versions) < len(packages):  # entries that wait for a package are those of the last revision
            versions = {**versions_in(ledger.rules()), **versions}
        return with_rules(schedule, rules_text({name: versions[name] for name in packages if name in versions}))

    def allow(self, schedule: Schedule, ledger: Ledger) -> bool:
        """Return whether this host may put its schedule in force; `problem` says why not."""
        return not self._are_older(schedule.rules, ledger.rules(), ledger)

    def hold(self, site: Seat, runner: Runner, revision: int) -> bool:
        """Return whether what was taken at this revision may be decided here.

        When ours are newer the schedule is compiled anew, as another revision: the ledger refuses what was taken before.
        """
        from offbeat.core.rules import NONE, is_newer, older_in, versions_in

        theirs = self._theirs(site, revision)
        own = NONE if theirs in ("", NONE) else self.own(tuple(versions_in(theirs)))
        if older_in(own, theirs) and self._read_again():
            own = self.own(tuple(versions_in(theirs)))
        older = self._are_older(own, theirs, site.ledger)
        if older and not site.adopt:
            return False
        return self._compile_anew(site, runner) if older or is_newer(own, theirs) else True

    def _theirs(self, site: Seat, revision: int) -> str:
        """Return the rules of the revision. Should the ledger be at a later one by now, nothing of this one is recorded."""
        if self._known is None or self._known[:2] != (site.watch.born, revision):
            self._known = (site.watch.born, revision, site.ledger.rules())
        return self._known[2]

    def forget(self) -> None:
        """Ask the ledger anew: after it went back to an older state, the same number may be another revision's."""
        self._known = None

    def _read_again(self) -> bool:
        from offbeat.ports.rules import read_zones_again

        return read_zones_again()

    def _are_older(self, own: str, theirs: str, ledger: Ledger) -> bool:
        """Return whether ours are older, and keep what is to be told of it."""
        from offbeat.core.rules import older_in
        from offbeat.ports.ledger_values import older_rules

        older, before = older_in(own, theirs), self.problem
        self.seen, self.problem = True, None
        if not older:
            return False
        if before is None:
            log.error("rules_differ", extra={"event": Event.RULES_DIFFER, "fields": {"own": own, "ledger": theirs}})
        self.problem = before or older_rules(own, theirs, older, ledger.status().where)
        return True

    def _compile_anew(self, site: Seat, runner: Runner) -> bool:
        """Put the schedule that is in force in force again, by our rules; False when somebody else changed it meanwhile."""
        ledger = site.ledger
        outlook = site.look(runner, patient=False)
        schedule, status = ledger.schedule(), ledger.status()
        if schedule is None or not outlook.believed:
            return False
        ruled = self.ruled(schedule, ledger)
        origin = replace(status.origin, lowers=site.adopt, note=f"compiled anew: {ruled.rules}")
        number = ledger.activate(ruled, outlook.stamp, status.refused, known=outlook.stamp, origin=origin)
        if number and status.refused_whole:  # the tree that was refused is refused still
            ledger.refuse(outlook.stamp, status.refused, known=outlook.stamp)
        log.info("rules_renewed", extra={"event": Event.RULES_RENEWED, "fields": {"revision": number, "rules": ruled.rules}})
        return bool(number)
