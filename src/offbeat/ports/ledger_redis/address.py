"""Where the Redis is, as an address says it. Never connects; what may be shown of an address has no password in it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from offbeat.errors import ConfigError, Problem

SCHEMES = {
    "redis": "tcp",
    "valkey": "tcp",
    "rediss": "tls",
    "valkeys": "tls",
    "unix": "unix",
    "redis+unix": "unix",
    "redis+sentinel": "sentinel",
}
TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
SENTINEL = ("sentinel_username", "sentinel_password", "tls")
YES, NO = ("yes", "true", "1"), ("no", "false", "0")
KNOWN = ("prefix", "durability", "db", "username", "password", *TLS, *SENTINEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address, taken apart. hosts: one, or the Sentinels. durability: "" or "none". tls: its options by name."""

    where: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    prefix: str = "offbeat"
    durability: str = ""
    secure: bool = False
    tls: tuple[tuple[str, str], ...] = ()
    sentinel_username: str = ""
    sentinel_password: str = ""

    def __repr__(self) -> str:
        """Return what may be shown."""
        return f"Address({self.where!r})"


def parse(address: str) -> Address:
    """Return the address taken apart. Raises: ConfigError, with nothing of the address but its scheme and option names."""
    scheme, _, rest = address.partition("://")
    form = SCHEMES[scheme.lower()]
    try:
        parts = urlsplit("x://" + rest)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        userinfo, _, netloc = parts.netloc.rpartition("@")
        if "@" in parts.path + parts.fragment or parts.fragment:
            raise ValueError("a character of the password")
        if "@" in parts.query and not options.keys() <= set(KNOWN):
            raise ValueError("options that may be part of a password")
        username, _, password = userinfo.partition(":")
        found = _places(form, netloc, parts.path)
        database = int(options["db"]) if "db" in options else found["database"]
    except ValueError as error:
        raise _wrong(
            scheme, "its parts cannot be told apart (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"
        ) from error
    _check(scheme, form, options)
    username, password = unquote(username), unquote(password)
    prefix = options.get("prefix", "offbeat")
    return Address(
        where=_shown(scheme, netloc, parts.path, service=found["service"], database=database, prefix=prefix),
        hosts=found["hosts"],
        path=found["path"],
        service=found["service"],
        database=database,
        username=options.get("username", username),
        password=options.get("password", password),
        prefix=prefix,
        durability=options.get("durability", ""),
        secure=form == "tls" or options.get("tls", "").lower() in YES,
        tls=tuple((name, text) for name, text in options.items() if name in TLS),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )


def _places(form: str, netloc: str, path: str) -> dict:  # type: ignore[type-arg]
    """Return hosts, path, service and database. Raises: ValueError."""
    if form == "unix":
        return {"hosts": (), "path": unquote(netloc + path), "service": "", "database": 0}
    usual = 26379 if form == "sentinel" else 6379
    hosts = tuple(_host(one, usual) for one in (netloc or "localhost").split(","))
    if len(hosts) > 1 and form != "sentinel":
        raise ValueError("several hosts")
    tail = path.strip("/")
    if form == "sentinel":
        if not tail or "/" in tail:
            raise ValueError("no service")
        return {"hosts": hosts, "path": "", "service": unquote(tail), "database": 0}
    return {"hosts": hosts, "path": "", "service": "", "database": int(tail) if tail else 0}


def _host(text: str, usual: int) -> tuple[str, int]:
    parts = urlsplit("x://" + text)
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host")
    return parts.hostname, parts.port or usual


def _shown(scheme: str, netloc: str, path: str, *, service: str, database: int, prefix: str) -> str:
    tail = f"/{service}?db={database}" if service else (path if not netloc else f"/{database}")
    if SCHEMES[scheme.lower()] == "unix":
        tail = f"{path}?db={database}"
    more = "" if prefix == "offbeat" else f"{'&' if '?' in tail else '?'}prefix={prefix}"
    return f"{scheme}://{netloc}{tail}{more}"


def _check(scheme: str, form: str, options: dict[str, str]) -> None:
    unknown = sorted(set(options) - set(KNOWN))
    if unknown:
        raise _wrong(
            scheme, f'its option "{unknown[0][:40]}" is none of {", ".join(name for name in KNOWN if "pass" not in name)}'
        )
    if options.get("durability", "none") != "none":
        raise _wrong(scheme, '?durability= can only be "none"')
    _check_tls(scheme, form, options)
    if "{" in options.get("prefix", "") or "}" in options.get("prefix", "") or not options.get("prefix", "x"):
        raise _wrong(scheme, "?prefix= is empty, or has a brace in it")


def _check_tls(scheme: str, form: str, options: dict[str, str]) -> None:
    if form == "unix" and any(name in options for name in (*TLS, "tls")):
        raise _wrong(scheme, "a unix socket has no TLS")
    for name in ("ssl_check_hostname", "tls"):
        if options.get(name, "no").lower() not in (*YES, *NO):
            raise _wrong(scheme, f"{name} is none of {', '.join((*YES, *NO))}")
    if options.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise _wrong(scheme, "ssl_cert_reqs is none of required, optional, none")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise _wrong(scheme, "ssl_keyfile goes with ssl_certfile")
    secure = form == "tls" or options.get("tls", "").lower() in YES
    if not secure and (vain := next((name for name in TLS if name in options), "")):
        raise _wrong(scheme, f"{vain} is for TLS, which nothing else asks for (rediss://, or tls=yes with redis+sentinel://)")


def _wrong(scheme: str, what: str) -> ConfigError:
    return ConfigError(
        Problem(
            code="L500",
            file="OFFBEAT_LEDGER",
            what=f"the ledger's address {scheme}://... is not right: {what}",
            why="there is nowhere to record occurrences, so nothing is recorded and nothing is sent",
            fix="OFFBEAT_LEDGER=redis://user:password@127.0.0.1:6379/0",
        )
    )
