"""What is the same on every host: an occurrence's id, and the hash that spreads jitter.

Never random. Changing anything in here makes every occurrence of every user look new.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from offbeat.core.model import DueTime

# uuid5(NAMESPACE_URL, "https://offbeat.readthedocs.io/occurrence"), as bytes.
NAMESPACE = bytes.fromhex("6dedc7bdec6157b69dff1e515831ed73")


@lru_cache(maxsize=1)
def _sha1() -> Callable[..., Any]:
    """Return sha1 without loading OpenSSL, which an idle tick has no use for."""
    try:
        from _sha1 import sha1  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # an interpreter built without it
        from hashlib import sha1
    return cast("Callable[..., Any]", sha1)


def _digest(*parts: str) -> bytes:
    """Hash the parts, each with its length before it, so that ("ab", "c") is not ("a", "bc")."""
    content = NAMESPACE
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape")
        content += b"%d:%b" % (len(encoded), encoded)
    digest: bytes = _sha1()(content, usedforsecurity=False).digest()
    return digest


@lru_cache(maxsize=256)  # many are due at once
def format_due_at(due_at: DueTime) -> str:
    """Return the due time as UTC text.

    >>> format_due_at(1772332200)
    '2026-03-01T02:30:00Z'
    """
    days, second = divmod(due_at, 86400)
    year, month, day = _civil(days)
    return f"{year:04d}-{month:02d}-{day:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"


def _civil(days: int) -> tuple[int, int, int]:
    """Turn days since 1970-01-01 into year, month, day of the Gregorian calendar, by eras of 400 years from 1 March 0000."""
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


def occurrence_id(project: str, entry: str, due_at: DueTime, kind: str = "schedule", kind_id: str = "") -> str:
    """Return the Celery task id of an occurrence: a UUIDv5 of project, entry and due time.

    kind, kind_id: count for anything but the schedule's own occurrences, so that a manual send never has the id of one.

    >>> occurrence_id("difio", "weekly_report", 1772332200)
    'a09308c9-8c52-57b1-806f-353dfafba3c6'
    """
    own = () if kind == "schedule" else (kind, kind_id)
    raw = bytearray(_digest(project, entry, format_due_at(due_at), *own)[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def spread(name: str, due_at: DueTime, width: int) -> int:
    """Return a whole number in [0, width], the same for the same occurrence on every host.

    >>> spread("search_dates", 1772332200, 300)
    194
    """
    if width <= 0:
        return 0
    return int.from_bytes(_digest(name, format_due_at(due_at))[:8], "big") % (width + 1)


def fingerprint(content: bytes) -> str:
    """Return a short hex text that is another one for other bytes: for stamps and digests, which no attacker gains from."""
    try:
        from _blake2 import blake2b
    except ImportError:  # an interpreter built without it
        from hashlib import blake2b
    return blake2b(content, digest_size=12).hexdigest()
