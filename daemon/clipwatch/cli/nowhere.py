"""A command that only asks, run where there is nothing to ask about: said, rather than answered with zeros."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from clipwatch.config_file import LoadedConfig
from clipwatch.errors import ConfigError
from clipwatch.system_paths import SYSTEM_CONFIGS

ASKING: Final = frozenset({"status", "verify", "search", "export", "confirm", "forget", "adopt"})
"""Commands that begin nothing, beside `sync --dry-run`. Of the others, `check` and `migrate` tell by themselves."""


def refuse_nowhere(arguments: argparse.Namespace, loaded: LoadedConfig) -> None:
    """Raise `ConfigError` where such a command finds no settings and none of what the defaults name."""
    asks = arguments.command in ASKING or (arguments.command == "sync" and arguments.dry_run)
    words = nowhere(loaded) if asks else ""
    if words:
        raise ConfigError("There is nothing here to ask about.", hint=words)


def nowhere(loaded: LoadedConfig) -> str:
    """Where settings were looked for, and what would help; "" where there are some, or something that is ours."""
    if loaded.file is not None or loaded.sources.keys() & {"watch[0].path", "store.url", "state.path"}:
        return ""
    config = loaded.config
    places = (config.watch[0].path, config.state.path, config.store.url.removeprefix("embedded:"))
    if any(Path(place).exists() for place in places):
        return ""
    looked = f"no --config, no $CLIPWATCH_CONFIG, and no {os.path.abspath('config.toml')}"
    service = SYSTEM_CONFIGS / "config.toml"
    file = str(service) if os.path.exists(service) else "FILE"
    return (
        f"There is {looked}; nor is there {', '.join(places[:-1])} or {places[-1]}. "
        f"Add `--config {file}`, or go where the daemon was started."
    )
