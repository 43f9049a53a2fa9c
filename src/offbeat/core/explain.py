"""Recurrences and policies in words: a resolved text to plain English.

Never works out a due time and never raises: what it has no words for, it says as it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from offbeat.core.explain_cron import WEEKDAYS, cron_words, listed
from offbeat.core.explain_rrule import rrule_words
from offbeat.core.model import CatchUp, Entry, Overlap
from offbeat.core.recurrences.zones import DAY, find_zone
from offbeat.errors import ScheduleError

_UNITS = (("week", 604_800), ("day", DAY), ("hour", 3600), ("minute", 60), ("second", 1))
_SHOWN = 3  # instants of a list, and times of a day, that are said one by one
_CATCH_UP = {
    CatchUp.LATEST: "after a stand-still the newest due time is sent, the older ones are left out (catch_up = latest)",
    CatchUp.ALL: "after a stand-still every due time is sent (catch_up = all)",
    CatchUp.NONE: "after a stand-still nothing is sent for the due times that passed (catch_up = none)",
}
_WORKDAYS = {
    "next": "moves to the next working day",
    "previous": "moves to the working day before",
    "skip": "is left out",
}


def explain(recurrence: str, zone: str) -> str:
    """Return what a resolved recurrence means, as one sentence without its full stop.

    >>> explain("cron 30 4 * * 1", "Europe/Sofia")
    'At 04:30, only on Monday, Europe/Sofia time'
    >>> explain("every 2700 0", "UTC")
    'Every 45 minutes, counted from 1970-01-01T00:00Z: at 00:00, 00:45, 01:30 UTC and so on, the same times every day'
    """
    kind, _, rest = recurrence.partition(" ")
    words = _KINDS.get(kind)
    if words is None:
        return f"As {recurrence} says, {zone} time"
    try:
        return words(rest, zone)
    except (ValueError, TypeError, AttributeError, OverflowError, LookupError, RecursionError):
        return f"As {recurrence} says, {zone} time"


def span_words(seconds: int) -> str:
    """Return a span of time in words.

    >>> span_words(5400), span_words(2700), span_words(1)
    ('1 hour and 30 minutes', '45 minutes', '1 second')
    """
    parts = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return listed(parts or ["0 seconds"])


def policy_words(entry: Entry) -> Iterator[str]:
    """Yield what an entry says beside its recurrence, a remark each: its limits, then how lateness is treated."""
    timing, policy = entry.timing, entry.policy
    if not timing.enabled:
        yield "switched off (enabled = false): nothing is due"
    if timing.starts_at is not None:
        yield f"not before {moment_words(timing.starts_at, timing.zone)}"
    if timing.ends_at is not None:
        yield f"not after {moment_words(timing.ends_at, timing.zone)}"
    if policy.jitter or policy.jitter_percent:
        width = f"{policy.jitter_percent} % of the gap" if policy.jitter_percent else span_words(policy.jitter)
        yield (f"sent up to {width} after it is due (jitter), at a place picked by a hash, never past the next due time")
    if policy.grace is not None:
        yield f"given up when it could not be sent within {span_words(policy.grace)} (grace)"
    if policy.overlap is not Overlap.ALLOW:
        fate = "is skipped" if policy.overlap is Overlap.SKIP else "waits, and of several the newest"
        longest = span_words(policy.max_runtime or 0)
        yield f"while the one before still runs it {fate} (overlap = {policy.overlap}), for {longest} at most (max_runtime)"
    yield _CATCH_UP[policy.catch_up]


def moment_words(instant: int, zone: str) -> str:
    """Return an instant as the clock of a zone shows it.

    >>> moment_words(1_772_332_200, "Europe/Sofia")
    'Sun 1 Mar 2026 04:30 in Europe/Sofia'
    """
    try:
        offset = find_zone(zone).offset_at(instant)
    except ScheduleError:
        offset, zone = 0, "UTC"
    local = datetime.fromtimestamp(instant + offset, UTC)
    clock = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return f"{local:%a} {local.day} {local:%b %Y} {clock} in {zone}"


def _cron(rest: str, zone: str) -> str:
    return f"{cron_words(rest)}, {zone} time"


def _every(rest: str, _: str) -> str:
    seconds, offset = map(int, rest.split())
    head = f"Every {span_words(seconds).removeprefix('1 ') if _is_unit(seconds) else span_words(seconds)}"
    origin = datetime.fromtimestamp(offset, UTC)
    head += f", counted from {origin:%Y-%m-%dT}{_clock(offset)}Z"
    if seconds == 60:
        return f"{head}: at second {offset} of every minute" if offset else f"{head}: on every full minute"
    if seconds < 60 or DAY % seconds:
        return (
            head
            if seconds % DAY
            else f"{head}: at {_clock(offset)} UTC, {origin:%a} {origin.day} {origin:%b %Y} being the first"
        )
    if seconds == DAY:
        return f"{head}: at {_clock(offset)} UTC"
    if 3600 % seconds == 0:
        shown = [_clock(at)[2:] for at in range(offset % seconds, 3600, seconds)]
        if len(shown) <= 4:
            return f"{head}: at {listed(shown)} of every hour"
    times = range(offset % seconds, DAY, seconds)
    with_seconds = any(at % 60 for at in times[:_SHOWN])
    texts = [_clock(at, with_seconds=with_seconds) for at in times[:_SHOWN]]
    more = " and so on, the same times every day" if len(times) > _SHOWN else " every day"
    return f"{head}: at {', '.join(texts) if len(times) > _SHOWN else listed(texts)} UTC{more}"


def _clock(at: int, *, with_seconds: bool = False) -> str:
    """Return the time of day in UTC, with its seconds when it has any or they are wanted."""
    text = f"{at // 3600 % 24:02}:{at // 60 % 60:02}"
    return f"{text}:{at % 60:02}" if at % 60 or with_seconds else text


def _is_unit(seconds: int) -> bool:
    return any(seconds == size for _, size in _UNITS)


def _at(rest: str, zone: str) -> str:
    instants = [int(each) for each in rest.split(",")]
    if len(instants) == 1:
        return f"Once, at {moment_words(instants[0], zone)}"
    texts = [moment_words(each, zone).removesuffix(f" in {zone}") for each in instants]
    if len(texts) > 2 * _SHOWN:
        texts = [*texts[:_SHOWN], f"{len(texts) - _SHOWN - 1} more", f"at last {texts[-1]}"]
    return f"{len(instants)} times: {listed(texts)}, {zone} time"


def _solar(rest: str, _: str) -> str:
    event, latitude, longitude, offset = rest.split()
    name, _, twilight = event.partition("_")
    what = f"{twilight} {name}".strip() if name != "noon" else "solar noon"
    shift = int(offset)
    when = f"{span_words(abs(shift))} {'after' if shift > 0 else 'before'} {what}" if shift else f"At {what}"
    place = (
        f"{abs(float(latitude)):g}°{'NS'[latitude.startswith('-')]} {abs(float(longitude)):g}°{'EW'[longitude.startswith('-')]}"
    )
    none = "" if name == "noon" else "; a day on which the sun does not get there has none"
    return f"{when[0].upper()}{when[1:]} at {place}{none}"


def _any(rest: str, zone: str) -> str:
    said = json.loads(rest)
    suffix = f", {zone} time"
    members = [explain(each, zone) for each in said["of"]]
    is_local = all(each.endswith(suffix) for each in members)
    if is_local:
        members = [each.removesuffix(suffix) for each in members]
    words = members[0] if len(members) == 1 else f"Any of: {'; or '.join(_lower(each) for each in members)}"
    words += suffix if is_local else ""
    if excluded := said.get("except"):
        words += f"; except {listed(_exception(each, zone) for each in excluded)}"
    if workday := said.get("workday"):
        weekend = (
            listed(f"{WEEKDAYS[day]}s" for day in sorted(said["weekend"], key=lambda day: day or 7))
            if said.get("weekend")
            else ""
        )
        off = " and ".join(filter(None, [weekend, "what is excepted" if excluded else ""])) or "days off"
        words += f"; on {off} it {_WORKDAYS[workday]}"
    if not is_local and zone != "UTC" and (excluded or workday):
        words += f"; its days are those of {zone}"
    return words


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def _exception(text: str, zone: str) -> str:
    """Return what an exclusion of a composite leaves out."""
    if text.startswith("holidays:"):
        return f"the public holidays of {text[9:].partition('@')[0]}"
    kind, _, rest = text.partition(" ")
    if kind == "cron":
        return f"days that {rest} is due on ({_lower(cron_words(rest))})"
    if found := re.fullmatch(r"(\d{4}-\d\d-\d\d)(?:/(\d{4}-\d\d-\d\d))?", text):
        return f"{found[1]} to {found[2]}" if found[2] else found[1]
    if found := re.fullmatch(r"(-?\d{1,12})/(-?\d{1,12})", text):
        first, last = (moment_words(int(each), zone).removesuffix(f" in {zone}") for each in found.groups())
        return f"from {first} to {last}"
    if found := re.fullmatch(r"(\d{1,8})([ds]) (?:(\S+) )?rrule (.+)", text):
        begin = rrule_words(found[4], found[3] or zone).removesuffix(f", {zone} time")
        return f"{span_words(int(found[1]) * (DAY if found[2] == 'd' else 1))} from each of ({_lower(begin)})"
    return text


_KINDS: Mapping[str, Callable[[str, str], str]] = {
    "cron": _cron,
    "every": _every,
    "at": _at,
    "solar": _solar,
    "rrule": rrule_words,
    "any": _any,
}
