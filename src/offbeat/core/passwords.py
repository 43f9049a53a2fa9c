"""Passwords where none should be: finding them in values of a committed file, and keeping them out of every text.

Never returns or prints what it found.
"""

from __future__ import annotations

import re

_IN_URL = re.compile(r"(://[^\s/@:]*:)(?!\d+/)[^\s@]+(?=@)")
_NAMES = re.compile(r"(?:^|[_-])(?:password|passwd|secret|secret_access_key|token)$", re.IGNORECASE)


def masked(text: str) -> str:
    """Return the text with the password of every address in it replaced.

    >>> masked("redis://:hunter2@localhost:6379/0 is down")
    'redis://:***@localhost:6379/0 is down'
    """
    return _IN_URL.sub(r"\1***", text)


def password_paths(value: object, path: tuple[str, ...] = (), *, by_name: bool = False) -> list[tuple[str, ...]]:
    """Return where in a value of TOML there is an address with a password or, by_name, a key that is called one.

    >>> password_paths({"a": ["amqp://u:p@h"], "b": {"password": "x"}, "c": "redis://h:6379/0"}, by_name=True)
    [('a',), ('b', 'password')]
    """
    if isinstance(value, str):
        named = bool(by_name and path and value and _NAMES.search(path[-1]))
        return [path] if named or _IN_URL.search(value) else []
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in password_paths(inner, (*path, key), by_name=by_name)]
    if isinstance(value, list):
        found = (found for inner in value for found in password_paths(inner, path, by_name=by_name))
        return list(dict.fromkeys(found))
    return []
