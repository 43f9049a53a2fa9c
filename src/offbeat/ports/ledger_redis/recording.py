"""The ledger in Redis, for runners: windows are recorded, and what is due now is pushed in the same step. Ledger rule 15.

Rows that are alike but for their entry are told, written and answered as one run; a script has at most MOST_ROWS of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from offbeat.core.batches import batches
from offbeat.core.model import DueTime, Instant, Key, Lane
from offbeat.ports.ledger import FENCED
from offbeat.ports.ledger_mail import Draft, Mail, Post, Recorded
from offbeat.ports.ledger_redis.pushing import MOST_BYTES, Pushing
from offbeat.ports.ledger_redis.store import MOST_ROWS, Reply
from offbeat.ports.ledger_redis.values import CAUSES, REASONS, decoded, encoded, instant, micros, perhaps, short_bytes, tag
from offbeat.ports.ledger_values import LEASE, Claim, Runner

if TYPE_CHECKING:
    from offbeat.core.plan import PlannedRow, Portion, Window

FIRST = 8  # argument of the script that the first message has
NEVER = 0  # until when messages may be pushed where there are none
CAUSE = {cause: code for code, cause in enumerate(CAUSES, start=1)}
REASON = {reason: code for code, reason in enumerate(REASONS, start=1)}
PLAIN = (0, -1, 0)  # what a row needs to know of its definition when nobody is to send it


@dataclass(slots=True)
class Told:
    """Windows as the script takes them. runs: rows of each run that came with messages, in the order of its answers.

    left, room: how many messages more it takes, and bytes of them.
    """

    mark: str
    left: int = MOST_ROWS
    room: int = MOST_BYTES
    windows: list[Any] = field(default_factory=list)
    words: list[bytes] = field(default_factory=list)
    runs: list[list[PlannedRow]] = field(default_factory=list)

    def takes(self, post: Post) -> bool:
        """Return whether the message is to go along."""
        if self.left <= 0 or self.room <= 0:
            return False
        self.left, self.room = self.left - 1, self.room - len(post.push.payload)
        return True


class RecordingRedis(Pushing):
    """record, draft, record_and_push."""

    def record(self, runner: Runner, windows: Sequence[Window], revision: int) -> Sequence[Claim]:
        return [claim for some in batches(windows, MOST_ROWS) for claim in self._recorded(runner, some, revision)]

    def _recorded(self, runner: Runner, windows: Sequence[Window], revision: int) -> list[Claim]:
        told = self._wrapped(windows, runner.id, {})
        words = (tag(runner), revision, encoded(told.windows), told.mark, NEVER, self.address.database)
        reply = self.ask("record", *words)
        return self._held(windows, reply)

    def draft(self, portion: Portion, windows: Sequence[Window]) -> Draft:
        rows = [row for window in windows for row in window.rows if _is_due(row, portion.now)]
        book = self.read((row.eno for row in rows), self.book.pver)
        return Draft(mark=str(book.pver), now=portion.now, claims=tuple(self._drafted(row, portion.now) for row in rows))

    def _drafted(self, row: PlannedRow, now: Instant) -> Claim:
        _, expires, _ = self.book.pages[row.eno].facts
        key = Key(eno=row.eno, due_at=row.due_at)
        claim = self.claim_of(
            key, row.send_at, CAUSE[row.cause], now + LEASE, expires_at=None if expires < 0 else now + expires, now=now
        )
        fresh = any(p.from_at > now and p.eno in (0, row.eno) and not p.once for p in self.book.pauses)
        return replace(claim, paused=True) if fresh else claim  # made after the portion was taken

    def record_and_push(self, runner: Runner, windows: Sequence[Window], revision: int, mail: Mail) -> Recorded:
        posts = {(post.outcome.key.eno, post.outcome.key.due_at): post for post in mail.posts if post.outcome.attempt == 1}
        claims: list[Claim] = []
        answers: dict[tuple[int, DueTime], str] = {}
        for some in batches(windows, MOST_ROWS):
            told = self._wrapped(some, runner.id, posts)
            until = micros(mail.until) if told.mark == mail.mark else NEVER
            words = (tag(runner), revision, encoded(told.windows), told.mark, until, self.address.database)
            reply = self.ask_there("record", *words, *told.words) if told.runs else None
            if reply is None:
                claims += self._recorded(runner, some, revision)
                continue
            claims += self._held(some, reply)
            answers |= _answers(told, reply, {(claim.key.eno, claim.key.due_at) for claim in claims})
        said = {posts[place].outcome.key: answer for place, answer in answers.items()}
        told_of = (said.get(post.outcome.key, FENCED) if post.outcome.attempt == 1 else FENCED for post in mail.posts)
        return Recorded(claims=tuple(claims), answers=tuple(told_of))

    def _wrapped(self, windows: Sequence[Window], who: str, posts: Mapping[tuple[int, DueTime], Post]) -> Told:
        """Return the windows as the script takes them, with at most MOST_ROWS messages."""
        book = self.book
        rows = (row for window in windows for row in window.rows)
        is_known = all(row.eno in book.pages for row in rows)
        told = Told(str(book.pver) if is_known else "")
        for window in windows:
            runs: list[Any] = []
            for alike, mine in self._alike(window, posts if is_known else {}, told):
                run = [*alike[:8], [row.eno for row in mine]]
                if alike[8] is not None:
                    run += [*alike[8], FIRST + len(told.words)]
                    told.runs.append(mine)
                    for row in mine:
                        post = posts[row.eno, row.due_at]
                        told.words += (_task(post), post.push.payload)
                runs.append(run)
            gaps = [[gap.eno or 0, gap.after, gap.until, gap.reason, who] for gap in window.gaps]
            told.windows.append([window.gid, window.version, window.after, window.until, window.next_due, runs, gaps])
        return told

    def _alike(
        self, window: Window, posts: Mapping[tuple[int, DueTime], Post], told: Told
    ) -> Iterator[tuple[tuple[Any, ...], list[PlannedRow]]]:
        """Yield the rows in runs of at most MOST_ROWS that are alike, oldest due time first: of two the older takes a slot."""
        found: dict[tuple[Any, ...], list[PlannedRow]] = {}
        pages = self.book.pages
        for row in window.rows:
            facts, queue, post = PLAIN, None, None
            if row.reason == "" and (page := pages.get(row.eno)) is not None:
                facts = page.facts
                post = posts.get((row.eno, row.due_at))
            if post is not None and told.takes(post):
                queue = (post.push.database, post.push.key)
            cause, reason = CAUSE[row.cause], REASON[row.reason]
            alike = (row.due_at, row.send_at - row.due_at, int(row.lane), cause, reason, *facts, queue)
            found.setdefault(alike, []).append(row)
        for alike, rows in sorted(found.items(), key=lambda each: each[0][0]):
            for start in range(0, len(rows), MOST_ROWS):
                yield alike, rows[start : start + MOST_ROWS]

    def _held(self, windows: Iterable[Window], reply: Reply) -> list[Claim]:
        """Return what the script says the runner holds, in the windows' order."""
        found = {(claim.key.eno, claim.key.due_at): claim for claim in self.claims(reply.body[0], reply)}
        self.read((eno for run in reply.body[1] for eno in run[6]), reply.pver)
        for due_at, offset, _, cause, lease_until, expires_at, enos in reply.body[1]:
            until, expiry = instant(lease_until), perhaps(expires_at)
            for eno in enos:
                key = Key(eno=eno, due_at=due_at)
                found[eno, due_at] = self.claim_of(key, due_at + offset, cause, until, expires_at=expiry, now=reply.now)
        if not found:
            return []
        places = ((row.eno, row.due_at) for window in windows for row in window.rows)
        return [found[place] for place in places if place in found]


def _is_due(row: PlannedRow, now: Instant) -> bool:
    return row.reason == "" and row.lane is Lane.LIVE and row.send_at <= now


def _task(post: Post) -> bytes:
    return short_bytes(post.outcome.task_id)


def _answers(told: Told, reply: Reply, held: set[tuple[int, DueTime]]) -> dict[tuple[int, DueTime], str]:
    """Return what became of each message, by entry and due time."""
    found: dict[tuple[int, DueTime], str] = {}
    for rows, (said, left) in zip(told.runs, reply.body[2], strict=True):
        found.update({(row.eno, row.due_at): "" for row in rows})
        words = decoded(said)
        found.update({(eno, rows[0].due_at): words if words and (eno, rows[0].due_at) in held else FENCED for eno in left})
    return found
