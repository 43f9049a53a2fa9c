"""This process, as the ledger knows it: a name that no other process has, on this host or on one that is called the same.

Containers share host names and process ids, and cloned machines share names: neither tells two runners apart.
"""

from __future__ import annotations

import os

from offbeat.ports.ledger_values import Runner

_drawn: dict[int, str] = {}  # by process id, so that a fork draws its own


def runner_here(role: str) -> Runner:
    """Return what this process calls itself in the ledger; the same each time it asks, and never what another one says."""
    host, pid = os.uname().nodename, os.getpid()
    if pid not in _drawn:
        _drawn.clear()
        _drawn[pid] = os.urandom(4).hex()
    return Runner(id=f"{host}:{pid}:{role}:{_drawn[pid]}", host=host, pid=pid, role=role)
