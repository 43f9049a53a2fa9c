"""What is to be told while something waits for the broker: where that is, without a password, and what to do about it.

Sends nothing, and connects to nothing but the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.core.model import State
from offbeat.errors import OffbeatError, Problem
from offbeat.runners.dispatch import NO_TREE

if TYPE_CHECKING:
    from offbeat.runners.dispatch import Dispatcher
    from offbeat.runners.site import Site

LOOKED_AT = 100  # of the rows that wait, newest first


def unsent(dispatcher: Dispatcher) -> tuple[Problem, ...]:
    """Return what to tell of what could not be sent; nothing when all could."""
    tally, fix = dispatcher.tally, "offbeat history"
    if not tally.error or tally.problems:
        return tally.problems
    if dispatcher.backoff.is_down() and not dispatcher.backoff.is_blocked:
        shown = _address(dispatcher.site)
        fix = f"start the broker{shown and f' at {shown}'}, or mend its address (OFFBEAT_BROKER); then: offbeat check --broker"
    problem = Problem(
        code="B210",
        what=f"not everything could be sent: {tally.error}",
        why="what was not sent waits in the ledger and is tried again by every tick, until its grace ends",
        fix=fix,
    )
    return (problem,)


def still_waits(site: Site) -> bool:
    """Return whether something waits for the trouble with the broker that was told last; forget that trouble when not."""
    rows = site.ledger.history(limit=LOOKED_AT, states=(State.PENDING,))
    if any(row.note and row.note != NO_TREE for row in rows):
        return True
    site.is_news("broker", "")
    return False


def _address(site: Site) -> str:
    """Return the broker's address without its user and password, "" where it has none that can be shown."""
    from offbeat.core.passwords import scheme_of, shown_address
    from offbeat.ports.broker_kombu.address import broker_url

    try:
        settings = site.ledger.broker_settings()
        url = broker_url(site.environ, settings, site.root) if settings else ""
    except OffbeatError:
        return ""
    return ";".join(shown_address(part) for part in url.split(";")) if all(map(scheme_of, url.split(";"))) else ""
