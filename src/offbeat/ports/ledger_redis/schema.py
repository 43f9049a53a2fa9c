"""What is kept in Redis under which key, and the scripts that write it. No value is ever spliced into a script's text.

Every key begins with K = "{<prefix>:<project>}:", one hash tag, so a project is whole wherever it is. Instants are whole
microseconds since the epoch, due times whole seconds. A row's id is "<eno>:<due_at>", of a manual one "<eno>:<due_at>:m:<kind_id>",
of a backfill's "<eno>:<due_at>:b:<kind_id>".

K..meta     hash: schema oldest project owner born seq pver rev stamp problems whole newest suspect through deployed restored
            digest activated rows undelivered next_eno next_gid next_vno next_pause next_gap
K..revs     hash: revision -> JSON [digest, activated_at us, origin, number of entries, settings]      K..texts:rev likewise: its text
K..names    hash: entry -> eno                       K..book   hash: eno -> JSON {name, versions: [[vno, gid, from, until, entry]]}
K..defs     hash: eno -> JSON [queue, expires, command, overlap, max_runtime], of entries in the active revision only
K..spans    hash: eno -> JSON [[gid, first, last]]   K..last   hash: eno -> last due time that was recorded
K..texts    hash: gid -> JSON [recurrence, zone]     K..groups hash: gid -> "cursor version"     K..open  hash: gid -> open members
K..m:<gid>  set of eno                               K..due    zset: gid by next due time
K..h:<hour> hash: "<eno>:<second of the hour><rest of the id>" -> the row, packed        K..o:<hour> hash: the same -> output
K..hours    zset of the hours that have rows         K..unsent zset: pending and waiting ids by send time
K..lane:<n> zset: pending ids by next try            K..back   zset: those of them that were handed back
K..leases   zset: claimed ids by lease end           K..wait   zset: waiting ids by when their slot is free  K..queued  hash: eno -> id
K..slots    hash: eno -> "until id" (overlap)        K..busy   hash: slot of a directory -> "until owner"
K..live     set: ids of commands under way           K..failed zset: ids by when they failed
K..calls    hash: id -> JSON [queue, expires, command, call] of a fire with its own     K..fired hash: "<eno>:<token>" -> due time
K..gaps     zset by until: "gid eno|0 after until recorded_at reason number who"
K..pauses   hash: number -> "eno|0 from until|- once JSON[who, note]"
K..runners  hash: tag -> JSON [id, host, pid, role, revision, skew, version]             K..seen  zset: tag by last sign of life
K..a:<occurrence>  string with a time to live: the attempt that was admitted

A row is a MessagePack array: state, reason, cause (numbers from 1, in the order of lua/base.lua), lane, attempt, send_at - due_at in
seconds, revision that recorded and that sent it, then microseconds from the due time: recorded, dispatched, started, finished; tag
of the owner, 1 for a command, task id (a UUID as its 16 bytes), note, exit status, expires_at (absolute), 1 once it waited, 1 with a
call of its own. Empty ones are false, and left out at the end.

A runner's tag is the first 6 bytes of the SHA-1 of its id, as a number. The guard in a worker needs admit.lua and report.lua alone;
each is a script when base.lua comes before it: EVAL base+script with KEYS[1] = K, ARGV[1] = "" (the server's clock). Replies begin
with [now, pver, revision].
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

SCHEMA = 1
OLDEST = 1  # a program whose SCHEMA is at least this may use a ledger that we have brought to ours


@lru_cache(maxsize=64)
def script(name: str) -> str:
    """Return the whole text of a script: what all begin with, and its own."""
    folder = Path(__file__).with_name("lua")
    return (folder / "base.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
