"""A gRPC Qdrant made from the servicers that qdrant-client ships, in front of any `QdrantClient`.

Only the wire is stood in for: messages, status codes and metadata are real gRPC, what they mean is decided
by *backend*. With `fail` the next call, or the next ones of one method, end with a status instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http.exceptions import UnexpectedResponse

T = TypeVar("T")

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(slots=True)
class _Fault:
    code: grpc.StatusCode
    details: str
    method: str
    when: Callable[[Any], bool]
    times: int | None
    metadata: tuple[tuple[str, str], ...]


class GrpcStandIn:
    """A server on `url`, in front of *backend*, which it does not close. A context manager."""

    def __init__(self, backend: QdrantClient, *, api_key: str = "", port: int = 0) -> None:
        self.calls: list[str] = []
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._api_key = api_key
        self._server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[_Gate(self._admit)])
        generated: Any = messages  # has no annotations
        generated.add_PointsServicer_to_server(_Points(backend), self._server)
        generated.add_CollectionsServicer_to_server(_Collections(backend), self._server)
        generated.add_QdrantServicer_to_server(_Root(), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.url = f"grpc://127.0.0.1:{self.port}"
        self._server.start()

    def fail(
        self,
        code: grpc.StatusCode,
        details: str = "",
        *,
        method: str = "",
        when: Callable[[Any], bool] = lambda _request: True,
        times: int | None = 1,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """End the next *times* calls (None: all; of *method*, such as "Upsert") with *code*; such orders queue up."""
        with self._lock:
            self._faults.append(_Fault(code, details, method, when, times, tuple(metadata)))

    def heal(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()

    def close(self) -> None:
        self._server.stop(None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _admit(self, method: str, request: Any, metadata: dict[str, str], context: grpc.ServicerContext) -> None:
        with self._lock:
            self.calls.append(method)
            fault = next((f for f in self._faults if f.method in ("", method) and f.when(request)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
        if fault is not None:
            context.set_trailing_metadata(fault.metadata)
            context.abort(fault.code, fault.details)
        if self._api_key and metadata.get("api-key") != self._api_key:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")


class _Gate(grpc.ServerInterceptor):  # type: ignore[misc]
    def __init__(self, admit: Callable[[str, Any, dict[str, str], Any], None]) -> None:
        self._admit = admit

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        metadata = {item.key: item.value for item in details.invocation_metadata}
        method = details.method.rpartition("/")[2]

        def call(request: Any, context: Any) -> Any:
            self._admit(method, request, metadata, context)
            try:
                return handler.unary_unary(request, context)
            except UnexpectedResponse as error:
                words = error.structured()["status"]["error"]
                return context.abort(_CODES.get(error.status_code or 0, grpc.StatusCode.INTERNAL), words)

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


class _Root(messages.QdrantServicer):
    def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.HealthCheckReply(title="stand-in", version="1.20.0")


class _Collections(messages.CollectionsServicer):
    def __init__(self, backend: QdrantClient) -> None:
        self._backend = backend

    def CollectionExists(self, request: Any, context: Any) -> Any:  # noqa: N802
        exists = self._backend.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        info = self._backend.get_collection(request.collection_name)
        # The message has no place for a log without a size; the embedded engine tells none.
        info.config.wal_config = info.config.wal_config or models.WalConfig(wal_capacity_mb=32, wal_segments_ahead=0)
        return messages.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        return messages.CollectionOperationResponse(
            result=self._backend.create_collection(request.collection_name, vectors_config=vectors)
        )

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.CollectionOperationResponse(result=self._backend.delete_collection(request.collection_name))

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        names = [item.name for item in self._backend.get_collections().collections]
        return messages.ListCollectionsResponse(
            collections=[messages.CollectionDescription(name=name) for name in names]
        )

    def ListAliases(self, request: Any, context: Any) -> Any:  # noqa: N802
        aliases = self._backend.get_aliases().aliases
        return messages.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(item) for item in aliases])

    def UpdateAliases(self, request: Any, context: Any) -> Any:  # noqa: N802
        actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
        return messages.CollectionOperationResponse(result=self._backend.update_collection_aliases(actions))


class _Points(messages.PointsServicer):
    def __init__(self, backend: QdrantClient) -> None:
        self._backend = backend

    def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        return _operation(self._backend.upsert(request.collection_name, points, wait=request.wait))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        selector = GrpcToRest.convert_points_selector(request.points)
        return _operation(self._backend.delete(request.collection_name, selector, wait=request.wait))

    def UpdateBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        operations = [GrpcToRest.convert_points_update_operation(item) for item in request.operations]
        results = self._backend.batch_update_points(request.collection_name, operations, wait=request.wait)
        return messages.UpdateBatchResponse(result=[RestToGrpc.convert_update_result(result) for result in results])

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        schema: Any = models.PayloadSchemaType.KEYWORD
        if request.HasField("field_index_params"):
            schema = GrpcToRest.convert_payload_schema_params(request.field_index_params)
        elif request.field_type != messages.FieldType.FieldTypeKeyword:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "only keyword indexes")
        return _operation(
            self._backend.create_payload_index(request.collection_name, request.field_name, schema, wait=request.wait)
        )

    def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = self._backend.count(request.collection_name, count_filter=_filter(request), exact=request.exact)
        return messages.CountResponse(result=messages.CountResult(count=answer.count))

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        records = self._backend.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(point_id) for point_id in request.ids],
            with_payload=_payload(request),
            with_vectors=_vectors(request),
        )
        return messages.GetResponse(result=[_retrieved(record) for record in records])

    def Scroll(self, request: Any, context: Any) -> Any:  # noqa: N802
        records, following = self._backend.scroll(
            request.collection_name,
            scroll_filter=_filter(request),
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            limit=request.limit,
            with_payload=_payload(request),
            with_vectors=_vectors(request),
        )
        return messages.ScrollResponse(
            result=[_retrieved(record) for record in records],
            next_page_offset=None if following is None else RestToGrpc.convert_extended_point_id(following),
        )

    def Query(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = self._backend.query_points(
            request.collection_name,
            query=GrpcToRest.convert_query(request.query),
            query_filter=_filter(request),
            limit=request.limit,
            with_payload=_payload(request),
        )
        return messages.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in answer.points])

    def Facet(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = self._backend.facet(request.collection_name, request.key, limit=request.limit, exact=request.exact)
        return messages.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in answer.hits])


def _operation(result: models.UpdateResult) -> Any:
    return messages.PointsOperationResponse(result=RestToGrpc.convert_update_result(result))


def _filter(request: Any) -> models.Filter | None:
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None


def _retrieved(record: models.Record) -> Any:
    """As a server spells it, which has 64-bit signed integers and doubles for everything larger."""
    for key, value in (record.payload or {}).items():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            record.payload[key] = float(value)  # type: ignore[index]
    return RestToGrpc.convert_retrieved_point(record)


def _payload(request: Any) -> Any:
    return GrpcToRest.convert_with_payload_selector(request.with_payload)


def _vectors(request: Any) -> Any:
    if not request.HasField("with_vectors"):
        return False
    return GrpcToRest.convert_with_vectors_selector(request.with_vectors)
