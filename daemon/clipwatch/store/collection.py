"""What a collection must look like: how it is made, and how one that exists is judged. Decisions over values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from qdrant_client import models

from clipwatch.config import StoreConfig
from clipwatch.errors import ConfigError

OLDEST_SERVER: Final = (1, 10)
"""The first with the universal query endpoint."""

INDEXED_KEYS: Final = ("folder", "path", "content", "model")

_KEYWORD: Final = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
_KEYWORD_WITH_PREFIX: Final = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)


def index_shapes(key: str) -> tuple[models.KeywordIndexParams, ...]:
    """Indexes for *key*, best first; a server that is too old for one gets the next."""
    return (_KEYWORD_WITH_PREFIX, _KEYWORD) if key == "path" else (_KEYWORD,)


def creation(width: int, config: StoreConfig, *, server: bool) -> dict[str, Any]:
    """Arguments of `create_collection`; the settings for servers mean nothing to the embedded engine."""
    vectors = models.VectorParams(size=width, distance=models.Distance.COSINE)
    arguments: dict[str, Any] = {"vectors_config": vectors}
    if server:
        if config.on_disk:
            vectors.on_disk = True
        if config.quantization == "scalar":
            arguments["quantization_config"] = models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            )
        elif config.quantization == "binary":
            arguments["quantization_config"] = models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(always_ram=True)
            )
        if config.shard_number:
            arguments["shard_number"] = config.shard_number
        if config.replication_factor:
            arguments["replication_factor"] = config.replication_factor
    return arguments


def check_shape(info: models.CollectionInfo, width: int, collection: str) -> None:
    """Raise `ConfigError`, with the cure, unless *info* has one plain vector, *width* wide, under cosine."""
    vectors = info.config.params.vectors
    hint = (
        "Set store.collection to a new name, or model.path to the model it was made with; "
        "it is never deleted or changed for you."
    )
    if not isinstance(vectors, models.VectorParams):
        names = ", ".join(map(repr, vectors)) if isinstance(vectors, Mapping) and vectors else "none"
        raise ConfigError(
            f"The collection {collection} has named vectors ({names}) and not one plain vector.", hint=hint
        )
    if vectors.size != width:
        raise ConfigError(
            f"The collection {collection} holds vectors {vectors.size} wide; the model makes {width}.", hint=hint
        )
    if vectors.distance is not models.Distance.COSINE:
        raise ConfigError(
            f"The collection {collection} compares by {vectors.distance.value}, not by cosine.", hint=hint
        )


def width_of(info: models.CollectionInfo) -> int | None:
    """The width of the one plain vector under cosine; None for any other shape."""
    vectors = info.config.params.vectors
    plain = isinstance(vectors, models.VectorParams) and vectors.distance is models.Distance.COSINE
    return vectors.size if plain and isinstance(vectors, models.VectorParams) else None


def check_version(version: str, address: str) -> None:
    """Raise `ConfigError` for a server that is too old; a version that cannot be read is given a chance."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if match and (int(match[1]), int(match[2])) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise ConfigError(
            f"The Qdrant server at {address} has version {version}; {oldest} is the oldest that works.",
            hint="Update the server, or use the embedded store.",
        )


def equals(key: str, value: str) -> models.FieldCondition | models.Filter:
    """Payload *key* equal to *value*, as text or, where it reads as one, as a whole number."""
    text = models.FieldCondition(key=key, match=models.MatchValue(value=value))
    if not re.fullmatch(r"-?\d{1,18}", value):
        return text
    number = models.FieldCondition(key=key, match=models.MatchValue(value=int(value)))
    return models.Filter(should=[text, number])
