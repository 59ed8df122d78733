"""Where the system's service has its things: the configuration that it reads, and the directory that it runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ConfigError

SYSTEM_CONFIGS: Final = Path("/etc/clipwatch")
SYSTEM_STATE: Final = Path("/var/lib/clipwatch")

_RELATIVE: Final = frozenset({("watch", "path"), ("model", "path"), ("store", "url"), ("state", "path")})


def service_directory(file: Path | None) -> Path | None:
    """Where the service runs that reads *file*; None where it is no service's."""
    if file is None or file.absolute().parent != SYSTEM_CONFIGS or file.suffix != ".toml":
        return None
    return SYSTEM_STATE if file.stem == "config" else SYSTEM_STATE / file.stem


def expanded(path: str, environment: Mapping[str, str] | None = None) -> str:
    """*path*, or an `embedded:` address, with `~` or `~user` at its beginning as that home directory.

    *environment*: where HOME is looked up, None for this process's. Raises `ConfigError` where there is no such home: a
    directory that is called `~` is never meant.
    """
    scheme = "embedded:" if path.startswith("embedded:") else ""
    name, slash, rest = path.removeprefix(scheme).partition("/")
    if not name.startswith("~"):
        return path
    given = os.environ if environment is None else environment
    home = given.get("HOME", "") if name == "~" else ""
    home = home or os.path.expanduser(name)
    if home.startswith("~"):
        raise ConfigError(
            f"{path} begins with {name}, and there is no such home directory.",
            hint=f"Write the path in full, or ./{name} for a name that begins with ~.",
        )
    return scheme + (home.rstrip("/") or "/") + slash + rest


def initial(section: str, key: str, default: Any, file: Path | None) -> Any:
    """What `config init` writes into *file*: for a service's, the default where the service runs.

    Others ask the service from wherever they stand, so no path of its file may depend on that.
    """
    directory = service_directory(file)
    if directory is None or (section, key) not in _RELATIVE:
        return default
    scheme = "embedded:" if section == "store" else ""
    return scheme + str(directory / default.removeprefix(scheme))
