"""From settings to a store; the only place that knows which of its two ends is meant. Cheap to import."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipwatch.config import StoreConfig, is_server, server_address
from clipwatch.errors import ConfigError

if TYPE_CHECKING:
    from clipwatch.store.qdrant import QdrantStore


def open_store(
    config: StoreConfig, *, api_key: str, runtime: Path | None, logger: Any, stop: threading.Event | None = None
) -> QdrantStore:
    """The store of *config*; the embedded engine is started, with its socket below *runtime*.

    *runtime* None: somebody only asks. The socket lies in a temporary directory, and so does an empty store where
    *config* names a directory that is not there: nothing is made that would be left.

    A server is not spoken to yet. Raises `LockHeld` where another process has the embedded store, and
    `ConfigError`. Where the engine dies, the call that notices has it started again and raises
    `StoreUnavailable`: the next one finds it well. No start is waited for once *stop* is set.
    """
    if is_server(config.url):
        return _server(config, api_key)
    return _embedded(config, api_key, runtime, logger, stop)


def _server(config: StoreConfig, api_key: str) -> QdrantStore:
    from clipwatch.network import proxy_for
    from clipwatch.store.connect import server_client
    from clipwatch.store.qdrant import QdrantStore

    address = server_address(config.url)
    proxy = proxy_for(address, os.environ)
    client = server_client(config, api_key=api_key, proxy=proxy)
    return QdrantStore(
        client, config, kind="server", address=address, api_key=api_key, proxy=str(proxy) if proxy else ""
    )


def _embedded(
    config: StoreConfig, api_key: str, runtime: Path | None, logger: Any, stop: threading.Event | None
) -> QdrantStore:
    from clipwatch.engine.process import Engine

    directory = Path(config.url.removeprefix("embedded:"))
    closing = contextlib.ExitStack()
    try:
        if runtime is None:
            runtime = _temporary(closing)
            directory = directory if directory.exists() else runtime / "empty"
        engine = Engine(
            directory, logger=logger, runtime=runtime, listen=config.embedded_listen, api_key=api_key, stop=stop
        )
        closing.callback(engine.close)
        # It loads while this process imports the client.
        engine.launch()
        from clipwatch.store.connect import socket_client
        from clipwatch.store.qdrant import QdrantStore

        engine.start()
        client = socket_client(engine.socket_path, timeout_seconds=config.timeout_seconds, api_key=api_key)
        return QdrantStore(
            client,
            config,
            kind="embedded",
            address=config.url,
            api_key=api_key,
            revive=engine.ensure_running,
            closing=closing.close,
        )
    except BaseException:
        closing.close()
        raise


def _temporary(closing: contextlib.ExitStack) -> Path:
    try:
        directory = tempfile.TemporaryDirectory(prefix="clipwatch-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(
            f"No temporary directory could be made: {error.strerror or error}.", hint="Set TMPDIR to a usable one."
        ) from error
    return Path(closing.enter_context(directory))
