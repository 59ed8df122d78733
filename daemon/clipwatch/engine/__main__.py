"""`python -m clipwatch.engine DIRECTORY --socket PATH`: one embedded store until stdin ends.

`CLIPWATCH_ENGINE_API_KEY` holds the key for `--listen`. Prints one JSON line when it answers. Exit status:
0 stdin ended; 2 the directory or an address cannot be used; 3 the disk is full; 4 another process has the store open;
70 the engine panicked; 75 what it had opened was deleted, moved or replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clipwatch.engine.files import (
    DEFAULT_RESERVE_BYTES,
    DISK_FULL,
    FreeSpace,
    Held,
    hold_directory,
    prepare_directory,
    take_lock,
)
from clipwatch.errors import ClipwatchError, ConfigError, StoreUnavailable

API_KEY_VARIABLE: Final = "CLIPWATCH_ENGINE_API_KEY"
_BARE_PACKAGES: Final = ("qdrant_client", "qdrant_client.http", "qdrant_client.http.models")


def import_models_only() -> None:
    """Let `qdrant_client.http.models.models` be imported without the client around it.

    The packages' own code brings gRPC and httpx, which nothing here uses: 80 MB and half a second.
    For this process only; it must come before any other import of qdrant_client.
    """
    found = importlib.util.find_spec("qdrant_client")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("qdrant-client is not installed.")
    root = found.submodule_search_locations[0]
    for name in _BARE_PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(root, *name.split(".")[1:])]
        sys.modules[name] = package


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m clipwatch.engine", description="clipwatch's embedded store.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--socket", type=Path, required=True, help="where to listen; mode 0600")
    parser.add_argument("--listen", default="", help=f"host:port, for those who know ${API_KEY_VARIABLE}")
    parser.add_argument("--lock-wait", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--reserve", type=int, default=DEFAULT_RESERVE_BYTES, metavar="BYTES", help="kept free on disk")
    parser.add_argument("--idle", type=float, default=5.0, metavar="SECONDS", help="without a request before a vacuum")
    return parser.parse_args()


def _log(line: str) -> None:
    with contextlib.suppress(OSError):  # the parent may be gone, and with it who could read
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the parent takes it into its log


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    arguments = _arguments()
    api_key = os.environ.pop(API_KEY_VARIABLE, "")
    directory = arguments.directory.resolve()
    try:
        if arguments.listen and not api_key:
            raise ConfigError("Listening on TCP needs an API key.", hint="Set store.api_key.")
        lock = take_lock(directory, arguments.lock_wait)
        prepare_directory(directory)
        import_models_only()
        _run(directory, arguments, api_key, [lock, hold_directory(directory)])
    except ClipwatchError as error:
        _log(error.sentence())
        return error.exit_status
    except OSError as error:
        _log(f"The embedded store {directory} cannot be used: {error}.")
        return StoreUnavailable.exit_status if error.errno in DISK_FULL else ConfigError.exit_status
    return 0


def _run(directory: Path, arguments: argparse.Namespace, api_key: str, held: Sequence[Held]) -> None:
    import asyncio

    from clipwatch.engine.catalog import Catalog
    from clipwatch.engine.server import Listening, serve

    catalog = Catalog(directory, FreeSpace(directory, arguments.reserve), _log, held)
    asyncio.run(serve(catalog, Listening(arguments.socket, arguments.listen, api_key, arguments.idle)))


if __name__ == "__main__":
    sys.exit(main())
