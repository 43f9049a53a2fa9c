"""The PostgreSQL ledger, for people and for the compile step: revisions, and what is sent by hand."""

from __future__ import annotations

from math import floor

from offbeat.core.model import PUNCTUAL, Cause, CommandCall, DueTime, Key, Kind, Schedule, State, TaskCall
from offbeat.core.transitions import is_stale
from offbeat.ports.ledger_postgres.claims import claims, held_by, hold
from offbeat.ports.ledger_postgres.codes import CODES
from offbeat.ports.ledger_postgres.compiling import Compilation, definition_columns
from offbeat.ports.ledger_postgres.connection import ALONE, TOGETHER, Tx
from offbeat.ports.ledger_postgres.covered import lock_entry, rowless
from offbeat.ports.ledger_postgres.mending import MendingPostgres, work_out_anew
from offbeat.ports.ledger_postgres.pausing import present
from offbeat.ports.ledger_postgres.recording import LAST_DUE, add_unclaimed, begin
from offbeat.ports.ledger_postgres.rows import clean, find, key_of
from offbeat.ports.ledger_postgres.slots import Slots
from offbeat.ports.ledger_values import COMPILED, Origin, Runner, Slot, clock_not_believed, require_rules, unknown_entry

STAMP = "UPDATE {s}.meta SET stamp = %(stamp)s, problems = %(problems)s, refused_whole = %(whole)s"
DEPLOYED = "UPDATE {s}.meta SET deployed = true WHERE NOT deployed"
DIGEST = "SELECT digest FROM {s}.revisions WHERE rev = %(rev)s"
SETTINGS = "SELECT settings FROM {s}.revisions WHERE rev = %(rev)s"
ORIGIN = """
UPDATE {s}.revisions SET "commit" = %(commit)s, author = %(author)s, dirty = %(dirty)s, note = %(note)s, deployed = %(deployed)s
WHERE rev = %(rev)s"""
ADD_REVISION = """
INSERT INTO {s}.revisions (rev, digest, activated_at, "commit", author, dirty, note, deployed, entries, settings, text)
VALUES (%(rev)s, %(digest)s, %(now)s, %(commit)s, %(author)s, %(dirty)s, %(note)s, %(deployed)s, %(entries)s, %(settings)s,
  %(text)s)"""
ACTIVATE = "UPDATE {s}.meta SET active_rev = %(rev)s"

ADD_NAME = """
INSERT INTO {s}.entries (name) SELECT %(name)s WHERE NOT EXISTS (SELECT 1 FROM {s}.entries WHERE name = %(name)s)
ON CONFLICT DO NOTHING"""
NUMBER = "SELECT eno FROM {s}.entries WHERE name = %(name)s FOR NO KEY UPDATE"
FIRED = """
SELECT eno, due_at, kind, kind_id FROM {s}.outbox WHERE kind <> {schedule} AND kind_id = %(token)s AND eno = %(eno)s
  AND kind = {manual}
UNION ALL
SELECT eno, due_at, kind, kind_id FROM {s}.history WHERE kind <> {schedule} AND kind_id = %(token)s AND eno = %(eno)s
  AND kind = {manual}"""
BORN = """
INSERT INTO {s}.outbox (eno, due_at, kind, kind_id, send_at, lane, cause, next_try_at, recorded_rev, recorded_at,
  call, queue, expires, command)
VALUES (%(eno)s, %(due)s, %(kind)s, %(id)s, %(send)s, 0, %(cause)s, %(send)s, %(rev)s, %(now)s, %(call)s, %(queue)s,
  %(expires)s, %(command)s)"""


class OperatingPostgres(MendingPostgres):
    """activate, refuse, fire, slot."""

    def activate(
        self, schedule: Schedule, stamp: str, problems: str = "", *, known: str | None = None, origin: Origin = COMPILED
    ) -> int:
        def work(tx: Tx) -> int:
            if not tx.believed:
                raise clock_not_believed(self.where)
            if (tx.meta.deployed and not origin.deployed) or is_stale(tx.meta.stamp, stamp, known):
                return 0
            old = rules_of(tx)
            require_rules(schedule.rules, old, origin, self.where)
            if origin.deployed:
                tx.run(DEPLOYED)
            tx.run(STAMP, stamp=stamp, problems=clean(problems), whole=False)
            revision = tx.meta.revision
            active = tx.row(DIGEST, rev=revision)
            if schedule.digest and active == (schedule.digest,):
                if origin.deployed:
                    tx.run(ORIGIN, rev=revision, **_origin(origin))
                return revision
            if schedule.rules != old:
                work_out_anew(tx)
            self._compile(tx, schedule, origin)
            return revision + 1

        return self.write(work, ALONE)

    def _compile(self, tx: Tx, schedule: Schedule, origin: Origin) -> None:
        from offbeat.core.serial import schedule_to_json, settings_to_json

        revision = tx.meta.revision + 1
        passed = Compilation(tx, revision).run(schedule)
        texts = {"settings": clean(settings_to_json(schedule)), "text": clean(schedule_to_json(schedule))}
        size = len(schedule.entries)
        tx.run(ADD_REVISION, rev=revision, digest=schedule.digest, now=tx.now, entries=size, **texts, **_origin(origin))
        tx.run(ACTIVATE, rev=revision)
        if passed:
            add_unclaimed(tx, passed, revision)
            tx.mark("activate")

    def refuse(self, stamp: str, problems: str, *, known: str | None = None) -> None:
        def work(tx: Tx) -> None:
            if not is_stale(tx.meta.stamp, stamp, known):
                tx.run(STAMP, stamp=stamp, problems=clean(problems), whole=True)

        self.write(work, ALONE)

    def fire(self, runner: Runner, name: str, token: str, call: TaskCall | CommandCall | None = None) -> Slot:
        def work(tx: Tx) -> Slot:
            if call is None:
                present(tx, name, self.where)
            tx.run(ADD_NAME, name=clean(name))
            found = tx.row(NUMBER, name=clean(name))
            if found is None:
                raise unknown_entry(name, self.where)
            known = tx.row(FIRED, token=token, eno=found[0])
            if known:
                return _known(tx, key_of(known), runner)
            key = Key(eno=found[0], due_at=floor(tx.now), kind=Kind.MANUAL, kind_id=token)
            return _born(tx, runner, key, Cause.MANUAL, call)

        return self.write(work, TOGETHER)

    def slot(self, runner: Runner, name: str, due_at: DueTime) -> Slot:
        def work(tx: Tx) -> Slot:
            key = Key(eno=present(tx, name, self.where), due_at=due_at)
            last_due = lock_entry(tx, key.eno)
            if find(tx, [key]):
                return _known(tx, key, runner)
            if known := rowless(tx, key, last_due):
                return known
            tx.later(LAST_DUE, enos=[key.eno], dues=[due_at])
            return _born(tx, runner, key, Cause.CATCH_UP if tx.now - due_at > PUNCTUAL else Cause.SCHEDULE, None)

        self.ensure([due_at])
        return self.write(work, TOGETHER)


def rules_of(tx: Tx) -> str:
    """Return the active revision's rules, "" when there are none."""
    from offbeat.core.serial import rules_from_json

    row = tx.row(SETTINGS, rev=tx.meta.revision)
    return rules_from_json(row[0]) if row else ""


def _origin(origin: Origin) -> dict[str, object]:
    return {
        "commit": clean(origin.commit),
        "author": clean(origin.author),
        "dirty": origin.dirty,
        "note": clean(origin.note),
        "deployed": origin.deployed,
    }


def _known(tx: Tx, key: Key, runner: Runner) -> Slot:
    row = find(tx, [key])[key]
    held = claims(tx, held_by(tx, runner, [key]))
    return Slot(key=key, claim=held[0] if held else None, state=row.state, reason=row.reason, dispatched_at=row.dispatched_at)


def _born(tx: Tx, runner: Runner, key: Key, cause: Cause, call: TaskCall | CommandCall | None) -> Slot:
    from offbeat.core.serial import call_to_json

    slots = Slots(tx, [key.eno] if key.kind is not Kind.MANUAL else [])
    queue, expires, command = ("", None, False) if call is None else definition_columns(call)
    tx.run(
        BORN,
        eno=key.eno,
        due=key.due_at,
        kind=CODES[key.kind],
        id=key.kind_id,
        send=min(key.due_at, floor(tx.now)),
        cause=CODES[cause],
        rev=tx.meta.revision,
        now=tx.now,
        call=None if call is None else clean(call_to_json(call)),
        queue=queue,
        expires=expires,
        command=command,
    )
    tx.mark(runner.id)
    if key.eno in slots:
        begin(tx, runner, [key], slots)
    else:
        hold(tx, runner, [key])
    row = find(tx, [key])[key]
    held = claims(tx, [key]) if row.state is State.CLAIMED else []
    return Slot(key=key, claim=held[0] if held else None, state=row.state, reason=row.reason)
