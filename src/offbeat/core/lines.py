"""Lines of TOML keys: which line of a file says what, which tomllib does not tell.

Never judges the text: it is for text that tomllib has accepted, and finds its keys by skipping over its values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

KeyPath: TypeAlias = "tuple[str, ...]"

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)+")
_PART = re.compile(r"""[ \t]*(?:"((?:\\.|[^"\\\n])*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))[ \t]*""")
_VALUE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[{]|[\]}]|\n|[^"\'#\[\]{}\n]+',
    re.DOTALL,
)


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line (from 1) of every table header and key; a key inside a value is at its value's key.

    text: TOML that tomllib accepts.

    >>> key_lines("a = 1\\n[b]\\nc.d = [\\n2]\\n") == {("a",): 1, ("b",): 2, ("b", "c", "d"): 3, ("b", "c"): 3}
    True
    """
    text = text.replace("\r\n", "\n")
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    position, line, seen = 0, 1, 0
    while True:
        if blank := _BLANK.match(text, position):
            position = blank.end()
        if position >= len(text):
            return lines
        line, seen = line + text.count("\n", seen, position), position
        header = text[position] == "["
        path, position = _key(text, position + (text.startswith("[[", position) + 1 if header else 0))
        path = path if header else table + path
        table = path if header else table
        for length in range(len(path), 0, -1):
            lines.setdefault(path[:length], line)
        position = text.find("\n", position) if header else _after_value(text, position + 1)
        if position < 0:
            return lines


def _key(text: str, position: int) -> tuple[KeyPath, int]:
    """Read a dotted key; return it and where it ends."""
    parts: list[str] = []
    while part := _PART.match(text, position):
        basic, literal, bare = part.groups()
        parts.append(bare or literal or (_unescape(basic) if basic else ""))
        position = part.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    return tuple(parts), position


def _unescape(basic: str) -> str:
    if "\\" not in basic:
        return basic
    from tomllib import loads

    return str(loads(f'k = "{basic}"')["k"])


def _after_value(text: str, position: int) -> int:
    """Return where the line that ends the value ends."""
    depth = 0
    while token := _VALUE.match(text, position):
        first = token[0][0]
        if first == "\n" and not depth:
            break
        if len(token[0]) == 1:
            depth += (first in "[{") - (first in "]}")
        position = token.end()
    return position


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key, or of the nearest thing around it; 0 when nothing of it is in the file."""
    for length in range(len(path), 0, -1):
        if found := lines.get(path[:length]):
            return found
    return 0
