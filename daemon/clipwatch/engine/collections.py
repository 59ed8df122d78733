"""Requests about collections, their indexes and aliases."""

from __future__ import annotations

from typing import Any, Final

import qdrant_edge as edge
from qdrant_client.http.models import models

from clipwatch.engine import convert, points
from clipwatch.engine.catalog import Catalog, Collection
from clipwatch.engine.replies import Refused, edge_calls, invalid, unsupported
from clipwatch.engine.shard import NEVER_INDEX_KILOBYTES, Shape

_MAX_WIDTH: Final = 65536
_FORBIDDEN: Final = frozenset('<>:"/\\|?*\0')


def listing(catalog: Catalog) -> Any:
    return {"collections": [{"name": name} for name in catalog.names()]}


def create(catalog: Catalog, name: str, body: bytes) -> Any:
    if not 0 < len(name) <= 255 or _FORBIDDEN & set(name):
        raise Refused(422, f"Validation error in path parameters: [name: value {name!r} invalid]")
    request = convert.parse(models.CreateCollection, body)
    convert.refuse_given(
        request,
        "payload",
        "id_tracker",
        "hnsw_config",
        "wal_config",
        "optimizers_config",
        "quantization_config",
        "strict_mode_config",
    )
    if request.sparse_vectors or not isinstance(request.vectors, models.VectorParams):
        raise unsupported("Anything but one unnamed dense vector a point")
    single = (request.shard_number, request.replication_factor, request.write_consistency_factor)
    if any(value not in (None, 1) for value in single) or request.sharding_method not in (None, "auto"):
        raise unsupported("More than one shard or replica")
    if request.on_disk_payload is False:
        raise unsupported("A payload that is not on disk")
    catalog.create(name, _shape(request.vectors), request.metadata)
    return True


def _shape(vectors: models.VectorParams) -> Shape:
    convert.refuse_given(vectors, "hnsw_config", "quantization_config", "memory", "multivector_config")
    if vectors.on_disk is False or vectors.datatype not in (None, "float32"):
        raise unsupported("Anything but float32 vectors in mapped files")
    if not 1 <= vectors.size <= _MAX_WIDTH:
        raise invalid(f"vectors.size: value {vectors.size} invalid, must be from 1 to {_MAX_WIDTH}")
    return Shape(vectors.size, vectors.distance.value)


def update(catalog: Catalog, name: str, body: bytes) -> Any:
    request = convert.parse(models.UpdateCollection, body)
    convert.refuse_given(
        request, "vectors", "params", "hnsw_config", "quantization_config", "sparse_vectors", "strict_mode_config"
    )
    threshold = None
    if request.optimizers_config is not None:
        others = set(type(request.optimizers_config).model_fields) - {"deleted_threshold"}
        convert.refuse_given(request.optimizers_config, *sorted(others))
        threshold = request.optimizers_config.deleted_threshold
        if threshold is not None and not 0 <= threshold <= 1:
            raise invalid("optimizers_config.deleted_threshold: must be from 0 to 1")
    catalog.update(name, deleted_threshold=threshold, metadata=request.metadata)
    return True


def info(collection: Collection) -> Any:
    """`hnsw_config.m` is 0: there is no graph. `optimizer_config` tells what is really done."""
    meta = collection.meta
    with edge_calls():
        state = collection.shard.opened().info()
    config: dict[str, Any] = {
        "params": {
            "vectors": {"size": meta.width, "distance": meta.distance},
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        },
        "hnsw_config": {"m": 0, "ef_construct": 4, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": meta.deleted_threshold,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 1,
            "indexing_threshold": NEVER_INDEX_KILOBYTES,
            "flush_interval_sec": 0,
        },
    }
    if meta.metadata is not None:
        config["metadata"] = meta.metadata
    return {
        "status": "green",
        "optimizer_status": "ok",
        "indexed_vectors_count": state.indexed_vectors_count,
        "points_count": state.points_count,
        "segments_count": state.segments_count,
        "config": config,
        "payload_schema": {field: convert.index_info(schema) for field, schema in state.payload_schema.items()},
        "created_at": meta.created_at,
    }


def create_index(collection: Collection, body: bytes) -> Any:
    request = convert.parse(models.CreateFieldIndex, body)
    with edge_calls():
        operation = edge.UpdateOperation.create_field_index(
            request.field_name, convert.index_schema(request.field_schema)
        )
    return points.write(collection, [operation], b"")


def delete_index(collection: Collection, field: str) -> Any:
    with edge_calls():
        operation = edge.UpdateOperation.delete_field_index(field)
    return points.write(collection, [operation], b"")


def aliases(catalog: Catalog, name: str | None) -> Any:
    wanted = None if name is None else catalog.get(name).meta.name
    return {
        "aliases": [
            {"alias_name": alias, "collection_name": target}
            for alias, target in sorted(catalog.aliases().items())
            if wanted in (None, target)
        ]
    }


def change_aliases(catalog: Catalog, body: bytes) -> Any:
    catalog.change_aliases(convert.parse(models.ChangeAliasesOperation, body).actions)
    return True
