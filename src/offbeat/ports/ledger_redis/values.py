"""The ledger's words as Redis keeps them, and back: ids of rows, codes, microseconds, tags. Never talks to a server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from offbeat.core.model import Cause, Instant, Key, Kind, Reason, State
from offbeat.ports.ledger_values import Runner

# Stored as numbers from 1, in this order: new words go to the end, here and in lua/base.lua.
STATES = tuple(
    State(word)
    for word in "pending waiting claimed undelivered dispatched started retrying succeeded failed revoked skipped".split()
)
REASONS = tuple(
    Reason(word)
    for word in (
        "",
        *"coalesced missed too_late removed disabled paused overlap by_hand restored".split(),
        *"exit_status timed_out runner_died not_started refused".split(),
    )
)
CAUSES = (Cause.SCHEDULE, Cause.CATCH_UP, Cause.MANUAL, Cause.BACKFILL)
_LETTER = {Kind.SCHEDULE: "", Kind.MANUAL: "m", Kind.BACKFILL: "b"}
_KIND = {letter: kind for kind, letter in _LETTER.items()}
_ID = re.compile(r"(\d+):(-?\d+)(?::([a-z]):(.*))?", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def id_of(key: Key) -> str:
    """Return the key as the id of a row."""
    if key.kind is Kind.SCHEDULE:
        return f"{key.eno}:{key.due_at}"
    return f"{key.eno}:{key.due_at}:{_LETTER[key.kind]}:{key.kind_id}"


def key_of(text: bytes | str) -> Key:
    """Return the key of a row's id."""
    found = _ID.fullmatch(text if isinstance(text, str) else decoded(text))
    assert found is not None
    eno, due_at, letter, kind_id = found.groups()
    return Key(eno=int(eno), due_at=int(due_at), kind=_KIND[letter or ""], kind_id=kind_id or "")


def decoded(text: bytes) -> str:
    """Return the text of bytes that `encoded` or a script has written."""
    return text.decode("utf-8", "surrogateescape")


def encoded(value: Any) -> bytes:
    """Return a value as compact JSON, in the bytes that a script reads."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogateescape")


def micros(instant: Instant) -> int:
    """Return the instant in whole microseconds."""
    return round(instant * 1_000_000)


def instant(value: int | bytes | str) -> Instant:
    """Return the instant of whole microseconds."""
    return int(value) / 1_000_000


def perhaps(value: int | bytes) -> Instant | None:
    """Return the instant of whole microseconds, None for what is below 0."""
    return None if int(value) < 0 else int(value) / 1_000_000


def tag(runner: Runner) -> int:
    """Return the number by which rows know a runner."""
    digest = hashlib.sha1(runner.id.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:6], "big")


def details(runner: Runner) -> bytes:
    """Return what is kept of a runner."""
    return encoded([runner.id, runner.host, runner.pid, runner.role, runner.revision, runner.skew, runner.version])


def runner_of(text: bytes) -> Runner:
    """Return the runner that `details` told."""
    name, host, pid, role, revision, skew, version = json.loads(decoded(text))[:7]
    return Runner(id=name, host=host, pid=pid, role=role, revision=revision, skew=skew, version=version)


def short(task_id: str) -> str:
    """Return a task id as it is kept, as the text that JSON carries it in."""
    return decoded(short_bytes(task_id))


def short_bytes(task_id: str) -> bytes:
    """Return a task id as it is kept: a UUID as its 16 bytes, anything else after "="."""
    if _UUID.fullmatch(task_id):
        return bytes.fromhex(task_id.replace("-", ""))
    text = task_id.encode("utf-8", "surrogateescape")
    return (b"==" if len(text) == 15 else b"=") + text if text else b""


def task_of(kept: bytes) -> str:
    """Return the task id that `short` made short."""
    if len(kept) != 16:
        return decoded(kept[2:] if len(kept) == 17 and kept.startswith(b"==") else kept[1:])
    text = kept.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def text_map(answer: list[bytes]) -> Mapping[str, str]:
    """Return the reply to HGETALL as text by text."""
    return {decoded(answer[at]): decoded(answer[at + 1]) for at in range(0, len(answer), 2)}
