"""Everything that can go wrong, said so that a person can mend it.

Never prints, logs or exits: faces do. Its authority is docs/reference/errors.md, which has one heading for each code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a problem stops."""

    ERROR = "error"  # the thing named is not loaded, or not done
    WARNING = "warning"  # it works, but probably not as its author thinks


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: where, what, why it matters, how to mend it.

    file: path as the user knows it (relative to the repository where there is one), or a ledger or broker address without
    its password; "" where there is none. line: 1-based, 0 when unknown. code: S schedule, C config, L ledger, B broker, and
    three digits. what: lower case, names the thing in double quotes, no full stop, one line. why: what the program did about
    it. fix: a command or a value that can be pasted. entry: the entry that it stops, "" when it is not about one.
    """

    code: str
    what: str
    why: str
    fix: str
    file: str = ""
    line: int = 0
    severity: Severity = Severity.ERROR
    entry: str = ""

    @property
    def where(self) -> str:
        """Return `file:line`, `file` or "", the form that editors jump to (GNU)."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        """Return the three lines that a terminal shows."""
        head = f"{self.where}: " if self.where else ""
        mark = "warning: " if self.severity is Severity.WARNING else ""
        return f"{head}{mark}{self.what} [{self.code}]\n  why: {self.why}\n  fix: {self.fix}"


class OffbeatError(Exception):
    """Base of all errors that offbeat raises on purpose; carries the problems that a face prints.

    str() is the problems' text, one after the other, or the plain message where there is no Problem.
    """

    exit_code = 1

    def __init__(self, *problems: Problem | str) -> None:
        super().__init__(*problems)
        self.problems = tuple(p for p in problems if isinstance(p, Problem))

    def __str__(self) -> str:
        return "\n".join(str(argument) for argument in self.args)


class ScheduleError(OffbeatError):
    """The author of a file has to act: an expression, an entry or a file of the tree is wrong."""


class ConfigError(OffbeatError):
    """The operator has to act: no tree was found, an address is missing, an option makes no sense."""


class LedgerError(OffbeatError):
    """The ledger is out of reach or not to be trusted. Nothing was decided."""

    exit_code = 3


class LedgerAwayError(LedgerError):
    """The ledger does not answer just now, and may soon, without anybody's doing: a resident runner waits for it."""


class BrokerError(OffbeatError):
    """The broker did not take a message. `retry`: whether the same message may be taken later."""

    exit_code = 3

    def __init__(self, *problems: Problem | str, retry: bool = True) -> None:
        super().__init__(*problems)
        self.retry = retry
