"""Requests about points: each takes a collection and a body, and returns what goes into `result`."""

from __future__ import annotations

import uuid
from typing import Any, Final

import qdrant_edge as edge
from qdrant_client.http.models import models

from clipwatch.engine import convert
from clipwatch.engine.catalog import Collection
from clipwatch.engine.replies import Refused, edge_calls, format_error, invalid, unsupported, wrong

PAGE_LIMIT: Final = 1000
"""A page holds the interpreter lock while it is read."""
_DEFAULT_LIMIT: Final = 10
_INSERTS: Final[convert.Forms] = {"batch": models.PointsBatch, "points": models.PointsList}
_SELECTORS: Final[convert.Forms] = {"filter": models.FilterSelector, "points": models.PointIdsList}
_GROWTH: Final = 4
"""Points take less on disk than as JSON; the log has them once more."""


def write(collection: Collection, operations: list[Any], body: bytes) -> dict[str, Any]:
    """Apply and flush; None among the *operations* is one with nothing to do."""
    real = [operation for operation in operations if operation is not None]
    if real:
        collection.shard.write(real, _GROWTH * len(body))
    collection.operations += 1
    return {"operation_id": collection.operations, "status": "completed"}


def upsert(collection: Collection, body: bytes) -> Any:
    with edge_calls():
        operation = _upsert_operation(collection, convert.parse_either(_INSERTS, body))
    return write(collection, [operation], body)


def _upsert_operation(collection: Collection, request: Any) -> Any:
    meta = collection.meta
    return convert.upsert(request, meta.width, cosine=meta.distance == "Cosine")


def delete(collection: Collection, body: bytes) -> Any:
    with edge_calls():
        operation = _delete_operation(convert.parse_either(_SELECTORS, body))
    return write(collection, [operation], body)


def clear_payload(collection: Collection, body: bytes) -> Any:
    with edge_calls():
        operation = _clear_operation(convert.parse_either(_SELECTORS, body))
    return write(collection, [operation], body)


def _delete_operation(selector: Any) -> Any:
    convert.refuse_given(selector, "shard_key")
    if isinstance(selector, models.PointIdsList):
        ids = convert.point_ids(selector.points)
        return edge.UpdateOperation.delete_points(ids) if ids else None
    return edge.UpdateOperation.delete_points_by_filter(convert.edge_filter(selector.filter))


def _clear_operation(selector: Any) -> Any:
    convert.refuse_given(selector, "shard_key")
    if isinstance(selector, models.PointIdsList):
        ids = convert.point_ids(selector.points)
        return edge.UpdateOperation.clear_payload(ids) if ids else None
    return edge.UpdateOperation.clear_payload_by_filter(convert.edge_filter(selector.filter))


def set_payload(collection: Collection, body: bytes) -> Any:
    with edge_calls():
        operation = _payload_operation(convert.parse(models.SetPayload, body), overwrite=False)
    return write(collection, [operation], body)


def overwrite_payload(collection: Collection, body: bytes) -> Any:
    with edge_calls():
        operation = _payload_operation(convert.parse(models.SetPayload, body), overwrite=True)
    return write(collection, [operation], body)


def _payload_operation(request: models.SetPayload, *, overwrite: bool) -> Any:
    """As on a server, an id that does not exist is 404 in the end, and the others are changed."""
    convert.refuse_given(request, "shard_key")
    kinds = edge.UpdateOperation
    if request.points is not None:
        ids = convert.point_ids(request.points)
        by_ids = kinds.overwrite_payload if overwrite else kinds.set_payload
        return by_ids(ids, request.payload, key=request.key) if ids else None
    chosen = convert.edge_filter(_required(request.filter))
    by_filter = kinds.overwrite_payload_by_filter if overwrite else kinds.set_payload_by_filter
    return by_filter(chosen, request.payload, key=request.key)


def delete_payload(collection: Collection, body: bytes) -> Any:
    with edge_calls():
        operation = _delete_payload_operation(convert.parse(models.DeletePayload, body))
    return write(collection, [operation], body)


def _delete_payload_operation(request: models.DeletePayload) -> Any:
    convert.refuse_given(request, "shard_key")
    if request.points is not None:
        ids = convert.point_ids(request.points)
        return edge.UpdateOperation.delete_payload(ids, request.keys) if ids else None
    chosen = convert.edge_filter(_required(request.filter))
    return edge.UpdateOperation.delete_payload_by_filter(chosen, request.keys)


def _required(value: models.Filter | None) -> models.Filter:
    if value is None:
        raise format_error("either points or a filter must be given")
    return value


def update_batch(collection: Collection, body: bytes) -> Any:
    """All operations are checked before the first one is applied; one flush for all."""
    request = convert.parse(models.UpdateOperations, body)
    with edge_calls():
        operations = [_batch_operation(collection, item) for item in request.operations]
    answer = write(collection, operations, body)
    return [answer] * len(operations)


def _batch_operation(collection: Collection, item: Any) -> Any:
    if isinstance(item, models.UpsertOperation):
        return _upsert_operation(collection, item.upsert)
    if isinstance(item, models.DeleteOperation):
        return _delete_operation(item.delete)
    if isinstance(item, models.ClearPayloadOperation):
        return _clear_operation(item.clear_payload)
    if isinstance(item, models.SetPayloadOperation):
        return _payload_operation(item.set_payload, overwrite=False)
    if isinstance(item, models.OverwritePayloadOperation):
        return _payload_operation(item.overwrite_payload, overwrite=True)
    if isinstance(item, models.DeletePayloadOperation):
        return _delete_payload_operation(item.delete_payload)
    raise unsupported(f"A {type(item).__name__}")


def retrieve(collection: Collection, body: bytes) -> Any:
    request = convert.parse(models.PointRequest, body)
    convert.refuse_given(request, "shard_key")
    ids = convert.point_ids(request.ids)
    with edge_calls():
        found = collection.shard.opened().retrieve(
            ids,
            with_payload=convert.payload_selector(request.with_payload, default=True),
            with_vector=convert.vector_selector(request.with_vector),
        )
    return [convert.record(item) for item in found]


def retrieve_one(collection: Collection, spelled: str) -> Any:
    identity = convert.point_id(int(spelled) if spelled.isdecimal() else spelled)
    with edge_calls():
        found = collection.shard.opened().retrieve([identity], with_payload=True, with_vector=True)
    if not found:
        raise Refused(404, f"Not found: Point with id {spelled} does not exists!")
    return convert.record(found[0])


def scroll(collection: Collection, body: bytes) -> Any:
    request = convert.parse(models.ScrollRequest, body)
    convert.refuse_given(request, "shard_key", "order_by")
    with edge_calls():
        page, following = collection.shard.opened().scroll(
            edge.ScrollRequest(
                offset=None if request.offset is None else convert.point_id(request.offset),
                limit=min(_limit(request.limit), PAGE_LIMIT),
                filter=convert.optional_filter(request.filter),
                with_payload=convert.payload_selector(request.with_payload, default=True),
                with_vector=convert.vector_selector(request.with_vector),
            )
        )
    return {
        "points": [convert.record(item) for item in page],
        "next_page_offset": None if following is None else convert.json_id(following),
    }


def _limit(value: int | None) -> int:
    if value is None:
        return _DEFAULT_LIMIT
    if value < 1:
        raise invalid(f"limit: value {value} invalid, must be 1 or larger")
    return value


def count(collection: Collection, body: bytes) -> Any:
    request = convert.parse(models.CountRequest, body)
    convert.refuse_given(request, "shard_key")
    with edge_calls():
        counted = edge.CountRequest(exact=True, filter=convert.optional_filter(request.filter))
        return {"count": collection.shard.opened().count(counted)}


def facet(collection: Collection, body: bytes) -> Any:
    request = convert.parse(models.FacetRequest, body)
    convert.refuse_given(request, "shard_key")
    with edge_calls():
        answer = collection.shard.opened().facet(
            edge.FacetRequest(
                request.key, limit=_limit(request.limit), exact=True, filter=convert.optional_filter(request.filter)
            )
        )
    return {"hits": [{"value": hit.value, "count": hit.count} for hit in answer.hits]}


def query(collection: Collection, body: bytes) -> Any:
    return {"points": _query(collection, convert.parse(models.QueryRequest, body))}


def query_batch(collection: Collection, body: bytes) -> Any:
    request = convert.parse(models.QueryRequestBatch, body)
    return [{"points": _query(collection, search)} for search in request.searches]


def _query(collection: Collection, request: models.QueryRequest) -> list[dict[str, Any]]:
    convert.refuse_given(request, "shard_key", "prefetch", "lookup_from")
    if request.using:
        raise wrong(f"Not existing vector name error: {request.using}")
    offset = request.offset or 0
    if offset < 0:
        raise invalid(f"offset: value {offset} invalid, must be 0 or larger")
    with edge_calls():
        shard = collection.shard.opened()
        total = shard.info().points_count
        chosen = convert.optional_filter(request.filter)
        vector, itself = _query_vector(collection, request.query)
        if itself is not None:
            chosen = edge.Filter(must=None if chosen is None else [chosen], must_not=[edge.HasIdCondition({itself})])
        found = shard.query(
            edge.QueryRequest(
                limit=min(_limit(request.limit), max(1, total)),
                offset=min(offset, total),
                query=None if vector is None else edge.Query.Nearest(vector),
                filter=chosen,
                params=_search_params(request.params),
                score_threshold=request.score_threshold,
                with_payload=convert.payload_selector(request.with_payload, default=False),
                with_vector=convert.vector_selector(request.with_vector),
            )
        )
    return [convert.scored(item) for item in found]


def _query_vector(collection: Collection, asked: Any) -> tuple[Any, convert.PointId | None]:
    """The vector to compare with, and the point to leave out when the vector is that point's own."""
    if isinstance(asked, models.NearestQuery):
        convert.refuse_given(asked, "mmr")
        asked = asked.nearest
    if asked is None:
        return None, None
    if isinstance(asked, int | str | uuid.UUID):
        itself = convert.point_id(asked)
        found = collection.shard.opened().retrieve([itself], with_payload=False, with_vector=True)
        if not found:
            raise Refused(404, f"Not found: No point with id {itself} found")
        return found[0].vector, itself
    if not isinstance(asked, list):
        raise unsupported(f"A {type(asked).__name__}")
    convert.check_vectors([asked], collection.meta.width, cosine=collection.meta.distance == "Cosine")
    return asked, None


def _search_params(params: models.SearchParams | None) -> Any:
    """There is no graph index: every answer is exact, so `hnsw_ef` has nothing to tune."""
    if params is None:
        return None
    convert.refuse_given(params, "quantization", "acorn", "idf")
    if params.indexed_only:
        raise unsupported("`indexed_only`")
    return edge.SearchParams(hnsw_ef=params.hnsw_ef, exact=bool(params.exact))
