"""Stores for tests, on one embedded engine per test process, and points to put into them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clipwatch.clock import Moment
from clipwatch.config import StoreConfig, server_address
from clipwatch.engine.process import Engine
from clipwatch.payload import path_payload
from clipwatch.records import Point, Vector, point_uuid, uuid_text
from clipwatch.store.connect import server_client, socket_client
from clipwatch.store.qdrant import QdrantStore

WIDTH = 8
MODEL = "sha256:model"
API_KEY = "a-key-of-the-tests"
"""Asked for on the shared engine's TCP address, not on its socket."""


class Told:
    """A logger that keeps what it is told: `(level, event, fields)`."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def events(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.lines if name == event]


class HastyClock:
    """A `Clock` whose waits take no time and move it on; *on_wait* hears how long each was."""

    def __init__(self, on_wait: Callable[[float], None] | None = None) -> None:
        self.seconds = 1000.0
        self.waits = 0
        self._on_wait = on_wait

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def moment(self) -> Moment:
        return Moment("boot", self.seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.waits += 1
            self.seconds += max(0.0, seconds)
            if self._on_wait is not None:
                self._on_wait(seconds)
        return event.is_set()


@functools.cache
def shared_engine() -> Engine:
    """The engine of this test process; it ends with it. For tests that leave it alive and well."""
    return _engine_of_this_process(listen="127.0.0.1:0", api_key=API_KEY)


@functools.cache
def mortal_engine() -> Engine:
    """Another one, for tests that kill it; whoever comes next asks it with `ensure_running`."""
    return _engine_of_this_process()


def _engine_of_this_process(*, listen: str = "", api_key: str = "") -> Engine:
    # Memory, where there is such a file system: flushes to a busy disk are most of a test's time.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.TemporaryDirectory(prefix="clipwatch-engine-", dir=memory)
    engine = Engine(Path(directory.name) / "store", logger=Told(), listen=listen, api_key=api_key)
    engine.start()

    def end() -> None:
        engine.close()
        directory.cleanup()

    atexit.register(end)
    return engine


def fresh_collection() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def store_config(**changes: Any) -> StoreConfig:
    """A collection of its own, and a time limit that suits tests."""
    return replace(StoreConfig(collection=fresh_collection(), timeout_seconds=5.0), **changes)


def store_on(
    socket: Path, config: StoreConfig | None = None, *, revive: Callable[[], object] | None = None
) -> QdrantStore:
    """The store behind a Unix socket: an engine's, or a proxy's in front of it. Close it."""
    config = config or store_config()
    client = socket_client(socket, timeout_seconds=config.timeout_seconds)
    return QdrantStore(client, config, kind="embedded", address=config.url, revive=revive)


def store_at(url: str, config: StoreConfig | None = None, *, api_key: str = "") -> QdrantStore:
    """The store at an http, https, grpc or grpcs address. Close it."""
    config = replace(config or store_config(), url=url)
    client = server_client(config, api_key=api_key)
    return QdrantStore(client, config, kind="server", address=server_address(url), api_key=api_key)


@contextlib.contextmanager
def open_test_store(directory: Path, *, width: int = WIDTH, ensure: bool = True) -> Iterator[QdrantStore]:
    """A store with an empty collection of its own on the shared engine; *directory* is not needed for that.

    Takes milliseconds once the engine runs, so that each test, or each module, can have its own.
    """
    del directory
    config = store_config()
    store = store_on(shared_engine().socket_path, config)
    try:
        if ensure:
            store.ensure(width)
        yield store
    finally:
        drop_collection(shared_engine().socket_path, config.collection)
        store.close()


def drop_collection(socket: Path, collection: str) -> None:
    """What no store does."""
    with contextlib.closing(socket_client(socket, timeout_seconds=5.0)) as client:
        client.delete_collection(collection)


def unit(seed: int, width: int = WIDTH) -> Vector:
    """A random unit vector, float32 `[width]`."""
    values = np.random.default_rng(seed).normal(size=width)
    return (values / np.linalg.norm(values)).astype(np.float32)


def sample_point(
    path: str | bytes,
    *,
    folder: str = "images",
    content: str | None = None,
    model: str = MODEL,
    vector: Vector | None = None,
    dimensions: int = WIDTH,
    **payload: Any,
) -> Point:
    """A point as a pass would write it, made from *path* alone."""
    raw = path.encode() if isinstance(path, str) else path
    seed = int.from_bytes(point_uuid(folder, raw)[:4], "big")
    filled: dict[str, Any] = {
        **path_payload(raw),
        "folder": folder,
        "size": seed,
        "mtime_ns": 1_700_000_000_123_456_789,
        "ctime_ns": 1_700_000_000_987_654_321,
        "content": f"sha256:{seed:x}" if content is None else content,
        "model": model,
        "width": 640,
        "height": 480,
        "format": "JPEG",
        "embedded_at": "2026-01-31T12:00:00.000000Z",
        **payload,
    }
    return Point(uuid_text(point_uuid(folder, raw)), unit(seed, dimensions) if vector is None else vector, filled)
