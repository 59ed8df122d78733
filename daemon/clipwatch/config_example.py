"""The settings as text for people: a commented file with every key and its default."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from clipwatch.config import SECTIONS


def example() -> str:
    """`config.example.toml`: every key with its default and its words."""
    lines = ["# clipwatch: every key, with its default. Relative paths are relative to the current directory.", ""]
    for section, kind in SECTIONS.items():
        lines.append("[[watch]]" if section == "watch" else f"[{section}]")
        for f in dataclasses.fields(kind):
            default = f.default if f.default is not dataclasses.MISSING else typing.cast(Any, f.default_factory)()
            lines.append(f"# {f.metadata['doc']}")
            lines.append(f"{f.name} = {toml_value(default)}")
        lines.append("")
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A setting as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return f"{value:g}" if isinstance(value, float) else str(value)
