"""What can be wrong with a ledger in PostgreSQL, said so that an operator can mend it. Never prints, never shows a password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from offbeat.errors import LedgerAwayError, LedgerError, Problem

NOTHING = "nothing was recorded and nothing is sent until this is mended"
LONGEST = 300  # characters of the server's words that are shown

# (code, what, fix)
ADDRESS = (
    "L402",
    "the ledger's address cannot be understood",
    "OFFBEAT_LEDGER=postgresql://user@host:5432/database, with every odd character of the password as %XX",
)
UNREACHABLE = ("L403", "the ledger's server cannot be reached", "see whether PostgreSQL runs there: pg_isready -d WHERE")
LOGIN = ("L404", "the ledger's server refuses the login", "check user, password and database: psql WHERE")
TLS = (
    "L405",
    "the ledger's server cannot prove who it is",
    "give its CA: ?sslmode=verify-full&sslrootcert=/path/ca.pem, and the host's name as its certificate has it",
)
SILENT = ("L406", "the ledger's server does not answer", "see how the server and the network do; the next tick tries again")
DENIED = (
    "L407",
    "the ledger's role may not do this",
    "grant it what docs/how-to/postgresql-ledger.md lists, or let the owner of the schema run `offbeat tick` once",
)
STANDBY = ("L408", "the ledger's server only reads", "name the primary, or several hosts with ?target_session_attrs=read-write")
FULL = ("L409", "the ledger's server has no room", "free disk space or connections on the server")
BUSY = ("L410", "the ledger is held by another session", "see who holds it: SELECT * FROM pg_stat_activity")
NEWER = ("L411", "the ledger is of a newer offbeat", "pip install --upgrade offbeat")
OLDER = ("L412", "the ledger is older than this offbeat, or was never used", "offbeat tick")
PROJECT = (
    "L413",
    "the ledger is of another project",
    "give each project a schema of its own (?schema=), or set OFFBEAT_PROJECT to the ledger's project",
)
FOREIGN = ("L414", "the schema is not a ledger", "name another schema: ?schema=, one that offbeat made, or none yet")
ENCODING = ("L415", "the database is not UTF-8", "createdb --encoding UTF8 --template template0, and name that one")
BROKEN = ("L416", "the ledger cannot be read", "see the server's log; restore a backup")
TOO_OLD = ("L417", "the ledger's server is too old", "use PostgreSQL 13 or newer")

_CLASSES = {
    "08": UNREACHABLE,
    "28": LOGIN,
    "53": FULL,
    "55": BUSY,
    "57": SILENT,
    "58": BROKEN,
    "XX": BROKEN,
}
_STATES = {
    "3D000": LOGIN,
    "42501": DENIED,
    "25006": STANDBY,
    "57014": BUSY,
    "57P03": UNREACHABLE,
    "25P03": SILENT,
    "40P01": BUSY,
    "40001": BUSY,
    "42P01": FOREIGN,
    "42703": FOREIGN,
    "3F000": FOREIGN,
    "22P05": ENCODING,
}
_PASSING = {code for code, _, _ in (UNREACHABLE, SILENT, FULL, BUSY)}
_LOGIN_WORDS = ("authentication", "pg_hba.conf", "role ", 'database "', "no password supplied", "permission denied")
_TLS_WORDS = ("certificate", "SSL", "ssl", "TLS")


class Unreadable(Exception):
    """A row holds what this program never writes."""


class Silent(Exception):
    """No answer in time."""


def refuse(where: str, told: tuple[str, str, str], detail: str = "", *, why: str = NOTHING) -> LedgerError:
    """Return the error with its one complete problem. detail: more of what is wrong."""
    code, what, fix = told
    kind = LedgerAwayError if code in _PASSING else LedgerError
    return kind(
        Problem(
            code=code,
            file=where,
            what=f"{what}: {detail}" if detail else what,
            why=why,
            fix=fix.replace("WHERE", f"'{where.partition('?')[0]}'"),
        )
    )


@contextmanager
def read_back() -> Iterator[None]:
    """Turn whatever our own texts cannot be read back by, inside, into Unreadable."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__} in what was stored: {error}") from error


def of_server(where: str, error: psycopg.Error, secrets: tuple[str, ...]) -> Exception:
    """Return what to raise for an error of a statement; a mistake of this program's own stays what it is."""
    state = error.sqlstate or ""
    told = _STATES.get(state) or _CLASSES.get(state[:2])
    if told is None and isinstance(error, (psycopg.OperationalError, psycopg.InternalError)):
        told = SILENT if not state else BROKEN
    if told is None:
        return error
    return refuse(where, told, words(error, secrets))


def of_connecting(where: str, error: psycopg.Error, secrets: tuple[str, ...]) -> LedgerError:
    """Return what to raise where no connection came to be: the server's words are all that there is."""
    text = words(error, secrets)
    known = _STATES.get(error.sqlstate or "") or _CLASSES.get((error.sqlstate or "")[:2])
    if known is None and any(word in text for word in _TLS_WORDS):
        known = TLS
    if known is None and any(word in text for word in _LOGIN_WORDS):
        known = LOGIN
    if known is None and ("remaining connection slots" in text or "too many" in text):
        known = FULL
    return refuse(where, known or UNREACHABLE, text)


def words(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Return what the error says in one line, without any of the secrets; its kind where it would give one away."""
    diagnosis = getattr(getattr(error, "diag", None), "message_primary", None)
    text = " ".join(str(diagnosis or error).split())
    if any(secret in text for secret in secrets):
        return type(error).__name__
    return text[:LONGEST]
