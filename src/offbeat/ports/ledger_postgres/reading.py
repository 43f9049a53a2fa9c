"""The PostgreSQL ledger, for pages and commands: read-only transactions, which the server ends after a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from offbeat.core.identity import occurrence_id
from offbeat.core.model import TROUBLE, BrokerSettings, DueTime, Entry, Instant, Key, LedgerSettings, Reason, Schedule, State
from offbeat.core.transitions import Span
from offbeat.ports.ledger_claims import entry_of
from offbeat.ports.ledger_lines import NEVER, StoredGap, Stretch, has_gaps, line_of, newest_lines
from offbeat.ports.ledger_postgres.claims import claims
from offbeat.ports.ledger_postgres.codes import CODES, cause_of, kind_of, reason_of, state_of
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.dispatching import DispatchingPostgres, claimable
from offbeat.ports.ledger_postgres.line import Rows
from offbeat.ports.ledger_postgres.planning import portion
from offbeat.ports.ledger_postgres.rows import UNSETTLED, clean
from offbeat.ports.ledger_problems import read_back
from offbeat.ports.ledger_values import (
    COMPILED,
    SEEN_LATELY,
    Claim,
    HistoryRow,
    LedgerStatus,
    Origin,
    Revision,
    Rewound,
    Runner,
    SeenRunner,
)

if TYPE_CHECKING:
    from offbeat.core.plan import Portion

T = TypeVar("T")

SUMMARY = """
SELECT coalesce(r.digest, ''), r.activated_at, m.problems, m.refused_whole, m.restored_at,
  r."commit", r.author, r.dirty, r.note, r.deployed, m.rewound_at, m.rewound_to, m.rewound_by,
  m.owner, (SELECT min(next_due) FROM {s}.groups WHERE next_due IS NOT NULL),
  (SELECT count(*) FROM {s}.outbox WHERE state = {pending}),
  (SELECT count(*) FROM {s}.outbox WHERE state = {claimed}),
  (SELECT count(*) FROM {s}.outbox WHERE state = {waiting}),
  (SELECT count(*) FROM {s}.trouble WHERE state = {undelivered}),
  (SELECT min(send_at) FROM {s}.outbox WHERE state IN ({pending}, {waiting}) AND send_at <= %(now)s)
FROM {s}.meta m LEFT JOIN {s}.revisions r ON r.rev = m.active_rev"""
RUNNERS = """
SELECT id, host, pid, role, revision, skew, version, seen_at FROM {s}.runners WHERE seen_at > %(since)s
ORDER BY seen_at DESC, id"""
ACTIVE = "SELECT settings FROM {s}.revisions WHERE rev = (SELECT active_rev FROM {s}.meta)"
TEXT = "SELECT text FROM {s}.revisions WHERE rev = coalesce(%(rev)s::bigint, (SELECT active_rev FROM {s}.meta))"
REVISIONS = """
SELECT rev, digest, activated_at, "commit", author, dirty, note, deployed, entries FROM {s}.revisions
ORDER BY rev DESC LIMIT %(limit)s"""
ENTRIES = """
SELECT v.definition, e.last_due FROM {s}.versions v JOIN {s}.entries e ON e.eno = v.eno WHERE v.valid_until IS NULL
ORDER BY e.name COLLATE "C" """

_SETTLED = """\
e.name, h.due_at, h.kind, h.state, h.reason, h.cause, coalesce(h.attempt, 1),
    CASE WHEN h.dispatched_at IS NULL OR h.command THEN '' ELSE h.task_id END, h.recorded_at, h.dispatched_at,
    h.started_at, h.finished_at, coalesce(h.note, ''), h.exit_status, NULL::float8, coalesce(h.send_at, h.due_at), h.eno,
    h.kind_id
  FROM {history} h JOIN {s}.entries e ON e.eno = h.eno"""
_OF_TROUBLE = """
    SELECT * FROM {s}.history y
    WHERE y.eno = t.eno AND y.due_at = t.due_at AND y.kind = t.kind AND y.kind_id = t.kind_id LIMIT 1"""
_NEWEST = "ORDER BY {0}.due_at DESC FETCH FIRST (%(limit)s::bigint) ROWS WITH TIES"  # the order of ties is worked out here
UNSETTLED_ROWS = f"""
SELECT e.name, o.due_at, o.kind, o.state, NULL, o.cause, o.attempt, '', o.recorded_at, NULL::float8, NULL::float8, NULL::float8,
  o.last_error, NULL::integer, CASE o.state WHEN {{pending}} THEN o.next_try_at END, o.send_at, o.eno, o.kind_id
FROM (SELECT * FROM {{s}}.outbox r WHERE {{which}} {_NEWEST.format("r")}) o JOIN {{s}}.entries e ON e.eno = o.eno"""
SETTLED_ROWS = "SELECT " + _SETTLED.replace(
    "{history}", f"(SELECT * FROM {{s}}.history r WHERE {{which}} {_NEWEST.format('r')})"
)
_NEWEST_TROUBLE = f"(SELECT * FROM {{s}}.trouble r WHERE {{which}} {_NEWEST.format('r')})"
TROUBLE_ROWS = "SELECT " + _SETTLED.replace("{history}", f"{_NEWEST_TROUBLE} t CROSS JOIN LATERAL ({_OF_TROUBLE})")
FAILED = f"""
SELECT {_SETTLED.replace("{history}", "{s}.trouble t CROSS JOIN LATERAL (" + _OF_TROUBLE + ")")}
WHERE t.state = {{failed}} AND t.at > %(since)s ORDER BY t.at, h.eno, h.due_at, h.kind, h.kind_id LIMIT %(limit)s"""
GAPS = """
SELECT g.until_at, g.after_at, e.eno, e.name, v.recurrence, v.zone, v.first, v.last, g.reason, g.recorded_at
FROM {s}.gaps g JOIN {s}.versions v ON v.gid = g.gid AND (g.eno IS NULL OR g.eno = v.eno) JOIN {s}.entries e ON e.eno = v.eno
WHERE g.until_at >= %(after)s {whose_v} AND v.first <= g.until_at AND (v.last IS NULL OR v.last > g.after_at)
ORDER BY g.until_at DESC, e.name COLLATE "C" """
ROWS_BETWEEN = """
SELECT (SELECT count(*) FROM {s}.outbox r WHERE r.eno = k.eno AND r.due_at BETWEEN k.low AND k.high AND r.kind = {schedule})
  + (SELECT count(*) FROM {s}.history r WHERE r.eno = k.eno AND r.due_at BETWEEN k.low AND k.high AND r.kind = {schedule})
FROM unnest(%(enos)s::bigint[], %(lows)s::bigint[], %(highs)s::bigint[]) WITH ORDINALITY AS k(eno, low, high, place)
ORDER BY k.place"""
OUTPUT = """
SELECT output FROM {s}.history WHERE eno = %(eno)s AND due_at = %(due)s AND kind = %(kind)s AND kind_id = %(id)s"""


class ReadingPostgres(DispatchingPostgres):
    """status, schedule, revisions, settings, entries, history, failures, peek, output."""

    def status(self) -> LedgerStatus:
        def work(tx: Tx) -> LedgerStatus:
            summary = tx.row(SUMMARY, now=tx.now)
            assert summary is not None
            return self._status(tx, summary, tx.rows(RUNNERS, since=tx.now - SEEN_LATELY))

        return self.read(work)

    def _status(self, tx: Tx, summary: tuple[Any, ...], runners: list[tuple[Any, ...]]) -> LedgerStatus:
        digest, activated_at, refused, whole, restored_at, *origin = summary[:10]
        rewound_at, rewound_to, rewound_by = summary[10:13]
        owner, next_due, pending, claimed, waiting, undelivered, waits_since = summary[13:]
        return LedgerStatus(
            where=self.where,
            project=tx.meta.project,
            owner=owner,
            schema=tx.meta.schema,
            revision=tx.meta.revision,
            digest=digest,
            activated_at=activated_at,
            now=tx.now,
            next_due=next_due,
            pending=pending,
            claimed=claimed,
            undelivered=undelivered,
            runners=tuple(_seen(row) for row in runners),
            refused=refused,
            refused_whole=whole,
            ahead=tx.meta.belief.ahead(tx.now),
            waiting=waiting,
            waits_since=waits_since,
            origin=COMPILED if activated_at is None else _origin(origin),
            deployed=tx.meta.deployed,
            restored_at=restored_at,
            rewound=None if rewound_at is None else Rewound(at=rewound_at, to=rewound_to, who=rewound_by),
            looked_at=tx.meta.belief.newest,
        )

    def schedule(self, revision: int | None = None) -> Schedule | None:
        from offbeat.core.serial import schedule_from_json

        return self._parsed(TEXT, schedule_from_json, rev=revision)

    def revisions(self, limit: int) -> Sequence[Revision]:
        def work(tx: Tx) -> list[Revision]:
            return [_revision(row, tx.meta.revision) for row in tx.rows(REVISIONS, limit=limit)]

        return self.read(work)

    def broker_settings(self) -> BrokerSettings | None:
        from offbeat.core.serial import settings_from_json

        return self._parsed(ACTIVE, settings_from_json)

    def ledger_settings(self) -> LedgerSettings:
        from offbeat.core.serial import ledger_settings_from_json

        return self._parsed(ACTIVE, ledger_settings_from_json) or LedgerSettings()

    def rules(self) -> str:
        from offbeat.core.serial import rules_from_json

        return self._parsed(ACTIVE, rules_from_json) or ""

    def _parsed(self, text: str, parse: Callable[[str], T], **values: object) -> T | None:
        def work(rows: Rows) -> T | None:
            with read_back():
                return parse(rows[0][0]) if rows else None

        return self.ask(work, text, **values)

    def entries(self) -> Sequence[tuple[Entry, DueTime | None]]:
        return self.read(lambda tx: [(entry_of(definition), last_due) for definition, last_due in tx.rows(ENTRIES)])

    def history(
        self, name: str = "", limit: int = 100, since: DueTime | None = None, *, states: Collection[State] = ()
    ) -> Sequence[HistoryRow]:
        asked = _Asked(name=clean(name), limit=limit, after=NEVER if since is None else since, states=frozenset(states))
        return self.read(lambda tx: _history(tx, asked)) if limit > 0 else []

    def failures(self, since: Instant, limit: int) -> Sequence[HistoryRow]:
        return self.read(lambda tx: [_line(tx, row) for row in tx.rows(FAILED, since=since, limit=limit)])

    def peek(self, limit: int) -> tuple[Portion, Sequence[Claim]]:
        def work(tx: Tx) -> tuple[Portion, Sequence[Claim]]:
            keys = [key for key, _ in claimable(tx, limit, (), lock=False)] if tx.believed else []
            return portion(tx, limit), claims(tx, keys)

        return self.read(work)

    def output(self, key: Key) -> bytes | None:
        values = {"eno": key.eno, "due": key.due_at, "kind": CODES[key.kind], "id": key.kind_id}
        row = self.read(lambda tx: tx.row(OUTPUT, **values))
        return None if row is None else row[0]


def _seen(row: tuple[Any, ...]) -> SeenRunner:
    runner, host, pid, role, revision, skew, version, seen_at = row
    return SeenRunner(
        runner=Runner(id=runner, host=host, pid=pid, role=role, revision=revision, skew=skew, version=version), seen_at=seen_at
    )


def _origin(columns: Sequence[Any]) -> Origin:
    commit, author, dirty, note, deployed = columns
    return Origin(commit=commit, author=author, dirty=dirty, note=note, deployed=deployed)


def _revision(row: tuple[Any, ...], active: int) -> Revision:
    number, digest, activated_at, *origin, entries = row
    return Revision(
        number=number,
        digest=digest,
        activated_at=activated_at,
        origin=_origin(origin),
        entries=entries,
        active=number == active,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    name: str
    limit: int
    after: DueTime
    states: frozenset[State]


def _history(tx: Tx, asked: _Asked) -> list[HistoryRow]:
    found = tx.row("SELECT eno FROM {s}.entries WHERE name = %(name)s", name=asked.name) if asked.name else (None,)
    if found is None:
        return []
    eno: int | None = found[0]
    gaps = _gaps(tx, eno, asked.after) if has_gaps(asked.states) else ()
    return newest_lines(_rows(tx, asked, eno), gaps, partial(_rows_between, tx), limit=asked.limit, since=asked.after)


def _rows(tx: Tx, asked: _Asked, eno: int | None) -> Iterator[HistoryRow]:
    """Yield the newest rows of each table that can have any, and all that are due with the last of them."""
    which = "r.due_at >= %(after)s"
    if eno is not None:
        which += " AND r.eno = %(eno)s"
    if asked.states:
        which += " AND r.state = ANY(%(states)s::smallint[])"
    settled = asked.states.difference(UNSETTLED)
    tables = [UNSETTLED_ROWS] if not asked.states or settled != asked.states else []
    if settled or not asked.states:
        tables.append(TROUBLE_ROWS if settled and settled <= TROUBLE else SETTLED_ROWS)
    for table in tables:
        text = table.replace("{which}", which)
        states = [CODES[state] for state in asked.states]
        for row in tx.rows(text, after=asked.after, limit=asked.limit, eno=eno, states=states):
            yield _line(tx, row)


def _line(tx: Tx, row: Sequence[Any]) -> HistoryRow:
    """Return the line of a row, with its words, and the message's id where it follows from the rest."""
    name, due_at, kind, state, reason, cause, attempt, task_id, *others = row
    if task_id is None:
        task_id = occurrence_id(tx.meta.project, name, due_at, kind_of(kind), others[-1])
    return line_of(
        [name, due_at, kind_of(kind), state_of(state), reason_of(reason), cause_of(cause), attempt, task_id, *others]
    )


def _gaps(tx: Tx, eno: int | None, after: DueTime) -> Iterator[StoredGap]:
    """Yield the gaps for each entry in them, newest end first."""
    text = GAPS.replace("{whose_v}", "" if eno is None else "AND v.eno = %(eno)s")
    whose = {} if eno is None else {"eno": eno}
    for until_at, after_at, number, name, recurrence, zone, first, last, reason, recorded_at in tx.rows(
        text, after=after, **whose
    ):
        yield StoredGap(
            eno=number,
            name=name,
            after=after_at,
            until=until_at,
            span=Span(recurrence=recurrence, zone=zone, first=first, last=last),
            reason=Reason(reason),
            recorded_at=recorded_at,
        )


def _rows_between(tx: Tx, stretches: Sequence[Stretch]) -> list[int]:
    enos, lows, highs = map(list, zip(*stretches, strict=True))
    return [count for (count,) in tx.rows(ROWS_BETWEEN, enos=enos, lows=lows, highs=highs)]
