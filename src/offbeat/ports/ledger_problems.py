"""How the stores of the ledger say what is wrong: one form for all, and the same words for the same trouble.

Never prints; no password in any text. Which code and which fix are a store's own: ledger_*/problems.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from offbeat.errors import LedgerAwayError, LedgerError, Problem

NOTHING = "nothing was recorded and nothing is sent until this is mended"
LONGEST = 300  # characters of a server's words that are shown

UNREACHABLE = "the ledger's server cannot be reached"
SILENT = "the ledger's server does not answer"
LOGIN = "the ledger's server refuses the login"
FORBIDDEN = "the ledger's user may not do this"
UNTRUSTED = "there is no trusted connection to the ledger's server"
READ_ONLY = "the ledger's server takes no writes"
TOO_OLD = "the ledger's server is too old"
NEWER = "the ledger is of a newer offbeat"
UNRELEASED = "the ledger was made by an offbeat from before this form of it was released"
OLDER = "the ledger is older than this offbeat, or was never used"

UPGRADE = "upgrade offbeat"


class ProblemText(NamedTuple):
    """One thing that can be wrong. fix: with FILE or WHERE where the ledger's path or address goes.

    passes: it ends by itself, so the next tick tries again.
    """

    code: str
    what: str
    fix: str
    passes: bool = False


class Unreadable(Exception):
    """A row holds what this program never writes."""


def refuse(where: str, told: ProblemText, detail: str = "", *, why: str = NOTHING) -> LedgerError:
    """Return the error with its one complete problem. detail: more of what is wrong, with no secret in it."""
    kind = LedgerAwayError if told.passes else LedgerError
    fix = told.fix.replace("FILE", where).replace("WHERE", f"'{where.partition('?')[0]}'")
    return kind(Problem(code=told.code, file=where, what=f"{told.what}: {detail}" if detail else told.what, why=why, fix=fix))


@contextmanager
def read_back() -> Iterator[None]:
    """Turn whatever our own texts cannot be read back by, inside, into Unreadable."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__} in what was stored: {error}") from error


def clean(said: str, secrets: Iterable[str]) -> str:
    """Return what a server said as one line of at most LONGEST characters, without any of the secrets."""
    said = " ".join(said.split())
    for secret in secrets:
        if secret:
            said = said.replace(secret, "***")
    return said[:LONGEST]


def storable(said: str) -> str:
    """Return what a broker or a task said as every store can keep it: without half of a pair of surrogates."""
    return said.encode("utf-8", "replace").decode()
