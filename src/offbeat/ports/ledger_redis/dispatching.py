"""The ledger in Redis, for runners: from rows to settled rows, and into the broker's queues on the same server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from offbeat.core.model import Key, LedgerSettings
from offbeat.core.transitions import KEPT_BEHIND
from offbeat.ports.ledger import FENCED, KEEP
from offbeat.ports.ledger_mail import Post
from offbeat.ports.ledger_problems import storable
from offbeat.ports.ledger_redis.pushing import MOST_BYTES, Pushing
from offbeat.ports.ledger_redis.store import MOST_ROWS
from offbeat.ports.ledger_redis.values import decoded, encoded, id_of, micros, short, tag
from offbeat.ports.ledger_values import SETTLES, Claim, Outcome, Runner

PAGE = 1000  # rows of a lane that one claim looks at; claim.lua says it too
ELSEWHERE = "the ledger has moved to another server"


class DispatchingRedis(Pushing):
    """claim, settle, prune, enqueue."""

    def claim(self, runner: Runner, limit: int, closed_queues: Collection[str] = ()) -> Sequence[Claim]:
        return self.claimable(tag(runner), limit, closed_queues)

    def claimable(self, runner: int, limit: int, closed_queues: Collection[str]) -> list[Claim]:
        """Return rows that have come, claimed for the runner of this tag; only looked at for 0."""
        claims: list[Claim] = []
        looked_at, closed = 0, encoded(sorted(closed_queues))
        while len(claims) < limit:
            some = min(limit - len(claims), MOST_ROWS)
            reply = self.ask("claim", runner, some, closed, looked_at)
            claims += self.claims(reply.body[0], reply)
            if not claims and reply.body[2] and runner:
                continue  # all of them were skipped, or wait: others may have come
            looked_at += PAGE
            if not reply.body[1]:
                break
        return claims

    def settle(self, runner: Runner, outcomes: Sequence[Outcome]) -> Sequence[Key]:
        accepted: list[Key] = []
        for start in range(0, len(outcomes), MOST_ROWS):
            some = outcomes[start : start + MOST_ROWS]
            answers = self.ask("settle", encoded([_told(outcome) for outcome in some]), self.address.database, tag(runner)).body
            accepted += [outcome.key for outcome, answer in zip(some, answers, strict=True) if answer == 1]
        return accepted

    def enqueue(self, runner: Runner, posts: Sequence[Post]) -> Sequence[str]:
        answers: list[str] = []
        for some in _handfuls(posts):
            answers += self._enqueued(runner, some)
        return answers

    def _enqueued(self, runner: Runner, posts: Sequence[Post]) -> list[str]:
        told = [[*_told(post.outcome), post.push.database, post.push.key, number] for number, post in enumerate(posts, start=1)]
        payloads = (post.push.payload for post in posts)
        reply = self.ask_there("settle", encoded(told), self.address.database, tag(runner), *payloads)
        if reply is None:
            return [ELSEWHERE] * len(posts)
        return [FENCED if answer == b"FENCED" else decoded(answer) for answer in reply.body]

    def prune(self, limit: int, keep: LedgerSettings = KEEP) -> int:
        gone = 0
        while gone < limit:
            some = min(limit - gone, MOST_ROWS)
            limits = (keep.keep_seconds, KEPT_BEHIND, keep.keep_rows or -1, keep.keep_bytes or -1)
            went: int = self.ask("prune", some, *limits).body
            gone += went
            if went < some:
                break
        return gone


def _handfuls(posts: Sequence[Post]) -> Iterator[Sequence[Post]]:
    """Yield the posts in runs of at most MOST_ROWS, and of MOST_BYTES but for the last of each."""
    start = size = 0
    for number, post in enumerate(posts):
        if number - start == MOST_ROWS or size >= MOST_BYTES:
            yield posts[start:number]
            start, size = number, 0
        size += len(post.push.payload)
    if posts:
        yield posts[start:]


def _told(outcome: Outcome) -> list[Any]:
    assert outcome.state in SETTLES, outcome.state
    retry = [micros(outcome.next_try_at), int(outcome.lane), short(outcome.task_id)]
    return [id_of(outcome.key), outcome.attempt, outcome.state, outcome.reason, storable(outcome.error), *retry]
