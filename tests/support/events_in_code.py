"""Every log line that the program can write, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daemon" / "clipwatch"
_LEVELS = ("debug", "info", "warning", "error")
_NAME = re.compile(r"^[a-z]+(\.[a-z_]+)+$")


def events_in_code() -> dict[str, tuple[set[str], set[str]]]:
    """Event name to its levels and its fields; a field that comes by `**` is spelled `…`."""
    events: dict[str, tuple[set[str], set[str]]] = {}
    for name, level, fields in _calls():
        levels, known = events.setdefault(name, (set(), set()))
        levels.add(level)
        known |= fields
    return events


def _calls() -> Iterator[tuple[str, str, set[str]]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _LEVELS
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
                and _NAME.match(node.args[0].value)
            ):
                fields = {keyword.arg or "…" for keyword in node.keywords} - {"exc_info"}
                yield node.args[0].value, node.func.attr, fields
