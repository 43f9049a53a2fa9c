"""Passwords where none should be: finding them in values of a committed file, and keeping them out of every text.

Never returns or prints what it found. Every word is searched once, however many addresses it seems to have.
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
