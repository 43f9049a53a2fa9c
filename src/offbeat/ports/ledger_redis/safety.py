"""What is looked at when a ledger is opened: whether this server would lose it, or cannot run it. Changes nothing."""

from __future__ import annotations

from offbeat.errors import LedgerError, Problem, Severity
from offbeat.ports.ledger_redis import problems
from offbeat.ports.ledger_redis.address import Address
from offbeat.ports.ledger_redis.client import Client

OLDEST_REDIS = (6, 2)


def check(client: Client, address: Address, *, read_only: bool = False) -> tuple[Problem, ...]:
    """Return warnings for what the server does not let us look at. Raises: LedgerError for what would lose the ledger."""
    try:
        said = _facts(client.say("INFO"))
    except LedgerError as error:
        if error.problems[0].code != problems.FORBIDDEN[0]:
            raise
        return (_unchecked(address, "INFO"),)
    _check_kind(said, address, read_only=read_only)
    if said.get("aof_enabled") == "0" and address.durability != "none":
        raise problems.refuse(address.where, problems.NOT_DURABLE)
    policy = said.get("maxmemory_policy")
    if policy is None:
        return (_unchecked(address, "the eviction policy"),)
    if policy != "noeviction":
        raise problems.refuse(address.where, problems.EVICTS, f"maxmemory-policy {policy}")
    return ()


def _check_kind(said: dict[str, str], address: Address, *, read_only: bool) -> None:
    version = tuple(int(part) for part in said.get("redis_version", "0").split(".")[:2] if part.isdigit())
    if version < OLDEST_REDIS and "valkey_version" not in said:
        raise problems.refuse(address.where, problems.TOO_OLD, said.get("redis_version", ""))
    if said.get("cluster_enabled") == "1":
        raise problems.refuse(address.where, problems.CLUSTER)
    if said.get("role") == "slave" and not read_only:
        raise problems.refuse(address.where, problems.READ_ONLY)


def run_id(client: Client) -> str:
    """Return which server this is, "" when it does not tell."""
    try:
        return _facts(client.say("INFO", "server")).get("run_id", "")
    except LedgerError as error:
        if error.problems[0].code == problems.FORBIDDEN[0]:
            return ""
        raise


def _facts(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value.strip() for name, found, value in lines if found}


def _unchecked(address: Address, what: str) -> Problem:
    return Problem(
        code=problems.UNCHECKED,
        file=address.where,
        severity=Severity.WARNING,
        what=f"this Redis does not let us look at {what}",
        why="nobody has checked that it keeps an append-only file and throws nothing away; the ledger is used as it is",
        fix="ACL SETUSER offbeat +info",
    )
