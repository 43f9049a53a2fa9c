"""Parsing: a tree as it was found to the schedule it says, and all of its problems at once.

Never touches the world. One wrong entry never stops another; a file that cannot be read as TOML is refused whole.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from offbeat.core.calendars import read_calendars
from offbeat.core.entries import Source, check_defaults, read_entry, tree_entry
from offbeat.core.identity import fingerprint
from offbeat.core.lines import key_lines
from offbeat.core.listing import Kind, Text, TreeFiles
from offbeat.core.model import Entry, Schedule
from offbeat.core.passwords import has_password, masked
from offbeat.core.serial import canonical_text, format_problem_json
from offbeat.core.settings import read_settings
from offbeat.core.table import Table
from offbeat.core.tree import odd_kind, pieces, shown_name
from offbeat.errors import Problem, Severity

__all__ = ["format_problem_json", "parse"]

LONGEST_HEADING = 80  # characters of a heading that are repeated
_REFUSED = "the whole file is refused, because nobody can tell what it says; the last good schedule stays in force"


def parse(files: TreeFiles, environ: Mapping[str, str]) -> tuple[Schedule | None, tuple[Problem, ...]]:
    """Return the schedule of a tree and all of its problems; no schedule when schedule.toml is refused whole.

    environ: only OFFBEAT_PROJECT and OPENSHIFT_APP_NAME are looked at.
    Returns: entries sorted by name; problems errors first, by place, without any password in them.
    """
    problems: list[Problem] = []
    try:
        schedule = _parse(files, environ, problems)
    except RecursionError:  # lists in lists, just short of what tomllib itself refuses
        schedule, problems = None, [_syntax_problem(files.schedule.path, "", "it is nested too deeply")]
    return schedule, tuple(_presentable(problems))


def _parse(files: TreeFiles, environ: Mapping[str, str], problems: list[Problem]) -> Schedule | None:
    top = _read_top(files.schedule, problems)
    settings = read_settings(top, environ) if top is not None else None
    if top is None or settings is None:
        return None
    calendars = read_calendars(top, settings.timezone or "UTC", files.calendars)
    settings = dataclasses.replace(settings, defaults=check_defaults(top.table("defaults"), calendars))
    source = Source(settings=settings, calendars=calendars, shared=files.shared or files.schedule.shared)
    entries = {entry.name: entry for entry in _tree_entries(files, source, problems)}
    for entry in _file_entries(top, source):
        if entry.name in entries:
            problems.append(_twice(entry, entries[entry.name]))
        else:
            entries[entry.name] = entry
    schedule = Schedule(
        project=settings.project,
        timezone=settings.timezone or "UTC",
        entries=tuple(sorted(entries.values(), key=lambda entry: entry.name)),
        task_prefix=settings.task_prefix,
        default_queue=settings.default_queue,
        routes=settings.routes,
        broker=settings.broker,
        ledger=settings.ledger,
    )
    return dataclasses.replace(schedule, digest=fingerprint(canonical_text(schedule).encode()))


def _read_top(text: Text, problems: list[Problem]) -> Table | None:
    """Return the top table of schedule.toml, an empty one when there is no such file; None when it is refused."""
    if text.kind not in (Kind.FILE, Kind.MISSING):
        problems.append(odd_kind(text.path, text.kind, wanted="file", why=_REFUSED))
        return None
    try:
        content = text.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.content.count(b"\n", 0, error.start) + 1
        fix = f"save it as UTF-8: iconv -f LATIN1 -t UTF-8 {text.path}"
        what = f"byte {error.start + 1} is not UTF-8"
        problems.append(Problem(code="S141", file=text.path, line=line, what=what, why=_REFUSED, fix=fix))
        return None
    from tomllib import TOMLDecodeError, loads

    try:
        values = loads(content)
    except (TOMLDecodeError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        problems.append(_syntax_problem(text.path, content, said))
        return None
    except ValueError:  # of int(), which tomllib lets through
        found = re.search(r"(?:\d_?){4301}", content)
        line = content.count("\n", 0, found.start()) + 1 if found else 1
        said = f"a whole number has more than 4300 digits (at line {line}, column 1)"
        problems.append(_syntax_problem(text.path, content, said))
        return None
    return Table(values, (), file=text.path, lines=key_lines(content), problems=problems)


def _syntax_problem(path: str, content: str, said: str) -> Problem:
    """Turn tomllib's words, "Expected X (at line 3, column 5)", into a problem at that line."""
    place = re.search(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)\Z", said)
    words = said[: place.start()] if place else said
    line = int(place[1]) if place and place[1] else content.count("\n") + (not content.endswith("\n")) if place else 0
    column = f", column {place[2]}" if place and place[2] else ""
    what = f"this is not TOML: {words[:1].lower()}{words[1:]}{column}"
    fix = f'mend {f"line {line}" if line else "it"}; a line is [TABLE] or KEY = VALUE, and text is in "quotes"'
    if words.startswith("Cannot declare ") and words.endswith(" twice"):  # then come the table's names, as Python writes them
        lines = content.split("\n")
        heading = lines[line - 1].partition("#")[0].strip() if 0 < line <= len(lines) else "a table"
        what, fix = f"{shown_name(heading[:LONGEST_HEADING])} is there twice", "merge the two, or give one of them another name"
    return Problem(code="S140", file=path, line=line, what=what, why=_REFUSED, fix=fix)


def _tree_entries(files: TreeFiles, source: Source, problems: list[Problem]) -> Iterable[Entry]:
    settings = source.settings
    found, odd = pieces(files, linked=bool(settings.task_prefix))
    problems += odd
    for piece in found:
        directory = settings.directories.get(piece.directory)
        entry = tree_entry(piece, directory, source) if directory is not None else None
        if entry is not None:
            yield entry


def _file_entries(top: Table, source: Source) -> Iterable[Entry]:
    table = top.table("entries")
    for name in table.values if table is not None else ():
        assert table is not None
        table.so[name] = "the entry is not loaded; the others are"
        if has_password(name):
            table.tell_password(name, "the name of an entry has a password in it")
            continue
        inner = table.table(name)
        entry = read_entry(inner, name, source) if inner is not None else None
        if entry is not None:
            yield entry


def _twice(entry: Entry, first: Entry) -> Problem:
    return Problem(
        code="S146",
        file=entry.file,
        line=entry.line,
        what=f'entry "{entry.name}" is a link in the tree too: {first.file}',
        why="a name is one entry: the link counts, the entry of this file is not loaded",
        fix=f"git rm {first.file}, or give this entry another name and task = ...",
        entry=entry.name,
    )


def _presentable(problems: Iterable[Problem]) -> list[Problem]:
    """Return each problem once, errors first, by file and line, without any password."""
    clean = dict.fromkeys(
        dataclasses.replace(each, what=masked(each.what), why=masked(each.why), fix=masked(each.fix), entry=masked(each.entry))
        for each in problems
    )
    return sorted(clean, key=lambda p: (p.severity is Severity.WARNING, p.file, p.line))
