"""Places in a PostgreSQL for tests: a schema for each purpose and process, made once and emptied for each test."""

from __future__ import annotations

import os
from contextlib import closing

import psycopg
from psycopg import sql

from offbeat.ports.ledger_postgres import LedgerPostgres
from offbeat.ports.ledger_postgres.address import Place, place_of

KEPT = ("meta", "belief", "words")  # tables whose rows stay, and are set back
_made: set[str] = set()


def emptied(address: str, purpose: str, project: str = "shop") -> Place:
    """Return the place of a ledger that is as if it were new. Emptying a schema is ten times faster than making one."""
    schema = f"{purpose}_{os.getpid()}"
    place = place_of(f"{address}?schema={schema}", project=project, owner="host:/tree")
    if place.conninfo + schema not in _made:
        drop(address, schema)
        with closing(LedgerPostgres(place)):
            _made.add(place.conninfo + schema)
        return place
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute(_reset(admin, schema))
    return place


def drop(address: str, schema: str) -> None:
    """Drop a schema with all that is in it."""
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def _reset(admin: psycopg.Connection[tuple[str, ...]], schema: str) -> sql.Composed:
    tables = admin.execute(
        "SELECT tablename FROM pg_tables t WHERE schemaname = %s AND tablename NOT LIKE 'history_%%'", (schema,)
    ).fetchall()
    sequences = admin.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = %s", (schema,)).fetchall()
    space = sql.Identifier(schema)
    empty = [sql.SQL("DELETE FROM {}.{}").format(space, sql.Identifier(name)) for (name,) in tables if name not in KEPT]
    restart = [sql.SQL("ALTER SEQUENCE {}.{} RESTART").format(space, sql.Identifier(name)) for (name,) in sequences]
    meta = """UPDATE {}.meta SET active_rev = 0, stamp = '', problems = '', refused_whole = false, deployed = false,
        pruned_through = NULL, restored_at = NULL, rewound_at = NULL, born = DEFAULT"""
    back = [sql.SQL(meta).format(space), sql.SQL("UPDATE {}.belief SET newest = NULL, suspect_at = NULL").format(space)]
    return sql.SQL("BEGIN; {}; COMMIT").format(sql.SQL("; ").join([*empty, *restart, *back]))
