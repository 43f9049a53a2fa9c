"""The part of the gate that no tool has: sizes, names and the header of every file in src/offbeat.

Usage: scripts/gate_check.py [ROOT]. Prints one line a finding, file:line first; exit status 1 when there is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50  # its docstring aside
MOST_PARAMETERS = 5  # by position, self and cls aside
NAMELESS = {"utils", "util", "common", "helpers", "helper", "base", "misc", "types", "manager", "handlers"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    findings = [finding for path in sorted((root / "src").rglob("*.py")) for finding in of_file(path, root)]
    for finding in findings:
        print(finding)
    print(f"sizes and names: {len(findings)} findings" if findings else "sizes and names: fine")
    return 1 if findings else 0


def of_file(path: Path, root: Path) -> Iterator[str]:
    """Yield what is wrong with one file."""
    text = path.read_text(encoding="utf-8")
    where = path.relative_to(root)
    lines = text.count("\n")
    if lines > MOST_LINES_OF_A_FILE:
        yield f"{where}:{MOST_LINES_OF_A_FILE + 1}: the file has {lines} lines, {MOST_LINES_OF_A_FILE} are the most: split it"
    if path.stem in NAMELESS:
        yield f'{where}:1: "{path.stem}" says nothing: name the file after what it knows'
    tree = ast.parse(text)
    if not ast.get_docstring(tree):
        yield f"{where}:1: no header: say in up to three lines what the file is and what it never does"
    for node in ast.walk(tree):
        if isinstance(node, Function):
            for finding in of_function(node):
                yield f"{where}:{node.lineno}: {finding}"


def of_function(function: Function) -> Iterator[str]:
    """Yield what is wrong with one function."""
    body = function.body
    if len(body) > 1 and ast.get_docstring(function) is not None:
        lines = (function.end_lineno or 0) - (body[0].end_lineno or 0) + body[0].lineno - function.lineno
    else:
        lines = (function.end_lineno or 0) - function.lineno + 1
    if lines > MOST_LINES_OF_A_FUNCTION:
        yield f'"{function.name}" has {lines} lines, {MOST_LINES_OF_A_FUNCTION} are the most: split it'
    names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    count = len([name for name in names if name not in ("self", "cls")])
    if count > MOST_PARAMETERS and not is_command(function):
        yield f'"{function.name}" takes {count} parameters by position, {MOST_PARAMETERS} are the most: name them'


def is_command(function: Function) -> bool:
    """Return whether it is a click command: there the options are the parameters."""
    return any("option" in ast.unparse(one) or "argument" in ast.unparse(one) for one in function.decorator_list)


if __name__ == "__main__":
    sys.exit(main())
