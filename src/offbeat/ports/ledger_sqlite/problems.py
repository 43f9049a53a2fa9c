"""What can be wrong with a ledger's file, said so that an operator can mend it. Never prints."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from offbeat.errors import LedgerError, Problem

NOTHING = "nothing was recorded and nothing is sent until this is mended"
UNSEEN = "nobody would see what is written there, and others would send the same again; nothing was recorded"

# (code, what, fix)
LOCKED = (
    "L203",
    "the ledger is locked by another program",
    "see who holds it (`fuser FILE`), and end that program or wait for it",
)
CORRUPT = (
    "L204",
    "the ledger's file is corrupt",
    "put a backup in its place, or save what can be read: sqlite3 FILE .recover | sqlite3 FILE.new",
)
FOREIGN = ("L205", "the file is not a ledger", "give OFFBEAT_LEDGER the address of a file that offbeat made, or of none yet")
FULL = ("L206", "there is no space left for the ledger", "free some space on the file system that holds it")
READ_ONLY = ("L207", "the ledger cannot be written", "let this user write the file and its folder (`ls -ld`, `mount`)")
UNREACHABLE = ("L208", "the ledger cannot be opened", "check that the folder exists and that this user may enter it")
BROKEN = ("L209", "the file system failed on the ledger", "look at the system's log (`dmesg`), then start again")

LOST = (
    "L215",
    "the ledger's file was removed or replaced while it was in use",
    "nothing, if you put a backup in its place: the file that is there is used from now on; else put one back",
)


class Lost(Exception):
    """The file that we have open is not the one at its path any more."""


class Unreadable(Exception):
    """A row holds what this program never writes."""


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


def refuse(where: str, code: str, what: str, fix: str, *, why: str = NOTHING) -> LedgerError:
    """Return the error with its one complete problem."""
    return LedgerError(Problem(code=code, file=where, what=what, why=why, fix=fix.replace("FILE", where)))


def no_turn(where: str, seconds: float, holder: int) -> LedgerError:
    """Return the error of who waited for its turn to write. holder: the process that has it, 0 if nobody knows."""
    code, what, fix = LOCKED
    what = f"{what}: no turn within {seconds:g} s"
    if holder:
        what += f"; process {holder} has it"
        fix = f"ps -o pid,stat,args -p {holder}; one that stands still (T): kill -CONT {holder}, or end it: kill -KILL {holder}"
    return refuse(where, code, what, fix)


@contextmanager
def read_back() -> Iterator[None]:
    """Turn whatever our own texts cannot be read back by, inside, into Unreadable."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__} in what was stored: {error}") from error


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turn what sqlite or the system raises inside into a LedgerError about the file `where`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(where, error) from error
    except Lost as error:
        code, what, fix = LOST
        raise refuse(where, code, what, fix, why=UNSEEN) from error
    except UnicodeEncodeError:
        raise  # of what we were given, not of what we read
    except (Unreadable, ValueError) as error:
        code, what, fix = CORRUPT
        raise refuse(where, code, f"{what}: {error}", fix) from error
    except OSError as error:
        code, what, fix = _SYSTEM.get(error.errno or 0, UNREACHABLE)
        raise refuse(where, code, f"{what}: {error.strerror or error}", fix) from error


def _of_sqlite(where: str, error: sqlite3.Error) -> Exception:
    number = getattr(error, "sqlite_errorcode", None)
    said = (str(error).splitlines() or [""])[0]  # a broken schema is quoted over many lines
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
        return error  # a mistake in this program
    if number is None:  # of the module itself: text that is no UTF-8
        code, what, fix = CORRUPT
        return refuse(where, code, f"{what}: {said}", fix) if "UTF-8" in str(error) else error
    if number & 0xFF == sqlite3.SQLITE_ERROR and not any(words in str(error) for words in ("no such", "has no column")):
        return error
    code, what, fix = FOREIGN if number & 0xFF == sqlite3.SQLITE_ERROR else _SQLITE.get(number & 0xFF, BROKEN)
    return refuse(where, code, f"{what}: {said}", fix)
