"""From settings to a store; the only place that knows which of its two ends is meant. Cheap to import."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipwatch.config import StoreConfig, is_server, server_address

if TYPE_CHECKING:
    from clipwatch.store.qdrant import QdrantStore


def open_store(
    config: StoreConfig, *, api_key: str, runtime: Path, logger: Any, stop: threading.Event | None = None
) -> QdrantStore:
    """The store of *config*; the embedded engine is started, with its socket below *runtime*.

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
    config: StoreConfig, api_key: str, runtime: Path, logger: Any, stop: threading.Event | None
) -> QdrantStore:
    from clipwatch.engine.process import Engine

    directory = config.url.removeprefix("embedded:")
    engine = Engine(
        Path(directory), logger=logger, runtime=runtime, listen=config.embedded_listen, api_key=api_key, stop=stop
    )
    try:
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
            closing=engine.close,
        )
    except BaseException:
        engine.close()
        raise
