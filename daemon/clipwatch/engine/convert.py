"""Between qdrant-client's models and the engine's own classes. Nothing here touches a shard."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import pydantic
import pydantic_core
import qdrant_edge as edge
from qdrant_client.http.models import models

from clipwatch.engine.replies import format_error, invalid, unsupported, wrong

Model = TypeVar("Model", bound=pydantic.BaseModel)
PointId = int | str | uuid.UUID
Forms = Mapping[str, type[pydantic.BaseModel]]

_MAX_ID: Final = 2**64 - 1
_INDEX_TYPES: Final[Mapping[str, Any]] = {
    "keyword": edge.KeywordIndexParams,
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "bool": edge.BoolIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "uuid": edge.UuidIndexParams,
}
_UPDATE_MODES: Final = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}


def parse(model: type[Model], body: bytes) -> Model:
    """The body as qdrant-client's own model of it; 400 with the first complaint where it is none."""
    try:
        return model.model_validate_json(body)
    except pydantic.ValidationError as error:
        raise format_error(complaint(error)) from error


def parse_either(models_by_key: Forms, body: bytes) -> Any:
    """One of several forms, told apart by its key, so that a complaint is about the form that was meant."""
    try:
        value = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise format_error(str(error)) from error
    for key, model in models_by_key.items():
        if isinstance(value, dict) and key in value:
            try:
                return model.model_validate(value)
            except pydantic.ValidationError as error:
                raise format_error(complaint(error)) from error
    raise format_error(f"one of {', '.join(models_by_key)} must be given")


def complaint(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def refuse_given(request: pydantic.BaseModel, *names: str) -> None:
    """Refuse what this engine does not have, rather than ignore it."""
    for name in names:
        if getattr(request, name) is not None:
            raise unsupported(f"`{name}`")


def point_id(value: PointId) -> PointId:
    if isinstance(value, uuid.UUID):
        return value
    if isinstance(value, int):
        if 0 <= value <= _MAX_ID:
            return value
    else:
        try:
            return uuid.UUID(value)
        except ValueError:
            pass
    raise format_error(f"value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID")


def point_ids(values: Sequence[PointId]) -> list[PointId]:
    return [point_id(value) for value in values]


def json_id(value: Any) -> int | str:
    return value if isinstance(value, int) else str(value)


def check_vectors(vectors: Any, width: int, *, cosine: bool) -> None:
    """Refuse the whole request for one bad vector: the engine would write the good part of it.

    *vectors* must be lists of *width* finite numbers, not all zero under cosine distance.
    """
    for vector in vectors:
        if isinstance(vector, dict):
            name = next(iter(vector), "")
            raise wrong(f"Not existing vector name error: {name}")
        if not isinstance(vector, list) or (vector and isinstance(vector[0], list)):
            raise unsupported("Anything but one plain dense vector a point")
        if len(vector) != width:
            raise wrong(f"Vector dimension error: expected dim: {width}, got {len(vector)}")
    with np.errstate(over="ignore"):
        matrix = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), width)
    if not np.isfinite(matrix).all():
        raise wrong("Vector contains values that are not finite 32 bit floats")
    if cosine and not matrix.any(axis=1).all():
        raise wrong("Vector is all zeros, which has no direction to compare")


def upsert(request: Any, width: int, *, cosine: bool) -> edge.UpdateOperation | None:
    """`PointsList` or `PointsBatch` as one atomic operation; None where it has no points."""
    refuse_given(request, "shard_key")
    if isinstance(request, models.PointsList):
        ids = [point.id for point in request.points]
        vectors: Any = [point.vector for point in request.points]
        payloads = [point.payload for point in request.points]
    else:
        ids, vectors = request.batch.ids, request.batch.vectors
        payloads = request.batch.payloads if request.batch.payloads is not None else [None] * len(ids)
        if not isinstance(vectors, list):
            raise unsupported("Anything but one plain dense vector a point")
        if not len(ids) == len(vectors) == len(payloads):
            raise wrong(f"{len(ids)} ids, {len(vectors)} vectors and {len(payloads)} payloads do not go together")
    if not ids:
        return None
    check_vectors(vectors, width, cosine=cosine)
    points = [
        edge.Point(identity, vector, payload)
        for identity, vector, payload in zip(point_ids(ids), vectors, payloads, strict=True)
    ]
    mode = _UPDATE_MODES[request.update_mode.value] if request.update_mode is not None else None
    return edge.UpdateOperation.upsert_points(
        points, condition=optional_filter(request.update_filter), update_mode=mode
    )


def payload_selector(value: Any, *, default: bool) -> Any:
    if value is None:
        return default
    if isinstance(value, models.PayloadSelectorInclude):
        return edge.PayloadSelector.Include(value.include)
    if isinstance(value, models.PayloadSelectorExclude):
        return edge.PayloadSelector.Exclude(value.exclude)
    return value


def vector_selector(value: Any) -> bool:
    if isinstance(value, list):
        raise unsupported("Choosing vectors by name")
    return bool(value)


def record(item: Any) -> dict[str, Any]:
    """A stored point as JSON values; what was not asked for is left out."""
    answer: dict[str, Any] = {"id": json_id(item.id)}
    if item.payload is not None:
        answer["payload"] = item.payload
    if item.vector is not None:
        answer["vector"] = item.vector
    return answer


def scored(item: Any) -> dict[str, Any]:
    return {**record(item), "version": item.version, "score": item.score}


def optional_filter(value: models.Filter | None) -> edge.Filter | None:
    return None if value is None else edge_filter(value)


def edge_filter(value: models.Filter) -> edge.Filter:
    least = value.min_should
    return edge.Filter(
        must=_conditions(value.must),
        should=_conditions(value.should),
        must_not=_conditions(value.must_not),
        min_should=None if least is None else edge.MinShould(_conditions(least.conditions) or [], least.min_count),
    )


def _conditions(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return [_condition(item) for item in (value if isinstance(value, list) else [value])]


def _condition(value: Any) -> Any:
    if isinstance(value, models.FieldCondition):
        return _field(value)
    if isinstance(value, models.Filter):
        return edge_filter(value)
    if isinstance(value, models.HasIdCondition):
        return edge.HasIdCondition(set(point_ids(value.has_id)))
    if isinstance(value, models.IsEmptyCondition):
        return edge.IsEmptyCondition(value.is_empty.key)
    if isinstance(value, models.IsNullCondition):
        return edge.IsNullCondition(value.is_null.key)
    if isinstance(value, models.NestedCondition):
        return edge.NestedCondition(value.nested.key, edge_filter(value.nested.filter))
    raise unsupported(f"A {type(value).__name__}")


def _field(value: models.FieldCondition) -> edge.FieldCondition:
    refuse_given(value, "geo_bounding_box", "geo_radius", "geo_polygon")
    parts: dict[str, Any] = {"is_empty": value.is_empty, "is_null": value.is_null}
    if value.match is not None:
        parts["match"] = _match(value.match)
    if value.values_count is not None:
        parts["values_count"] = edge.ValuesCount(**value.values_count.model_dump())
    if isinstance(value.range, models.DatetimeRange):
        bounds = value.range.model_dump(mode="json")
        parts["range"] = edge.RangeDateTime(**bounds)
    elif value.range is not None:
        parts["range"] = edge.RangeFloat(**value.range.model_dump())
    given = {name: part for name, part in parts.items() if part is not None}
    if not given:
        raise invalid(f"filter.{value.key}: at least one field condition must be specified")
    return edge.FieldCondition(value.key, **given)


def _match(value: Any) -> Any:
    if isinstance(value, models.MatchValue):
        if isinstance(value.value, bool):
            # qdrant-edge-py 0.9 takes True for 1 here, and no stored boolean equals that.
            raise unsupported("Matching a boolean value")
        return edge.MatchValue(value.value)
    if isinstance(value, models.MatchAny):
        return edge.MatchAny(value.any)
    if isinstance(value, models.MatchExcept):
        return edge.MatchExcept(value.except_)
    if isinstance(value, models.MatchPrefix):
        return edge.MatchPrefix(value.prefix)
    if isinstance(value, models.MatchSubstring):
        return edge.MatchSubstring(value.substring)
    if isinstance(value, models.MatchText):
        return edge.MatchText(value.text)
    if isinstance(value, models.MatchTextAny):
        return edge.MatchTextAny(value.text_any)
    return edge.MatchPhrase(value.phrase)


def index_schema(schema: Any) -> Any:
    """A payload index's parameters, from its short or long form."""
    if schema is None:
        raise wrong("the field's type must be given: this engine does not guess it from the payloads")
    if isinstance(schema, models.PayloadSchemaType):
        kind, options = schema.value, {}
    else:
        options = schema.model_dump(mode="json", exclude_none=True)
        kind = str(options.pop("type"))
    if kind not in _INDEX_TYPES:
        raise unsupported(f"A payload index of type {kind}")
    if "memory" in options:
        raise unsupported("`memory` of a payload index")
    return _INDEX_TYPES[kind](**options)


def index_info(info: Any) -> dict[str, Any]:
    """A payload index as `GET /collections/{name}` tells it."""
    kind = str(info.data_type).rpartition(".")[2].lower()
    answer: dict[str, Any] = {"data_type": kind, "points": info.points}
    options = {
        name: value
        for name in ("is_tenant", "prefix", "lookup", "range", "is_principal", "on_disk", "enable_hnsw", "nested")
        if (value := getattr(info.params, name, None)) is not None
    }
    if options:
        answer["params"] = {"type": kind, **options}
    return answer
