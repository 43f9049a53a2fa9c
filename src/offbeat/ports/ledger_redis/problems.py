"""What can be wrong with a ledger in Redis, said so that an operator can mend it. Never prints; no password in any text."""

from __future__ import annotations

import re

from offbeat.errors import LedgerError
from offbeat.ports import ledger_problems as words
from offbeat.ports.ledger_problems import ProblemText
from offbeat.ports.ledger_problems import clean as clean
from offbeat.ports.ledger_problems import refuse as refuse

UNREACHABLE = ProblemText("L501", words.UNREACHABLE, "start it, or check its address, port and firewall", passes=True)
SILENT = ProblemText("L502", words.SILENT, "look whether its host hangs, or a firewall swallows packets", passes=True)
DENIED = ProblemText(
    "L503",
    words.LOGIN,
    "check user and password in OFFBEAT_LEDGER (ACL LIST shows users)",
)
FORBIDDEN = ProblemText(
    "L504",
    words.FORBIDDEN,
    "give it the rights that docs/how-to/redis-ledger.md lists (ACL SETUSER)",
)
TLS = ProblemText(
    "L505",
    words.UNTRUSTED,
    "check ?ssl_ca_certs=, the certificate's name and its dates",
)
NOT_DURABLE = ProblemText(
    "L506",
    "this Redis keeps no append-only file, so what is recorded is lost when it ends",
    "redis-cli CONFIG SET appendonly yes, and the same in redis.conf; or add ?durability=none if losing it is fine",
)
EVICTS = ProblemText(
    "L507",
    "this Redis may throw away parts of the ledger when its memory is full",
    "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
)
CLUSTER = ProblemText(
    "L508",
    "this is a Redis Cluster, which the ledger does not use",
    "give it a Redis of its own, with a replica and Sentinel",
)
TOO_OLD = ProblemText("L509", words.TOO_OLD, "use Redis 6.2 or newer, or Valkey")
NEWER = ProblemText("L510", words.NEWER, words.UPGRADE)
READ_ONLY = ProblemText(
    "L511",
    words.READ_ONLY,
    "this Redis is a replica: give OFFBEAT_LEDGER the master's address, or redis+sentinel://",
    passes=True,
)
LOADING = ProblemText(
    "L512", "the ledger's server is still loading its data", "wait until it has; the next tick tries again", passes=True
)
BUSY = ProblemText(
    "L513",
    "the ledger's server is busy with another program's script",
    "find it with SLOWLOG GET; SCRIPT KILL ends it",
    passes=True,
)
FULL = ProblemText(
    "L514",
    "the ledger's server has no memory left",
    "raise maxmemory, or keep less: [ledger] keep in schedule.toml",
    passes=True,
)
DISK = ProblemText(
    "L515",
    "the ledger's server cannot write to its disk",
    "free space where Redis writes (CONFIG GET dir), look at its log",
    passes=True,
)
FOREIGN = ProblemText("L516", "the keys of the ledger hold something else", "use another ?prefix=, or remove what is there")
NO_MASTER = ProblemText(
    "L517",
    "no Sentinel knows a master of this name",
    "check hosts and service name in OFFBEAT_LEDGER (SENTINEL MASTERS)",
    passes=True,
)
MISSING = ProblemText("L518", "the package redis is not installed", "pip install 'kombu[redis]'")
REFUSED = ProblemText("L519", "the ledger's server refused a command", "look at the server's log")
CONTENDED = ProblemText(
    "L520", "others kept changing the schedule or its groups while this was worked out", "do the same again", passes=True
)
UNCHECKED = "L521"
WENT_BACK = ProblemText(
    "L522",
    "the ledger's server went back to an older state while it was used",
    "nothing: what it forgot is found out next, and told (L304); then find out what Redis lost, and why",
    passes=True,
)
UNRELEASED = ProblemText(
    "L523", words.UNRELEASED, "use another ?prefix=, or do without what is in this one and remove its keys: {PREFIX:PROJECT}:*"
)

BY_WORD = {
    "NOAUTH": DENIED,
    "WRONGPASS": DENIED,
    "NOPERM": FORBIDDEN,
    "READONLY": READ_ONLY,
    "NOREPLICAS": DISK,
    "LOADING": LOADING,
    "MASTERDOWN": LOADING,
    "BUSY": BUSY,
    "OOM": FULL,
    "MISCONF": DISK,
    "WRONGTYPE": FOREIGN,
    "NOMASTER": NO_MASTER,
}


def of_reply(where: str, said: str, secrets: tuple[str, ...] = ()) -> LedgerError:
    """Return the error for an error reply of the server."""
    said = clean(said, secrets)
    found = re.search(r"\b(" + "|".join(BY_WORD) + r")\b", said)
    if found:
        return refuse(where, BY_WORD[found.group(1)], said)
    if any(word in said for word in ("permission", "ACL failure", "user executing the script")):
        return refuse(where, FORBIDDEN, said)
    if "password" in said.lower() or "AUTH" in said:
        return refuse(where, DENIED, said)
    return refuse(where, REFUSED, said)
