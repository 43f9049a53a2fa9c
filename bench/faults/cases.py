"""The faults: each prepares a peer, does it harm, and counts what went out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.faults.peers import Load, Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """due: occurrences; sent: of them, at least once; repeated: messages beyond the first. note: what else happened."""

    due: int
    sent: int
    repeated: int
    explained: int = 0  # not sent, with a reason that can be looked up
    note: str = ""

    @property
    def lost(self) -> int:
        """Return how many were not sent, and nothing says why."""
        return max(0, self.due - self.sent - self.explained)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault. load: asked when it begins, since it may name a minute. harm: does it, and returns what it saw besides."""

    name: str
    times: int  # due times of each entry
    load: Callable[[], Load]
    harm: Callable[[Peer], str]


def run_case(case: Case, peer: Peer) -> Count:
    """Do the harm and count, by entry: more messages than due times are repeated, fewer are lost."""
    try:
        note = case.harm(peer)
        sent, explained = peer.wire.sent(), peer.explained()
    finally:
        peer.end(signal.SIGKILL)
        peer.wire.stop()
    sent.pop("peer.bad", None)
    due = peer.load.entries * case.times
    good = sum(min(count, case.times) for count in sent.values())
    return Count(due=due, sent=good, repeated=sum(sent.values()) - good, explained=explained, note=note)


def wait_until(instant: float) -> None:
    """Sleep until an instant of the wall clock."""
    time.sleep(max(0.0, instant - time.time()))


def next_minute(lead: float) -> float:
    """Return the first whole minute that is at least `lead` seconds ahead."""
    return (time.time() + lead) // 60 * 60 + 60


def outage(peer: Peer) -> str:
    """Stop the broker from 10 s before to 20 s after the second of three due minutes."""
    first = next_minute(15)
    peer.start()
    wait_until(first + 50)
    peer.wire.stop()
    wait_until(first + 80)
    peer.wire.start()
    wait_until(first + 150)
    return "" if peer.alive() else "the scheduler ended"


def burst() -> Load:
    """Return 1,000 entries that are due in the minute after the next one, or in two where that is near."""
    return Load(entries=1000, when=f"at {int(next_minute(25)) // 60 % 60}")


def kill_in_burst(peer: Peer) -> str:
    """Kill -9 when 40 % are out, start again at once, wait a minute."""
    peer.start()
    until = time.time() + 120
    while peer.wire.length() < peer.load.entries * 0.4 and time.time() < until:
        time.sleep(0.002)
    at_kill = peer.wire.length()
    peer.end(signal.SIGKILL)
    peer.start()
    time.sleep(60)
    return f"killed after {at_kill}"


def two_schedulers(peer: Peer) -> str:
    """Run two of them over two due minutes."""
    first = next_minute(15)
    peer.start()
    time.sleep(5)
    peer.start()
    wait_until(first + 90)
    return "" if peer.alive() else "one of them ended"


def downtime(peer: Peer) -> str:
    """One due minute, five of downtime, one more."""
    first = next_minute(15)
    peer.start()
    wait_until(first + 20)
    peer.end()
    wait_until(first + 5 * 60 + 25)
    peer.start()
    wait_until(first + 6 * 60 + 20)
    return ""


def corrupt_state(peer: Peer) -> str:
    """Damage what it remembers while it is stopped; ten due seconds follow."""
    peer.start()
    time.sleep(8)
    peer.end()
    peer.wire.client().delete("celery")
    peer.corrupt()
    peer.start()
    time.sleep(14)
    sent = min(10, min(peer.wire.sent().values(), default=0))
    peer.wire.client().ltrim("celery", -10 * peer.load.entries, -1)
    return ("goes on" if sent else "stands still, and says why") if peer.alive() else peer.last_words()


def bad_entry(peer: Peer) -> str:
    """One entry whose minute is 61 beside ten good ones."""
    peer.start()
    time.sleep(16)
    peer.wire.client().ltrim("celery", -10 * peer.load.entries, -1)
    return "" if peer.alive() else peer.last_words()


CASES = (
    Case(name="broker away for 30 s over a due minute", times=3, load=lambda: Load(entries=100, when="minute"), harm=outage),
    Case(name="two schedulers", times=2, load=lambda: Load(entries=100, when="minute"), harm=two_schedulers),
    Case(name="down for five due minutes", times=7, load=lambda: Load(entries=100, when="minute"), harm=downtime),
    Case(name="`kill -9` in a burst of 1,000", times=1, load=burst, harm=kill_in_burst),
    Case(name="what it remembers is damaged", times=10, load=lambda: Load(entries=10, when="second"), harm=corrupt_state),
    Case(name="one bad entry", times=10, load=lambda: Load(entries=10, when="second", bad=True), harm=bad_entry),
)
