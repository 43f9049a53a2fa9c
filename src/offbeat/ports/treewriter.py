"""Writing into a cron tree: laying one out, adding a link, appending an entry to schedule.toml.

Never overwrites or reformats what is there: what exists already is a problem, and nothing is written then.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from offbeat.core.listing import SCRIPT, Kind, Text
from offbeat.core.model import DIRECTORIES
from offbeat.core.tree import listed, refused_name
from offbeat.errors import ConfigError, Problem, ScheduleError, Severity
from offbeat.ports.files import PLACES, repository_of, shown
from offbeat.ports.treereader import read_tree

_TEMPLATE = """\
# The schedule of this repository: what the five directories beside this file cannot say.
# `offbeat check` finds what is wrong, `offbeat next` shows when what is due.

project = {project}            # the same on every host: it is part of every occurrence's id
timezone = {zone}
task_prefix = {prefix}  # so a link hourly/search_dates is the task {prefix_text}search_dates
# env_file = ".env"            # addresses and secrets, never committed
# broker_env = "REDIS_URL"     # the variable that has the broker's URL, where it is not OFFBEAT_BROKER or CELERY_BROKER_URL

# [broker]                     # how the workers listen, where it is not Celery's default
# default_queue = "celery"

# [routes]                     # as Celery's task_routes
# "{prefix_text}search_*" = "search"

# [directories]                # when the directories are due, where it is not as here
# hourly = "1 * * * *"
# daily = "2 4 * * *"
# weekly = "22 4 * * 0"
# monthly = "42 4 1 * *"

# [defaults]                   # for every entry
# expires = "1h"

# [entries.weekly_report]      # the task task_prefix + "weekly_report"
# cron = "30 4 * * mon"

# [entries.search_dates]
# every = "45m"                # exact: anchored to the epoch, so restarts never shift it
# kwargs = {{ full = true }}
# jitter = "5m"
# grace = "2h"

# [calendars]                  # days off, by name
# closed = ["2026-12-24/2027-01-01", "* * * * sat,sun"]

# [entries.invoices]           # beside cron, every and at there are solar, rrule (RFC 5545) and any
# rrule = "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9"
# except = ["closed"]

# [entries.street_lights]
# solar = {{ event = "sunset", latitude = 42.7, longitude = 23.3 }}  # pip install astral
"""


def script_text() -> str:
    """Return the multi-call script `run_celery_task`."""
    return Path(__file__).with_name("run_celery_task.sh").read_text("utf-8")


def init_tree(root: Path, project: str, *, zone: str = "UTC", task_prefix: str = "") -> tuple[Path, ...]:
    """Lay out cron/ in the repository at `root`; return what was written, relative to it.

    task_prefix: the module of the tasks and a dot; "" guesses it from the project's name.
    Raises: ConfigError when anything is in the way; then nothing is written.
    """
    tree = root / "cron"
    prefix = task_prefix or "".join(c if c.isalnum() and c.isascii() else "_" for c in project) + ".tasks."
    schedule = _TEMPLATE.format(project=_format(project), zone=_format(zone), prefix=_format(prefix), prefix_text=prefix)
    texts = {tree / name / ".gitignore": "" for name in DIRECTORIES}
    texts |= {tree / "tasks" / SCRIPT: script_text(), tree / "schedule.toml": schedule}
    in_the_way = [path for path in (*texts, root / PLACES[1]) if os.path.lexists(path)]
    if in_the_way:
        raise ConfigError(_in_the_way([path.relative_to(root) for path in in_the_way]))
    with _telling(tree, root):
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path, text, mode=0o755 if path.name == SCRIPT else 0o644)
    return tuple(path.relative_to(root) for path in texts)


def _in_the_way(paths: Sequence[Path]) -> Problem:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return Problem(
        code="C120",
        file=str(paths[-1]),
        what=f'"{paths[-1]}"{more} of what would be written {"are" if more else "is"} there already',
        why="offbeat init overwrites nothing, so nothing was written",
        fix="use the tree that is there: offbeat check; or move it away first",
    )


@contextmanager
def _telling(path: Path, root: Path) -> Iterator[None]:
    """Turn what the file system says into a problem at `path`."""
    try:
        yield
    except OSError as error:
        problem = Problem(
            code="C124",
            file=os.path.relpath(path, root),
            what=f"it cannot be written here: {error.strerror}",
            why="what could not be written is not in the schedule",
            fix=f"give this user the right to write in {path.parent}, and room",
        )
        raise ConfigError(problem) from error


def _create(path: Path, text: str, *, mode: int) -> None:
    """Write a new file with exactly these permissions, less what the umask takes from others' writing."""
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)


def add_link(tree: Path, directory: str, name: str) -> tuple[Path, ...]:
    """Link `name` in a directory to the script, which is written where it is missing; return what was written.

    Returns: paths relative to the repository's root.
    Raises: ConfigError when the name cannot run or is taken, or when the file system has no links.
    """
    with _one_at_a_time(tree):
        return _add_link(tree, directory, name)


def _add_link(tree: Path, directory: str, name: str) -> tuple[Path, ...]:
    problem = _cannot_link(tree, directory, name)
    if problem is not None:
        raise ConfigError(problem)
    link, script = tree / directory / name, tree / "tasks" / SCRIPT
    written = [link]
    with _telling(script, repository_of(tree)):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(script):
            script.parent.mkdir(exist_ok=True)
            _create(script, script_text(), mode=0o755)
            written.append(script)
    try:
        link.symlink_to(f"../tasks/{SCRIPT}")
    except OSError as error:
        raise ConfigError(_no_links(link, tree, error)) from error
    return tuple(path.relative_to(repository_of(tree)) for path in written)


def _refused(code: str, what: str, fix: str, file: str = "") -> Problem:
    return Problem(code=code, file=file, what=what, why="nothing was written", fix=fix)


def _cannot_link(tree: Path, directory: str, name: str) -> Problem | None:
    if directory not in DIRECTORIES:
        fix = f"use one of {', '.join(DIRECTORIES)}, or offbeat add NAME --every 45m"
        return _refused("C121", f'"{directory}" is none of the five directories', fix)
    odd = "is not the name of a file" if "/" in name or not name else refused_name(name)
    odd = "is the script's own" if name == SCRIPT else odd
    if odd:
        return _refused("C121", f'the name "{name}" {odd}', "use letters, digits and _, as in the task's own name")
    for found in read_tree(tree).directories:
        if any(file.name == name for file in found.files):
            path = f"{found.path}/{name}"
            return _refused("C122", f'"{name}" is there already', f"git rm {path}, or leave it", path)
        if found.name == directory and found.kind is Kind.DIRECTORY and not listed(name, found):
            fix = f"echo {name} >> {found.path}/jobs.allow; and see that jobs.deny does not name it"
            return _refused("C123", f'jobs.allow or jobs.deny keeps "{name}" from running', fix, found.path)
    if name in _entries(tree):
        fix = f"remove {heading(name)}, or leave it"
        return _refused("C122", f'an entry "{name}" is there already', fix, f"{shown(tree)}/schedule.toml")
    return None


def _entries(tree: Path) -> Mapping[str, object]:
    from tomllib import loads

    try:
        entries = loads((tree / "schedule.toml").read_text("utf-8-sig")).get("entries", {})
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _no_links(link: Path, tree: Path, error: OSError) -> Problem:
    return Problem(
        code="C124",
        file=f"{shown(tree)}/{link.parent.name}/{link.name}",
        what=f"no link can be made here: {error.strerror}",
        why="a link in a directory is how a task is scheduled there, so nothing was added",
        fix=f"declare it in schedule.toml: offbeat add {link.name} --cron '1 * * * *'",
    )


def add_entry(tree: Path, name: str, fields: Mapping[str, object]) -> Path:
    """Append [entries.NAME] to schedule.toml, and leave every other byte of it as it is; return its path.

    The new entry is parsed first: nothing is written when it has a problem, or when the file has none to append to.
    Returns: the path relative to the repository's root.
    Raises: ScheduleError with the problems; ConfigError when the name is taken.
    """
    with _one_at_a_time(tree):
        return _add_entry(tree, name, fields)


@contextmanager
def _one_at_a_time(tree: Path) -> Iterator[None]:
    """Hold the tree's folder against every other writer of ours, or the one that reads first would undo what the other adds."""
    import fcntl

    with _telling(tree, repository_of(tree)):
        folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks: then as with any editor
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _add_entry(tree: Path, name: str, fields: Mapping[str, object]) -> Path:
    from offbeat.core.parse import parse
    from offbeat.core.passwords import masked

    files = read_tree(tree)
    before = files.schedule
    if before.kind is Kind.MISSING:
        before = Text(path=before.path, kind=Kind.FILE)
    if nulls := [place for key, value in fields.items() for place in _nulls(value, key)]:
        raise ScheduleError(*(_null(name, place, before.path) for place in nulls))
    text = _appended(before.content, name, fields)
    old, problems = parse(replace(files, schedule=before), {})
    if old is None:
        raise ScheduleError(*(p for p in problems if p.severity is Severity.ERROR))
    there = next((entry.file for entry in old.entries if entry.name == name), before.path if name in _entries(tree) else "")
    if there:
        fix = "change the one that is there, or use another name"
        raise ConfigError(_refused("C122", f'an entry "{name}" is there already', fix, there))
    new, problems = parse(replace(files, schedule=replace(before, content=text)), {})
    wrong = [p for p in problems if p.severity is Severity.ERROR and (new is None or p.entry == masked(name))]
    if wrong or new is None:
        raise ScheduleError(*(replace(p, why="nothing was written", line=0) for p in wrong))
    with _telling(tree / "schedule.toml", repository_of(tree)):
        _replace(tree / "schedule.toml", text)
    return Path(before.path)


def heading(name: str) -> str:
    """Return the line that begins an entry in schedule.toml.

    >>> heading("report"), heading("a.b")
    ('[entries.report]', '[entries."a.b"]')
    """
    return f"[entries.{_format_key(name)}]"


def _nulls(value: object, place: str) -> Iterator[str]:
    """Yield where in a value null is: `kwargs.days[0]`."""
    if value is None:
        yield place
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nulls(inner, f"{place}.{key}")
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for number, inner in enumerate(value):
            yield from _nulls(inner, f"{place}[{number}]")


def _null(name: str, place: str, file: str) -> Problem:
    fix = f'leave {place} out, so that the task\'s own default counts, or write "" or 0 and let the task read it as nothing'
    problem = _refused("S149", f'entry "{name}": "{place}" is null, which TOML cannot carry', fix, file)
    return replace(problem, entry=name)


def _appended(content: bytes, name: str, fields: Mapping[str, object]) -> bytes:
    lines = [heading(name), *(f"{_format_key(key)} = {_format(value)}" for key, value in fields.items())]
    newline = "\r\n" if b"\r\n" in content else "\n"
    gap = "" if not content else newline if content.endswith(b"\n") else newline * 2
    return content + (gap + newline.join(lines) + newline).encode()


def _format_key(key: str) -> str:
    return key if key and all(c.isalnum() and c.isascii() or c in "-_" for c in key) else _format(key)


def _format(value: object) -> str:
    """Return a value as TOML.

    >>> _format({"full": True, "days": [1, "two"]})
    '{ full = true, days = [1, "two"] }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_format_key(key)} = {_format(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"[{', '.join(_format(inner) for inner in value)}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text) + '"'


def _replace(path: Path, content: bytes) -> None:
    """Put a whole new file in the place of the old one, with its permissions; a link to it stays a link."""
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    mode = modes.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    try:
        with draft.open("xb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
