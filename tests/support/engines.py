"""Real engines for tests."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from qdrant_client import QdrantClient, models

from clipwatch.engine.process import Engine

BATCH = 25
WIDTH = 16


class Notes:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.entries.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.entries.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.entries.append(("error", event, fields))

    def lines(self) -> list[str]:
        """What the engine's process said."""
        return [fields["line"] for _, event, fields in self.entries if event == "engine.output"]


@contextlib.contextmanager
def running_engine(directory: Path, **options: Any) -> Iterator[Engine]:
    """A started engine on *directory*; *options* as for `Engine`."""
    engine = Engine(directory, **{"logger": Notes(), **options})
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def client_of(engine: Engine, timeout: int = 30) -> Iterator[QdrantClient]:
    """A stock client on the engine's Unix socket."""
    client = QdrantClient(
        "http://localhost",
        port=None,
        transport=httpx.HTTPTransport(uds=str(engine.socket_path)),
        check_compatibility=False,
        timeout=timeout,
    )
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def tcp_client_of(engine: Engine, api_key: str) -> Iterator[QdrantClient]:
    """A stock client on the engine's TCP address, version check included."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        client = QdrantClient(f"http://{engine.listen_address}", api_key=api_key, timeout=30)
    try:
        yield client
    finally:
        client.close()


def batch(number: int, generation: int) -> list[models.PointStruct]:
    """The points of one batch; vector and payload both tell the generation."""
    return [
        models.PointStruct(
            id=number * BATCH + n, vector=[1.0, float(generation)] + [0.0] * (WIDTH - 2), payload={"g": generation}
        )
        for n in range(BATCH)
    ]
