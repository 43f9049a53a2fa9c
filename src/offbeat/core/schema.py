"""The JSON Schema of schedule.toml, for editors: of the same lists of keys, kinds and words that the parser reads by.

Never reads a schedule. What it lets through, the parser may still refuse (a zone that is none); what it refuses, it does too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from offbeat.core import entries, settings, whens
from offbeat.core.model import DIRECTORIES, AfterRestore, CatchUp, Overlap
from offbeat.core.recurrences.composite import Workday
from offbeat.core.recurrences.solar import ALIASES, EVENTS

Fragment = Mapping[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
_DURATION = r"^\s*([0-9]+\s*w\s*)?([0-9]+\s*d\s*)?([0-9]+\s*h\s*)?([0-9]+\s*m\s*)?([0-9]+\s*s\s*)?$"
_TEXT: Fragment = {"type": "string", "minLength": 1}
_TRUTH: Fragment = {"type": "boolean"}
_TABLE: Fragment = {"type": "object"}
_LENGTH: Fragment = {"type": "string", "pattern": _DURATION, "minLength": 1}
_SPAN: Fragment = {"anyOf": [_LENGTH, {"enum": [0, "0"]}]}
_SECONDS: Fragment = {"anyOf": [_LENGTH, {"type": "integer", "minimum": 1}]}
_CRON: Fragment = {"type": "string", "minLength": 1, "examples": ["30 4 * * mon", "H 4 * * *", "@daily"]}
_INSTANT: Fragment = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?$"}
_DAY = r"^([Ss][Uu][Nn]|[Mm][Oo][Nn]|[Tt][Uu][Ee]|[Ww][Ee][Dd]|[Tt][Hh][Uu]|[Ff][Rr][Ii]|[Ss][Aa][Tt])"
_ITEMS: Fragment = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_SPREAD: Fragment = {"anyOf": [*_SPAN["anyOf"], {"type": "string", "pattern": r"^\s*([0-9]{1,2}|100)\s*%\s*$"}]}

SOLAR: Mapping[str, Fragment] = {
    "event": {"enum": sorted([*EVENTS, *ALIASES])},
    "latitude": {"type": "number", "minimum": -90, "maximum": 90},
    "longitude": {"type": "number", "minimum": -180, "maximum": 180},
    "offset": {"type": "string", "pattern": rf"^[+-]?(0$|{_DURATION[1:]})", "minLength": 1},
}
RECURRING: Mapping[str, tuple[str, Fragment]] = {
    "cron": ("when it is due, as cron says it: five, six or seven fields, or a nickname", _CRON),
    "every": ("an interval, anchored to the epoch", _LENGTH),
    "at": ("one instant, or a list of them", {"anyOf": [_INSTANT, {"type": "array", "items": _INSTANT, "minItems": 1}]}),
    "solar": ("an event of the sun at a place", {"type": "object"}),
    "rrule": ("a rule of RFC 5545", _TEXT),
    "any": ("several recurrences: due when any of them is", {"type": "array", "minItems": 1, "maxItems": whens.MOST_MEMBERS}),
    "own": (
        "a kind that an installed package brings, and its options",
        {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}}},
    ),
    "offset": ("shifts an `every`", _SPAN),
}
OF_ENTRIES: Mapping[str, tuple[str, Fragment]] = {
    "timezone": ("the zone that its times are read in", _TEXT),
    "enabled": ("false: its due times are skipped", _TRUTH),
    "grace": ("how late it may still go out, from its send time", _SPAN),
    "catch_up": ("what becomes of due times that passed while nothing ran", {"enum": [str(each) for each in CatchUp]}),
    "jitter": (
        "at most so much later, by a hash: a duration, or a percentage of the gap",
        _SPREAD,
    ),
    "starts_at": ("only due times from here count", _INSTANT),
    "ends_at": ("only due times up to here count", _INSTANT),
    "overlap": ("what happens while the one before still runs", {"enum": [str(each) for each in Overlap]}),
    "max_runtime": ("with overlap skip or wait: after which the one before counts as ended", _LENGTH),
    "except": ("days off: dates, ranges, cron by the day, holidays:BG, calendars, .ics files", _ITEMS),
    "workday": ("what becomes of a due time on a day off", {"enum": [str(each) for each in Workday]}),
    "weekend": ("days of the week that are off, with workday", {"type": "array", "items": {"type": "string", "pattern": _DAY}}),
    "kwargs": ("arguments by name", _TABLE),
    "queue": ("the queue, where routes do not say it", _TEXT),
    "exchange": ("the exchange, where a queue is not enough", _TEXT),
    "routing_key": ("the routing key, where a queue is not enough", _TEXT),
    "priority": ("of the message", {"type": "integer", "minimum": 0, "maximum": 255}),
    "expires": ("from the first publication; then a worker drops it; a number is one of seconds, as in Celery", _SECONDS),
    "headers": ("of your own", _TABLE),
    "serializer": ("of the message", {"enum": list(entries.SERIALIZERS)}),
    "time_limit": ("of a command", _LENGTH),
    "task": ("the task's full name", {"type": "string", "minLength": 1, "pattern": r"^\S+$"}),
    "command": (
        "a command instead of a task",
        {"anyOf": [_TEXT, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
    "args": ("arguments by position", {"type": "array"}),
    "description": ("for people", _TEXT),
    **RECURRING,
}
OF_BROKER: Mapping[str, tuple[str, Fragment]] = {
    "default_queue": ("as Celery's task_default_queue", _TEXT),
    "transport_options": ("as Celery's broker_transport_options", _TABLE),
    "ssl": ("true, or kombu's options", {"type": ["boolean", "object"]}),
}
_SIZE: Fragment = {"anyOf": [{"type": "string", "pattern": rf"^\s*{settings.SIZE}\s*$"}, {"type": "integer", "minimum": 1}]}
OF_LEDGER: Mapping[str, tuple[str, Fragment]] = {
    "keep": ("how long settled occurrences are kept", _LENGTH),
    "keep_rows": ("how many at most", {"type": "integer", "minimum": 1}),
    "keep_bytes": ("how large the ledger may grow, as it measures itself", _SIZE),
    "after_restore": (
        "what becomes of the time that a restored ledger has forgotten",
        {"enum": [str(each) for each in AfterRestore]},
    ),
}
_NAMED_QUEUE: Fragment = {
    "anyOf": [_TEXT, {"type": "object", "properties": {"queue": _TEXT}, "required": ["queue"], "additionalProperties": False}]
}
_DIRECTORY: Fragment = {
    "anyOf": [_CRON, {"type": "object", "properties": {"cron": _CRON, "time_limit": _LENGTH}, "additionalProperties": False}]
}


def schedule_schema() -> dict[str, Any]:
    """Return the schema of schedule.toml, as plain data for JSON."""
    return {"$schema": DRAFT, "title": "offbeat's schedule.toml", **_closed(settings.TOP, _top())}


def _top() -> Mapping[str, tuple[str, Fragment]]:
    directories = dict.fromkeys(DIRECTORIES, ("", _DIRECTORY))
    entry = {**_closed(entries.KEYS, _with_members()), "oneOf": [{"required": [key]} for key in whens.RECURRENCES]}
    return {
        "project": ("the project's name, part of every occurrence's id", _TEXT),
        "timezone": ("the zone that wall-clock times are read in", _TEXT),
        "task_prefix": ("goes before names that name no task", {"type": "string"}),
        "env_file": ("a file of NAME=value lines, kept out of git", _TEXT),
        "broker_env": ("the variable that has the broker's address", {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}),
        "broker": ("how the workers listen", _closed(settings.BROKER, OF_BROKER)),
        "routes": ("tasks to queues, as Celery's task_routes", {"type": "object", "additionalProperties": _NAMED_QUEUE}),
        "defaults": ("for entries that do not say it themselves", _closed(entries.DEFAULTS, OF_ENTRIES)),
        "calendars": ("exclusions, named once and used by many", {"type": "object", "additionalProperties": _ITEMS}),
        "directories": (
            "when the five directories are due",
            _closed(DIRECTORIES, directories),
        ),
        "ledger": ("what the ledger keeps", _closed(settings.LEDGER, OF_LEDGER)),
        "entries": ("what is due when", {"type": "object", "additionalProperties": entry}),
    }


def _with_members() -> Mapping[str, tuple[str, Fragment]]:
    """Return the keys of entries, with what is inside of `solar` and `any`."""
    solar = {
        **_closed(whens.SOLAR, {key: ("", fragment) for key, fragment in SOLAR.items()}),
        "required": list(whens.SOLAR[:3]),
    }
    plain = {**RECURRING, "solar": (RECURRING["solar"][0], solar)}
    member = {
        **_closed(whens.MEMBER, plain),
        "oneOf": [{"required": [key]} for key in whens.RECURRENCES if key in whens.MEMBER],
    }
    words, listed = RECURRING["any"]
    return {**OF_ENTRIES, **plain, "any": (words, {**listed, "items": member})}


def _closed(keys: Collection[str], fragments: Mapping[str, tuple[str, Fragment]]) -> dict[str, Any]:
    """Return the schema of a table that has these keys and no others."""
    described = {key: ({"description": words} if words else {}, fragment) for key, (words, fragment) in fragments.items()}
    properties = {key: {**described[key][0], **described[key][1]} for key in keys}
    return {"type": "object", "properties": properties, "additionalProperties": False}
