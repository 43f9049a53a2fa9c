"""Jenkins' H and cronie's ~ in a cron field: resolved to plain numbers by a hash of a seed, the same ones for ever.

Never draws at random: no restart, no deploy and no version of offbeat moves what has been resolved.
"""

from __future__ import annotations

import re

_H = re.compile(r"H(?:\((?P<first>[^()]*)-(?P<last>[^()]*)\))?(?:/(?P<step>.*))?", re.ASCII | re.IGNORECASE)
_BETWEEN = re.compile(r"(?P<first>[^~]*)~(?P<last>[^~/]*)(?:/(?P<step>.*))?", re.ASCII)


class Unresolvable(Exception):
    """An item with H or ~ cannot be read. fix: what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


def hashed(seed: str, field: str, place: int, size: int) -> int:
    """Return a number from 0 to size - 1: the first 8 bytes, as a number, of SHA-256 of seed NUL field NUL place, modulo size.

    place: the position of the item in the list that the field is, from 0.

    >>> hashed("nightly", "minute", 0, 60)
    20
    """
    from hashlib import sha256

    digest = sha256(f"{seed}\0{field}\0{place}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % size


def is_hashed(item: str) -> bool:
    """Return whether an item asks for a place that the seed decides."""
    return "~" in item or item[:1] in ("H", "h")


def resolve(item: str, field: str, place: int, seed: str, limits: tuple[int, int, int]) -> str:
    """Return an item with H or ~ as plain numbers, ready to be read like any other one.

    limits: lowest and highest number of `~`, and the highest that a bare H takes.
    Raises: Unresolvable.

    >>> resolve("H/15", "minute", 0, "nightly", (0, 59, 59)), resolve("20~30", "minute", 0, "nightly", (0, 59, 59))
    ('5-59/15', '23')
    """
    low, high, usual = limits
    by_h = _H.fullmatch(item)
    found = by_h or _BETWEEN.fullmatch(item)
    if not found:
        raise Unresolvable("cannot be read", f"use H, H({low}-{usual}), H/{max(2, usual // 4)} or {low}~{usual}")
    first = _number(found["first"], low, low, high)
    last = _number(found["last"], usual if by_h else high, low, high)
    if first > last:
        raise Unresolvable("ends before it begins", f"use two numbers from {low} to {high}, the lower one first")
    size = last - first + 1
    step = found["step"]
    if step is None:
        return str(first + hashed(seed, field, place, size))
    if not re.fullmatch(r"0*[1-9]\d{0,8}", step, re.ASCII) or int(step) > size:
        raise Unresolvable("has a step that is none", f"use a step from 1 to {size}, or none for a single time")
    return f"{first + hashed(seed, field, place, int(step))}-{last}/{int(step)}"


def _number(text: str | None, default: int, low: int, high: int) -> int:
    if not text:
        return default
    if re.fullmatch(r"\d{1,9}", text, re.ASCII) and low <= int(text) <= high:
        return int(text)
    raise Unresolvable(f"has {ascii(text)[1:-1][:20]} where a number from {low} to {high} belongs", f"use {low} to {high}")
