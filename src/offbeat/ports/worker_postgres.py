"""A worker's side of the PostgreSQL ledger: one statement a question, through libpq itself, with a limit of time on each.

Python 3.8 and psycopg 3. Leaves what a report means to the runners: it goes into the inbox `reports`, which they empty.
"""

from __future__ import annotations

import json
import re
import selectors
from typing import Any, Sequence
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from zlib import crc32

from offbeat.ports.clock import SystemClock
from offbeat.ports.worker_values import (
    ALIVE,
    ANSWER,
    CONNECT,
    PASSED,
    REFUSED_ATTEMPT,
    Ask,
    Me,
    NoAnswer,
    Said,
    held_of,
    judge_again,
    owner_text,
)

KNOWN = 2  # the ledger's schema that this file was written for

META = "SELECT oldest, project FROM {s}.meta"
NOW = "extract(epoch FROM clock_timestamp())::float8"
TURN = "coalesce(nullif(split_part(a.owner, ':', 1), '')::integer, 0)"
ADMIT = f"""
INSERT INTO {{s}}.admitted AS a (occurrence, attempt, owner) VALUES ($1, $2::integer, $3)
ON CONFLICT (occurrence) DO UPDATE SET attempt = a.attempt
RETURNING attempt, xmax = 0, owner, alive_at, {NOW} - alive_at, finished"""
TAKE_OVER = f"""
UPDATE {{s}}.admitted SET owner = $3, alive_at = {NOW}, finished = false
WHERE occurrence = $1 AND attempt = $2::integer AND owner = $4 AND alive_at = $5::float8 RETURNING 1"""
ADMIT_ALL = f"""
INSERT INTO {{s}}.admitted AS a (occurrence, attempt, owner)
SELECT occurrence, attempt, owner FROM json_to_recordset($1::json) AS told (occurrence text, attempt integer, owner text)
ORDER BY occurrence
ON CONFLICT (occurrence) DO UPDATE SET attempt = a.attempt
RETURNING occurrence, attempt, xmax = 0, owner, alive_at, {NOW} - alive_at, finished"""
WINNER = "SELECT attempt FROM {s}.admitted WHERE occurrence = $1"
RUNNING = f"""
INSERT INTO {{s}}.admitted AS a (occurrence, attempt, owner)
SELECT occurrence, attempt, owner FROM json_to_recordset($1::json) AS told (occurrence text, attempt integer, owner text)
ORDER BY occurrence
ON CONFLICT (occurrence) DO UPDATE SET owner = excluded.owner, alive_at = {NOW}
WHERE a.attempt = excluded.attempt AND NOT a.finished AND a.owner IN ('', excluded.owner)"""
# Not waited for the disk: what a crash forgets is that a copy is one, so that it starts as it would without us.
ENDED = f"""
INSERT INTO {{s}}.admitted AS a (occurrence, attempt, owner, finished)
SELECT $1, $2::integer, $3, $4::boolean FROM (SELECT set_config('synchronous_commit', 'off', true) AS waits) q
WHERE waits = 'off'
ON CONFLICT (occurrence) DO UPDATE SET owner = excluded.owner, finished = excluded.finished
WHERE a.attempt = excluded.attempt
  AND CASE WHEN excluded.finished THEN {TURN} <= $5::integer ELSE NOT a.finished AND a.owner IN ('', $6) END"""
REPORT = """
INSERT INTO {s}.reports (eno, due_at, kind, kind_id, attempt, admitted, state, reason, note, runner, host, pid)
VALUES ($1::bigint, $2::bigint, $3, $4, $5::integer, $6::boolean, $7, $8, $9, $10, $11, $12::integer)"""
BEAT = "INSERT INTO {s}.reports (runner, host, pid, version) VALUES ($1, $2, $3::integer, $4)"


class WorkerPostgres:
    """A connection in autocommit, without prepared statements, so that a pooler may stand between."""

    def __init__(self, address: str, project: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise NoAnswer("psycopg is not installed: pip install 'psycopg[binary]'") from error
        self._error = psycopg.Error
        self._pq = psycopg.pq
        self._clock = SystemClock()
        self._selector: selectors.BaseSelector | None = None
        self._db: Any = None
        try:
            conninfo, schema = _split(address, project)
            psycopg.conninfo.conninfo_to_dict(conninfo)
        except (ValueError, psycopg.Error):  # libpq's words would repeat part of it
            raise NoAnswer("the ledger's address is not right: in a password, write each odd character as %XX") from None
        self._schema = '"' + schema.replace('"', '""').replace("\0", "") + '"'
        try:
            self._db = psycopg.connect(conninfo, autocommit=True, connect_timeout=int(CONNECT))
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._db.pgconn.socket, selectors.EVENT_READ)
        except (psycopg.Error, OSError) as error:
            self.close()
            raise NoAnswer(_first_line(error)) from error
        self._refuse_strangers(project)

    def admit(self, ask: Ask) -> str:
        return self._verdict(ask, self._ask(ADMIT, ask.occurrence, ask.attempt, owner_text(ask))[0])

    def admit_all(self, asks: Sequence[Ask]) -> list[str]:
        if len(asks) == 1:
            return [self.admit(asks[0])]
        found = {name.decode(): row for name, *row in self._ask(ADMIT_ALL, _as_json(asks))}
        return [self._verdict(ask, found[ask.occurrence]) for ask in asks]

    def _verdict(self, ask: Ask, row: Sequence[bytes]) -> str:
        mine = owner_text(ask)
        winner, is_new, owner, alive_at, silent, ended = row
        if int(winner) != ask.attempt:
            return REFUSED_ATTEMPT
        if is_new == b"t":
            return PASSED
        verdict = judge_again(ask, held_of(owner.decode(), float(silent), ended == b"t"))
        if verdict == PASSED and mine:
            taken = self._ask(TAKE_OVER, ask.occurrence, ask.attempt, mine, owner.decode(), alive_at.decode())
            return PASSED if taken else ALIVE  # another copy was quicker
        return verdict

    def admit_late(self, asks: Sequence[Ask]) -> list[bool]:
        found = {name.decode(): int(winner) for name, winner, *_ in self._ask(ADMIT_ALL, _as_json(asks))}
        return [found.get(ask.occurrence) == ask.attempt for ask in asks]

    def winner(self, occurrence: str) -> int:
        return next((int(row[0]) for row in self._ask(WINNER, occurrence)), 0)

    def running(self, asks: Sequence[Ask]) -> None:
        self._ask(RUNNING, _as_json(asks))

    def ended(self, ask: Ask, done: bool) -> None:
        mine = owner_text(ask)
        self._ask(ENDED, ask.occurrence, ask.attempt, mine if done else "", "true" if done else "false", ask.turn, mine)

    def report(self, me: Me, said: Said) -> bool:
        told = (said.attempt, "true" if said.admitted else "false", said.state, said.reason, said.note)
        self._ask(REPORT, *said.row, *told, me.id, me.host, me.pid)
        return True

    def beat(self, me: Me) -> None:
        self._ask(BEAT, me.id, me.host, me.pid, me.version)

    def close(self) -> None:
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        db, self._db = self._db, None
        if db is not None:
            db.pgconn.finish()

    def _refuse_strangers(self, project: str) -> None:
        oldest, found = self._ask(META)[0]
        if int(oldest) > KNOWN:
            raise self._closed("the ledger is newer than the offbeat of this worker: upgrade offbeat")
        if project not in ("default", found.decode()):
            raise self._closed(f'the ledger is of project "{found.decode()}", not of "{project}"')

    def _ask(self, statement: str, *values: str | int) -> list[tuple[bytes, ...]]:
        """Return the rows of the answer."""
        if self._db is None:
            raise NoAnswer("the connection is closed")
        try:
            result = self._exchange(statement.format(s=self._schema), [str(value).encode() for value in values])
        except (self._error, OSError) as error:
            raise self._closed(_first_line(error)) from error
        except BaseException:
            self.close()
            raise
        if result.status not in (self._pq.ExecStatus.TUPLES_OK, self._pq.ExecStatus.COMMAND_OK):
            raise self._closed(_words(result.error_message))
        columns = range(result.nfields)
        return [tuple(result.get_value(row, column) or b"" for column in columns) for row in range(result.ntuples)]

    def _exchange(self, statement: str, values: list[bytes]) -> Any:
        """Send one statement and read its answer, for ANSWER seconds in all."""
        link = self._db.pgconn
        until = self._clock.monotonic() + ANSWER
        link.send_query_params(statement.encode(), values)
        while link.flush():  # more than the socket holds
            self._await(until, selectors.EVENT_READ | selectors.EVENT_WRITE)
            link.consume_input()
        result = None
        while True:
            while link.is_busy():
                self._await(until)
                link.consume_input()
            more = link.get_result()
            if more is None:
                return result
            result = more

    def _await(self, until: float, events: int = selectors.EVENT_READ) -> None:
        assert self._selector is not None
        self._selector.modify(self._db.pgconn.socket, events)
        left = until - self._clock.monotonic()
        if left <= 0 or not self._selector.select(left):
            raise self._closed(f"no answer within {ANSWER:g} s")

    def _closed(self, why: str) -> NoAnswer:
        self.close()
        return NoAnswer(why)


def _split(address: str, project: str) -> tuple[str, str]:
    """Return the address without our own option, and the schema: the one that it names, else the project's."""
    parts = urlsplit(address)
    if address.count("@") > 1 or "@" in parts.path or parts.fragment:  # part of a password would be taken for a host
        raise ValueError("a character of the password")
    options = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(options).get("schema") or schema_of(project)
    kept = urlencode([(name, value) for name, value in options if name != "schema"], quote_via=quote)
    return urlunsplit(("postgresql", parts.netloc, parts.path, kept, "")), schema


def schema_of(project: str) -> str:
    """Return the schema of a project's ledger, as ports/ledger_postgres/address.py works it out.

    >>> schema_of("difio"), schema_of("My Shop")
    ('offbeat_difio', 'offbeat_my_shop_7840844a')
    """
    plain = re.sub(r"[^a-z0-9_]", "_", project.lower())
    if plain == project and len(plain) <= 55:
        return f"offbeat_{plain}" if plain else "offbeat"
    return f"offbeat_{plain[:40]}_{crc32(project.encode('utf-8', 'surrogateescape')):08x}"


def _as_json(asks: Sequence[Ask]) -> str:
    rows = [{"occurrence": ask.occurrence, "attempt": ask.attempt, "owner": owner_text(ask)} for ask in asks]
    return json.dumps(rows)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _words(message: bytes) -> str:
    return (message.decode("utf-8", "replace").strip().splitlines() or ["the server refused it"])[0][:300]
