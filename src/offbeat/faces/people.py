"""Who asks, and which entry is meant: what the commands that change the ledger by a person's word need first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from offbeat.errors import ConfigError
from offbeat.faces.cli_session import nothing_deployed
from offbeat.faces.words import did_you_mean, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from offbeat.core.model import Entry
    from offbeat.faces.cli_session import Session
    from offbeat.ports.ledger import Ledger


REVISION = click.IntRange(1, 2**31 - 1)  # as far as every store counts
LONGEST_NOTE = 1_000  # characters; whoever asks for the status gets all of it


class Note(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks only
    """A sentence that is kept in the ledger, and shown to everybody."""

    name = "TEXT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is."""
        text = str(value)
        if len(text) > LONGEST_NOTE:
            self.fail(f"it has {len(text)} characters, and a note has {LONGEST_NOTE} at most", param, ctx)
        return text


def actor(session: Session) -> str:
    """Return who gives the command, "ana@web1": by SUDO_USER, LOGNAME or USER, else by the number of the user."""
    import os

    named = (session.environ.get(name, "") for name in ("SUDO_USER", "LOGNAME", "USER"))
    return f"{next(filter(None, named), '') or f'user {os.getuid()}'}@{os.uname().nodename}"


def entry_of(ledger: Ledger, name: str) -> Entry:
    """Return the active entry of this name. Raises a usage error, with the nearest names, when there is none.

    Raises ConfigError where nothing was deployed yet: no name would do.
    """
    known = {entry.name: entry for entry, _ in ledger.entries()}
    if not known and ledger.schedule() is None:
        raise ConfigError(nothing_deployed())
    return pick(known, name)


def pick(known: Mapping[str, Entry], name: str) -> Entry:
    """Return the entry of this name. Raises a usage error, with the nearest names, when there is none."""
    if name not in known:
        raise click.UsageError(f'there is no entry "{printable(name)}"{did_you_mean(name, known)}')
    return known[name]
