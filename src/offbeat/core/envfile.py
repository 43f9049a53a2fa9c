"""The text of an env file: lines of NAME=VALUE to a mapping, as shells and container tools read them.

Never expands a variable and runs nothing; a line that says neither is passed over.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)\Z", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}


def parse_env(text: str) -> dict[str, str]:
    """Return the variables of an env file; of a name that is there twice, the last.

    In "double quotes" backslash escapes count, in 'single quotes' nothing does; without quotes the value ends before ` #`.

    >>> parse_env("# secrets\\nexport A='x y'\\nB=1 # one\\nC=\\n")
    {'A': 'x y', 'B': '1', 'C': ''}
    """
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        if match := _LINE.match(line):
            found[match[1]] = _value(match[2].strip())
    return found


def _value(written: str) -> str:
    quote = written[:1]
    if quote == "'" and (end := written.find("'", 1)) > 0:
        return written[1:end]
    if quote == '"' and (inside := re.match(r'"((?:\\.|[^"\\])*)"', written)):
        return _ESCAPE.sub(lambda escape: _LETTERS.get(escape[1], escape[1]), inside[1])
    return re.split(r"(?:^|\s)#", written, maxsplit=1)[0].rstrip()
