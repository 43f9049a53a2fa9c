"""Which store an address means. The only file that knows all of them; each is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path

from offbeat.errors import ConfigError, LedgerError, Problem
from offbeat.ports.clock import Clock
from offbeat.ports.ledger import Ledger

POSTGRES = ("postgresql", "postgres")
REDIS = ("redis", "rediss", "unix", "redis+unix", "redis+sentinel", "valkey", "valkeys")
_FORMLESS = "is none: it has no :// after a kind of ledger"


def open_ledger(
    address: str, *, clock: Clock, project: str, owner: str, read_only: bool = False, adopt: bool = False
) -> Ledger:
    """Open the ledger at `address`: sqlite:////absolute/path, sqlite:///relative/path, memory:, postgresql://, redis:// or kin.

    owner: the tree and host that use it; a SQLite ledger of another one is refused unless `adopt`. read_only: nothing is made
    or written; where there is none yet, the answer is an empty ledger. clock: the horizon where the store has no clock.
    Raises: ConfigError for an address of no known form, LedgerError when the store cannot be used.
    """
    if address == "memory:":
        from offbeat.ports.ledger_memory import LedgerMemory

        return LedgerMemory(clock=clock, project=project, owner=owner)
    if address.partition("://")[0].lower() in REDIS:
        from offbeat.ports import ledger_redis

        return ledger_redis.LedgerRedis(ledger_redis.Place(address=address, project=project, owner=owner, read_only=read_only))
    if address.partition("://")[0].lower() in POSTGRES:
        return _postgres(address, clock=clock, project=project, owner=owner, read_only=read_only)
    path, _, options = address.removeprefix("sqlite:///").partition("?")
    if not address.startswith("sqlite:///") or not path:
        raise _unsupported(address)
    if read_only and not Path(path).exists():
        from offbeat.ports.ledger_memory import LedgerMemory

        return LedgerMemory(clock=clock, project=project, owner=owner, where=f"sqlite:///{Path(path).absolute()}")
    from offbeat.ports.ledger_sqlite import LedgerSqlite, Place, share_of

    place = Place(path=path, project=project, owner=owner, read_only=read_only, adopt=adopt, share=share_of(options))
    return LedgerSqlite(place, clock=clock)


def _postgres(address: str, *, clock: Clock, project: str, owner: str, read_only: bool) -> Ledger:
    try:
        from offbeat.ports import ledger_postgres
    except ImportError as error:
        raise LedgerError(
            Problem(
                code="L401",
                file="OFFBEAT_LEDGER",
                what=f'a ledger in PostgreSQL needs the package "psycopg": {error}',
                why="nothing was recorded and nothing is sent",
                fix="pip install 'psycopg[binary]'",
            )
        ) from error
    place = ledger_postgres.place_of(address, project=project, owner=owner, read_only=read_only)
    try:
        return ledger_postgres.LedgerPostgres(place)
    except ledger_postgres.NotThere:
        from offbeat.ports.ledger_memory import LedgerMemory

        return LedgerMemory(clock=clock, project=project, owner=owner, where=place.where)


def _unsupported(address: str) -> ConfigError:
    """Return the error; of the address only its scheme is shown, since there may be a password in the rest."""
    from offbeat.core.passwords import scheme_of

    begins = f'begins with "{scheme_of(address)}", which no store answers to' if scheme_of(address) else _FORMLESS
    if address.partition("?")[0] == "sqlite:///":
        begins = "names no file after sqlite:///"
    return ConfigError(
        Problem(
            code="C302",
            file="OFFBEAT_LEDGER",
            what=f"the ledger's address {begins}",
            why="there is nowhere to record occurrences, so nothing is recorded and nothing is sent",
            fix="OFFBEAT_LEDGER=sqlite:////var/lib/offbeat/ledger.sqlite3, postgresql://user:password@host/database, "
            "or redis://user:password@host:6379/0",
        )
    )
