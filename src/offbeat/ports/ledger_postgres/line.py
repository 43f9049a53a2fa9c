"""One connection to PostgreSQL that does not wait for ever, and statements written for a schema.

A schema's name becomes SQL in one place, here, as a quoted identifier; values never do.
"""

from __future__ import annotations

import re
import select
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from offbeat.ports.ledger_postgres.address import PATIENCE, Place
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


def connect(place: Place) -> Line:
    """Connect. Autocommit: transactions are explicit. Nothing is prepared, so that pgbouncer may stand between."""
    return Line.connect(place.conninfo, autocommit=True, prepare_threshold=None)


_MARKS = re.compile(r"\{s\}|\{seq\}")


class Texts:
    """Statements, made once each: {s} in them is the schema's name, {seq} that of its sequence, as a literal."""

    def __init__(self, schema: str) -> None:
        self.schema = sql.Identifier(schema).as_string(None)
        self._sequence = sql.Literal(f"{self.schema}.seq").as_string(None)
        self._made: dict[tuple[str, bool], bytes] = {}

    def of(self, text: str, *, with_values: bool) -> bytes:
        """Return the statement. with_values: %(name)s stand in it, so a percent sign in the schema's name must be doubled."""
        made = self._made.get((text, with_values))
        if made is None:
            names = (("{seq}", self._sequence), ("{s}", self.schema))
            pieces = {mark: name.replace("%", "%%") if with_values else name for mark, name in names}
            made = self._made[text, with_values] = _MARKS.sub(lambda mark: pieces[mark[0]], text).encode()
        return made


def last_rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Rows:
    """Return the rows of the last statement of several that were sent as one."""
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []
