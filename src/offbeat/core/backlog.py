"""How much of a backlog is recorded at once: with catch_up "all" an outage leaves late occurrences, and they wait as rows.

Never a clock. What there is no room for stays behind the group's cursor, and follows as rows leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from offbeat.core.model import PUNCTUAL, CatchUp, Instant

if TYPE_CHECKING:
    from offbeat.core.plan import Group, Member

    Groups: TypeAlias = Iterable[tuple[Group, tuple[Member, ...]]]

BACKLOG = 200  # late occurrences of an entry with catch_up "all" that are recorded and wait


def is_all(member: Member) -> bool:
    """Return whether each late occurrence of the member is sent."""
    return member.policy.catch_up is CatchUp.ALL and not member.gone


def room(member: Member) -> int:
    """Return how many more late occurrences of the member may be recorded."""
    return max(BACKLOG - member.waiting, 0)


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
