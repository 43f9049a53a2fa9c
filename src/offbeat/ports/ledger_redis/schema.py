"""What is kept in Redis under which key, and the scripts that write it. No value is ever spliced into a script's text."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

# Every key begins with K = "{<prefix>:<project>}:", one hash tag, so that a project is whole wherever it is. Instants are whole
# microseconds since the epoch, due times whole seconds. A row's id is "<eno>:<due_at>", of a manual one
# "<eno>:<due_at>:m:<kind_id>", of a backfill's "<eno>:<due_at>:b:<kind_id>".
#
# meta      hash: schema oldest project owner born pver rev stamp problems whole newest suspect through deployed restored
#           rewound_at rewound_to rewound_by
#           digest activated settings overlaps rows undelivered next_eno next_gid next_vno next_pause next_gap
# marks     hash: slot of who writes -> how many of its writes there are
# revs      hash: revision -> JSON [digest, activated_at, origin, number of entries]     schedules  hash: revision -> its text
# names     hash: entry -> eno           book   hash: eno -> JSON {name, versions: [[vno, gid, from, until, entry]]}
# defs      hash: eno -> JSON [queue, expires, command, overlap, max_runtime], of the active revision's entries only
# spans     hash: eno -> JSON [[gid, first, last]]           last   hash: eno -> last due time that was recorded
# texts     hash: gid -> JSON [recurrence, zone]             groups hash: gid -> "cursor version"
# open      hash: gid -> open members                        due    zset: gid by next due time          m:<gid>  set of eno
# by        hash: gid -> "after until tag now": who recorded its newest window that came with messages, when
# h:<hour>  hash: "<eno>:<second of the hour><rest of the id>" -> the row, packed        o:<hour>  hash: the same -> output
# ages      zset of the hours that have rows other than a backfill's                 filled zset: a backfill's ids by record
# hours     zset of the hours that have rows                 unsent zset: pending and waiting ids by send time
# lane:<n>  zset: pending ids by next try                    back   zset: those of them that were handed back
# leases    zset: claimed ids by lease end                   wait   zset: waiting ids by when their slot is free
# queued    hash: eno -> the id that waits                   slots  hash: eno -> "until/length id" (overlap)
# busy      hash: slot of a directory -> "until owner"       live   set: ids of commands under way
# trouble   zset: failed, revoked and undelivered ids by due time
# failed    zset: ids by when they failed                    fired  hash: "<eno>:<token>" -> due time
# calls     hash: id -> JSON [queue, expires, command, call] of a fire with a call of its own
# gaps      zset by until: "gid eno|0 after until recorded_at reason number who"
# pauses    hash: number -> "eno|0 from until|- once JSON[who, note]"
# runners   hash: tag -> JSON [id, host, pid, role, revision, skew, version]              seen  zset: tag by last sign of life
# a:<occurrence>  string with a time to live: the attempt that was admitted
#
# A row is a MessagePack array: state, reason, cause (numbers from 1, in the order of lua/base.lua), lane, attempt,
# send_at - due_at (seconds), the revisions that recorded and that sent it, then microseconds from the due time: recorded,
# dispatched, started, finished; tag of the owner, 1 for a command, task id (a UUID as its 16 bytes), note, exit status,
# expires_at (absolute), 1 once it waited, 1 with a call of its own, when a claimed one
# was to be tried if not at its send time (absolute). Empty ones are false, and left out at the end.
#
# A runner's tag is the first 6 bytes of the SHA-1 of its id, as a number. The guard in a worker reads admit.lua and report.lua;
# each is a script when base.lua comes before it: KEYS[1] = K, ARGV[1] = "" (the server's clock, and nothing is
# marked). It answers [[now, pver, revision, ...], answer].

SCHEMA = 2
FIRST = 2  # of those that can be brought to ours: 1 was never released
PUSHES = frozenset({"record", "settle"})  # scripts that push into the broker's queues
OLDEST = 2  # a program whose SCHEMA is at least this may use a ledger that we have brought to ours


@lru_cache(maxsize=64)
def script(name: str) -> str:
    """Return the whole text of a script: what all begin with, and its own."""
    folder = Path(__file__).with_name("lua")
    parts = ("base", "push", name) if name in PUSHES else ("base", name)
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
