"""Writes what can be read off the code: docs/reference/cli.md, the schema of schedule.toml, the tree in ARCHITECTURE.md.

`make docs` runs it, tests/test_docs.py compares.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from offbeat.core.schema import schedule_schema
from offbeat.faces.cli import cli

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "cli.md"
SCHEMA = ROOT / "docs" / "reference" / "schedule.schema.json"
MAP = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- tree: make docs -->\n```\n", "```\n<!-- /tree -->"
HEAD = """# Commands

Written by `make docs` from `offbeat COMMAND --help`; do not edit.

Every command takes the global options too, before or after its name. Exit codes are in
[environment](environment.md#exit-codes), what `--json` prints is in [json](json.md).
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *sections()])


def sections() -> Iterator[str]:
    """Yield one section for `offbeat` itself and one for each command that people see."""
    top = context_of(cli, "offbeat")
    yield section("offbeat", cli.get_help(top))
    for name in cli.list_commands(top):
        yield from of_command(top, name)


def of_command(parent: click.Context, name: str) -> Iterator[str]:
    """Yield the section of a command, and of those below it."""
    command = parent.command.get_command(parent, name) if isinstance(parent.command, click.Group) else None
    if command is None:
        return
    context = context_of(command, name, parent)
    yield section(context.command_path, command.get_help(context))
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from of_command(context, below)


def context_of(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """Return the context in which `offbeat` itself would print this command's help, 100 columns wide."""
    settings = {**command.context_settings, "max_content_width": 100, "terminal_width": 100}
    return click.Context(command, info_name=name, parent=parent, **settings)


def section(title: str, text: str) -> str:
    """Return a heading and the help, as it stands on a terminal."""
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"## {title}\n```\n{lines}\n```\n"


def architecture() -> str:
    """Return ARCHITECTURE.md with its tree as the files are now."""
    before, _, rest = MAP.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "".join(f"{line}\n" for line in tree()) + END + rest.partition(END)[2]


def tree() -> Iterator[str]:
    """Yield a line for each module: its name and the first sentence of its header."""
    source = ROOT / "src" / "offbeat"
    folders = [source, *sorted((f for f in source.rglob("*") if f.is_dir() and (f / "__init__.py").exists()), key=rank)]
    for folder in folders:
        yield f"{'  ' * len(folder.relative_to(source).parts)}{folder.name}/  {first_sentence(folder / '__init__.py')}"
        for file in sorted(folder.glob("*.py")):
            if file.name != "__init__.py":
                indent = "  " * (len(folder.relative_to(source).parts) + 1)
                yield f"{indent}{file.name:<{26 - len(indent)}} {first_sentence(file)}"


def rank(folder: Path) -> tuple[int, str]:
    """Return where a folder stands on the arrow, faces first."""
    parts = folder.relative_to(ROOT / "src" / "offbeat").parts
    order = ["faces", "runners", "ports", "core"]
    return (order.index(parts[0]) if parts[0] in order else len(order), str(folder))


def first_sentence(file: Path) -> str:
    """Return what the file's header says first, cut to a line."""
    text = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
    sentence = text.partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= 120 else sentence[:117].rsplit(" ", 1)[0] + " ..."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(json.dumps(schedule_schema(), indent=1) + "\n", encoding="utf-8")
    MAP.write_text(architecture(), encoding="utf-8")
    sys.exit(0)
