"""Lines of keys, and passwords, in the text of a file."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.core.lines import KeyPath, key_lines, line_of
from offbeat.core.passwords import masked, password_paths

TEXT = '''\
# a comment with [brackets] and "quotes"
project = "x" # = [
long = """
[not.a.table]
b = 2 ""\\"
"""
literal = \'\'\'
it's [ here
\'\'\'
[entries."weekly report"]   # a comment
cron = "30 4 * * mon"
kwargs = { a = 1, b = [1,
  2, "]", # ]
  3] }
'x.y'.z = 1
[[ list . of ]]
k='#'
[entries.last]
at = [
  2026-01-01T00:00:00Z,
]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("project",), 2),
        (("long",), 3),
        (("literal",), 7),
        (("entries",), 10),
        (("entries", "weekly report"), 10),
        (("entries", "weekly report", "cron"), 11),
        (("entries", "weekly report", "kwargs"), 12),
        (("entries", "weekly report", "kwargs", "b"), 12),
        (("entries", "weekly report", "x.y", "z"), 15),
        (("list", "of", "k"), 17),
        (("entries", "last", "at"), 19),
        (("entries", "last", "nothing"), 18),
        (("nothing",), 0),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_key_is_found_at_its_line(path: KeyPath, line: int, newline: str) -> None:
    text = TEXT.replace("\n", newline)
    tomllib.loads(text)

    assert line_of(key_lines(text), path) == line


@pytest.mark.parametrize("text", ["= 1\\n", "[", "[]\\n", "a.\\n", "a = [", '"', "a = '''"])
def test_text_that_is_no_toml_ends_too(text: str) -> None:
    assert all(line == 1 for line in key_lines(text).values())


def _paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    if not isinstance(value, dict):
        return {path}
    return {path} | {found for key, inner in value.items() for found in _paths(inner, (*path, key))}


keys = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"g\\"h"', '"\\u0041"', "1"])
simple = st.sampled_from(
    ["1", '"x # [ ="', "'\\'", '"""\n[t]\nq = 1"""', "'''\n}'''", "true", "1979-05-27T07:32:00Z", '""', "''"]
)
nested = st.recursive(
    simple,
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda each: "[ # ]\n" + ",\n".join(each) + "]")
        | st.lists(inner, max_size=2).map(lambda each: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(each)) + "}")
    ),
    max_leaves=4,
)


@given(st.lists(st.tuples(keys, nested), max_size=4), st.lists(st.tuples(keys, keys, nested), max_size=4))
def test_every_key_of_every_file_has_a_line_where_it_is_written(
    top: list[tuple[str, str]], tables: list[tuple[str, str, str]]
) -> None:
    text = "".join(f"\n {key} = {value} # c\n" for key, value in top)
    text += "".join(f"# [x]\n[ {table} ]\n{key}={value}\n" for table, key, value in tables)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    lines = key_lines(text)

    written = text.split("\n")
    for path in _paths(values) - {()}:
        assert line_of(lines, path) > 0
        if path in lines:
            assert "=" in written[lines[path] - 1] or "[" in written[lines[path] - 1]


@pytest.mark.parametrize("url", ["redis://:pw@h", "amqp://u:pw@h//", "https://u:p/w@h", "rediss://u:%40@h:1/0", "x+y://u:12@h"])
def test_an_address_with_a_password_is_found_and_masked(url: str) -> None:
    assert password_paths({"a": {"b": [1, f"at {url}"]}}) == [("a", "b")]
    assert masked(f"no {url}.").count("***") == 1
    assert "pw" not in masked(url)


@pytest.mark.parametrize("text", ["redis://h:6379/0", "amqp://u@h", "a@b:c", "http://h:80/u@x", "mailto:a:b@c", "//u:p"])
def test_other_addresses_are_left_alone(text: str) -> None:
    assert password_paths({"a": text}) == []
    assert masked(text) == text


def test_a_key_that_is_called_password_counts_only_where_it_is_asked_for() -> None:
    values = {"sentinel_kwargs": {"password": "x", "passwords": "y", "ssl_password": ""}}

    assert password_paths(values, by_name=True) == [("sentinel_kwargs", "password")]
    assert password_paths(values) == []
