"""Partitions of history, one for each day (UTC) of due times: made ahead, dropped whole.

Never waits long: what has no partition of its own goes into history_rest.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import errors

from offbeat.core.model import DueTime
from offbeat.ports.ledger_postgres.connection import Store, Tx

DAY = 86_400
BEHIND, AHEAD = 8, 1  # days around today that get a partition; what is due further away is rare
PREFIX = "history_d"

PRESENT = """
SELECT substr(c.relname, %(skip)s)::bigint FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = %(history)s::regclass AND c.relname ~ '^history_d-?[0-9]+$'"""
# What came before its day had a partition (a `skip` for next month, say) would keep the day from having one.
MAKE = """
SET LOCAL lock_timeout = '1s';
CREATE TABLE {s}.history_d%(day)d (LIKE {s}.history INCLUDING ALL) WITH (fillfactor = 90);
WITH early AS (DELETE FROM {s}.history_rest WHERE due_at >= %(first)d AND due_at < %(end)d RETURNING *)
INSERT INTO {s}.history_d%(day)d SELECT * FROM early;
ALTER TABLE {s}.history ATTACH PARTITION {s}.history_d%(day)d FOR VALUES FROM (%(first)d) TO (%(end)d)"""
# What is in it is looked at again with the day locked: a row of a day long past may have come just now.
DROP = """
SET LOCAL lock_timeout = '1s';
LOCK TABLE ONLY {s}.history IN ACCESS EXCLUSIVE MODE;
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM {s}.history_d%(day)d WHERE %(unless)s) THEN
    DELETE FROM {s}.trouble WHERE due_at >= %(first)d AND due_at < %(end)d;
    DELETE FROM {s}.live WHERE due_at >= %(first)d AND due_at < %(end)d;
    DROP TABLE {s}.history_d%(day)d;
  END IF;
END $$"""
TRIES = 3


def day_of(due_at: DueTime) -> int:
    """Return the day, counted from 1970-01-01, that a due time falls on."""
    return due_at // DAY


def days_present(tx: Tx, texts_schema: str) -> set[int]:
    """Return the days that have a partition."""
    return {row[0] for row in tx.rows(PRESENT, skip=len(PREFIX) + 1, history=f"{texts_schema}.history")}


class Days(Store):
    """A store that knows which days have a partition."""

    _asked: frozenset[int] = frozenset()  # days that have a partition, or are none of today's business
    _today = -1
    _may_make = True

    def ensure(self, due_times: Iterable[DueTime]) -> None:
        """Make the partitions that these due times need, in transactions of their own, so that nobody's locks meet ours."""
        days = set(map(day_of, due_times))
        if not days or not self._may_make or (int(self.clock_now) // DAY == self._today and days <= self._asked):
            return
        present = self.read(lambda tx: days_present(tx, self.texts.schema))
        today = int(self.clock_now) // DAY
        if today != self._today:  # what was far away may be near by now
            self._today, self._asked = today, frozenset()
        near = {day for day in days if max(today - BEHIND, 0) <= day <= today + AHEAD}
        for day in sorted((near | {today, today + AHEAD}) - present) if near else ():
            self._make(day)
        self._asked |= present | days  # asked once a day: what has none goes into the rest

    def _make(self, day: int) -> None:
        text = MAKE % {"day": day, "first": day * DAY, "end": (day + 1) * DAY}
        for _ in range(TRIES):
            try:
                self.alter(text)
                return
            except errors.InsufficientPrivilege:
                self.rollback()
                self._may_make = False
                return
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                self.rollback()
            except (errors.ProgrammingError, errors.IntegrityError):  # it is there, or the rest got a row of that day just now
                self.rollback()
                return
            except psycopg.Error:  # the operation itself will tell
                self.rollback()
                return

    def drop_day(self, day: int, unless: str) -> bool:
        """Drop a day's partition, and what is said of its rows elsewhere, unless it has rows of which this SQL is true.

        Return whether it is gone; it stays where somebody reads it, or we may not.
        """
        values = {"day": day, "first": day * DAY, "end": (day + 1) * DAY, "unless": unless}
        try:
            self.alter(DROP % values)
        except psycopg.Error:
            self.rollback()
            return False
        present = self.read(lambda tx: days_present(tx, self.texts.schema))
        self._asked = frozenset(present)
        return day not in present
