"""The PostgreSQL ledger, for runners: when to wake, and what is due."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from offbeat.core.marks import parse_marks
from offbeat.core.model import Policy, Reason
from offbeat.core.slots import SET_BACK
from offbeat.core.transitions import Belief, look_at_clock
from offbeat.ports.ledger_claims import PauseRow, pauses_of, policy_of
from offbeat.ports.ledger_postgres.claims import PAUSES, pauses_in
from offbeat.ports.ledger_postgres.connection import MARKS, Tx
from offbeat.ports.ledger_postgres.inbox import BEAT, Inbox
from offbeat.ports.ledger_values import LEASE, LONGEST_WAIT, Outlook, Runner

if TYPE_CHECKING:
    from offbeat.core.plan import Group, Member, Portion

# Nobody waits for another's look: who finds the row locked leaves it to the other.
BELIEVE = """
UPDATE {s}.belief SET newest = %(newest)s, suspect_at = %(suspect_at)s
WHERE one = (SELECT one FROM {s}.belief FOR UPDATE SKIP LOCKED)"""

# Each ORDER BY makes an index the way to its one row: without, the whole of a large backfill is gone through for it.
# A waiting row that nobody holds the slot of any more is to be looked at now.
STILL_HELD = f"""\
o.next_try_at > %(now)s AND coalesce(v.overlap <> 'allow' AND v.max_runtime > 0, false) AND EXISTS (
  SELECT 1 FROM {{s}}.slots t WHERE t.eno = o.eno
    AND t.until_at <= %(now)s + {SET_BACK} + coalesce(t.seconds, v.max_runtime))"""
WAKE_AT = f"""
SELECT (SELECT min(instant) FROM (
    SELECT min(next_due)::float8 AS instant FROM {{s}}.groups WHERE next_due IS NOT NULL
    UNION ALL SELECT min(next_try_at) FROM {{s}}.outbox WHERE state = {{pending}} AND lane = 0
    UNION ALL SELECT min(next_try_at) FROM {{s}}.outbox WHERE state = {{pending}} AND lane = 1
    UNION ALL SELECT min(next_try_at) FROM {{s}}.outbox WHERE state = {{pending}} AND lane = 2
    UNION ALL SELECT min(lease_until) FROM {{s}}.outbox WHERE state = {{claimed}}
    UNION ALL (SELECT %(now)s FROM {{s}}.outbox
      WHERE state = {{claimed}} AND lease_until > %(now)s + {2 * LEASE} AND send_at <= %(now)s
      ORDER BY lease_until LIMIT 1)
    UNION ALL (SELECT %(now)s FROM {{s}}.outbox WHERE state = {{pending}} AND next_try_at > send_at
      AND next_try_at > %(now)s + {LONGEST_WAIT} AND send_at <= %(now)s
      ORDER BY next_try_at LIMIT 1)
    UNION ALL SELECT min(CASE WHEN o.send_at > %(now)s OR {STILL_HELD} THEN o.next_try_at
      ELSE least(o.next_try_at, %(now)s) END)
      FROM {{s}}.outbox o LEFT JOIN {{s}}.versions v ON v.eno = o.eno AND v.valid_until IS NULL
      WHERE o.state = {{waiting}}) AS w),
  (SELECT max(at) FROM {{s}}.trouble WHERE state = {{failed}}),
  ({MARKS})"""

DUE = """
SELECT gid, recurrence, zone, cursor, version, members FROM {s}.groups WHERE next_due IS NOT NULL AND next_due <= %(now)s
ORDER BY next_due, gid LIMIT %(limit)s"""
MEMBERS = """
SELECT v.gid, v.vno, v.eno, e.name, v.first, v.last, v.valid_until IS NULL, p.enabled,
  v.catch_up, v.grace, v.jitter, v.jitter_percent, v.overlap, v.max_runtime,
  p.catch_up, p.grace, p.jitter, p.jitter_percent, p.overlap, p.max_runtime
FROM unnest(%(gids)s::bigint[], %(cursors)s::bigint[]) AS g(gid, cursor) JOIN {s}.versions v ON v.gid = g.gid
JOIN {s}.entries e ON e.eno = v.eno LEFT JOIN {s}.versions p ON p.eno = v.eno AND p.valid_until IS NULL
WHERE v.last IS NULL OR (v.last >= v.first AND v.last > g.cursor) ORDER BY v.gid, v.eno, v.vno"""
LATE = """
SELECT k.eno, c.n FROM unnest(%(enos)s::bigint[]) AS k(eno)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM {s}.outbox o
  WHERE o.eno = k.eno AND o.kind = {schedule} AND o.state = {pending} AND o.lane = 1 LIMIT %(most)s) AS few) c"""
HEIRS = """
SELECT eno, vno, recurrence, zone, first, last FROM {s}.versions
WHERE eno = ANY(%(enos)s::bigint[]) AND gid IS NOT NULL AND (last IS NULL OR last >= first) ORDER BY vno"""


class PlanningPostgres(Inbox):
    """look, changed, take."""

    def look(self, runner: Runner) -> Outlook:
        self.look_afresh()
        return self.write(lambda tx: self._look(tx, runner))

    def _look(self, tx: Tx, runner: Runner) -> Outlook:
        now = tx.now
        belief = self._believe(tx, look_at_clock(tx.meta.belief, now))
        [[(some_died, some_wrote)], [standing]] = tx.together((BEAT, self.life(tx, runner)), (WAKE_AT, {"now": now}))
        believed = belief.holds(now)
        if some_wrote:
            self.empty(tx)
        if some_died and believed:
            self.give_up_the_dead(tx)
        wake_at, failed_at, marks = tx.rows(WAKE_AT, now=now)[0] if some_wrote or some_died else standing
        wake_at = inf if wake_at is None else wake_at
        return Outlook(
            now=now,
            revision=tx.meta.revision,
            stamp=tx.meta.stamp,
            wake_at=wake_at,
            due=believed and wake_at <= now,
            believed=believed,
            believe_at=belief.believe_at,
            failed_at=failed_at or 0.0,
            ahead=belief.ahead(now),
            deployed=tx.meta.deployed,
            marks=parse_marks(marks),
            born=tx.meta.born,
        )

    def _believe(self, tx: Tx, belief: Belief) -> Belief:
        before = tx.meta.belief
        grown = (belief.newest or 0.0) - (before.newest or 0.0)
        if before.newest is None or belief.suspect_at != before.suspect_at or grown >= 1.0:
            tx.later(BELIEVE, newest=belief.newest, suspect_at=belief.suspect_at)
        return belief

    def changed(self) -> bool:
        return True

    def take(self, limit: int) -> Portion:
        return self.read(lambda tx: portion(tx, limit))


def portion(tx: Tx, limit: int) -> Portion:
    """Return what is due, in a view that the caller has open."""
    from offbeat.core.backlog import may_be_late, with_waiting
    from offbeat.core.plan import BACKLOG, Group, Portion

    due = tx.rows(DUE, now=tx.now, limit=limit) if tx.believed else []
    groups: list[Group] = []
    found: dict[int, list[Member]] = {}
    at = 0
    while at < len(due) and sum(map(len, found.values())) < limit:
        some, size = [], sum(map(len, found.values()))
        while at < len(due) and size < limit:  # `members` are the open versions: most often all that there are
            some.append(due[at])
            size += max(due[at][5], 1)
            at += 1
        groups += [Group(gid=g, recurrence=r, zone=z, cursor=c, version=v) for g, r, z, c, v, _ in some]
        found |= _members(tx, groups[-len(some) :])
    answer: list[tuple[Group, tuple[Member, ...]]] = []
    size = 0
    for group in groups:
        if size >= limit:
            break
        answer.append((group, tuple(found[group.gid])))
        size += len(found[group.gid])
    late = may_be_late(answer, tx.now)
    waiting: dict[int, int] = dict(tx.rows(LATE, enos=late, most=BACKLOG)) if late else {}
    return Portion(now=tx.now, revision=tx.meta.revision, groups=with_waiting(answer, waiting))


def _members(tx: Tx, groups: Sequence[Group]) -> dict[int, list[Member]]:
    cursors = {group.gid: group.cursor for group in groups}
    asked = {"gids": list(cursors), "cursors": list(cursors.values())}
    rows, paused = tx.together((MEMBERS, asked), (PAUSES, {}))
    ended = sorted({row[2] for row in rows if not row[6]})
    heirs: dict[int, list[tuple[Any, ...]]] = {}
    for row in tx.rows(HEIRS, enos=ended) if ended else ():
        heirs.setdefault(row[0], []).append(row[1:])
    pauses = pauses_in(paused)
    found: dict[int, list[Member]] = {gid: [] for gid in cursors}
    for row in rows:
        found[row[0]].append(_member(row, cursors[row[0]], pauses, heirs.get(row[2], [])))
    return found


def _member(row: tuple[Any, ...], cursor: int, pauses: list[PauseRow], heirs: list[tuple[Any, ...]]) -> Member:
    from offbeat.core.plan import Heir, Member

    _, vno, eno, name, first, last, is_open, enabled = row[:8]
    later = [] if is_open else [heir for heir in heirs if heir[0] > vno]
    present: Policy = policy_of(tuple(row[8:14] if enabled is None else row[14:20]))
    return Member(
        eno=eno,
        name=name,
        first=first,
        last=last,
        policy=present,
        gone=Reason.NONE if is_open or enabled else (Reason.REMOVED if enabled is None else Reason.DISABLED),
        pauses=pauses_of(pauses, eno, cursor),
        heirs=tuple(Heir(recurrence=r, zone=z, first=f, last=x) for _, r, z, f, x in later),
    )
