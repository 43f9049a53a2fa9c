"""Logging set-up: the logger "offbeat" to stderr, one line for each event, as text or as JSON.

Never decides what is logged; core/events.py lists the events. No password of an address ever gets into a line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Collection, Mapping

from offbeat.core.events import Event
from offbeat.faces.words import conceal, format_utc, printable

TOLD = frozenset(  # a tick tells these as problems, and only once
    {
        Event.BROKER_DOWN,
        Event.REFUSED,
        Event.LEDGER_ERROR,
        Event.CLOCK_DIFFERS,
        Event.RULES_DIFFER,
        Event.RESTORED,
        Event.COMPILED,
        Event.OVERTIME,
    }
)
LOG_FILE = "offbeat.log"  # in $OPENSHIFT_LOG_DIR
SECRETIVE = ("botocore", "boto3", "urllib3")  # with DEBUG they log signed requests, with what could be used again
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class EventFormatter(logging.Formatter):
    """What the two forms have in common: the event, its fields as plain values, and a traceback where one is wanted."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self.tracebacks = tracebacks

    def event(self, record: logging.LogRecord) -> str:
        """Return the event's name; the message for lines that others (kombu, amqp) log."""
        return str(getattr(record, "event", "")) or conceal(record.getMessage())

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """Return the fields in the order in which they were given; instants as UTC text, addresses without password."""
        given = getattr(record, "fields", None)
        fields = {str(key): _plain(str(key), value) for key, value in (given if isinstance(given, Mapping) else {}).items()}
        if record.exc_info and record.exc_info[1] is not None and "error" not in fields:
            fields["error"] = conceal(f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
        return fields

    def traceback(self, record: logging.LogRecord) -> str:
        """Return the traceback of the record, "" when it has none or none is wanted."""
        if not (self.tracebacks and record.exc_info):
            return ""
        return conceal(self.formatException(record.exc_info))


class TextFormatter(EventFormatter):
    """`2026-03-01T02:30:00Z dispatched entry=search_dates`; from a warning up, the level stands before the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback's lines after it."""
        level = f"{record.levelname.lower()} " if record.levelno > logging.INFO else ""
        fields = "".join(f" {key}={_quoted(value)}" for key, value in self.fields(record).items())
        line = f"{format_utc(record.created)} {level}{printable(self.event(record))}{fields}"
        traceback = self.traceback(record)
        return f"{line}\n{traceback}" if traceback else line


class JsonFormatter(EventFormatter):
    """One object a line: at, level, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, object] = {
            "at": format_utc(record.created),
            "level": record.levelname.lower(),
            "event": self.event(record),
        }
        line.update({key: value for key, value in self.fields(record).items() if key not in line})
        if traceback := self.traceback(record):
            line["traceback"] = traceback
        return json.dumps(line, default=str)


def set_up_logs(base: int, *, louder: int, form: str, told: Collection[str] = (), folder: str = "") -> None:
    """Send the logger "offbeat" to stderr, from `base` on, `louder` steps more (-v) or fewer (-q). Safe to call again.

    told: events that the command tells in words of its own, and that are logged only with -v. folder: where offbeat.log gets
    the same, from INFO on at least; "" for nowhere.
    """
    at = max(0, min(len(LEVELS) - 1, LEVELS.index(base) - louder))
    formatter = JsonFormatter if form == "json" else TextFormatter
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(formatter(tracebacks=louder > 0))
    if told and louder <= 0:
        stderr.addFilter(lambda record: getattr(record, "event", "") not in told)
    log = logging.getLogger("offbeat")
    stderr.setLevel(LEVELS[at])
    log.handlers[:] = [stderr]
    log.setLevel(LEVELS[at])
    if folder and os.access(folder, os.W_OK):
        file = logging.FileHandler(os.path.join(folder, LOG_FILE), encoding="utf-8", delay=True)
        file.setFormatter(formatter(tracebacks=True))
        log.addHandler(file)
        log.setLevel(min(LEVELS[at], logging.INFO))
    log.propagate = False
    logging.raiseExceptions = False  # a closed stderr must not stop a runner
    if louder > 2:  # -vvv: also what the libraries say
        root = logging.getLogger()
        root.handlers[:] = [stderr]
        root.setLevel(logging.DEBUG)
        for name in SECRETIVE:
            logging.getLogger(name).setLevel(logging.INFO)


def _plain(key: str, value: object) -> object:
    if isinstance(value, float | int) and not isinstance(value, bool) and (key.endswith("_at") or key in {"until", "after"}):
        return format_utc(value) if abs(value) < 2**40 else ""
    if isinstance(value, str):
        return conceal(str(value))
    if value is None or isinstance(value, bool | int | float | list | tuple | dict):
        return value
    return conceal(str(value))


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    plain = text.isprintable() and not any(c in text for c in ' "=') and text != ""
    return text if plain or not isinstance(value, str) else json.dumps(text)
