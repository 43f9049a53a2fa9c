"""`offbeat tick` as a crontab has it, without loading click: the one line that runs every minute on every host.

Knows `tick`, --tree and --from-ledger only; anything else is for faces/cli.py, which does the same for these.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

SECONDS = 50.0  # the default of --max-time


def tree_of(args: Sequence[str]) -> tuple[str | None, bool] | None:
    """Return (--tree or None, --from-ledger) when the arguments are those of a plain tick; None when they are anything else.

    >>> tree_of(["tick"]), tree_of(["--tree", "a", "tick"]), tree_of(["tick", "--from-ledger"]), tree_of(["tick", "-v"])
    ((None, False), ('a', False), (None, True), None)
    """
    tree, from_ledger, ticks, left = None, False, 0, list(args)
    while left:
        word = left.pop(0)
        if word == "--tree" and left and not left[0].startswith("-"):
            tree = left.pop(0)
        elif word.startswith("--tree="):
            tree = word.removeprefix("--tree=")
        elif word == "--from-ledger":
            from_ledger = True
        elif word == "tick":
            ticks += 1
        else:
            return None
    return (tree, from_ledger) if ticks == 1 and "_OFFBEAT_COMPLETE" not in os.environ else None


def tick_once(tree: str | None, from_ledger: bool) -> int:
    """Do one tick as `offbeat tick` does; return the exit code."""
    try:
        return _tick_once(tree, from_ledger)
    except Exception as exc:  # noqa: BLE001 - the outermost place: whatever it is, it is said in one line
        from offbeat.faces.cli import report

        return report(exc, verbose=False)


def _tick_once(tree: str | None, from_ledger: bool) -> int:
    from pathlib import Path

    from offbeat.faces.logs import TOLD, set_up_logs
    from offbeat.ports.clock import SystemClock
    from offbeat.ports.stop import heed
    from offbeat.runners.site import open_site
    from offbeat.runners.tick import tick

    set_up_logs(30, louder=0, form="text", told=TOLD, folder=os.environ.get("OPENSHIFT_LOG_DIR", ""))
    known = from_ledger or None
    site = open_site(start=Path.cwd(), tree=tree, environ=os.environ, clock=SystemClock(), from_ledger=known)
    try:
        heed(site.stop, site.clock)
        done = tick(site, seconds=SECONDS)
    finally:
        site.close()
    if done.problems:
        from offbeat.faces.cli_session import by_place, print_problems

        print_problems(by_place(done.problems))
    return 128 + site.stop.number if site.stop.is_set else done.exit_code
