"""What can be wrong with a ledger in PostgreSQL, said so that an operator can mend it. Never prints, never shows a password."""

from __future__ import annotations

import psycopg

from offbeat.errors import LedgerError
from offbeat.ports import ledger_problems as words
from offbeat.ports.ledger_problems import ProblemText, clean, refuse

ADDRESS = ProblemText(
    "L402",
    "the ledger's address cannot be understood",
    "OFFBEAT_LEDGER=postgresql://user@host:5432/database, with every odd character of the password as %XX",
)
UNREACHABLE = ProblemText("L403", words.UNREACHABLE, "see whether PostgreSQL runs there: pg_isready -d WHERE", passes=True)
LOGIN = ProblemText("L404", words.LOGIN, "check user, password and database: psql WHERE")
TLS = ProblemText(
    "L405",
    words.UNTRUSTED,
    "give its CA: ?sslmode=verify-full&sslrootcert=/path/ca.pem, and the host's name as its certificate has it",
)
SILENT = ProblemText("L406", words.SILENT, "see how the server and the network do; the next tick tries again", passes=True)
DENIED = ProblemText(
    "L407",
    words.FORBIDDEN,
    "grant it what docs/how-to/postgresql-ledger.md lists, or let the owner of the schema run `offbeat tick` once",
)
STANDBY = ProblemText("L408", words.READ_ONLY, "name the primary, or several hosts with ?target_session_attrs=read-write")
FULL = ProblemText("L409", "the ledger's server has no room", "free disk space or connections on the server", passes=True)
BUSY = ProblemText(
    "L410", "the ledger is held by another session", "see who holds it: SELECT * FROM pg_stat_activity", passes=True
)
NEWER = ProblemText("L411", words.NEWER, words.UPGRADE)
OLDER = ProblemText("L412", words.OLDER, "offbeat tick")
PROJECT = ProblemText(
    "L413",
    "the ledger is of another project",
    "give each project a schema of its own (?schema=), or set OFFBEAT_PROJECT to the ledger's project",
)
FOREIGN = ProblemText("L414", "the schema is not a ledger", "name another schema: ?schema=, one that offbeat made, or none yet")
ENCODING = ProblemText("L415", "the database is not UTF-8", "createdb --encoding UTF8 --template template0, and name that one")
BROKEN = ProblemText("L416", "the ledger cannot be read", "see the server's log; restore a backup")
TOO_OLD = ProblemText("L417", words.TOO_OLD, "use PostgreSQL 13 or newer")
UNRELEASED = ProblemText(
    "L420", words.UNRELEASED, "name another schema: ?schema=, or do without what is in this one: DROP SCHEMA its_name CASCADE"
)
WENT_BACK = ProblemText(
    "L418",
    "the ledger's server went back to an older state while it was used",
    "nothing: what it forgot is found out next, and told (L304); then find out why its standby lagged",
    passes=True,
)
POOLED = ProblemText(
    "L419",
    "pgbouncer lends a connection for one statement only, and the ledger needs it for a transaction",
    "set pool_mode = transaction (or session) for this database in pgbouncer.ini, and reload it",
)

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
_LOGIN_WORDS = ("authentication", "pg_hba.conf", "role ", 'database "', "no password supplied", "permission denied")
_POOLED_WORDS = "statement pooling mode"  # pgbouncer's; their SQLSTATE is that of a broken connection
_TLS_WORDS = ("certificate", "SSL", "ssl", "TLS")


class Silent(Exception):
    """No answer in time."""


def of_server(where: str, error: psycopg.Error, secrets: tuple[str, ...]) -> Exception:
    """Return what to raise for an error of a statement; a mistake of this program's own stays what it is."""
    state = error.sqlstate or ""
    told = _STATES.get(state) or _CLASSES.get(state[:2])
    if told is None and isinstance(error, (psycopg.OperationalError, psycopg.InternalError)):
        told = SILENT if not state else BROKEN
    text = words_of(error, secrets)
    if _POOLED_WORDS in text:
        told = POOLED
    if told is None:
        return error
    return refuse(where, told, text)


def of_connecting(where: str, error: psycopg.Error, secrets: tuple[str, ...]) -> LedgerError:
    """Return what to raise where no connection came to be: the server's words are all that there is."""
    text = words_of(error, secrets)
    known = _STATES.get(error.sqlstate or "") or _CLASSES.get((error.sqlstate or "")[:2])
    if known is None and any(word in text for word in _TLS_WORDS):
        known = TLS
    if known is None and any(word in text for word in _LOGIN_WORDS):
        known = LOGIN
    if known is None and ("remaining connection slots" in text or "too many" in text):
        known = FULL
    return refuse(where, known or UNREACHABLE, text)


def words_of(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Return what the error says in one line, without any of the secrets."""
    diagnosis = getattr(getattr(error, "diag", None), "message_primary", None)
    return clean(str(diagnosis or error), secrets)
