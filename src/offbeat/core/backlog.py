"""What a store tells of a backlog: with catch_up "all" an outage leaves late occurrences, and few of them wait as rows at once.

Never a clock. What there is no room for (core/plan.py) stays behind the group's cursor, and follows as rows leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from offbeat.core.model import PUNCTUAL, Instant
from offbeat.core.plan import Group, Member, is_all

Groups: TypeAlias = Iterable[tuple[Group, tuple[Member, ...]]]


def may_be_late(groups: Groups, now: Instant) -> list[int]:
    """Return the entries of which `plan` has to know how many rows are waiting."""
    late = (members for group, members in groups if group.cursor < now - PUNCTUAL)
    return sorted({member.eno for members in late for member in members if is_all(member)})


def with_waiting(groups: Groups, waiting: Mapping[int, int]) -> tuple[tuple[Group, tuple[Member, ...]], ...]:
    """Return the groups, each member with how many of its late rows are waiting. waiting: by the entry's number."""
    return tuple(
        (group, tuple(replace(m, waiting=waiting[m.eno]) if waiting.get(m.eno) else m for m in members))
        for group, members in groups
    )
