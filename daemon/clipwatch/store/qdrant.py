"""The one implementation of `Store`: on qdrant-client, whatever it speaks to.

Every request passes `QdrantStore._call`, where the client's exceptions end. Reads page by point id; writes
wait, and count only when the store says `completed`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from qdrant_client import QdrantClient, models

from clipwatch.config import StoreConfig
from clipwatch.errors import (
    ClipwatchError,
    CollectionMissing,
    LockHeld,
    PointRefused,
    RequestTooLarge,
    StoreRejected,
    StoreUnavailable,
    UpsertRefused,
)
from clipwatch.payload import LEDGER_KEYS, PATH_KEYS, ledger_row, stored_path
from clipwatch.records import LedgerRow, Point, Vector
from clipwatch.store import collection as shape
from clipwatch.store.classify import blames
from clipwatch.store.contract import Hit, Refusal, StoredPoint, StoreInfo
from clipwatch.store.faults import CLIENT_ERRORS, Origin, StoreConflict, lost_connection, not_completed, translate
from clipwatch.store.owners import MARK
from clipwatch.store.pages import Each, Pages
from clipwatch.store.points import id_text, is_usable, stored_ids, stored_vector

REQUEST_BYTES: Final = 8 * 2**20
"""A quarter of the 32 MiB that a Qdrant server takes by default; proxies often take less, hence the halving."""

_PAGE_POINTS: Final = 1000
_PAGE_POINTS_WITH_VECTORS: Final = 200
_UNCLEAR_IN_A_ROW: Final = 3
"""After so many single points refused in words that tell nothing, with none taken in between, the store is to blame."""

_NUMBER_BYTES: Final = 21
"""A float32 as JSON spells it, at its longest, with the comma."""

T = TypeVar("T")
_Send = Callable[[QdrantClient], T]


class QdrantStore:
    """`Store` over *client*, which it owns.

    *kind* is "server" or "embedded". *revive* is called when the connection was lost, before the caller is
    told: an owner of the other end brings it back there, for the next attempt. *closing* is called after
    the client is closed.
    """

    def __init__(
        self,
        client: QdrantClient,
        config: StoreConfig,
        *,
        kind: str,
        address: str,
        api_key: str = "",
        proxy: str = "",
        revive: Callable[[], object] | None = None,
        closing: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._config = config
        self._name = config.collection
        self._kind = kind
        self._origin = Origin(address, config.collection, api_key, proxy)
        self._revive = revive
        self._closing = closing
        self._width: int | None = None
        self._page_limit = _PAGE_POINTS
        """The most items that the collection lets one request ask for, as far as is known."""
        self._closed = threading.Event()
        self._owns_client = True
        self.placing: Callable[[int], None] = lambda _width: None
        """Called by `ensure` before anything else: the moment to choose the collection (`speak_of`)."""
        self.requests: Counter[str] = Counter()
        """Begun so far, by the name of the thread; one count for all collections of this store."""

    # -- which collection -----------------------------------------------------------------------------------

    @property
    def collection(self) -> str:
        """The name, or alias, of the one that is spoken of."""
        return self._name

    def speak_of(self, collection: str) -> None:
        """From now on mean this collection of the same store."""
        self._name, self._width, self._page_limit = collection, None, _PAGE_POINTS
        self._origin = replace(self._origin, collection=collection)

    def beside(self, collection: str) -> QdrantStore:
        """Another collection of the same store, over the same client, which stays ours to close."""
        other = copy.copy(self)
        other._owns_client = False
        other.placing = lambda _width: None
        other.speak_of(collection)
        return other

    def collections(self) -> frozenset[str]:
        """The names of all collections that we may see; aliases are none."""
        answer = self._call("collections", lambda c: c.get_collections())
        return frozenset(item.name for item in answer.collections)

    def aliases(self) -> dict[str, str]:
        """Every alias that we may see, with the collection behind it."""
        answer = self._call("aliases", lambda c: c.get_aliases())
        return {item.alias_name: item.collection_name for item in answer.aliases}

    def width(self) -> int | None:
        """How wide the collection's vectors are; None unless it has one plain vector under cosine."""
        return shape.width_of(self._call("get_collection", lambda c: c.get_collection(self._name)))

    def is_indexed(self) -> bool:
        """Whether the collection has the payload indexes that `ensure` makes, even without a point."""
        info = self._call("get_collection", lambda c: c.get_collection(self._name))
        return info.payload_schema.keys() >= set(shape.INDEXED_KEYS)

    def check_version(self) -> None:
        """Raise `ConfigError` for a server that is too old."""
        if self._kind == "server":
            shape.check_version(self._version(), self._origin.address)

    def check_shape(self, width: int) -> models.CollectionInfo:
        """What the collection is; `ConfigError` unless it has one plain vector, *width* wide, under cosine."""
        info = self._call("get_collection", lambda c: c.get_collection(self._name))
        shape.check_shape(info, width, self._name)
        return info

    def become_alias(self, collection: str, *, moved: bool) -> None:
        """Make our name an alias of *collection*, in one request; *moved*: it is an alias already."""
        old = models.DeleteAlias(alias_name=self._name)
        new = models.CreateAlias(collection_name=collection, alias_name=self._name)
        actions: list[Any] = [models.DeleteAliasOperation(delete_alias=old)] if moved else []
        actions.append(models.CreateAliasOperation(create_alias=new))
        if not self._call("alias", lambda c: c.update_collection_aliases(actions)):
            raise not_completed("alias not changed", self._origin)

    def marks(self) -> frozenset[str]:
        """The aliases that note owners, see `owners`."""
        return frozenset(alias for alias in self.aliases() if alias.startswith(MARK))

    def mark(self, *, remove: Sequence[str], add: Sequence[str]) -> None:
        """Change marks of the collection, in one request."""
        live = self.aliases().get(self._name, self._name)
        self._mark(remove, add, live)

    def move_marks(self, collection: str, to: str) -> None:
        """Have the marks of *collection* be marks of *to*: they go with the collection that they are aliases of."""
        names = [alias for alias, behind in self.aliases().items() if alias.startswith(MARK) and behind == collection]
        if names:
            self._mark(names, names, to)

    def _mark(self, remove: Sequence[str], add: Sequence[str], collection: str) -> None:
        actions: list[Any] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)) for name in remove
        ]
        actions += [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=name))
            for name in add
        ]
        if not self._call("mark", lambda c: c.update_collection_aliases(actions)):
            raise not_completed("owner not noted", self._origin)

    def drop(self) -> None:
        """Delete the collection with all its points; one that is not there is gone already."""
        self._call("drop", lambda c: c.delete_collection(self._name))

    # -- its points ---------------------------------------------------------------------------------------------

    def ensure(self, width: int) -> None:
        """See `Store`. A collection is only made after the store itself said that there is none."""
        self.placing(width)
        self.check_version()
        if not self._call("collection_exists", lambda c: c.collection_exists(self._name)):
            arguments = shape.creation(width, self._config, server=self._kind == "server")
            with contextlib.suppress(StoreConflict):  # Someone was quicker: theirs is judged like any other.
                self._call("create_collection", lambda c: c.create_collection(self._name, **arguments))
        info = self.check_shape(width)
        for key in shape.INDEXED_KEYS:
            if key not in info.payload_schema:
                self._create_index(key)
        self._width = width

    def upsert(self, points: Sequence[Point]) -> tuple[Refusal, ...]:
        """See `Store`."""
        for point in points:
            if not is_usable(point.vector) or self._width not in (None, len(point.vector)):
                raise ValueError(f"the vector of point {point.id} is not finite, non-zero float32 of the right width")
        refusals: list[Refusal] = []
        for chunk in self._requests(points):
            refusals += self._sent_in_parts(chunk)
        if len(refusals) == len(points):
            for refusal in refusals:
                if refusal.error is not None:
                    raise refusal.error
        return tuple(refusals)

    def refresh(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """See `Store`. Points are named by a filter: naming them by id fails where one is absent."""
        self._in_parts(list(payloads.items()), self._send_payloads)

    def delete(self, folder: str, ids: Sequence[str]) -> None:
        """See `Store`."""
        self._in_parts(ids, lambda part: self._delete(models.Filter(must=[_has_id(part), _folder_is(folder)])))

    def delete_folder(self, folder: str) -> int:
        """See `Store`."""
        number = self.count(folder)
        self._delete(models.Filter(must=[_folder_is(folder)]))
        return number

    def ledger(self, folder: str) -> Iterator[Sequence[LedgerRow]]:
        """See `Store`."""
        condition = models.Filter(must=[_folder_is(folder)])
        keys = models.PayloadSelectorInclude(include=list(LEDGER_KEYS))

        def fetch(offset: Any) -> tuple[Sequence[LedgerRow], Any]:
            records, following = self._scroll(condition, offset, _PAGE_POINTS, keys)
            return [ledger_row(record.id, record.payload) for record in records], following

        return Pages(fetch)

    def rows(self, ids: Sequence[str]) -> dict[str, LedgerRow]:
        """See `Store`."""
        records = self._retrieve(ids, LEDGER_KEYS)
        return {id_text(record.id): ledger_row(record.id, record.payload) for record in records}

    def paths(self, ids: Sequence[str]) -> dict[str, bytes]:
        """See `Store`. A point that names no path is left out."""
        found = ((record.id, stored_path(record.payload)) for record in self._retrieve(ids, PATH_KEYS))
        return {id_text(point_id): path for point_id, path in found if path is not None}

    def vectors(self, contents: Sequence[str], model: str) -> dict[str, tuple[Vector, dict[str, Any]]]:
        """See `Store`."""
        found: dict[str, tuple[Vector, dict[str, Any]]] = {}
        self._in_parts(
            list(dict.fromkeys(contents)),
            lambda part: found.update(self._find_vectors(part, model)),
            most=_PAGE_POINTS_WITH_VECTORS // 2,
        )
        return found

    def _find_vectors(self, contents: Sequence[str], model: str) -> dict[str, tuple[Vector, dict[str, Any]]]:
        found: dict[str, tuple[Vector, dict[str, Any]]] = {}
        wanted, offset = set(contents), None
        while wanted:
            # The condition narrows as contents are found, so that the many copies of one cannot hide another.
            condition = models.Filter(must=[_equal("model", model), _one_of("content", sorted(wanted))])
            records, offset = self._scroll(condition, offset, _PAGE_POINTS_WITH_VECTORS, True, vectors=True)
            for record in records:
                vector, payload = stored_vector(record.vector), record.payload or {}
                content = payload.get("content")
                if content in wanted and vector is not None and self._width in (None, len(vector)):
                    found[content] = (vector, payload)
                    wanted.discard(content)
            if offset is None:
                break
        return found

    def count(self, folder: str | None = None, *, model: str | None = None) -> int:
        """See `Store`."""
        must: list[models.Condition] = [] if folder is None else [_folder_is(folder)]
        if model is not None:
            must.append(_equal("model", model))
        condition = models.Filter(must=must) if must else None
        try:
            return self._call("count", lambda c: c.count(self._name, count_filter=condition, exact=True)).count
        except StoreRejected as error:
            if error.limit != "search_allow_exact":
                raise
        # A guess would be no count: where exact ones are forbidden, the points are counted page by page.
        return sum(len(page) for page in Pages(lambda offset: self._scroll(condition, offset, _PAGE_POINTS, False)))

    def folders(self) -> dict[str, int]:
        """See `Store`. A store without facets, or without the index they need, is counted point by point."""
        try:
            hits = self._call("facet", lambda c: c.facet(self._name, "folder", limit=_PAGE_POINTS, exact=True)).hits
        except StoreRejected:
            return self._count_folders()
        if len(hits) >= _PAGE_POINTS:
            return self._count_folders()
        return {hit.value: hit.count for hit in hits if isinstance(hit.value, str) and hit.count}

    def search(self, vector: Vector, limit: int, *, model: str, filters: Mapping[str, str] | None = None) -> list[Hit]:
        """See `Store`."""
        if not is_usable(vector):
            raise ValueError("a search needs a finite, non-zero float32 vector")
        conditions: list[models.Condition] = [
            _equal("model", model),
            *(shape.equals(key, value) for key, value in (filters or {}).items()),
        ]
        arguments: dict[str, Any] = {
            "query": vector.tolist(),
            "query_filter": models.Filter(must=conditions),
            "limit": limit,
            "with_payload": True,
        }
        if self._kind == "server" and self._config.quantization != "none":
            rescored = models.QuantizationSearchParams(rescore=True, oversampling=2.0)
            arguments["search_params"] = models.SearchParams(quantization=rescored)
        answer = self._call("search", lambda c: c.query_points(self._name, **arguments))
        return [Hit(id_text(point.id), point.score, point.payload or {}) for point in answer.points]

    def points(self, *, vectors: bool) -> Iterator[StoredPoint]:
        """See `Store`."""
        size = _PAGE_POINTS_WITH_VECTORS if vectors else _PAGE_POINTS

        def fetch(offset: Any) -> tuple[Sequence[StoredPoint], Any]:
            records, following = self._scroll(None, offset, size, True, vectors=vectors)
            return [
                StoredPoint(id_text(record.id), record.payload or {}, stored_vector(record.vector))
                for record in records
            ], following

        return Each(Pages(fetch))

    def info(self) -> StoreInfo:
        """See `Store`; a collection that is not there yet is said in the details."""
        details: dict[str, Any] = {"exists": True}
        try:
            info = self._call("get_collection", lambda c: c.get_collection(self._name))
        except CollectionMissing:
            details["exists"] = False
        else:
            vectors = info.config.params.vectors
            details |= {"status": str(info.status.value), "points": info.points_count, "segments": info.segments_count}
            if isinstance(vectors, models.VectorParams):
                details |= {"width": vectors.size, "distance": str(vectors.distance.value)}
        return StoreInfo(self._kind, self._origin.address, self._version(), self._name, details)

    def close(self) -> None:
        """See `Store`."""
        if self._owns_client and not self._closed.is_set():
            self._closed.set()
            self._client.close()
            if self._closing is not None:
                self._closing()

    def _call(self, operation: str, send: _Send[T]) -> T:
        """The only door to the client; requests are built before, so that what fails in here is the other side."""
        if self._closed.is_set():
            raise StoreUnavailable("The store is closed.")
        self.requests[threading.current_thread().name] += 1
        try:
            return send(self._client)
        except CLIENT_ERRORS as error:
            fault = translate(error, operation, self._origin)
            if self._revive is not None and lost_connection(error):
                fault = self._revived(self._revive) or fault
            raise fault from error

    def _revived(self, revive: Callable[[], object]) -> ClipwatchError | None:
        """What stands in the way of a revival, in a store's terms: who holds the lock may let go of it."""
        try:
            revive()
        except (StoreUnavailable, StoreRejected) as error:
            return error
        except LockHeld as error:
            return StoreUnavailable(error.message, hint=error.hint)
        except ClipwatchError as error:
            return StoreRejected(error.message, hint=error.hint)
        return None

    def _version(self) -> str:
        try:
            return self._call("info", lambda c: c.info()).version
        except StoreRejected:
            return ""  # A proxy may hide this one path; the calls that matter will tell.

    def _create_index(self, key: str) -> None:
        *better, plain = shape.index_shapes(key)
        for params in better:
            try:
                self._index(key, params)
            except StoreRejected:
                continue
            else:
                return
        self._index(key, plain)

    def _index(self, key: str, params: models.KeywordIndexParams) -> None:
        self._write("index", lambda c: c.create_payload_index(self._name, key, params, wait=True))

    def _requests(self, points: Sequence[Point]) -> Iterator[list[Point]]:
        """*points* in requests of bounded bytes and number."""
        chunk: list[Point] = []
        size = 0
        for point in points:
            # Unsendable text is counted like any other: the store's answer sorts it out, point by point.
            weight = _NUMBER_BYTES * len(point.vector) + len(json.dumps(point.payload, default=str)) + 64
            if chunk and (size + weight > REQUEST_BYTES or len(chunk) >= _PAGE_POINTS):
                yield chunk
                chunk, size = [], 0
            chunk.append(point)
            size += weight
        if chunk:
            yield chunk

    def _in_parts(self, items: Sequence[T], send: Callable[[Sequence[T]], object], *, most: int = _PAGE_POINTS) -> None:
        """Send *items*, up to *most* at a time; smaller parts where the store says that these are too large."""
        waiting = list(_chunks(items, most))[::-1]
        while waiting:
            part = waiting.pop()
            try:
                send(part)
            except RequestTooLarge as error:
                if len(part) == 1:
                    raise
                waiting += _smaller(part, error.most)

    def _sent_in_parts(self, points: Sequence[Point]) -> list[Refusal]:
        """Write *points*; those that are refused, each after it was sent alone or with its own kind.

        Halves find the one that is to blame. Where one after the other is refused in words that do not tell, no point
        is to blame, and the rest is not tried.
        """
        refusals: list[Refusal] = []
        waiting, in_a_row = [points], 0
        while waiting:
            part = waiting.pop()
            try:
                self._send_points(part)
                in_a_row = 0
            except RequestTooLarge as error:
                if len(part) == 1:
                    raise
                waiting += _smaller(part, error.most)
            except (PointRefused, UpsertRefused) as error:
                if len(part) > 1:
                    waiting += _smaller(part, None)
                    continue
                own = isinstance(error, PointRefused) and blames(error.points, part[0].id)
                unclear = None if own else UpsertRefused(error.message, hint=error.hint)
                refusals.append(Refusal(part[0], error.message, unclear))
                in_a_row = 0 if own else in_a_row + 1
                if in_a_row == _UNCLEAR_IN_A_ROW:
                    untried = [point for other in waiting for point in other]
                    return refusals + [Refusal(point, error.message, unclear) for point in untried]
        return refusals

    def _send_points(self, points: Sequence[Point]) -> None:
        structs = [models.PointStruct(id=p.id, vector=p.vector.tolist(), payload=p.payload) for p in points]
        self._write("upsert", lambda c: c.upsert(self._name, structs, wait=True))

    def _send_payloads(self, items: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        operations: list[Any] = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload=dict(keys), filter=models.Filter(must=[_has_id([point_id])]))
            )
            for point_id, keys in items
        ]
        self._write("refresh", lambda c: c.batch_update_points(self._name, operations, wait=True))

    def _delete(self, condition: models.Filter) -> None:
        selector = models.FilterSelector(filter=condition)
        self._write("delete", lambda c: c.delete(self._name, selector, wait=True))

    def _write(self, operation: str, send: _Send[models.UpdateResult | list[models.UpdateResult]]) -> None:
        results = self._call(operation, send)
        for result in results if isinstance(results, list) else [results]:
            if result.status is not models.UpdateStatus.COMPLETED:
                raise not_completed(result.status, self._origin)

    def _scroll(
        self,
        condition: models.Filter | None,
        offset: Any,
        limit: int,
        payload: bool | models.PayloadSelectorInclude,
        *,
        vectors: bool = False,
    ) -> tuple[list[models.Record], Any]:
        """A page of up to *limit* points; a smaller one where the collection's strict mode allows no more."""

        def page(size: int) -> tuple[list[models.Record], Any]:
            return self._call(
                "scroll",
                lambda c: c.scroll(
                    self._name,
                    scroll_filter=condition,
                    offset=offset,
                    limit=size,
                    with_payload=payload,
                    with_vectors=vectors,
                ),
            )

        while True:
            size = min(limit, self._page_limit)
            try:
                return page(size)
            except RequestTooLarge as error:
                if size == 1:
                    raise
                self._page_limit = max(1, min(size - 1, error.most or size // 2))

    def _retrieve(self, ids: Sequence[str], keys: Sequence[str]) -> list[models.Record]:
        found: list[models.Record] = []

        def fetch(part: Sequence[Any]) -> None:
            found.extend(self._call("retrieve", lambda c: c.retrieve(self._name, part, with_payload=list(keys))))

        self._in_parts(stored_ids(ids), fetch)
        return found

    def _count_folders(self) -> dict[str, int]:
        keys = models.PayloadSelectorInclude(include=["folder"])
        numbers: Counter[str] = Counter()
        for page in Pages(lambda offset: self._scroll(None, offset, _PAGE_POINTS, keys)):
            names = ((record.payload or {}).get("folder") for record in page)
            numbers.update(name for name in names if isinstance(name, str))
        return dict(numbers)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _smaller(part: Sequence[T], most: int | None) -> list[Sequence[T]]:
    """*part* in pieces of *most*, or in halves, the first last; for a stack."""
    size = most if most is not None and 0 < most < len(part) else (len(part) + 1) // 2
    return list(_chunks(part, size))[::-1]


def _has_id(ids: Sequence[str]) -> models.HasIdCondition:
    return models.HasIdCondition(has_id=stored_ids(ids))


def _equal(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _one_of(key: str, values: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=values))


def _folder_is(folder: str) -> models.FieldCondition:
    return _equal("folder", folder)
