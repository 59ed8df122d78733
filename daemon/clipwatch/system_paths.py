"""Where the system's service has its things: the configuration that it reads, and the directory that it runs in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

SYSTEM_CONFIGS: Final = Path("/etc/clipwatch")
SYSTEM_STATE: Final = Path("/var/lib/clipwatch")

_RELATIVE: Final = frozenset({("watch", "path"), ("model", "path"), ("store", "url"), ("state", "path")})


def service_directory(file: Path | None) -> Path | None:
    """Where the service runs that reads *file*; None where it is no service's."""
    if file is None or file.absolute().parent != SYSTEM_CONFIGS or file.suffix != ".toml":
        return None
    return SYSTEM_STATE if file.stem == "config" else SYSTEM_STATE / file.stem


def initial(section: str, key: str, default: Any, file: Path | None) -> Any:
    """What `config init` writes into *file*: for a service's, the default where the service runs.

    Others ask the service from wherever they stand, so no path of its file may depend on that.
    """
    directory = service_directory(file)
    if directory is None or (section, key) not in _RELATIVE:
        return default
    scheme = "embedded:" if section == "store" else ""
    return scheme + str(directory / default.removeprefix(scheme))
