"""Entries: what a table of [entries.NAME], or a file of a directory, is due by, sends and puts up with.

Never stops at the first problem, and a wrong entry never stops another. [defaults] holds keys of entries for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from offbeat.core.calendars import Calendars
from offbeat.core.model import CatchUp, CommandCall, Entry, Json, Overlap, Policy, TaskCall, Timing
from offbeat.core.routes import queue_of
from offbeat.core.settings import TIME_LIMIT, Directory, Settings, read_zone
from offbeat.core.table import Table, as_json
from offbeat.core.tree import Piece, shown_name
from offbeat.core.whens import EXCLUDING, RECURRENCES, read_instant, read_recurrence, with_exclusions

COMMON = (
    *("timezone", "enabled", "grace", "catch_up", "jitter", "starts_at", "ends_at", "overlap", "max_runtime"),
    *EXCLUDING,
)
OF_TASKS = ("kwargs", "queue", "exchange", "routing_key", "priority", "expires", "headers", "serializer")
OF_COMMANDS = ("time_limit",)
DEFAULTS = (*COMMON, *OF_TASKS, *OF_COMMANDS)
KEYS = (*DEFAULTS, *RECURRENCES, "offset", "task", "command", "args", "description")
LATER = ("after", "seed")
LONGEST_NAME = 500  # characters: a ledger looks entries up by their names, and no index takes pages of text
_HINTS = {
    "schedule": "use cron, every or at",
    "calendar": 'did you mean "except"?',
    "exclude": 'did you mean "except"?',
    "holidays": 'write except = ["holidays:BG"]',
    "after_restore": 'it is of all entries: [ledger] with after_restore = "skip"',
    "options": "write its keys (queue, expires, ...) into the entry itself",
}
HEADERS = frozenset(  # that Celery's protocol 2 uses itself
    (
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
        *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamped_headers", "stamps", "compression"),
        *("replaced_task_nesting", "meth", "periodic_task_name", "delivery_info", "redelivered", "reply_to", "correlation_id"),
    )
)
SERIALIZERS = ("json",)


class _Slot(TypedDict, total=False):
    """Of a policy."""

    overlap: Overlap
    max_runtime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What entries are read with. shared: everybody may write schedule.toml, so its commands are refused."""

    settings: Settings
    calendars: Calendars = Calendars()
    shared: bool = False


def check_defaults(table: Table | None, calendars: Calendars) -> Mapping[str, object]:
    """Return the keys of [defaults] that are right; those that are wrong count for nothing."""
    if table is None:
        return {}
    table.check_keys(DEFAULTS, LATER)
    zone = read_zone(table)
    with_exclusions(table, "every 1 0", zone, seed="", calendars=calendars)
    _policy(table, table.values if "overlap" in table.values else {})
    _span(table, zone)
    _task_options(table, "", routes=(), default_queue="celery")
    table.get("enabled", bool)
    table.seconds("time_limit", 1)
    return {key: value for key, value in table.values.items() if key in DEFAULTS and key not in table.bad}


def read_entry(table: Table, name: str, source: Source) -> Entry | None:
    """Return the entry that a table of schedule.toml says; None, with problems, when anything in it is wrong."""
    table.check_keys(KEYS, LATER, _HINTS)
    _check_name(table, name)
    own, table.values = table.values, {**source.settings.defaults, **table.values}
    zone = _zone(table, source.settings)
    recurrence = read_recurrence(table, zone, name, source.calendars)
    starts_at, ends_at = _span(table, zone)
    enabled = table.get("enabled", bool)
    policy = _policy(table, own)
    call = _command(table, own, source) if "command" in own else _task(table, own, name, source.settings)
    description = table.text("description") or ""
    if table.bad or recurrence is None or call is None:
        return None
    timing = Timing(
        recurrence=recurrence, zone=zone, starts_at=starts_at, ends_at=ends_at, enabled=True if enabled is None else enabled
    )
    return Entry(name=name, timing=timing, call=call, policy=policy, description=description, file=table.file, line=table.line)


def tree_entry(piece: Piece, directory: Directory, source: Source) -> Entry | None:
    """Return the entry of a file of a directory: its directory's time in the tree's zone, the rest from [defaults].

    None when the tree's zone is unknown. Commands of a directory go out together, so a default jitter is for tasks only.
    """
    settings = source.settings
    if settings.timezone is None:
        return None
    table = Table(settings.defaults, ("defaults",), file="", lines={}, problems=[])
    starts_at, ends_at = _span(table, read_zone(table) if "timezone" in table.values else settings.timezone)
    excluding = with_exclusions(
        table, directory.recurrence, settings.timezone, seed=piece.directory, calendars=source.calendars
    )
    timing = Timing(
        recurrence=excluding or directory.recurrence,
        zone=settings.timezone,
        starts_at=starts_at,
        ends_at=ends_at,
        enabled=table.get("enabled", bool) is not False,
    )
    policy = _policy(table, {})
    if piece.task:
        call: TaskCall | CommandCall = _task_options(
            table, settings.task_prefix + piece.file, routes=settings.routes, default_queue=settings.default_queue
        )
    else:
        call = CommandCall(argv=(piece.name,), directory=piece.directory, time_limit=directory.time_limit)
        policy = Policy(catch_up=policy.catch_up, grace=policy.grace)
    return Entry(name=piece.name, timing=timing, call=call, policy=policy, file=piece.path)


def _check_name(table: Table, name: str) -> None:
    if not name.strip() or not name.isprintable():
        table.fail("", "the name is empty or has control characters in it", code="S132", fix="[entries.weekly_report]")
    elif len(name) > LONGEST_NAME:
        what = f"the name has {len(name)} characters, and {LONGEST_NAME} are the most"
        table.fail("", what, code="S132", fix="[entries.weekly_report]")
    elif "/" in name:
        fix = f"[entries.{name.rpartition('/')[2] or 'NAME'}]"
        table.fail("", "a name with a slash in it is a file's of the five directories", code="S132", fix=fix)


def _zone(table: Table, settings: Settings) -> str:
    if "timezone" in table.values:
        return read_zone(table)
    if settings.timezone is None and any(key in table.values for key in ("cron", "at", "rrule", "any", "own", *EXCLUDING)):
        what = 'it has no "timezone" of its own, and the one at the top of the file is no zone'
        table.fail("timezone", what, fix="mend timezone at the top of schedule.toml")
    return settings.timezone or "UTC"


def _span(table: Table, zone: str) -> tuple[int | None, int | None]:
    written = ((key, table.value(key)) for key in ("starts_at", "ends_at"))
    starts_at, ends_at = (None if value is None else read_instant(table, key, value, zone) for key, value in written)
    if starts_at is not None and ends_at is not None and ends_at < starts_at:
        table.fail("ends_at", '"ends_at" is before "starts_at", so it would never be due', fix="swap them")
    return starts_at, ends_at


def _policy(table: Table, own: Mapping[str, object]) -> Policy:
    catch_up = table.get("catch_up", str)
    if catch_up is not None and catch_up not in tuple(CatchUp):
        what = f'"catch_up" is "{shown_name(catch_up[:20])}", and can be "latest", "all" or "none"'
        table.fail("catch_up", what, fix='catch_up = "latest"')
        catch_up = None
    return Policy(
        catch_up=CatchUp(catch_up or "latest"), grace=table.seconds("grace"), **_jitter(table), **_overlap(table, own)
    )


def _overlap(table: Table, own: Mapping[str, object]) -> _Slot:
    """Return the fields of a policy that `overlap` and `max_runtime` say. own: the keys that are not of [defaults]."""
    written = table.get("overlap", str)
    if written is not None and written not in tuple(Overlap):
        what = f'"overlap" is "{shown_name(written[:20])}", and can be "allow", "skip" or "wait"'
        table.fail("overlap", what, fix='overlap = "skip" with max_runtime = "1h"')
        return {}
    overlap, longest = Overlap(written or Overlap.ALLOW), table.seconds("max_runtime", 1)
    if overlap is Overlap.ALLOW:
        if "max_runtime" in own and "max_runtime" not in table.bad:
            what = '"max_runtime" is for overlap = "skip" or "wait", and this overlap is "allow"'
            table.fail("max_runtime", what, code="S133", fix='overlap = "skip", or remove max_runtime')
        return {}
    if longest is None:
        if "max_runtime" not in table.bad:
            what = f'overlap = "{overlap}" needs "max_runtime": how long one may run at most before the next goes ahead anyway'
            table.fail("overlap", what, fix='max_runtime = "1h"')
        return {}
    return {"overlap": overlap, "max_runtime": longest}


def _jitter(table: Table) -> dict[str, int]:
    """Return the fields of a policy that "5m" or "10%" says."""
    value = table.value("jitter")
    if not isinstance(value, str) or not value.rstrip().endswith("%"):
        return {"jitter": table.seconds("jitter") or 0}
    digits = value.rstrip()[:-1].strip()
    if digits.isascii() and digits.isdigit() and 0 <= int(digits[:4]) <= 100:
        return {"jitter_percent": int(digits)}
    what = f'"jitter" {shown_name(value[:20])} is not a whole number of per cent from 0% to 100%'
    table.fail("jitter", what, fix='jitter = "10%"')
    return {}


def _task(table: Table, own: Mapping[str, object], name: str, settings: Settings) -> TaskCall | None:
    if "time_limit" in own:
        table.fail("time_limit", '"time_limit" is for commands, and this is a task', code="S133", fix="set it in the worker")
    task = table.get("task", str)
    if "task" not in own:
        task = settings.task_prefix + name
    if task is None:
        return None
    if not task or not task.isprintable() or any(c.isspace() for c in task):
        what = "is empty" if not task else "has white space or control characters in it"
        table.fail("task", f'the task name "{shown_name(task)}" {what}', code="S148", fix='task = "PACKAGE.tasks.NAME"')
    return _task_options(table, task, routes=settings.routes, default_queue=settings.default_queue)


def _task_options(table: Table, task: str, *, routes: Sequence[tuple[str, str]], default_queue: str) -> TaskCall:
    args, kwargs, headers = table.json("args", list), table.json("kwargs", dict), table.json("headers", dict)
    _check_headers(table, headers or {})
    serializer = table.text("serializer")
    if serializer not in (None, *SERIALIZERS):
        table.not_yet("serializer", f'serializer "{serializer}" is not yet supported', fix='serializer = "json"')
    return TaskCall(
        task=task,
        args=tuple(as_json(each) for each in args or ()),
        kwargs=_json(kwargs),
        queue=table.text("queue") or queue_of(task, routes, default_queue),
        exchange=table.text("exchange") or "",
        routing_key=table.text("routing_key") or "",
        priority=table.whole("priority", 0, 255),
        expires=table.seconds("expires", 1, bare=True),
        headers=_json(headers),
        serializer="json",
    )


def _json(values: Mapping[str, object] | None) -> Mapping[str, Json]:
    return {key: as_json(value) for key, value in (values or {}).items()}


def _check_headers(table: Table, headers: Mapping[str, object]) -> None:
    for key in headers:
        if key.lower().startswith("offbeat_") or key.lower() in HEADERS:
            owner = "offbeat" if key.lower().startswith("offbeat_") else "Celery"
            table.fail("headers", f'the header "{key}" is {owner}\'s own', code="S131", fix=f"rename it: x_{key}")


def _command(table: Table, own: Mapping[str, object], source: Source) -> CommandCall | None:
    for key in own:
        if key in (*OF_TASKS, "args", "task"):
            fix = f"remove {key}, or remove command"
            table.fail(key, f'"{key}" is for tasks, and this is a command', code="S133", fix=fix)
    limit = table.seconds("time_limit", 1) or TIME_LIMIT
    if source.shared:
        table.fail(
            "command",
            "everybody on this machine may write schedule.toml or its folder",
            code="S211",
            why="anybody could have it run what they like, so this command is refused, as cron does; Celery tasks go on",
            fix=f"chmod o-w {table.file} {table.file.rpartition('/')[0]}",
        )
    argv = _argv(table)
    return None if argv is None else CommandCall(argv=argv, time_limit=limit)


def _argv(table: Table) -> tuple[str, ...] | None:
    """Return the words of a command: a text is for the shell, a list is run as it is."""
    value = table.value("command")
    if value is None:
        return None
    written = value if isinstance(value, list) else [value]
    words = [word for word in written if isinstance(word, str)]
    if len(words) < len(written):
        table.wrong_type("command", "text or a list of texts", 'command = "make report"')
        return None
    if not words or not words[0].strip() or any("\0" in word for word in words):
        table.fail("command", '"command" is empty or has a NUL in it', fix='command = "make report"')
        return None
    return tuple(words) if isinstance(value, list) else ("sh", "-c", words[0])
