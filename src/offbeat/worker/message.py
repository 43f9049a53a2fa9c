"""What a message says of its occurrence, as a worker sees it.

Never trusts a header to be of the right type: what is not ours, or not as we write it, is no occurrence.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Mapping, NamedTuple

from offbeat.ports.worker_values import Row

KINDS = ("schedule", "manual", "backfill")
MOST_ATTEMPTS = 2**31 - 1  # a runner's ledger counts no further
LONGEST = 1000  # characters of a name
ROW = re.compile(r"([0-9]{1,15}):(-?[0-9]{1,15}):([a-z]+):(.*)", re.DOTALL)


COPY = "offbeat_copy"  # a header: the message stands in for one that was delivered before
TURN = "offbeat_turn"  # a header: at which turn the retries of a message begin that replaces a task (`self.replace`)


class Delivery(NamedTuple):
    """turn: how often Celery has retried or replaced the task. again: the broker says that it delivered the message before."""

    turn: int
    again: bool


class Occurrence(NamedTuple):
    """An occurrence that a message is about.

    atomic: its message is in the queue exactly once, so nobody need be asked. row: where to report to, if somebody waits
    for the end. project: "" when the message does not say. headers: those of the message that begin with offbeat_.
    expires_at, due_at: seconds since the epoch; 0 when it never expires, or the message does not say.
    """

    id: str
    attempt: int
    atomic: bool
    row: Row | None
    project: str
    headers: dict[str, Any]
    expires_at: float
    due_at: float


def occurrence_of(headers: Mapping[str, Any], task_id: str | None) -> Occurrence | None:
    """Return which occurrence the headers are of, None for a message that is not ours.

    A child that was sent with its parent's headers has an id of its own, and is not ours.
    """
    name, attempt = headers.get("offbeat_occurrence"), headers.get("offbeat_attempt")
    if not isinstance(name, str) or not name or name != task_id or not _can_be_stored(name):
        return None
    if isinstance(attempt, bool) or not isinstance(attempt, int) or not 1 <= attempt <= MOST_ATTEMPTS:
        return None
    project = headers.get("offbeat_project")
    if isinstance(project, str) and not _can_be_stored(project):
        return None
    return Occurrence(
        id=name,
        attempt=attempt,
        atomic=headers.get("offbeat_atomic") is True,
        row=row_of(headers.get("offbeat_row")),
        project=project if isinstance(project, str) else "",
        headers={key: value for key, value in headers.items() if key.startswith("offbeat_")},
        expires_at=_instant(headers.get("expires")),
        due_at=_instant(headers.get("offbeat_due_at")),
    )


def _instant(text: Any) -> float:
    try:
        return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text).timestamp()
    except (TypeError, AttributeError, ValueError, OverflowError):
        return 0.0


def of_request(request: Any) -> Occurrence | None:
    """Return which occurrence a running task is, by its `task.request`; None for one that is not ours, or runs eagerly.

    Celery 5.2 has a message's own headers as attributes only; newer ones have them in `headers` too.
    """
    if getattr(request, "is_eager", False):
        return None
    found = vars(request)
    return occurrence_of(found if "offbeat_occurrence" in found else found.get("headers") or {}, found.get("id"))


def delivery_of(headers: Mapping[str, Any], info: Any, retries: Any) -> Delivery:
    """Return which delivery of a message this is. info: its `delivery_info`, as Celery hands it to a task."""
    again = bool(info.get("redelivered")) if isinstance(info, Mapping) else False
    counts = (retries, headers.get(TURN))
    turn = sum(count for count in counts if isinstance(count, int) and 0 <= count <= MOST_ATTEMPTS // 2)
    return Delivery(turn=turn, again=again or headers.get(COPY) is True)


def row_of(text: Any) -> Row | None:
    """Return the row that "eno:due_at:kind:kind_id" names, None when it names none.

    >>> row_of("7:1772332200:schedule:")
    Row(eno=7, due_at=1772332200, kind='schedule', kind_id='')
    >>> row_of("7:soon:schedule:") is row_of(None) is None
    True
    """
    found = ROW.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[3] not in KINDS or not _can_be_stored(found[4]):
        return None
    return Row(eno=int(found[1]), due_at=int(found[2]), kind=found[3], kind_id=found[4])


def _can_be_stored(text: str) -> bool:
    """Return whether every ledger can store the text; JSON can name what is no character at all."""
    return len(text) <= LONGEST and "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
