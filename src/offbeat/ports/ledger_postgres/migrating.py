"""A ledger's schema: made where there is none, brought forward where it is older, refused where it is another's."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import errors

from offbeat.ports.ledger_postgres.address import Place
from offbeat.ports.ledger_postgres.line import Line, Texts
from offbeat.ports.ledger_postgres.problems import (
    DENIED,
    ENCODING,
    FOREIGN,
    NEWER,
    OLDER,
    PROJECT,
    TOO_OLD,
    UNRELEASED,
)
from offbeat.ports.ledger_postgres.schema import META, Step
from offbeat.ports.ledger_problems import refuse

OLDEST_SERVER = 130000
REPEATS = 8  # times that two first starters may get into each other's way

THERE = """
SELECT current_setting('server_encoding'),
  (SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s),
  (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = %(schema)s AND c.relname = 'meta' AND c.relkind = 'r')"""
PRESENT = "SELECT schema, oldest, project, born FROM {s}.meta"
MINE = """
INSERT INTO {s}.meta (one, schema, oldest, project, owner) VALUES (1, %(schema)s, %(oldest)s, %(project)s, %(owner)s)"""
# Two who start at once may both find nothing; one of them then meets the other's names.
_RACES = (
    errors.UniqueViolation,
    errors.DuplicateTable,
    errors.DuplicateSchema,
    errors.DuplicateObject,
    errors.DeadlockDetected,
)


class NotThere(Exception):
    """There is no ledger yet, and the place is to be read only."""


class Foundation:
    """What is done once, when a ledger is opened."""

    def __init__(self, place: Place, texts: Texts, steps: Sequence[Step]) -> None:
        self._place = place
        self._texts = texts
        self._steps = steps
        self._newest = steps[-1].version

    def lay(self, line: Line) -> None:
        """Make or migrate the tables, if that is needed. Raises: LedgerError, NotThere."""
        if line.info.server_version < OLDEST_SERVER:
            raise refuse(self._place.where, TOO_OLD, f"PostgreSQL {line.info.server_version // 10000}")
        row = line.execute(THERE, {"schema": self._place.schema}).fetchone()
        assert row is not None
        encoding, has_schema, has_meta = row
        if encoding != "UTF8":
            raise refuse(self._place.where, ENCODING, f"it is {encoding}")
        version = self._version(line) if has_meta else 0
        if version >= self._newest:
            return
        if self._place.read_only:
            if not version:
                raise NotThere
            raise refuse(self._place.where, OLDER, f"its schema is {version}, this offbeat has {self._newest}")
        self._bring_up(line, has_schema=bool(has_schema))

    def _bring_up(self, line: Line, *, has_schema: bool) -> None:
        for left in reversed(range(REPEATS)):
            try:
                with line.transaction():
                    self._migrate(line, has_schema=has_schema)
                return
            except _RACES:
                if not left:
                    raise
                has_schema = True
            except errors.InsufficientPrivilege as error:
                raise refuse(self._place.where, DENIED, str(error.diag.message_primary)) from None

    def _migrate(self, line: Line, *, has_schema: bool) -> None:
        def run(text: str) -> None:
            line.execute(self._texts.of(text, with_values=False))

        run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")  # whatever the role's defaults are
        run("SET LOCAL lock_timeout = '4s'")
        run("SET LOCAL statement_timeout = '4500ms'")
        run("SET LOCAL search_path = pg_catalog, pg_temp")
        if not has_schema:  # IF NOT EXISTS asks for the right to make one even where it exists
            run("CREATE SCHEMA IF NOT EXISTS {s}")
        run(META)
        run("LOCK TABLE {s}.meta IN ACCESS EXCLUSIVE MODE")
        present = self._version(line)
        if present >= self._newest:
            return
        for step in self._steps:
            if step.version > present:
                for statement in step.statements:
                    run(statement)
        last = self._steps[-1]
        mine = {"schema": last.version, "oldest": last.oldest, "project": self._place.project, "owner": self._place.owner}
        if present:
            how = "UPDATE {s}.meta SET schema = %(schema)s, oldest = greatest(oldest, %(oldest)s)"
        else:
            how = MINE
        line.execute(self._texts.of(how, with_values=True), mine)

    def _version(self, line: Line) -> int:
        """Return the schema's version, 0 where the tables are not made yet. Refuses what is not ours, or too new."""
        try:
            row = line.execute(self._texts.of(PRESENT, with_values=False)).fetchone()
        except (errors.UndefinedColumn, errors.WrongObjectType) as error:
            raise refuse(self._place.where, FOREIGN, str(error.diag.message_primary)) from None
        except errors.InsufficientPrivilege as error:
            raise refuse(self._place.where, DENIED, str(error.diag.message_primary)) from None
        if row is None:
            return 0
        version, oldest, project, _ = row
        if version < self._steps[0].version:
            raise refuse(self._place.where, UNRELEASED, f"its schema is {version}")
        if oldest > self._newest:
            why = "a newer offbeat has written it, and this one would misread it; nothing is recorded or sent"
            raise refuse(self._place.where, NEWER, f"its schema {version} is not for schema {self._newest}", why=why)
        if self._place.project and project != self._place.project:
            why = "ids of messages are made from the project, so the same occurrences would be sent again"
            raise refuse(self._place.where, PROJECT, f'it is of "{project}", this is "{self._place.project}"', why=why)
        return int(version)
