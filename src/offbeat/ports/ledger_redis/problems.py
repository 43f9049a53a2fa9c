"""What can be wrong with a ledger in Redis, said so that an operator can mend it. Never prints; no password in any text."""

from __future__ import annotations

import re

from offbeat.errors import LedgerAwayError, LedgerError, Problem

NOTHING = "nothing was recorded and nothing is sent until this is mended"

# code, what, fix
UNREACHABLE = ("L501", "the Redis of the ledger cannot be reached", "start it, or check its address, port and firewall")
SILENT = ("L502", "the Redis of the ledger does not answer", "look whether its host hangs, or a firewall swallows packets")
DENIED = (
    "L503",
    "the Redis of the ledger does not let us in",
    "check user and password in OFFBEAT_LEDGER (ACL LIST shows users)",
)
FORBIDDEN = (
    "L504",
    "the user in Redis may not do what the ledger needs",
    "give it the rights that docs/how-to/redis-ledger.md lists (ACL SETUSER)",
)
TLS = (
    "L505",
    "there is no trusted connection to the Redis of the ledger",
    "check ?ssl_ca_certs=, the certificate's name and its dates",
)
NOT_DURABLE = (
    "L506",
    "this Redis keeps no append-only file, so what is recorded is lost when it ends",
    "redis-cli CONFIG SET appendonly yes, and the same in redis.conf; or add ?durability=none if losing it is fine",
)
EVICTS = (
    "L507",
    "this Redis may throw away parts of the ledger when its memory is full",
    "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
)
CLUSTER = (
    "L508",
    "this is a Redis Cluster, which the ledger does not use",
    "give it a Redis of its own, with a replica and Sentinel",
)
TOO_OLD = ("L509", "this Redis is too old", "use Redis 6.2 or newer, or Valkey")
NEWER = ("L510", "this ledger belongs to a newer offbeat", "upgrade offbeat on this host")
READ_ONLY = (
    "L511",
    "this Redis is a replica and takes no writes",
    "give OFFBEAT_LEDGER the master's address, or redis+sentinel://",
)
LOADING = ("L512", "the Redis of the ledger is still loading its data", "wait until it has; the next tick tries again")
BUSY = (
    "L513",
    "the Redis of the ledger is busy with another program's script",
    "find it with SLOWLOG GET; SCRIPT KILL ends it",
)
FULL = ("L514", "the Redis of the ledger has no memory left", "raise maxmemory, or keep less: [ledger] keep in schedule.toml")
DISK = (
    "L515",
    "the Redis of the ledger cannot write to its disk",
    "free space where Redis writes (CONFIG GET dir), look at its log",
)
FOREIGN = ("L516", "the keys of the ledger hold something else", "use another ?prefix=, or remove what is there")
NO_MASTER = (
    "L517",
    "no Sentinel knows a master of this name",
    "check hosts and service name in OFFBEAT_LEDGER (SENTINEL MASTERS)",
)
MISSING = ("L518", "the package redis is not installed", "pip install 'offbeat[redis]'")
REFUSED = ("L519", "the Redis of the ledger refused a command", "look at the server's log")
CONTENDED = ("L520", "others kept changing the schedule or its groups while this was worked out", "do the same again")
UNCHECKED = "L521"
WENT_BACK = (
    "L522",
    "the Redis of the ledger went back to an older state while it was used",
    "nothing: what it forgot is found out next, and told (L304); then find out what Redis lost, and why",
)

PASSING = {code for code, _, _ in (UNREACHABLE, SILENT, READ_ONLY, LOADING, BUSY, FULL, DISK, NO_MASTER, CONTENDED, WENT_BACK)}

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


def refuse(where: str, problem: tuple[str, str, str], said: str = "", *, why: str = NOTHING) -> LedgerError:
    """Return the error. said: the server's own words, one line, with nothing of ours in it."""
    code, what, fix = problem
    kind = LedgerAwayError if code in PASSING else LedgerError
    return kind(Problem(code=code, file=where, what=f"{what}: {said}" if said else what, why=why, fix=fix))


def of_reply(where: str, said: str, secrets: tuple[str, ...] = ()) -> LedgerError:
    """Return the error for an error reply of the server."""
    said = clean(said, secrets)
    word = re.search(r"\b(" + "|".join(BY_WORD) + r")\b", said)
    if word:
        return refuse(where, BY_WORD[word.group(1)], said)
    if any(words in said for words in ("permission", "ACL failure", "user executing the script")):
        return refuse(where, FORBIDDEN, said)
    if "password" in said.lower() or "AUTH" in said:
        return refuse(where, DENIED, said)
    return refuse(where, REFUSED, said)


def clean(said: str, secrets: tuple[str, ...]) -> str:
    """Return one line of at most 300 characters without any of the secrets."""
    said = " ".join(said.split())
    for secret in secrets:
        if secret:
            said = said.replace(secret, "***")
    return said[:300]
