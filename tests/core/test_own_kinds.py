"""Recurrences of a user's own: found by entry point, watched, and told of when they are broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offbeat.core.listing import Kind, Text, TreeFiles
from offbeat.core.parse import parse
from offbeat.core.recurrences.recurrence import compile_recurrence
from offbeat.errors import ScheduleError

# The example of docs/reference/python.md: a package with one module and one entry point.
MODULE = """
class Fiscal:
    def __init__(self, options, zone):
        self.step = {"quarter": 7862400, "year": 31536000}[options.get("period", "quarter")]

    def next_after(self, after):
        return after - after % self.step + self.step

    def due_times(self, after, until):
        return iter(range(self.next_after(after), until + 1, self.step))

    def last_at_or_before(self, instant):
        return instant - instant % self.step


class Broken(Fiscal):
    def __init__(self, options, zone):
        self.options = options

    def next_after(self, after):
        if self.options["how"] == "raise":
            raise RuntimeError("no database")
        return {"back": after - 1, "text": "soon", "late": True}[self.options["how"]]

    def due_times(self, after, until):
        yield until
        yield until

    def last_at_or_before(self, instant):
        return instant + 1
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a distribution with the kinds "fiscal" and "broken" into a folder on sys.path."""
    (tmp_path / "fiscal_for_offbeat.py").write_text(MODULE, "utf-8")
    about = tmp_path / "fiscal_for_offbeat-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fiscal-for-offbeat\nVersion: 1.0\n", "utf-8")
    lines = "[offbeat.recurrences]\nfiscal = fiscal_for_offbeat:Fiscal\nbroken = fiscal_for_offbeat:Broken\n"
    lines += "gone = fiscal_gone:Gone\n"
    (about / "entry_points.txt").write_text(lines, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    compile_recurrence.cache_clear()
    yield
    compile_recurrence.cache_clear()
    sys.modules.pop("fiscal_for_offbeat", None)


def read(lines: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the recurrences that a schedule.toml has, and its problems."""
    content = f'project = "p"\n[entries.one]\n{lines}\n'.encode()
    schedule, problems = parse(
        TreeFiles(path="cron", schedule=Text(path="cron/schedule.toml", kind=Kind.FILE, content=content)), {}
    )
    assert schedule is not None
    return [entry.timing.recurrence for entry in schedule.entries], [(problem.code, problem.what) for problem in problems]


@pytest.mark.usefixtures("installed")
def test_a_kind_of_an_installed_package_is_a_recurrence_like_any_other() -> None:
    found, problems = read('own = { kind = "fiscal", period = "year" }')

    assert (found, problems) == (['own fiscal {"period":"year"}'], [])
    rule = compile_recurrence(found[0], "UTC")
    assert rule.next_after(1) == 31_536_000
    assert list(rule.due_times(0, 70_000_000)) == [31_536_000, 63_072_000]
    assert rule.last_at_or_before(40_000_000) == 31_536_000


@pytest.mark.usefixtures("installed")
def test_a_kind_may_be_one_of_several_and_have_exclusions() -> None:
    found, problems = read('any = [ { own = { kind = "fiscal" } }, { every = "1d" } ]\nexcept = ["1970-01-02"]')

    assert problems == []
    assert compile_recurrence(found[0], "UTC").next_after(0) == 172_800


@pytest.mark.usefixtures("installed")
def test_options_that_a_kind_refuses_are_a_problem_of_the_entry() -> None:
    found, problems = read('own = { kind = "fiscal", period = "week" }')

    assert found == []
    assert problems == [("S168", 'entry "one": the recurrence kind "fiscal" refused: KeyError: \'week\'')]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("raise", "it raised RuntimeError: no database"),
        ("back", "returned 4"),
        ("text", "returned 'soon'"),
        ("late", "returned True"),
    ],
)
def test_what_a_kind_raises_or_answers_wrongly_is_a_problem(how: str, what: str) -> None:
    rule = compile_recurrence(f'own broken {{"how":"{how}"}}', "UTC")

    with pytest.raises(ScheduleError, match=what):
        rule.next_after(5)
    with pytest.raises(ScheduleError, match="gave 9 after 9"):
        list(rule.due_times(5, 9))
    with pytest.raises(ScheduleError, match="returned 6"):
        rule.last_at_or_before(5)


@pytest.mark.usefixtures("installed")
def test_a_kind_whose_module_cannot_be_imported_is_for_its_package_to_mend() -> None:
    with pytest.raises(ScheduleError, match="cannot be imported: ModuleNotFoundError") as refused:
        compile_recurrence("own gone {}", "UTC")

    assert "mend the package that has it: fiscal_gone:Gone" in refused.value.problems[0].fix


def test_a_kind_that_nothing_installed_has_is_a_problem_with_a_fix() -> None:
    with pytest.raises(ScheduleError) as refused:
        compile_recurrence("own fiscal {}", "UTC")

    assert [problem.code for problem in refused.value.problems] == ["S168"]
    assert "install the package" in refused.value.problems[0].fix


@pytest.mark.parametrize("text", ["own", "own fiscal", "own fiscal [1]", "own Fiscal {}", "own fiscal {"])
def test_a_text_of_no_kind_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        compile_recurrence(text, "UTC")

    assert refused.value.problems[0].code == "S109"
