"""What recording and pushing in one step takes and gives: only a ledger on the broker's server has a use for it.

Never more than values; ports/ledger.py (Enqueuing) says what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offbeat.core.model import Instant
    from offbeat.ports.broker import Push
    from offbeat.ports.ledger_values import Claim, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A claim to be pushed and settled in one step. outcome: DISPATCHED, with the attempt of the claim and the task's id."""

    outcome: Outcome
    push: Push


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Claims as a `record` would hand them out. mark: of the definitions and pauses they are by. now: the store's clock."""

    mark: str
    now: Instant
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Messages for claims of a draft. mark: the draft's. until: by the store's clock; later none of them is pushed."""

    mark: str
    until: Instant
    posts: tuple[Post, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded with mail. claims: what is left to dispatch. answers: one a post: "" when it was pushed and settled."""

    claims: tuple[Claim, ...]
    answers: tuple[str, ...]
