"""What can be wrong with a ledger's file, said so that an operator can mend it. Never prints."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from offbeat.errors import LedgerError
from offbeat.ports.ledger_problems import ProblemText, Unreadable, refuse

UNSEEN = "nobody would see what is written there, and others would send the same again; nothing was recorded"

LOCKED = ProblemText(
    "L203",
    "the ledger is locked by another program",
    "see who holds it (`fuser FILE`), and end that program or wait for it",
)
CORRUPT = ProblemText(
    "L204",
    "the ledger's file is corrupt",
    "put a backup in its place, or save what can be read: sqlite3 FILE .recover | sqlite3 FILE.new",
)
FOREIGN = ProblemText(
    "L205", "the file is not a ledger", "give OFFBEAT_LEDGER the address of a file that offbeat made, or of none yet"
)
FULL = ProblemText("L206", "there is no space left for the ledger", "free some space on the file system that holds it")
READ_ONLY = ProblemText(
    "L207", "the ledger cannot be written", "let this user write the file and its folder (`ls -ld`, `mount`)"
)
UNREACHABLE = ProblemText("L208", "the ledger cannot be opened", "check that the folder exists and that this user may enter it")
BROKEN = ProblemText("L209", "the file system failed on the ledger", "look at the system's log (`dmesg`), then start again")

LOST = ProblemText(
    "L215",
    "the ledger's file was removed or replaced while it was in use",
    "nothing, if you put a backup in its place: the file that is there is used from now on; else put one back",
)


class Lost(Exception):
    """The file that we have open is not the one at its path any more."""


_SQLITE = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_PROTOCOL: LOCKED,
    sqlite3.SQLITE_CORRUPT: CORRUPT,
    sqlite3.SQLITE_CONSTRAINT: CORRUPT,  # what we read and what we then write do not fit: an index lies
    sqlite3.SQLITE_NOTADB: FOREIGN,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_PERM: READ_ONLY,
    sqlite3.SQLITE_AUTH: READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: UNREACHABLE,
}
_SYSTEM = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: READ_ONLY,
    errno.EPERM: READ_ONLY,
    errno.EIO: BROKEN,
}


def no_turn(where: str, seconds: float, holder: int) -> LedgerError:
    """Return the error of who waited for its turn to write. holder: the process that has it, 0 if nobody knows."""
    said, text = f"no turn within {seconds:g} s", LOCKED
    if holder:
        said += f"; process {holder} has it"
        fix = f"ps -o pid,stat,args -p {holder}; one that stands still (T): kill -CONT {holder}, or end it: kill -KILL {holder}"
        text = LOCKED._replace(fix=fix)
    return refuse(where, text, said)


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turn what sqlite or the system raises inside into a LedgerError about the file `where`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(where, error) from error
    except Lost as error:
        raise refuse(where, LOST, why=UNSEEN) from error
    except UnicodeEncodeError:
        raise  # of what we were given, not of what we read
    except (Unreadable, ValueError) as error:
        raise refuse(where, CORRUPT, str(error)) from error
    except OSError as error:
        raise refuse(where, _SYSTEM.get(error.errno or 0, UNREACHABLE), str(error.strerror or error)) from error


def _of_sqlite(where: str, error: sqlite3.Error) -> Exception:
    number = getattr(error, "sqlite_errorcode", None)
    said = (str(error).splitlines() or [""])[0]  # a broken schema is quoted over many lines
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
        return error  # a mistake in this program
    if number is None:  # of the module itself: text that is no UTF-8
        return refuse(where, CORRUPT, said) if "UTF-8" in str(error) else error
    if number & 0xFF == sqlite3.SQLITE_ERROR and not any(words in str(error) for words in ("no such", "has no column")):
        return error
    return refuse(where, FOREIGN if number & 0xFF == sqlite3.SQLITE_ERROR else _SQLITE.get(number & 0xFF, BROKEN), said)
