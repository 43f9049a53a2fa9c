"""Where a site keeps its things: the state folder, the ledger's file and address, and the tree as its user entered it.

Opens nothing. Decides by the environment alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from offbeat.errors import ConfigError, Problem

OWN = ("sqlite", "memory")  # addresses of ledgers that one host has for itself


def is_shared(address: str) -> bool:
    """Return whether hosts share the ledger at this address, so that no tree of one host is the truth for all."""
    return address.partition(":")[0].lower() not in OWN


def as_entered(start: Path, environ: Mapping[str, str]) -> Path:
    """Return `start` as the shell knows it: a link such as `current` stays, so that a new release keeps its ledger."""
    entered = environ.get("PWD", "")
    try:
        return Path(entered) if entered.startswith("/") and os.path.samefile(entered, start) else start
    except OSError:
        return start


def state_home(environ: Mapping[str, str]) -> Path:
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


def file_name(project: str) -> str:
    """Return a file name for any project name: what is not plain becomes %XX."""
    plain = "".join(c if c.isalnum() and c.isascii() or c in "-_." else f"%{ord(c):02X}" for c in project)
    return f"{plain.lstrip('.') or 'default'}.db"
