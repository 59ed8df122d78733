"""What the settings for servers come to, in the requests that are sent."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qdrant_client import models

import clipwatch
from clipwatch.config import StoreConfig
from clipwatch.store.collection import creation
from clipwatch.store.qdrant import QdrantStore
from support.stores import MODEL, unit

SOURCE = Path(clipwatch.__file__).parent
PLAIN = {"vectors_config": {"size": 8, "distance": "Cosine"}}
SCALAR = {"scalar": {"type": "int8", "always_ram": True}}
BINARY = {"binary": {"always_ram": True}}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, PLAIN),
        ({"on_disk": True}, {"vectors_config": {"size": 8, "distance": "Cosine", "on_disk": True}}),
        ({"quantization": "scalar"}, {**PLAIN, "quantization_config": SCALAR}),
        ({"quantization": "binary"}, {**PLAIN, "quantization_config": BINARY}),
        ({"shard_number": 3}, {**PLAIN, "shard_number": 3}),
        ({"replication_factor": 2}, {**PLAIN, "replication_factor": 2}),
        (
            {"quantization": "scalar", "shard_number": 6, "replication_factor": 2},
            {**PLAIN, "quantization_config": SCALAR, "shard_number": 6, "replication_factor": 2},
        ),
    ],
    ids=str,
)
def test_a_collection_is_made_as_the_settings_say(settings: dict[str, Any], wanted: dict[str, Any]) -> None:
    config = StoreConfig(**settings)
    assert spelled(creation(8, config, server=True)) == wanted
    assert spelled(creation(8, config, server=False)) == PLAIN


def spelled(arguments: dict[str, Any]) -> dict[str, Any]:
    """As it travels."""
    models_in = {key: value for key, value in arguments.items() if hasattr(value, "model_dump")}
    return arguments | {key: value.model_dump(mode="json", exclude_none=True) for key, value in models_in.items()}


class Recorder:
    """A client that answers every search with nothing and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def query_points(self, _name: str, **asked: Any) -> Any:
        self.asked = asked
        return SimpleNamespace(points=[])


@pytest.mark.parametrize("quantization", ["none", "scalar", "binary"])
@pytest.mark.parametrize("kind", ["server", "embedded"])
def test_what_was_found_by_quantized_vectors_is_scored_again_by_whole_ones(kind: str, quantization: str) -> None:
    client: Any = Recorder()
    store = QdrantStore(client, StoreConfig(quantization=quantization), kind=kind, address="here")
    assert store.search(unit(1), 5, model=MODEL) == []
    if kind == "embedded" or quantization == "none":
        assert "search_params" not in client.asked
    else:
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=2.0)
        assert client.asked["search_params"] == models.SearchParams(quantization=rescored)


NEVER = frozenset({"upload_points", "upload_collection", "upload_records"})
"""They do not wait, and a point that was acknowledged may be dropped."""
WRITES = frozenset({"upsert", "delete", "batch_update_points", "set_payload", "create_payload_index"})


def hasty_writes(source: str) -> list[str]:
    """What *source* sends to a client named `c` without waiting until it is done."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in NEVER:
            found.append(node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
            to_client = isinstance(node.func.value, ast.Name) and node.func.value.id in ("c", "client")
            if to_client and not any(k.arg == "wait" and ast.unparse(k.value) == "True" for k in node.keywords):
                found.append(node.func.attr)
    return found


def test_no_write_is_sent_without_waiting_for_it() -> None:
    """By this rather than by ruff: banned-api knows imported names, and these are methods."""
    for file in SOURCE.rglob("*.py"):
        assert hasty_writes(file.read_text(encoding="utf-8")) == [], file


def test_a_hasty_write_would_be_seen() -> None:
    seen = hasty_writes("self._client.upload_points(x)\nc.upsert(n, p)\nc.delete(n, p, wait=False)")
    assert sorted(seen) == ["delete", "upload_points", "upsert"]
    assert hasty_writes("c.upsert(n, p, wait=True)") == []
