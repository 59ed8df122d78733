"""`clipwatch config show`, `config init` and `config schema`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from clipwatch.cli.asking import print_json
from clipwatch.cli.assemble import Context
from clipwatch.config import SECRET_KEYS, SECTIONS
from clipwatch.config_example import example, schema_text, toml_value
from clipwatch.errors import ConfigError


def WITHOUT_CONFIG(arguments: argparse.Namespace) -> bool:  # noqa: N802 - a hook of the parser
    """These must work where the present file is wrong."""
    return arguments.action in ("init", "schema")


def main(arguments: argparse.Namespace, context: Context | None) -> int:
    """Show, or write."""
    if arguments.action == "schema":
        print(schema_text(), end="")
        return 0
    if context is None:
        if not arguments.file:
            raise ConfigError("The name of the file to write is empty.", hint="Name one, or leave it out.")
        return _init(Path(arguments.file), force=arguments.force)
    return _show(context)


def _init(file: Path, *, force: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, flags, 0o644), "w", encoding="utf-8") as out:
            out.write(example(file))
    except OSError as error:
        if isinstance(error, FileExistsError) and file.parent.is_dir():
            raise ConfigError(f"{file} is already there.", hint="Use --force to write over it.") from error
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from error
    print(f"Wrote {file}: every key with its default. `clipwatch --config {file} config show` tells what is in force.")
    return 0


def _show(context: Context) -> int:
    shown: list[dict[str, Any]] = []
    for section in SECTIONS:
        value = getattr(context.config, section)
        for index, table in enumerate(value if section == "watch" else [value]):
            for f in dataclasses.fields(table):
                label = f"watch[{index}].{f.name}" if section == "watch" else f"{section}.{f.name}"
                setting = getattr(table, f.name)
                if (section, f.name) in SECRET_KEYS and setting:
                    setting = "********"
                source = context.loaded.sources.get(label, "default")
                shown.append({"key": label, "value": setting, "source": source})
    if context.json:
        print_json({"settings": shown})
        return 0
    lengths = (len(f"{item['key']} = {toml_value(item['value'])}") for item in shown if item["source"] == "default")
    width = max(lengths, default=0)
    for item in shown:
        print(f"{item['key']} = {toml_value(item['value'])}".ljust(width) + f"  # {item['source']}")
    return 0
