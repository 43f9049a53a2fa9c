"""What becomes of rows by what is said of them: outcomes of runners, reports of whoever runs what was sent.

The rules are core.transitions'; here they are asked for a batch of locked rows, which is then written back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from offbeat.core.identity import occurrence_id
from offbeat.core.model import RANK, Instant, Key, State
from offbeat.core.transitions import Verdict, judge_outcome, judge_report
from offbeat.ports.ledger_postgres.connection import Tx
from offbeat.ports.ledger_postgres.rows import Row, find, save, teller_of
from offbeat.ports.ledger_postgres.slots import Slots
from offbeat.ports.ledger_values import SETTLES, Outcome, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A report, who said it and when. admitted: the ledger let this very attempt start, though the row is at a later one."""

    report: Report
    owner: str
    at: Instant
    admitted: bool = False


def settle_all(tx: Tx, who: str, outcomes: Sequence[Outcome]) -> list[Key]:
    """Judge the outcomes, no key twice, and write them; return the keys that are accepted."""
    return _all(
        tx, who, [outcome.key for outcome in outcomes], lambda row, slots, n: _settled(tx, who, row, slots, outcomes[n])
    )


def report_all(tx: Tx, who: str, heard: Sequence[Heard]) -> list[Key]:
    """Judge the reports, no key twice, and write them; return the keys that are accepted."""
    return _all(tx, who, [each.report.key for each in heard], lambda row, slots, n: _reported(row, slots, heard[n]))


def _all(tx: Tx, who: str, keys: Sequence[Key], judged: Callable[[Row, Slots, int], Verdict]) -> list[Key]:
    slots = Slots(tx, (key.eno for key in keys))
    rows = find(tx, keys)
    slots.join(rows)
    accepted = []
    for number, key in enumerate(keys):
        row = rows.get(key)
        if row is not None and judged(row, slots, number) is not Verdict.REFUSED:
            accepted.append(key)
    changed = {**slots.others, **rows}
    save(tx, changed.values())
    slots.save()
    if any(row.is_changed for row in changed.values()):
        tx.mark(who)
    return accepted


def _settled(tx: Tx, who: str, row: Row, slots: Slots, outcome: Outcome) -> Verdict:
    assert outcome.state in SETTLES, outcome.state
    if row.attempt != outcome.attempt or row.attempt == 0:
        return Verdict.REFUSED
    same = outcome.reason is row.reason
    if outcome.state is State.PENDING:
        same = (row.next_try_at, row.lane) == (max(outcome.next_try_at, row.send_at), outcome.lane)
    verdict = judge_outcome(row.state, outcome.state, same=same, is_command=row.is_command, mine=row.owner == who)
    if verdict is Verdict.WRITTEN:
        row.is_changed = True
        _fill(row, outcome, tx)
        if outcome.state is State.DISPATCHED:
            slots.prolong(row)
        else:
            slots.free(row)
    elif verdict is Verdict.STAMPED:
        row.is_changed = True
        row.dispatched_at = tx.now if row.dispatched_at is None else row.dispatched_at
        row.task_id = _task_id(row, outcome, tx) if outcome.task_id else row.task_id
    return verdict


def _fill(row: Row, outcome: Outcome, tx: Tx) -> None:
    row.state, row.note = outcome.state, outcome.error
    if outcome.state is State.PENDING:
        row.next_try_at, row.lane, row.owner = max(outcome.next_try_at, row.send_at), outcome.lane, ""
        return
    row.reason = outcome.reason
    sent = outcome.state is State.DISPATCHED
    row.dispatched_at, row.task_id = (tx.now, _task_id(row, outcome, tx)) if sent else (None, None)


def _task_id(row: Row, outcome: Outcome, tx: Tx) -> str | None:
    """Return the message's id to be kept, None where it is what it is for this occurrence, as nearly always."""
    key, task_id = row.key, outcome.task_id
    if row.is_command and not task_id:
        return None
    return None if task_id == occurrence_id(tx.meta.project, row.name, key.due_at, key.kind, key.kind_id) else task_id


def _reported(row: Row, slots: Slots, heard: Heard) -> Verdict:
    report = heard.report
    fits = report.attempt == row.attempt or (heard.admitted and report.attempt < row.attempt)
    if not fits or report.attempt == 0:
        return Verdict.REFUSED
    verdict = judge_report(row.state, row.reason, report.state, mine=row.teller == teller_of(heard.owner))
    if verdict is Verdict.WRITTEN:
        row.is_changed = True
        _tell(row, report, heard.at)
        row.owner, row.teller = heard.owner, teller_of(heard.owner)
        if RANK[row.state] < RANK[State.SUCCEEDED]:
            slots.prolong(row)
        else:
            slots.free(row)
    return verdict


def _tell(row: Row, report: Report, at: Instant) -> None:
    row.state, row.reason = report.state, report.reason
    row.note = report.note or row.note
    if report.state is State.DISPATCHED:
        row.dispatched_at = at if row.dispatched_at is None else row.dispatched_at
        row.task_id = "" if row.in_outbox else row.task_id  # nobody has said yet by which id it was sent
    elif RANK[report.state] < RANK[State.SUCCEEDED]:
        row.started_at = at if row.started_at is None else row.started_at
    else:
        row.finished_at, row.exit_status = at, report.exit_status
    if report.output:
        row.output = report.output
