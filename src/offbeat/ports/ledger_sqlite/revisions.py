"""The SQLite ledger's revisions: what was in force, since when, and where it came from. Changes nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from offbeat.core.model import BrokerSettings, LedgerSettings, Schedule
from offbeat.ports.ledger_problems import read_back
from offbeat.ports.ledger_sqlite.connection import Store
from offbeat.ports.ledger_values import COMPILED, Origin, Revision

T = TypeVar("T")

ONE = "SELECT {column} FROM revisions WHERE rev = coalesce(?, (SELECT active_rev FROM meta))"
NEWEST = """
SELECT rev, digest, activated_at, origin, entries, rev = (SELECT active_rev FROM meta), CASE WHEN entries IS NULL THEN text END
FROM revisions ORDER BY rev DESC LIMIT ?"""


def origin_to_json(origin: Origin) -> str:
    """Return the origin as JSON."""
    return json.dumps(asdict(origin), sort_keys=True)


def origin_from_json(text: str) -> Origin:
    """Return the origin that `origin_to_json` wrote; "" is of a revision from before there were any."""
    fields = json.loads(text) if text else {}
    return (
        Origin(
            commit=str(fields.get("commit", "")),
            author=str(fields.get("author", "")),
            dirty=bool(fields.get("dirty", False)),
            note=str(fields.get("note", "")),
            deployed=bool(fields.get("deployed", False)),
        )
        if fields
        else COMPILED
    )


def rules_of(db: sqlite3.Connection) -> str:
    """Return the active revision's rules, "" when there are none."""
    from offbeat.core.serial import rules_from_json

    row = db.execute(ONE.format(column="settings"), (None,)).fetchone()
    return rules_from_json(row[0]) if row else ""


class RevisionsSqlite(Store):
    """schedule, revisions, broker_settings, ledger_settings, rules."""

    def schedule(self, revision: int | None = None) -> Schedule | None:
        from offbeat.core.serial import schedule_from_json

        return self._one("text", schedule_from_json, revision)

    def broker_settings(self) -> BrokerSettings | None:
        from offbeat.core.serial import settings_from_json

        return self._one("settings", settings_from_json)

    def ledger_settings(self) -> LedgerSettings:
        from offbeat.core.serial import ledger_settings_from_json

        return self._one("settings", ledger_settings_from_json) or LedgerSettings()

    def rules(self) -> str:
        with self.reading() as db, read_back():
            return rules_of(db)

    def _one(self, column: str, parsed: Callable[[str], T], revision: int | None = None) -> T | None:
        with self.reading() as db, read_back():
            row = db.execute(ONE.format(column=column), (revision,)).fetchone()
            return parsed(row[0]) if row else None

    def revisions(self, limit: int) -> Sequence[Revision]:
        with self.reading() as db, read_back():
            return [
                Revision(
                    number=number,
                    digest=digest,
                    activated_at=activated_at,
                    origin=origin_from_json(origin),
                    entries=len(json.loads(text)["entries"]) if entries is None else entries,
                    active=bool(active),
                )
                for number, digest, activated_at, origin, entries, active, text in db.execute(NEWEST, (limit,))
            ]
