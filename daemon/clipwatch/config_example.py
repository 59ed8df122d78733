"""The settings as text for people: a commented file with every key and its default."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any

from clipwatch.config import SECTIONS
from clipwatch.system_paths import initial


def example(file: Path | None = None) -> str:
    """`config.example.toml`: every key with its default and its words, as they are written into *file*."""
    lines = ["# clipwatch: every key, with its default. Relative paths are relative to the current directory.", ""]
    for section, kind in SECTIONS.items():
        lines.append("[[watch]]" if section == "watch" else f"[{section}]")
        for f in dataclasses.fields(kind):
            default = f.default if f.default is not dataclasses.MISSING else typing.cast(Any, f.default_factory)()
            lines.append(f"# {f.metadata['doc']}")
            lines.append(f"{f.name} = {toml_value(initial(section, f.name, default, file))}")
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


def schema() -> dict[str, Any]:
    """A JSON schema (2020-12) of the file, for editors that complete and check TOML."""
    properties: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        hints = typing.get_type_hints(kind)
        table = {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "additionalProperties": False,
            "properties": {f.name: _property(hints[f.name], f) for f in dataclasses.fields(kind)},
        }
        properties[section] = {"type": "array", "items": table} if section == "watch" else table
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clipwatch configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def schema_text() -> str:
    """`docs/config.schema.json`."""
    return json.dumps(schema(), indent=1) + "\n"


def _property(kind: Any, f: dataclasses.Field[Any]) -> dict[str, Any]:
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    default = f.default if f.default is not dataclasses.MISSING else typing.cast(Any, f.default_factory)()
    spelled: dict[str, Any] = {"description": f.metadata["doc"], "type": names.get(kind, "array")}
    if typing.get_origin(kind) is tuple:
        spelled["items"] = {"type": "string"}
        default = list(default)
    spelled["default"] = default
    if f.metadata["choices"]:
        spelled["enum"] = list(f.metadata["choices"])
    bounds = {"minimum": f.metadata["low"], "maximum": f.metadata["high"]}
    spelled |= {word: bound for word, bound in bounds.items() if math.isfinite(bound)}
    return spelled


def reference() -> str:
    """`docs/configuration.md`: every key as a table."""
    lines = [
        "# Configuration",
        "",
        "One TOML file: `--config FILE`, else `$CLIPWATCH_CONFIG`, else `./config.toml`, else the defaults below.",
        "The command line wins over the environment (`CLIPWATCH_SECTION__KEY`), that over the file, that over the",
        "default. `clipwatch config show` tells what is in force and where each value came from; secrets are masked.",
        "`clipwatch config init` writes a commented file. An unknown key is refused with the nearest known one.",
        "Relative paths are relative to the current directory.",
        "",
        "`clipwatch config schema > config.schema.json` writes a JSON schema, as in `docs/config.schema.json`. With",
        "`#:schema ./config.schema.json` as its first line, the file is completed and checked by an editor.",
        "",
    ]
    for section, kind in SECTIONS.items():
        lines += [f"## {'[[watch]]' if section == 'watch' else f'[{section}]'}", "", (kind.__doc__ or "").strip(), ""]
        lines += ["| key | default | |", "| --- | --- | --- |"]
        for f in dataclasses.fields(kind):
            default = f.default if f.default is not dataclasses.MISSING else typing.cast(Any, f.default_factory)()
            words = f.metadata["doc"].replace("|", "\\|")
            lines.append(f"| `{f.name}` | `{toml_value(default)}` | {words} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write what is made from this module: the example, the schema and the reference page."""
    Path("config.example.toml").write_text(example(), encoding="utf-8")
    Path("docs/config.schema.json").write_text(schema_text(), encoding="utf-8")
    Path("docs/configuration.md").write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
