"""One connection to PostgreSQL that does not wait for ever, and statements written for a schema.

A schema's name becomes SQL in one place, here, as a quoted identifier; values only as libpq quotes them.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from offbeat.ports.ledger_postgres.address import PATIENCE, Place
from offbeat.ports.ledger_postgres.codes import CODES
from offbeat.ports.ledger_postgres.problems import Silent

Rows = list[tuple[Any, ...]]


class Line(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up a server which says nothing for PATIENCE seconds."""

    def wait(self, gen: PQGen[Any], *_args: Any, **_kwargs: Any) -> Any:
        """Run the generator to its end. Raises: Silent. libpq's own limits do not notice a server that only acknowledges."""
        poll = select.poll()
        fileno = self.pgconn.socket
        try:
            wanted = next(gen)
            while True:
                events = (select.POLLIN if wanted & Wait.R else 0) | (select.POLLOUT if wanted & Wait.W else 0)
                poll.register(fileno, events)
                found = poll.poll(PATIENCE * 1000)
                if not found:
                    raise Silent(f"no answer within {PATIENCE} s")
                happened = found[0][1]
                ready = (Ready.R if happened & ~select.POLLOUT else 0) | (Ready.W if happened & ~select.POLLIN else 0)
                wanted = gen.send(Ready(ready & wanted or wanted))
        except StopIteration as end:
            return end.value

    def whole(self, text: bytes, values: dict[str, Any]) -> bytes:
        """Return the statement with its values in it, each quoted by libpq: several of these can go in one message."""
        return psycopg.ClientCursor(self).mogrify(text, as_arrays(values)).encode()


def connect(place: Place) -> Line:
    """Connect. Autocommit: transactions are explicit. Nothing is prepared, so that pgbouncer may stand between."""
    return Line.connect(place.conninfo, autocommit=True, prepare_threshold=None)


_WORDS = re.compile(r"\{([a-z_]+)\}")


class Texts:
    """Statements, made once each: {s} in them is the schema's name, {word} the word's number."""

    def __init__(self, schema: str) -> None:
        self.schema = sql.Identifier(schema).as_string(None)
        self._made: dict[tuple[str, bool], bytes] = {}

    def of(self, text: str, *, with_values: bool) -> bytes:
        """Return the statement. with_values: %(name)s stand in it, so a percent sign in the schema's name must be doubled."""
        made = self._made.get((text, with_values))
        if made is None:
            name = self.schema.replace("%", "%%") if with_values else self.schema
            made = self._made[text, with_values] = _WORDS.sub(lambda w: name if w[1] == "s" else _code(w[1]), text).encode()
        return made


def _code(word: str) -> str:
    return str(CODES[word])


def as_arrays(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with each list as the text of an array, which costs a tenth of what psycopg takes to write one."""
    return {name: _array(value) if type(value) is list else value for name, value in values.items()}


def _array(values: list[Any]) -> str:
    if not any(value is not None for value in values):
        return "{}"  # of arrays that are unnested together a shorter one is filled up with NULL
    return "{" + ",".join([_ELEMENTS.get(type(value), _quoted)(value) for value in values]) + "}"


def _quoted(value: object) -> str:
    text = "\\x" + value.hex() if isinstance(value, bytes) else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _null(_: object) -> str:
    return "NULL"


_ELEMENTS: dict[type, Callable[[Any], str]] = {int: str, float: repr, bool: str, type(None): _null}


def all_rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> list[Rows]:
    """Return the rows of each of the statements that were sent as one message."""
    answers = [cursor.fetchall() if cursor.description else []]
    while cursor.nextset():
        answers.append(cursor.fetchall() if cursor.description else [])
    return answers
