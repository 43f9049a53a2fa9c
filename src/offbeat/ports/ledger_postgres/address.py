"""The address of a ledger in PostgreSQL, as libpq and we understand it. Never shows a user or a password.

Everything but `schema` in the address is libpq's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from offbeat.ports.ledger_postgres.problems import ADDRESS
from offbeat.ports.ledger_problems import refuse

LONGEST = 63  # bytes of an identifier in PostgreSQL
PATIENCE = 5  # seconds in which a server that is dead or cut off is noticed
THEIRS = ("pg_", "information_schema")  # what names of the server's own schemas begin with
SECRETS = ("password", "sslpassword")

# For every connection, where the address does not say otherwise. The rest of what makes a dead server known is a deadline
# for each answer (connection.py): a half-open connection whose other end still acknowledges is no error to TCP.
DEFAULTS = {
    "connect_timeout": str(PATIENCE),
    "tcp_user_timeout": str(PATIENCE * 1000),
    "keepalives": "1",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "application_name": "offbeat",
    "client_encoding": "UTF8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which schema of which database, and for whom. where: as it may be shown. secrets: what must never be.

    owner: the tree and host that is noted where the ledger is made by this; others are not refused, it is a shared one.
    """

    conninfo: str = field(repr=False)
    schema: str
    where: str
    project: str
    owner: str = ""
    read_only: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)


def place_of(address: str, *, project: str, owner: str = "", read_only: bool = False) -> Place:
    """Read postgresql://[user[:password]@][host[:port]][,...][/database][?schema=...&libpq's own].

    Raises: LedgerError (L402), which does not show the address: it could not be told which part is the password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    uri, schema = _without_schema(address)
    try:
        options = {name: str(value) for name, value in conninfo_to_dict(uri).items() if value is not None}
    except psycopg.Error:
        raise _not_understood() from None
    schema = schema or default_schema(project)
    if not schema or len(schema.encode()) > LONGEST or "\0" in schema or schema.startswith(THEIRS):
        raise refuse("OFFBEAT_LEDGER", ADDRESS, f"a schema has a name of 1 to {LONGEST} bytes, and none of the server's own")
    hosts, ports = options.get("host", options.get("hostaddr", "")), options.get("port", "")
    server = ",".join(_server(host, port) for host, port in _pairs(hosts, ports))
    where = f"postgresql://{server}/{quote(options.get('dbname', ''))}?schema={quote(schema)}"
    return Place(
        conninfo=make_conninfo("", **{**DEFAULTS, **options}),
        schema=schema,
        where=where,
        project=project,
        owner=owner,
        read_only=read_only,
        secrets=tuple(options[name] for name in SECRETS if options.get(name)),
    )


def default_schema(project: str) -> str:
    """Return the schema of a project's ledger where the address names none.

    A name that does not survive being made an identifier gets a hash of it, so that no two projects share a schema.

    >>> default_schema("difio"), default_schema("")
    ('offbeat_difio', 'offbeat')
    >>> default_schema("My Shop")
    'offbeat_my_shop_7840844a'
    """
    plain = re.sub(r"[^a-z0-9_]", "_", project.lower())
    if plain == project and len(plain) <= LONGEST - 8:
        return f"offbeat_{plain}" if plain else "offbeat"
    from zlib import crc32

    return f"offbeat_{plain[:40]}_{crc32(project.encode('utf-8', 'surrogateescape')):08x}"


def _without_schema(address: str) -> tuple[str, str]:
    try:
        parts = urlsplit(address)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _not_understood() from None
    if address.count("@") > 1 or "@" in parts.path or parts.fragment:  # part of a password would be shown as a host
        raise _not_understood()
    schema = next((value for name, value in options if name == "schema"), "")
    rest = urlencode([(name, value) for name, value in options if name != "schema"], quote_via=quote)
    return f"postgresql://{parts.netloc}{parts.path}{'?' if rest else ''}{rest}", schema


def _not_understood() -> Exception:
    return refuse("OFFBEAT_LEDGER", ADDRESS)


def _pairs(hosts: str, ports: str) -> list[tuple[str, str]]:
    names, numbers = hosts.split(","), ports.split(",")
    return [(host, numbers[min(index, len(numbers) - 1)]) for index, host in enumerate(names)]


def _server(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host else quote(host)
    return f"{shown}:{port}" if port else shown
