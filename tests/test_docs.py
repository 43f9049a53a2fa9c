"""The documents are true: every code, reason, event, header, variable and command is in them, and what they show runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offbeat.core import entries, settings
from offbeat.core.events import Event
from offbeat.core.model import DIRECTORIES, CatchUp, Cause, Reason, State, TaskCall

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "offbeat"
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUNNABLE = [page for page in PAGES if "<!-- runs -->" in page.read_text(encoding="utf-8")]
CODE = re.compile(r"[SCLBW]\d{3}")


def strings(*folders: Path) -> Iterator[str]:
    """Yield every string constant of the sources."""
    for folder in folders or (SOURCE,):
        for file in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def headings(page: Path) -> list[str]:
    return re.findall(r"^#{2,3} (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def first_cells(page: Path) -> set[str]:
    """Return what stands in backquotes in the first cell of each row of the page's tables."""
    rows = re.findall(r"^\| (`.+?) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_error_code_has_a_heading_and_no_heading_is_left_over() -> None:
    codes = {text for text in strings() if CODE.fullmatch(text)}
    told = [heading[:4] for heading in headings(REFERENCE / "errors.md") if CODE.match(heading)]

    assert sorted(told) == sorted(codes)


def test_every_reason_is_explained() -> None:
    assert first_cells(REFERENCE / "reasons.md") == {str(reason) for reason in Reason if reason}


def test_every_log_event_is_listed_and_those_that_nothing_logs_are_marked() -> None:
    page = REFERENCE / "logging.md"
    reserved = set(re.findall(r"^\| `(\w+)` \| \*reserved\*", page.read_text(encoding="utf-8"), re.MULTILINE))
    sources = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))

    assert first_cells(page) == {str(event) for event in Event}
    assert reserved == {str(event) for event in Event if f"Event.{event.name}" not in sources}


def test_every_message_header_is_listed() -> None:
    from offbeat.core.message import build

    message = build(
        call=TaskCall(task="a"), entry="e", occurrence="o", due_at=0, cause=Cause.MANUAL, attempt=1, origin="", expires_at=None
    )
    text = (REFERENCE / "headers.md").read_text(encoding="utf-8")

    assert [header for header in message.headers if f"`{header}`" not in text] == []


def test_every_variable_is_listed() -> None:
    variables = {text for text in strings() if re.fullmatch(r"(OFFBEAT|OPENSHIFT|XDG|CELERY)_[A-Z_]+[A-Z]", text)}
    for script in SOURCE.rglob("*.sh"):
        variables |= set(re.findall(r"\$\{?((?:OFFBEAT|OPENSHIFT)_[A-Z_]+)", script.read_text(encoding="utf-8")))
    text = (REFERENCE / "environment.md").read_text(encoding="utf-8")

    assert [name for name in sorted(variables) if f"`{name}`" not in text] == []


def test_every_key_of_the_schedule_file_is_explained_and_those_for_defaults_are_starred() -> None:
    text = (REFERENCE / "schedule-toml.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
    told = {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}
    starred = {word for cell in cells for word in re.findall(r"`(\w+)` \*", cell)}

    assert told == {*settings.TOP, *settings.BROKER, *settings.LEDGER, *DIRECTORIES, *entries.KEYS}
    assert starred == set(entries.DEFAULTS)


def test_the_glossary_has_every_word_of_the_closed_lists() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = [str(word) for kind in (State, Cause, CatchUp) for word in kind]

    assert [word for word in words if f"**{word}**" not in text and f"`{word}`" not in text] == []


def test_the_command_reference_and_the_map_are_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec and spec.loader
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)

    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run: make docs"
    assert set(re.findall(r"^  (\S.*--help) ", writer.page(), re.MULTILINE)) == {"-h, --help"}, "not as offbeat prints it"
    assert writer.MAP.read_text(encoding="utf-8") == writer.architecture(), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|srcset)="([^"]+)"', text)]
    broken = []
    for link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in {slug(heading) for heading in headings(file)}):
            broken.append(link)

    assert broken == []


def slug(heading: str) -> str:
    """Return the anchor that a heading has on the repository's pages."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_option_of_offbeat_that_a_page_or_a_fix_names_exists() -> None:
    known = set(re.findall(r"--[a-z-]+", (REFERENCE / "cli.md").read_text(encoding="utf-8")))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "CONTRIBUTING.md")
    told = {option for line in re.findall(r"offbeat [^`\n#]*", pages) for option in re.findall(r" (--[a-z][a-z-]+)", line)}
    named = {option for text in strings() for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}

    assert told - known == set()
    assert named - known - {"--encoding", "--template"} == {  # of createdb
        *("--chmod", "--format", "--porcelain", "--untracked-files", "--ignored", "--ignore-submodules"),  # of git
        *("--name-only", "--null", "--get-regexp"),
    }


def test_a_file_that_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:core|ports|runners|faces)/[a-z_*]+\.py)`", text))

    assert [name for name in sorted(named) if not any(SOURCE.glob(name))] == []


def test_a_document_that_the_code_names_exists() -> None:
    named = {name for text in strings(SOURCE) for name in re.findall(r"docs/(?:adr|reference|how-to)/[\w./-]*\w", text)}

    assert [name for name in sorted(named) if not any(ROOT.glob(f"{name}*"))] == []


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_that_a_page_shows_do_what_it_says(page: Path, tmp_path: Path) -> None:
    steps = list(shown_commands(page.read_text(encoding="utf-8")))
    assert steps

    results = play([command for command, _ in steps], tmp_path)

    for (command, expected), (status, said) in zip(steps, results, strict=True):
        named = re.search(r"# exit (\d)$", command)
        wanted = int(named[1]) if named else 0
        assert status == wanted, f"{page.name}: $ {command}\n{said}"
        assert shows(said, expected), f"{page.name}: $ {command}\n{said}\nis not like\n{expected}"


def test_json_has_the_keys_that_its_page_lists(tmp_path: Path) -> None:
    commands = ("next", "explain", "load", "history", "check", "list", "plan", "status", "log")
    tree = tmp_path / "cron"
    (tree / "hourly").mkdir(parents=True)
    schedule = 'project = "p"\n[entries.a]\nevery = "1h"\n[entries.b]\ncron = "bad"\n'
    (tree / "schedule.toml").write_text(schedule, encoding="utf-8")
    before = ["export OFFBEAT_BROKER=filesystem://", "offbeat tick -qqq; offbeat fire a"]

    results = play([*before, *(f"offbeat {command} --json 2>/dev/null" for command in commands)], tmp_path)

    text = (REFERENCE / "json.md").read_text(encoding="utf-8")
    for command, (_, said) in zip(commands, results[len(before) :], strict=True):
        section = text.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
        told = {word for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for word in re.findall(r"`([^`]+)`", row)}
        rows = json.loads(said)
        assert rows, command
        assert {key for row in rows for key in row} == told - {"until", "count", "output"}, command


def shown_commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the blocks marked as runnable, with the output that is shown for it.

    A file that a block shows is one too: <!-- runs: write PATH --> stands before it.
    """
    for path, block in re.findall(r"<!-- runs(?:: write (\S+))? -->\n```\w*\n(.*?)```", text, re.DOTALL):
        if path:
            yield f"cat > {shlex.quote(path)} <<'END_OF_FILE'\n{block}END_OF_FILE", ""
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command.rstrip(), output.rstrip()


def play(commands: list[str], home: Path) -> list[tuple[int, str]]:
    """Run the commands in one shell, in an empty home with nothing in the environment; return status and output of each."""
    mark = "END-OF-STEP"
    script = "\n".join(f"{command}\nprintf '\\n{mark} %d\\n' $?" for command in commands)
    tools = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    env = {"HOME": str(home), "PATH": tools, "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": os.devnull, "COLUMNS": "200"}
    if source := os.environ.get("PYTHONPATH"):
        env["PYTHONPATH"] = source
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=home,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    parts = re.split(rf"^{mark} (\d+)\n", done.stdout, flags=re.MULTILINE)
    return [(int(status), said.strip("\n")) for said, status in zip(parts[0::2], parts[1::2], strict=False)]


def shows(said: str, expected: str) -> bool:
    """Return whether the output has the expected lines, in order, or is empty where none are shown.

    `...` stands for anything; how wide a gap is does not matter.
    """
    lines = [" ".join(line.split()) for line in said.splitlines()]
    if not expected:
        return not lines
    for line in expected.splitlines():
        pattern = ".*".join(map(re.escape, re.split(r"\s*\.\.\.\s*", " ".join(line.split()))))
        while lines and not re.fullmatch(pattern, lines[0]):
            lines.pop(0)
        if line.strip() != "..." and not lines:
            return False
        lines = lines[1:] if line.strip() != "..." else lines
    return True


def test_no_text_sends_anybody_to_an_index_for_a_package_called_offbeat() -> None:
    files = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    files += [*(ROOT / "src").rglob("*.sh"), *(ROOT / "examples").rglob("run_celery_task")]
    asked = re.compile(r"pip install (?:-\S+ )*['\"]?offbeat\b")  # it is on none, so whatever is there is somebody else's

    assert [f"{file}: {found[0]}" for file in files for found in asked.finditer(file.read_text("utf-8"))] == []
