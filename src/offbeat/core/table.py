"""A table of schedule.toml as it is read: each key once, with its type, and every problem with its line.

Never stops at a problem: a reader gets None and goes on, so that all problems are found at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from offbeat.core.lines import KeyPath, line_of
from offbeat.core.model import Json
from offbeat.core.passwords import has_password, masked, password_paths
from offbeat.core.recurrences.rule import shown
from offbeat.core.tree import shown_name
from offbeat.errors import Problem, ScheduleError, Severity

T = TypeVar("T")

_TYPES = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "a list",
}
_EXAMPLES = {str: '"text"', bool: "true", int: "5", dict: '{ name = "value" }', list: '["a", "b"]'}

SHOWN = 600  # characters of an entry's name in a message; a longer one is refused


class Table:
    """One table. problems: of the whole file, added to as keys are read. bad: keys of this table that had an error."""

    def __init__(
        self, values: Mapping[str, object], path: KeyPath, *, file: str, lines: Mapping[KeyPath, int], problems: list[Problem]
    ) -> None:
        self.so: dict[str, str] = {}
        self.values = values
        self.path = path
        self.file = file
        self.lines = lines
        self.problems = problems
        self.bad: set[str] = set()
        self.entry = path[1] if len(path) > 1 and path[0] == "entries" else ""

    @property
    def label(self) -> str:
        """Return what messages about this table begin with."""
        if self.entry:
            shown = shown_name(masked(self.entry))
            return f'entry "{shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."}": '
        return f"[{shown_name(masked('.'.join(self.path)))}]: " if self.path else ""

    @property
    def line(self) -> int:
        """Return the line of the table's header."""
        return line_of(self.lines, self.path)

    def consequence(self, key: str) -> str:
        """Return what becomes of the thing that a problem of this key is about: `so` says it, key by key, "" for the rest."""
        usual = "the entry is not loaded; the others are" if self.entry else "the key counts for nothing; everything else does"
        return self.so.get(key) or self.so.get("") or usual

    def add(self, key: str, problem: Problem) -> None:
        """Add a problem of a key ("" for the table itself), with its place filled in."""
        line = line_of(self.lines, (*self.path, key) if key else self.path)
        if problem.severity is Severity.ERROR:
            self.bad.add(key)
        entry = key if self.path == ("entries",) else self.entry
        self.problems.append(dataclasses.replace(problem, file=self.file, line=line, entry=entry))

    def fail(self, key: str, what: str, *, code: str = "S145", why: str = "", fix: str) -> None:
        """Add an error about a key; what: without the label."""
        self.add(key, Problem(code=code, what=f"{self.label}{what}", why=why or self.consequence(key), fix=fix))

    def warn(self, key: str, what: str, *, code: str, why: str, fix: str) -> None:
        """Add a warning about a key; what: without the label."""
        self.add(key, Problem(code=code, what=f"{self.label}{what}", why=why, fix=fix, severity=Severity.WARNING))

    def adopt(self, key: str, problems: Collection[Problem]) -> None:
        """Add problems that a reader of expressions found, which know neither file nor entry."""
        for problem in problems:
            self.add(key, dataclasses.replace(problem, what=f"{self.label}{problem.what}"))

    def attempt(self, key: str, read: Callable[[], T], *, named: bool = False) -> T | None:
        """Return what `read` returns, or None and its problems when it raises ScheduleError. named: say the key's name."""
        try:
            return read()
        except ScheduleError as error:
            named_so = f"{key}: " if named else ""
            self.adopt(key, [dataclasses.replace(each, what=f"{named_so}{each.what}") for each in error.problems])
            return None

    def wrong_type(self, key: str, wanted: str, fix: str) -> None:
        """Add the problem that a value is of another type than it should be."""
        what = f'"{key}" is {type_name(self.values[key])}, where it should be {wanted}'
        self.fail(key, what, code="S144", fix=fix)

    def value(self, key: str) -> object:
        """Return what is written for a key; None when it is not there, and when there is a problem with it already."""
        return None if key in self.bad else self.values.get(key)

    def get(self, key: str, wanted: type[T]) -> T | None:
        """Return the value of a key; None when it is not there, known to be bad or, with a problem, of another type."""
        value = self.value(key)
        if value is None:
            return None
        if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
            return value
        self.wrong_type(key, _TYPES[wanted], f"{key} = {_EXAMPLES[wanted]}")
        return None

    def text(self, key: str) -> str | None:
        """Return a text that is not empty and has no control characters in it."""
        value = self.get(key, str)
        if value is None:
            return None
        if value.strip() and value.isprintable():
            return value
        what = "has control characters in it" if value.strip() else "is empty"
        self.fail(key, f'"{key}" {what}', fix=f"write plain text, or leave {key} out")
        return None

    def whole(self, key: str, low: int, high: int) -> int | None:
        """Return a whole number in [low, high]."""
        value = self.get(key, int)
        if value is None or low <= value <= high:
            return value
        self.fail(key, f'"{key}" {value} is outside {low}-{high}', fix=f"{key} = {min(max(value, low), high)}")
        return None

    def seconds(self, key: str, low: int = 0, *, bare: bool = False) -> int | None:
        """Return a duration in seconds, at least `low`: text with its units. bare: a whole number is one of seconds."""
        value = self.value(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            self.wrong_type(key, 'a duration like "45m"', f'{key} = "45m"')
            return None
        if low == 0 and value in (0, "0", "0s"):
            return 0
        from offbeat.core.recurrences.durations import is_bare, parse_duration

        if is_bare(value) and not (bare and isinstance(value, int)):
            number = str(value).strip()
            fix = f'{key} = "{number}s" or "{number}m"'
            self.fail(key, f'"{key}" {number} has no unit', code="S104", fix=fix)
            return None
        return self.attempt(key, lambda: parse_duration(value), named=True)

    def table(self, key: str) -> Table | None:
        """Return a table inside this one."""
        values = self.get(key, dict)
        if values is None:
            return None
        return Table(values, (*self.path, key), file=self.file, lines=self.lines, problems=self.problems)

    def json(self, key: str, wanted: type[T]) -> T | None:
        """Return a list or table that JSON can carry and that `check_keys` has found no password in."""
        value = self.get(key, wanted)
        if value is None:
            return None
        if odd := unfit_for_json(value, key):
            place, what = odd
            fix = f"write {place} as text or as a number"
            self.fail(key, f'"{place}" is {what}, which JSON cannot carry', code="S149", fix=fix)
            return None
        return None if key in self.bad else value

    def find_passwords(self, key: str) -> bool:
        """Add a problem for each password in the value of a key; tell whether there was one."""
        found = password_paths(self.values.get(key), (key,), by_name=self.path[:1] == ("broker",))
        if has_password(key) and (key,) not in found:
            found = [(key,), *found]
        for path in found:
            self.tell_password(key, f'"{shown_name(masked(".".join(path)))}" has a password in it')
        return bool(found)

    def tell_password(self, key: str, what: str) -> None:
        """Add the problem that there is a password; what: without it."""
        self.fail(
            key,
            what,
            code="C110",
            why=f"whoever can read the repository can read it; {self.consequence(key)}",
            fix="keep it in the file that env_file names or in the environment (OFFBEAT_BROKER), and change it",
        )

    def find_numbers(self, key: str) -> None:
        """Add a problem when there is a number in the value of a key that no worker's, and no ledger's, 64 bits can hold."""
        if key not in self.bad and (place := _too_long(self.values[key], key)):
            carried = key in ("args", "kwargs", "headers", "own", "transport_options", "ssl")
            what = f'"{shown(masked(place))}" is a whole number of more than 64 bits'
            self.fail(key, what, code="S149" if carried else "S144", fix="write a smaller number, or text")

    def check_keys(self, known: Collection[str], later: Collection[str] = (), hints: Mapping[str, str] | None = None) -> None:
        """Add a problem for each key that is not known. later: keys of versions to come. hints: fixes for what people try."""
        for key, value in self.values.items():
            if self.path or not isinstance(value, dict):  # the tables of the top are looked through when they are read
                self.find_passwords(key)
                self.find_numbers(key)
            elif has_password(key):
                self.find_passwords(key)
            if key in known or has_password(key):
                continue
            if key in later:
                self.not_yet(key, f'"{key}" is not yet supported', fix=f"remove {key} until it is")
                continue
            fix = (hints or {}).get(key) or _near(key, known)
            self.fail(key, f'the key "{shown_name(key)}" is not known', code="S143", fix=fix)

    def not_yet(self, key: str, what: str, *, fix: str) -> None:
        """Add the problem that something belongs to a version to come."""
        self.fail(key, what, code="S130", fix=fix)


def type_name(value: object) -> str:
    """Return what a value of TOML is, in words.

    >>> type_name(True), type_name(5), type_name([])
    ('true or false', 'a whole number', 'a list')
    """
    return _TYPES.get(type(value)) or "a date or time"


def unfit_for_json(value: object, place: str) -> tuple[str, str] | None:
    """Return where in a value there is something that JSON cannot carry, and what; None when there is nothing.

    >>> unfit_for_json({"a": [1, float("nan")]}, "kwargs")
    ('kwargs.a[1]', 'nan')
    """
    if isinstance(value, dict):
        inner = ((item, f"{place}.{key}") for key, item in value.items())
    elif isinstance(value, list):
        inner = ((item, f"{place}[{index}]") for index, item in enumerate(value))
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return place, str(value)
    else:
        return None if isinstance(value, str | bool | int | float) else (place, "a date or time")
    return next((odd for item, where in inner if (odd := unfit_for_json(item, where))), None)


def _too_long(value: object, place: str) -> str:
    """Return where in a value there is a whole number that needs more than 64 bits, signed or not; "" where there is none.

    >>> _too_long({"a": [1, 2**64]}, "kwargs")
    'kwargs.a[1]'
    """
    if isinstance(value, int):
        return "" if -(1 << 63) <= value < 1 << 64 else place
    inner: Iterable[tuple[object, str]] = ()
    if isinstance(value, dict):
        inner = ((item, f"{place}.{key}") for key, item in value.items())
    elif isinstance(value, list):
        inner = ((item, f"{place}[{index}]") for index, item in enumerate(value))
    return next((found for item, where in inner if (found := _too_long(item, where))), "")


def _near(key: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else f"remove it; the keys here are: {', '.join(sorted(known))}"


def as_json(value: object) -> Json:
    """Narrow a value that `Table.json` has let through to what it is."""
    assert value is None or isinstance(value, str | bool | int | float | list | dict)
    return value
