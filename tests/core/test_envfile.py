"""The text of an env file."""

from __future__ import annotations

import pytest

from offbeat.core.envfile import parse_env


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
        ("export A=1\n  B = 2\n", {"A": "1", "B": "2"}),
        ("A='$x \\n # y'\n", {"A": "$x \\n # y"}),
        ('A="a\\n\\"b\\" # \\\\"\n', {"A": 'a\n"b" # \\'}),
        ("A=1 # one\nB=#none\nC=a#b\n", {"A": "1", "B": "", "C": "a#b"}),
        ("A=\nB=''\n", {"A": "", "B": ""}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1\n", {"A": "1"}),
        ("# A=1\n\nnot a line\n1A=2\n=3\n", {}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("URL=redis://:p%40ss@h:6379/0?x=1\n", {"URL": "redis://:p%40ss@h:6379/0?x=1"}),
        ("A='unfinished\n", {"A": "'unfinished"}),
    ],
    ids=["plain", "export", "single", "double", "comments", "empty", "crlf", "bom", "rubbish", "last", "url", "unfinished"],
)
def test_a_line_is_a_name_and_a_value(text: str, expected: dict[str, str]) -> None:
    assert parse_env(text) == expected
