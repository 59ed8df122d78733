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
    """Raise `ConfigError`, with the cure, unless *info* is a collection for plain float vectors, *width* wide."""
    wrong = _unlike_ours(info)
    if not wrong and isinstance(vectors := info.config.params.vectors, models.VectorParams) and vectors.size != width:
        wrong = f"holds vectors {vectors.size} wide; the model makes {width}"
    if wrong:
        raise ConfigError(
            f"The collection {collection} {wrong}.",
            hint="Set store.collection to a new name, or model.path to the model it was made with; "
            "it is never deleted or changed for you.",
        )


def width_of(info: models.CollectionInfo) -> int | None:
    """The width of the one plain vector under cosine; None for any other shape."""
    vectors = info.config.params.vectors
    return vectors.size if isinstance(vectors, models.VectorParams) and not _unlike_ours(info) else None


def _unlike_ours(info: models.CollectionInfo) -> str:
    """What keeps our points from being in the collection, or from being the same when they are read back; "" for none.

    The end of a sentence that begins with its name. With `uint8` a server makes zeros of every unit vector; with custom
    sharding it takes no point without a shard key; several vectors in one are compared in another way.
    """
    params = info.config.params
    vectors = params.vectors
    if not isinstance(vectors, models.VectorParams):
        names = ", ".join(map(repr, vectors)) if isinstance(vectors, Mapping) and vectors else "none"
        return f"has named vectors ({names}) and not one plain vector"
    if vectors.distance is not models.Distance.COSINE:
        return f"compares by {vectors.distance.value}, not by cosine"
    if vectors.datatype is models.Datatype.UINT8:
        return "keeps vectors as uint8, which makes zeros of ours"
    if vectors.multivector_config is not None:
        return "keeps several vectors in one (multivector) and not one plain vector"
    if params.sharding_method is models.ShardingMethod.CUSTOM:
        return "has custom sharding, and clipwatch gives no shard keys"
    return ""


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
    # Keys with an index of ours hold text: where strict mode wants an index, a number would be refused.
    if key in INDEXED_KEYS or not re.fullmatch(r"-?\d{1,18}", value):
        return text
    number = models.FieldCondition(key=key, match=models.MatchValue(value=int(value)))
    return models.Filter(should=[text, number])
