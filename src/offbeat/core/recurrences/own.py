"""Recurrences of a user's own, found by their names in the entry point group offbeat.recurrences.

Never lets an error of theirs out as anything but a ScheduleError, nor an answer that breaks the rules of a recurrence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

from offbeat.core.model import DueTime, Json
from offbeat.core.recurrences.rule import Recurrence, refusal, shown
from offbeat.errors import ScheduleError

GROUP = "offbeat.recurrences"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
T = TypeVar("T")
Factory = Callable[[Mapping[str, Json], str], Recurrence]


class OwnRecurrence:
    """A recurrence of somebody else's, watched: what it raises, or answers wrongly, is a ScheduleError S168."""

    __slots__ = ("_inner", "_name")

    def __init__(self, name: str, inner: Recurrence) -> None:
        self._name = name
        self._inner = inner

    def next_after(self, after: DueTime) -> DueTime | None:
        """Return the first due time > after, None when there is none."""
        due = self._ask(lambda: self._inner.next_after(after))
        if due is not None and not (_is_whole(due) and due > after):
            raise self._broken(f"next_after({after}) returned {due!r:.40}")
        return due

    def due_times(self, after: DueTime, until: DueTime) -> Iterator[DueTime]:
        """Yield the due times in (after, until], strictly increasing."""
        newest = after
        inner = self._ask(lambda: iter(self._inner.due_times(after, until)))
        while (due := self._ask(lambda: next(inner, None))) is not None:
            if not (_is_whole(due) and newest < due <= until):
                raise self._broken(f"due_times({after}, {until}) gave {due!r:.40} after {newest}")
            yield due
            newest = due

    def last_at_or_before(self, instant: DueTime) -> DueTime | None:
        """Return the last due time <= instant, None when there is none."""
        due = self._ask(lambda: self._inner.last_at_or_before(instant))
        if due is not None and not (_is_whole(due) and due <= instant):
            raise self._broken(f"last_at_or_before({instant}) returned {due!r:.40}")
        return due

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except Exception as error:
            raise self._broken(f"it raised {_said(error)}") from error

    def _broken(self, what: str) -> ScheduleError:
        return refusal("S168", f'the recurrence kind "{self._name}": {what}', "mend the package that it is from")


def own_text(kind: str, options: Mapping[str, Json]) -> str:
    """Return the resolved text of an own kind with its options.

    >>> own_text("fiscal", {"quarter": 2})
    'own fiscal {"quarter":2}'
    """
    return f"own {kind} {json.dumps(options, sort_keys=True, separators=(',', ':'), allow_nan=False)}"


def compile_own(text: str, zone: str) -> Recurrence:
    """Return the recurrence of what follows "own " in a resolved text.

    Raises: ScheduleError S168 when no installed package has the kind, or it refuses the options.
    """
    kind, _, written = text.partition(" ")
    try:
        options = json.loads(written)
    except ValueError:
        options = None
    if not NAME.fullmatch(kind) or not isinstance(options, dict):
        raise refusal("S109", f'recurrence "own {shown(text)}" is of no known kind', "deploy the schedule again")
    make = _load(kind)
    try:
        inner = make(cast("Mapping[str, Json]", options), zone)
    except ScheduleError:
        raise
    except Exception as error:
        what = f'the recurrence kind "{kind}" refused: {_said(error)}'
        raise refusal("S168", what, f"mend its options: {kind} = {{ ... }}") from error
    return OwnRecurrence(kind, inner)


def _load(kind: str) -> Factory:
    from importlib.metadata import entry_points

    found = tuple(entry_points(group=GROUP, name=kind))
    if not found:
        known = sorted({each.name for each in entry_points(group=GROUP)})
        fix = f"use one of {', '.join(known)}" if known else "install the package that has it beside offbeat"
        raise refusal("S168", f'no installed package has a recurrence kind "{shown(kind)}"', fix)
    try:
        return cast("Factory", found[0].load())
    except Exception as error:
        what = f'the recurrence kind "{shown(kind)}" cannot be imported: {_said(error)}'
        raise refusal("S168", what, f"mend the package that has it: {shown(found[0].value)}") from error


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _said(error: Exception) -> str:
    return shown(" ".join(f"{type(error).__name__}: {error}".split()))
