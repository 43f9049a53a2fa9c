"""The top of schedule.toml: project, zone, prefix, [broker], [ledger], [routes], [directories] and [defaults].

Never reads an entry. What is wrong with one key counts for that key; without project, prefix or queue no entry means anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from offbeat.core.model import DIRECTORIES, AfterRestore, BrokerSettings, Json, LedgerSettings
from offbeat.core.recurrences.cron import cron_warnings
from offbeat.core.recurrences.recurrence import cron_text
from offbeat.core.recurrences.zones import is_zone, zone_problem
from offbeat.core.table import Table, as_json
from offbeat.core.transitions import KEPT_BEHIND
from offbeat.core.tree import shown_name
from offbeat.errors import Problem, Severity

TOP = (
    *("project", "timezone", "task_prefix", "env_file", "broker_env", "broker", "routes", "defaults", "calendars"),
    *("directories", "ledger", "entries"),
)
NOT_YET = ("queues", "exchanges", "declare")  # of [broker]
LATER = ("rules_version",)
BROKER = ("default_queue", "transport_options", "ssl")
LEDGER = ("keep", "keep_rows", "keep_bytes", "after_restore")
SIZE = r"([0-9]{1,15})\s*([kKMGT]i?)?B"  # of keep_bytes; GB is of 1000 MB, GiB of 1024 MiB
_MOST = 1 << 60  # rows or bytes
FEWEST_ROWS, FEWEST_BYTES = 1000, 1_000_000  # a week of a small schedule; an empty ledger
TIMES = {  # what Red Hat's crontab used
    "minutely": "* * * * *",
    "hourly": "1 * * * *",
    "daily": "2 4 * * *",
    "weekly": "22 4 * * 0",
    "monthly": "42 4 1 * *",
}
TIME_LIMIT = 1200  # seconds; OpenShift's, there for a whole directory
_ADDRESS = "name the variable that has the address: broker_env, or set OFFBEAT_BROKER"
_HINTS = {"url": _ADDRESS, "broker_url": _ADDRESS, "entry": 'did you mean "entries"?', "tz": 'did you mean "timezone"?'}
_LEDGER_HINTS = {
    "retention": 'write [ledger] with keep = "90d"',
    **{key: f"write it into [ledger]: {key} = ..." for key in LEDGER},
}
_HARMLESS = {"url", "broker_url", *NOT_YET}  # keys of [broker] without which messages go the same way
_VITAL = "every entry depends on it, so the whole file is refused; the last good schedule stays in force"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """When a directory's files are due (resolved text) and how long each command may take, in seconds."""

    recurrence: str
    time_limit: int = TIME_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is common to all entries. timezone: None when what the file says is no zone. directories: without unusable ones."""

    project: str
    timezone: str | None
    task_prefix: str
    default_queue: str
    routes: tuple[tuple[str, str], ...]
    broker: BrokerSettings
    ledger: LedgerSettings = LedgerSettings()
    directories: Mapping[str, Directory]
    defaults: Mapping[str, object] = field(default_factory=dict)


def read_settings(top: Table, environ: Mapping[str, str]) -> Settings | None:
    """Return the settings; None, with problems, when a key is unusable that every entry depends on."""
    top.check_keys(TOP, LATER, {**_HINTS, **_LEDGER_HINTS})
    top.so.update(dict.fromkeys(("project", "task_prefix", "broker", "routes"), _VITAL))
    project = _project(top, environ)
    zone = read_zone(top)
    prefix = _prefix(top)
    broker = top.table("broker")
    if broker:
        broker.so.update({key: _VITAL for key in broker.values if key not in _HARMLESS})
    default_queue = broker.text("default_queue") if broker else None
    routes = _routes(top.table("routes"), top)
    settings = _broker(top, broker)
    directories = _directories(top.table("directories"), zone)
    ledger = _ledger(top.table("ledger"))
    if top.bad & {"project", "task_prefix", "broker", "routes"} or (broker and broker.bad - _HARMLESS):
        return None
    return Settings(
        project=project,
        timezone=None if "timezone" in top.bad else zone,
        task_prefix=prefix,
        default_queue=default_queue or "celery",
        routes=routes,
        broker=settings,
        ledger=ledger,
        directories=directories,
    )


def _project(top: Table, environ: Mapping[str, str]) -> str:
    written = top.text("project")
    project = environ.get("OFFBEAT_PROJECT") or written or environ.get("OPENSHIFT_APP_NAME")
    if project:
        return project
    if "project" not in top.bad:
        problem = Problem(
            code="C104",
            what='the project has no name, so it is called "default"',
            why="the name is part of every occurrence's id, and tells projects apart that share a ledger or a broker",
            fix='put project = "NAME" at the top of schedule.toml, or set OFFBEAT_PROJECT',
            severity=Severity.WARNING,
        )
        top.add("project", problem)
    return "default"


def read_zone(table: Table) -> str:
    """Return the zone that a table names, "UTC" where it names none or, with a problem, something else."""
    name = table.get("timezone", str)
    if name is None or is_zone(name):
        return name or "UTC"
    table.adopt("timezone", [zone_problem(name)])
    return "UTC"


def _prefix(top: Table) -> str:
    prefix = top.get("task_prefix", str) or ""
    if prefix and (not prefix.isprintable() or any(c.isspace() for c in prefix)):
        what = '"task_prefix" has white space or control characters in it'
        top.fail("task_prefix", what, fix='task_prefix = "PACKAGE.tasks."')
    elif prefix and not prefix.endswith("."):
        top.warn(
            "task_prefix",
            f'"task_prefix" "{prefix}" does not end in a dot',
            code="S133",
            why=f'the task of a link "search_dates" is "{prefix}search_dates"',
            fix=f'task_prefix = "{prefix}."',
        )
    return prefix


def _routes(table: Table | None, top: Table) -> tuple[tuple[str, str], ...]:
    if table is None:
        return ()
    table.so[""] = _VITAL
    routes: list[tuple[str, str]] = []
    for pattern, value in table.values.items():
        if table.find_passwords(pattern):
            top.bad.add("routes")
            continue
        if isinstance(value, dict):
            inner = table.table(pattern)
            assert inner is not None
            inner.so[""] = _VITAL
            inner.check_keys(("queue",), ("exchange", "routing_key", "priority", "serializer"))
            queue = inner.text("queue")
            if "queue" not in value:
                inner.fail("", "the route names no queue", fix=f'"{pattern}" = "QUEUE"')
        else:
            inner, queue = table, table.text(pattern)
        if inner.bad or not queue:
            top.bad.add("routes")
        else:
            routes.append((pattern, queue))
    return tuple(routes)


def _broker(top: Table, broker: Table | None) -> BrokerSettings:
    env_file = top.text("env_file") or ""
    variable = top.text("broker_env") or ""
    if variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        if "broker_env" not in top.bad:
            top.fail("broker_env", '"broker_env" is not the name of a variable', fix='broker_env = "REDIS_URL"')
        variable = ""
    options: Mapping[str, Json] = {}
    ssl: Mapping[str, Json] | bool = False
    if broker is not None:
        broker.check_keys(BROKER, NOT_YET, _HINTS)
        options = _json_table(broker, "transport_options")
        prefix = options.get("global_keyprefix", "")
        if not isinstance(prefix, str):
            broker.fail("transport_options", '"global_keyprefix" is not text', code="S144", fix='global_keyprefix = "difio:"')
            options = {}
        ssl = _json_table(broker, "ssl") if isinstance(broker.values.get("ssl"), dict) else bool(broker.get("ssl", bool))
    return BrokerSettings(broker_env=variable, env_file=env_file, transport_options=options, ssl=ssl)


def _ledger(table: Table | None) -> LedgerSettings:
    """Return what [ledger] says; a key that is wrong counts for nothing."""
    default = LedgerSettings()
    if table is None:
        return default
    table.check_keys(LEDGER, (), {"retention": 'keep = "90d"', "max_age": 'keep = "90d"'})
    after = table.get("after_restore", str)
    if after is not None and after not in tuple(AfterRestore):
        what = f'"after_restore" is "{shown_name(after[:20])}", and can be "skip" or "send"'
        table.fail("after_restore", what, fix='after_restore = "skip"')
        after = None
    return LedgerSettings(
        keep_seconds=_keep(table) or default.keep_seconds,
        keep_rows=_at_least(table, "keep_rows", FEWEST_ROWS, _whole(table, "keep_rows", "100000")),
        keep_bytes=_at_least(table, "keep_bytes", FEWEST_BYTES, _size(table, "keep_bytes")),
        after_restore=AfterRestore(after or default.after_restore),
    )


def _keep(table: Table) -> int | None:
    """Return for how long settled rows stay, in seconds. What is wrong with it has nothing to do with due times."""
    before = len(table.problems)
    seconds = table.seconds("keep", 1)
    written = str(table.values.get("keep", "")).strip()
    days = written if written.isdecimal() and written.isascii() and 0 < int(written[:6]) < 36_500 else "90"
    for at in range(before, len(table.problems)):
        fix = f'keep = "{days}d", with its unit, from "1w" on'
        table.problems[at] = replace(table.problems[at], why=table.consequence("keep"), fix=fix)
    return _at_least(table, "keep", KEPT_BEHIND, seconds)


def _at_least(table: Table, key: str, least: int, value: int | None) -> int | None:
    """Return the value; warn of one that is less than what stays anyway."""
    if value is not None and value < least:
        what = f'"{key}" is less than what stays whatever is said: the last week, and a week before anything undecided'
        fix = {"keep": 'keep = "90d"', "keep_rows": "keep_rows = 100000", "keep_bytes": 'keep_bytes = "1GB"'}[key]
        table.warn(key, what, code="S172", why="nothing of that goes, so the ledger is larger than this", fix=fix)
    return value


def _whole(table: Table, key: str, usual: str) -> int | None:
    """Return a whole number from 1 on. usual: what to write for one that is less."""
    value = table.value(key)
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        table.fail(key, f'"{key}" {value} is less than 1', fix=f"{key} = {usual}, or leave {key} out: then nothing goes for it")
        return None
    return table.whole(key, 1, _MOST)


def _size(table: Table, key: str) -> int | None:
    """Return a number of bytes: "1GB", "500 MiB", or a whole number."""
    value = table.value(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return _whole(table, key, '"1GB"')
    if not isinstance(value, str):
        table.wrong_type(key, 'a size like "1GB", or a whole number of bytes', f'{key} = "1GB"')
        return None
    found = re.fullmatch(SIZE, value.strip(), re.ASCII)
    unit = (found[2] or "").upper() if found else ""
    size = int(found[1]) * (1024 if unit.endswith("I") else 1000) ** " KMGT".index(unit[:1] or " ") if found else 0
    if 1 <= size <= _MOST:
        return size
    table.fail(key, f'"{key}" "{shown_name(value[:40])}" is not a size', fix=f'{key} = "1GB", "500MB" or "2GiB"')
    return None


def _json_table(table: Table, key: str) -> Mapping[str, Json]:
    values = table.json(key, dict)
    return {name: as_json(value) for name, value in (values or {}).items()}


def _directories(table: Table | None, zone: str) -> Mapping[str, Directory]:
    """Return when each directory is due; one whose time is wrong is left out."""
    result = {name: Directory(recurrence=cron_text(text, zone="UTC")) for name, text in TIMES.items()}
    if table is None:
        return result
    table.check_keys(DIRECTORIES)
    for name in DIRECTORIES:
        if name in table.values:
            table.so[name] = f"no file of {name}/ is loaded; the other directories are"
            found = _directory(table, name, zone)
            if found:
                result[name] = found
            else:
                del result[name]
    return result


def _directory(table: Table, name: str, zone: str) -> Directory | None:
    inner, key, limit = table, name, TIME_LIMIT
    if isinstance(table.values[name], dict):
        inner, key = table.table(name) or table, "cron"
        inner.so[""] = table.so[name]
        inner.check_keys(("cron", "time_limit"))
        limit = inner.seconds("time_limit", 1) or TIME_LIMIT
        if "cron" not in inner.values:
            return None if inner.bad else Directory(recurrence=cron_text(TIMES[name], zone="UTC"), time_limit=limit)
    recurrence = read_cron(inner, key, zone, name)
    if recurrence is None or (inner is not table and inner.bad):
        return None
    return Directory(recurrence=recurrence, time_limit=limit)


def read_cron(table: Table, key: str, zone: str, seed: str = "") -> str | None:
    """Return the resolved text of a cron expression, its problems and warnings added; None when it is wrong.

    seed: what `H` and `~` are resolved by.
    """
    expression = table.get(key, str)
    if expression is None:
        return None
    text = table.attempt(key, lambda: cron_text(expression, zone=zone, seed=seed))
    if text is not None:
        table.adopt(key, cron_warnings(expression, seed=seed))
    return text
