"""Passwords where none should be: finding them in values of a committed file, and keeping them out of every text.

Never returns or prints what it found. Every word is searched once, however many addresses it seems to have. What is an
address, whole, goes through `shown_address`, whoever shows it; what may have one in it, through `masked`.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\S*://\S*")
_START = re.compile(  # in http://h:80/@user it is a port
    r"(?:(?<!http)(?<!https)(?<!ws)(?<!wss)|(?=://[^\s/@:]*:(?!\d{1,5}/)))://[^\s/@:]*:", re.IGNORECASE
)
_QUERY = re.compile(  # $TOKEN and {token} are filled in by somebody else
    r"([?&](?:[a-z_]*password|passwd|pwd|secret|secret_access_key|(?:access_|auth_)?token|api_?key)=)(?!\$|\{|%s|%\()[^\s&#\"']+",
    re.IGNORECASE,
)
_OWN_PATH = "sqlite:///"  # a path of this host: nothing in it is a password
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,39}", re.IGNORECASE)
_PLACE = re.compile(  # hosts with ports, then a path; nothing in it that a person would have to write as %40 in a password
    r"(?:(?:\[[0-9a-f:.%]+\]|[\w.%-]*)(?::\d{1,5})?(?:,|(?=/|\Z)))*(?:/[\w./%~+-]*)?", re.IGNORECASE
)
_SHOWN = ("schema", "prefix", "db", "durability", "mode", "group")  # options that are shown; all others may have secrets
_SECRETIVE = re.compile("pass|pwd|secret|token|access_?key|api_?key|credential", re.IGNORECASE)
_WITH_USER = ("postgresql", "postgres")  # where a user alone can log in; elsewhere that word may be the password
_NAMES = re.compile(r"(?:^|[_-])(?:password|passwd|secret|secret_access_key|token)$", re.IGNORECASE)


def masked(text: str) -> str:
    """Return the text with the password of every address in it replaced.

    >>> masked("redis://:hunter2@localhost:6379/0 is down, as is https://h/?password=hunter2")
    'redis://:***@localhost:6379/0 is down, as is https://h/?password=***'
    """
    return _WORD.sub(lambda word: _masked_word(word[0]), text) if "://" in text else text


def _masked_word(word: str) -> str:
    word = _QUERY.sub(r"\1***", word)
    end = word.rfind("@")
    found = _START.search(word, 0, max(end, 0))
    return f"{word[: found.end()]}***{word[end:]}" if found and found.end() < end else word


def scheme_of(address: str) -> str:
    """Return how an address begins, in lower case; "" where it does not begin as an address does: it may be a password.

    >>> scheme_of("MySQL://u:p@h/x"), scheme_of("hunter2@h:6379"), scheme_of("/var/x.db")
    ('mysql', '', '')
    """
    scheme, found, _ = address.partition("://")
    return scheme.lower() if found and _SCHEME.fullmatch(scheme) else ""


def shown_address(address: str) -> str:
    """Return what may be shown of a ledger's or broker's address: never a user, a password, or an option that may be one.

    Of an address whose parts cannot be told apart, and so which of them is the password, its scheme only.

    >>> shown_address("redis://me:hunter2@cache:6379/0?prefix=x&password=hunter2"), shown_address("redis://:hunter 2@h:port/0")
    ('redis://***@cache:6379/0?prefix=x', 'redis://...')
    >>> shown_address("sqlite:////var/x.db?mode=0600"), shown_address("redis:/me:hunter2@h/0"), shown_address("memory:")
    ('sqlite:////var/x.db?mode=0600', '(not an address)', 'memory:')
    """
    if address in ("", "memory:"):
        return address
    scheme = scheme_of(address)
    if not scheme:
        return "(not an address)"
    users, place, options = _parts(address)
    if place is None:
        return f"{address.partition('://')[0]}://..."
    pairs = (option.partition("=") for option in options.split("&"))
    shown = "&".join(f"{name}={text}" for name, _, text in pairs if name in _SHOWN and re.fullmatch(r"[\w.%-]*", text))
    return f"{address.partition('://')[0]}://{'***@' if users else ''}{place}{'?' if shown else ''}{shown}"


def is_public(address: str) -> bool:
    """Return whether an address can be understood, and nothing in it is a password: it may be written where others read.

    >>> is_public("postgresql://me@h/db"), is_public("redis://:hunter2@h/0"), is_public("redis:/me:hunter2@h/0")
    (True, False, False)
    """
    users, place, options = _parts(address)
    named = (option.partition("=")[0] for option in options.split("&"))
    is_name = not users or (scheme_of(address) in _WITH_USER and not set(":@") & set(users))
    return bool(scheme_of(address)) and place is not None and is_name and not any(map(_SECRETIVE.search, named))


def _parts(address: str) -> tuple[str, str | None, str]:
    """Return who logs in, hosts with path, and options; no place for an address whose parts cannot be told apart."""
    if address.startswith(_OWN_PATH):
        path, _, options = address.removeprefix("sqlite://").partition("?")
        return "", path, options
    users, _, rest = address.partition("://")[2].rpartition("@")
    place, _, options = rest.partition("?")
    if any(mark in users for mark in "?#") or not _PLACE.fullmatch(place):
        return "", None, ""
    return users, place, options


def has_password(text: str) -> bool:
    """Return whether there is an address with a password in the text.

    >>> has_password("redis://:hunter2@h"), has_password("redis://h:6379/0")
    (True, False)
    """
    return "://" in text and any(_masked_word(word[0]) != word[0] for word in _WORD.finditer(text))


def password_paths(value: object, path: tuple[str, ...] = (), *, by_name: bool = False) -> list[tuple[str, ...]]:
    """Return where in a value of TOML there is an address with a password, keys included, or, by_name, a key called one.

    >>> password_paths({"a": ["amqp://u:p@h"], "b": {"password": "x"}, "c": "redis://h:6379/0"}, by_name=True)
    [('a',), ('b', 'password')]
    """
    if isinstance(value, str):
        named = bool(by_name and path and value and _NAMES.search(path[-1]))
        return [path] if named or has_password(value) else []
    if isinstance(value, dict):
        keys = [path for key in value if has_password(key)][:1]
        inner = (password_paths(inner, (*path, key), by_name=by_name) for key, inner in value.items())
        return keys + [found for each in inner for found in each]
    if isinstance(value, list):
        found = (found for inner in value for found in password_paths(inner, path, by_name=by_name))
        return list(dict.fromkeys(found))
    return []
