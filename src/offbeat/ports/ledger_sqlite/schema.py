"""The tables of the SQLite ledger, and the steps from each version to the next.

A step that was released is never changed; the newest one is SCHEMA. Migrations run in one transaction.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

APPLICATION_ID = 0x0FFBEA70  # what `file` and others tell our files by

_TABLES = (
    """
    CREATE TABLE meta (
      one INTEGER PRIMARY KEY CHECK (one = 1),
      project TEXT NOT NULL,
      owner TEXT NOT NULL,
      seq INTEGER NOT NULL DEFAULT 0,
      active_rev INTEGER NOT NULL DEFAULT 0,
      stamp TEXT NOT NULL DEFAULT '',
      problems TEXT NOT NULL DEFAULT '',
      refused_whole INTEGER NOT NULL DEFAULT 0,
      last_seen REAL,
      suspect_at REAL,
      pruned_through INTEGER
    )""",
    """
    CREATE TABLE revisions (
      rev INTEGER PRIMARY KEY,
      digest TEXT NOT NULL,
      activated_at REAL NOT NULL,
      settings TEXT NOT NULL,
      text TEXT NOT NULL
    )""",
    """
    CREATE TABLE groups (
      gid INTEGER PRIMARY KEY,
      recurrence TEXT NOT NULL,
      zone TEXT NOT NULL,
      shard INTEGER NOT NULL,
      cursor INTEGER NOT NULL,
      next_due INTEGER,
      version INTEGER NOT NULL DEFAULT 0,
      members INTEGER NOT NULL DEFAULT 0,
      UNIQUE (recurrence, zone, shard)
    )""",
    "CREATE INDEX groups_due ON groups (next_due) WHERE next_due IS NOT NULL",
    "CREATE TABLE entries (eno INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_due INTEGER)",
    """
    CREATE TABLE versions (
      vno INTEGER PRIMARY KEY,
      eno INTEGER NOT NULL,
      rev INTEGER NOT NULL,
      gid INTEGER,
      recurrence TEXT NOT NULL,
      zone TEXT NOT NULL,
      starts_at INTEGER,
      ends_at INTEGER,
      enabled INTEGER NOT NULL,
      valid_from INTEGER NOT NULL,
      valid_until INTEGER,
      first INTEGER NOT NULL,
      last INTEGER,
      queue TEXT NOT NULL,
      expires INTEGER,
      command INTEGER NOT NULL,
      catch_up TEXT NOT NULL,
      grace INTEGER,
      jitter INTEGER NOT NULL,
      definition TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX versions_open ON versions (eno) WHERE valid_until IS NULL",
    "CREATE INDEX versions_eno ON versions (eno)",
    "CREATE INDEX versions_gid ON versions (gid, eno)",
    """
    CREATE TABLE outbox (
      eno INTEGER NOT NULL,
      due_at INTEGER NOT NULL,
      kind TEXT NOT NULL,
      kind_id TEXT NOT NULL,
      send_at INTEGER NOT NULL,
      lane INTEGER NOT NULL,
      cause TEXT NOT NULL,
      state TEXT NOT NULL DEFAULT 'pending',
      next_try_at REAL NOT NULL,
      owner TEXT NOT NULL DEFAULT '',
      attempt INTEGER NOT NULL DEFAULT 0,
      lease_until REAL NOT NULL DEFAULT 0,
      expires_at REAL,
      last_error TEXT NOT NULL DEFAULT '',
      recorded_rev INTEGER NOT NULL,
      recorded_at REAL NOT NULL,
      call TEXT,
      queue TEXT NOT NULL DEFAULT '',
      expires INTEGER,
      command INTEGER NOT NULL DEFAULT 0,
      PRIMARY KEY (eno, due_at, kind, kind_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX outbox_claim ON outbox (lane, next_try_at) WHERE state = 'pending'",
    "CREATE INDEX outbox_lease ON outbox (lease_until) WHERE state = 'claimed'",
    "CREATE INDEX outbox_fired ON outbox (kind_id) WHERE kind <> 'schedule'",
    """
    CREATE TABLE history (
      eno INTEGER NOT NULL,
      due_at INTEGER NOT NULL,
      kind TEXT NOT NULL,
      kind_id TEXT NOT NULL,
      send_at INTEGER NOT NULL,
      cause TEXT NOT NULL,
      state TEXT NOT NULL,
      reason TEXT NOT NULL,
      attempt INTEGER NOT NULL,
      recorded_rev INTEGER NOT NULL,
      rev INTEGER NOT NULL,
      recorded_at REAL NOT NULL,
      dispatched_at REAL,
      started_at REAL,
      finished_at REAL,
      task_id TEXT NOT NULL DEFAULT '',
      owner TEXT NOT NULL DEFAULT '',
      command INTEGER NOT NULL DEFAULT 0,
      live INTEGER NOT NULL DEFAULT 0,
      note TEXT NOT NULL DEFAULT '',
      exit_status INTEGER,
      PRIMARY KEY (eno, due_at, kind, kind_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX history_due ON history (due_at)",
    "CREATE INDEX history_live ON history (owner) WHERE live = 1",
    "CREATE INDEX history_undelivered ON history (due_at) WHERE state = 'undelivered'",
    "CREATE INDEX history_failed ON history (finished_at) WHERE state = 'failed'",
    "CREATE INDEX history_fired ON history (kind_id) WHERE kind <> 'schedule'",
    """
    CREATE TABLE outputs (
      eno INTEGER NOT NULL,
      due_at INTEGER NOT NULL,
      kind TEXT NOT NULL,
      kind_id TEXT NOT NULL,
      output BLOB NOT NULL,
      PRIMARY KEY (eno, due_at, kind, kind_id)
    )""",
    """
    CREATE TABLE gaps (
      id INTEGER PRIMARY KEY,
      gid INTEGER NOT NULL,
      eno INTEGER,
      after_at INTEGER NOT NULL,
      until_at INTEGER NOT NULL,
      reason TEXT NOT NULL,
      who TEXT NOT NULL,
      recorded_at REAL NOT NULL
    )""",
    "CREATE INDEX gaps_gid ON gaps (gid, until_at)",
    "CREATE INDEX gaps_until ON gaps (until_at)",
    "CREATE TABLE busy (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until_at REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE admitted (occurrence TEXT PRIMARY KEY, attempt INTEGER NOT NULL, admitted_at REAL NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE pauses (
      id INTEGER PRIMARY KEY,
      eno INTEGER,
      from_at REAL NOT NULL,
      until_at REAL,
      who TEXT NOT NULL,
      note TEXT NOT NULL
    )""",
    """
    CREATE TABLE runners (
      id TEXT PRIMARY KEY,
      host TEXT NOT NULL,
      pid INTEGER NOT NULL,
      role TEXT NOT NULL,
      seen_at REAL NOT NULL
    ) WITHOUT ROWID""",
)

_HANDED_BACK = ("CREATE INDEX outbox_handed_back ON outbox (next_try_at) WHERE state = 'pending' AND next_try_at > send_at",)

_SHARED = (
    "ALTER TABLE meta ADD COLUMN oldest INTEGER NOT NULL DEFAULT 3",
    "ALTER TABLE meta ADD COLUMN born TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE meta ADD COLUMN deployed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE meta ADD COLUMN restored_at REAL",
    "ALTER TABLE meta ADD COLUMN rewound_at REAL",
    "ALTER TABLE meta ADD COLUMN rewound_to INTEGER",
    "ALTER TABLE meta ADD COLUMN rewound_by TEXT",
    "UPDATE meta SET born = lower(hex(randomblob(8)))",
    "ALTER TABLE revisions ADD COLUMN origin TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE revisions ADD COLUMN entries INTEGER",
    "ALTER TABLE versions ADD COLUMN overlap TEXT NOT NULL DEFAULT 'allow'",
    "ALTER TABLE versions ADD COLUMN max_runtime INTEGER",
    "ALTER TABLE outbox ADD COLUMN waited INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX outbox_waiting ON outbox (eno, next_try_at) WHERE state = 'waiting'",
    "ALTER TABLE pauses ADD COLUMN once INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runners ADD COLUMN rev INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runners ADD COLUMN skew REAL NOT NULL DEFAULT 0",
    "ALTER TABLE runners ADD COLUMN version TEXT NOT NULL DEFAULT ''",
    """
    CREATE TABLE slots (
      eno INTEGER PRIMARY KEY,
      due_at INTEGER NOT NULL,
      kind TEXT NOT NULL,
      kind_id TEXT NOT NULL,
      until_at REAL NOT NULL
    )""",
    "CREATE INDEX history_backfilled ON history (recorded_at) WHERE kind = 'backfill'",
)

# A step that only adds (tables, indexes, columns with a default) lets those before it go on; one that takes away or changes
# what is there also says from which schema on the code knows the new form: UPDATE meta SET oldest = ...
_FIXED = ("ALTER TABLE slots ADD COLUMN seconds REAL",)  # for how long it was taken: max_runtime may be another by now

_WATCHED = (  # who runs what was admitted, so that a copy of a delivery that still runs, or has ended, is told from it
    "ALTER TABLE admitted ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE admitted ADD COLUMN alive_at REAL NOT NULL DEFAULT 0",
    "ALTER TABLE admitted ADD COLUMN finished INTEGER NOT NULL DEFAULT 0",
)

_FOUND = (  # what `history --failed` asks; some files of schema 3 have it already
    "CREATE INDEX IF NOT EXISTS history_trouble ON history (due_at) WHERE state IN ('failed', 'revoked', 'undelivered')",
)

Migrations: TypeAlias = "tuple[tuple[int, tuple[str, ...]], ...]"
MIGRATIONS: Migrations = ((1, _TABLES), (2, _HANDED_BACK), (3, _SHARED), (4, _FIXED), (5, _WATCHED), (6, _FOUND))

SCHEMA = MIGRATIONS[-1][0]


def migrate(db: sqlite3.Connection, present: int, migrations: Migrations = MIGRATIONS) -> None:
    """Bring an open transaction's tables from version `present` to the newest; PRAGMA user_version follows with the commit."""
    for version, statements in migrations:
        if version > present:
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version:d}")
