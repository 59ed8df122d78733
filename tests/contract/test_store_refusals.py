"""Whatever a server says when it refuses, over REST and gRPC: who is told to act, and that no point is blamed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from clipwatch.errors import ConfigError, RequestTooLarge, StoreRejected, UpsertRefused
from clipwatch.records import Point
from clipwatch.store.connect import socket_client
from clipwatch.store.qdrant import QdrantStore
from support.faulty_proxy import Answer, FaultyProxy, Request, refusal, writes
from support.grpc_stand_in import GrpcStandIn
from support.refusals import REFUSALS, Said
from support.stores import (
    MODEL,
    WIDTH,
    drop_collection,
    sample_point,
    shared_engine,
    store_at,
    store_config,
)


@dataclass
class Wire:
    """A store over one protocol, and its way to refuse."""

    store: QdrantStore
    refuse: Callable[[Said], bool]
    """Refuse everything from now on; False where the protocol has no such answer."""
    refuse_points: Callable[[str, list[Point]], None]
    """Refuse every upsert that carries one of these, in these words."""
    writes: Callable[[], int]
    """Upserts so far."""
    heal: Callable[[], None]


@contextlib.contextmanager
def rest() -> Iterator[Wire]:
    with FaultyProxy(shared_engine().socket_path) as proxy, open_at(proxy.url) as store:

        def refuse(said: Said) -> bool:
            proxy.fail(refusal(said.status, said.words.format(collection=store.collection)), times=None)
            return True

        def refuse_points(words: str, points: list[Point]) -> None:
            def poisoned(request: Request) -> bool:
                return writes(request) and any(point.id.encode() in request.body for point in points)

            proxy.fail(refusal(422, words), when=poisoned, times=None)

        yield Wire(store, refuse, refuse_points, lambda: sum(map(writes, proxy.requests)), proxy.heal)


@contextlib.contextmanager
def over_grpc() -> Iterator[Wire]:
    raw = socket_client(shared_engine().socket_path, timeout_seconds=5)
    with contextlib.closing(raw), GrpcStandIn(raw) as stand_in, open_at(stand_in.url) as store:

        def refuse(said: Said) -> bool:
            if said.code is not None:
                stand_in.fail(said.code, said.words.format(collection=store.collection), times=None)
            return said.code is not None

        def refuse_points(words: str, points: list[Point]) -> None:
            ids = {point.id for point in points}

            def poisoned(request: Any) -> bool:
                return any(point.id.uuid in ids for point in request.points)

            stand_in.fail(grpc.StatusCode.INVALID_ARGUMENT, words, method="Upsert", when=poisoned, times=None)

        yield Wire(store, refuse, refuse_points, lambda: stand_in.calls.count("Upsert"), stand_in.heal)


@contextlib.contextmanager
def open_at(url: str) -> Iterator[QdrantStore]:
    config = store_config(timeout_seconds=5.0)
    with contextlib.closing(store_at(url, config)) as store:
        store.ensure(WIDTH)
        yield store
    drop_collection(shared_engine().socket_path, config.collection)


WIRES = {"rest": rest, "grpc": over_grpc}


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with WIRES[request.param]() as made:
        yield made


@pytest.fixture(scope="module", params=WIRES)
def shared_wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with WIRES[request.param]() as made:
        yield made


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_is_judged_by_who_must_act_and_never_blamed_on_a_point(shared_wire: Wire, name: str) -> None:
    wire, said = shared_wire, REFUSALS[name]
    if not wire.refuse(said):
        pytest.skip("gRPC has no such answer")
    before = wire.writes()
    try:
        with pytest.raises(said.upsert) as upsert:
            wire.store.upsert([sample_point(f"{i}.jpg") for i in range(25)])
        assert type(upsert.value) is said.upsert
        assert said.hint in upsert.value.hint
        assert wire.writes() - before <= 10, "a store that refuses everything is not asked for each point"
        with pytest.raises(said.scroll) as scroll:
            list(wire.store.ledger("images"))
        assert type(scroll.value) is said.scroll
        assert said.hint in scroll.value.hint
    finally:
        wire.heal()
    assert wire.store.count() == 0


@pytest.mark.parametrize("words", ["Wrong input: Point {id} is cursed", "Validation error in body: [points[0].x: bad]"])
def test_points_that_the_words_are_about_are_put_aside_and_the_others_are_written(wire: Wire, words: str) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(25)]
    poison = [points[7]] if "{id}" in words else [points[3], points[19]]
    wire.refuse_points(words.format(id=poison[0].id), poison)
    refusals = wire.store.upsert(points)
    assert {refusal.point.id for refusal in refusals} == {point.id for point in poison}
    assert {refusal.error for refusal in refusals} == {None}
    assert wire.store.count() == len(points) - len(poison)
    assert wire.writes() < 25


def test_words_about_another_point_blame_nobody(wire: Wire) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(4)]
    wire.refuse_points(f"Wrong input: Point {sample_point('other.jpg').id} is cursed", points[:1])
    [refusal_] = wire.store.upsert(points)
    assert refusal_.point.id == points[0].id
    assert isinstance(refusal_.error, StoreRejected)


def test_a_point_refused_in_words_that_tell_nothing_keeps_no_other_out_and_is_not_blamed(wire: Wire) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(25)]
    wire.refuse_points("Bad request: the moon is in the wrong house", [points[4]])
    [refusal_] = wire.store.upsert(points)
    assert refusal_.point.id == points[4].id
    assert isinstance(refusal_.error, UpsertRefused)
    assert "moon" in refusal_.error.message
    assert wire.store.count() == 24


def test_a_limit_met_now_and_then_blames_no_point(wire: Wire) -> None:
    """A server looks at its size once in 32 requests: some pass, some are refused, and no point is to blame."""
    points = [sample_point(f"{i}.jpg") for i in range(25)]
    wire.refuse_points("Bad request: Max points count limit of 100 reached!", points[:9])
    with pytest.raises(StoreRejected, match="100 reached") as rejected:
        wire.store.upsert(points)
    assert rejected.value.limit == "max_points_count"
    assert wire.writes() == 1


# -- limits of strict mode that a smaller request keeps --------------------------------------------------


class Strict:
    """A proxy that refuses as a collection in strict mode does."""

    def __init__(self, proxy: FaultyProxy, **limits: Any) -> None:
        self.refused: list[Request] = []
        self._limits = limits
        for limit, words in (
            ("max_query_limit", 'Bad request: Limit exceeded {n} > {most} for "limit". Help: Reduce the "limit".'),
            ("upsert_max_batchsize", 'Bad request: Limit exceeded {n} > {most} for "upsert limit". Help: Reduce it.'),
            ("condition_max_size", "Bad request: Condition size limit reached ({n} > {most}). Help: Reduce it."),
        ):
            if limit in limits:
                proxy.fail(
                    refusal(400, words.format(n=1000, most=limits[limit])),
                    when=lambda request, limit=limit: self._is_over(request, limit),  # type: ignore[misc]
                    times=None,
                )
        if limits.get("search_allow_exact") is False:
            proxy.fail(
                refusal(400, "Bad request: Exact search disabled!. Help: Set exact=false."),
                when=lambda request: b'"exact":true' in request.body,
                times=None,
            )

    def _is_over(self, request: Request, limit: str) -> bool:
        most: int = self._limits[limit]
        over: bool
        body = json.loads(request.body or b"{}")
        if limit == "max_query_limit":
            over = (body.get("limit") or 0) > most
        elif limit == "upsert_max_batchsize":
            over = request.path.endswith("/points") and request.method == "PUT" and len(body["points"]) > most
        else:
            over = any(len(item) > most for item in _lists_in(body.get("filter")))
        if over:
            self.refused.append(request)
        return over


def _lists_in(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("any", "has_id"):
                yield item
            else:
                yield from _lists_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _lists_in(item)


@contextlib.contextmanager
def strict(points: int, **limits: Any) -> Iterator[tuple[QdrantStore, Strict]]:
    with FaultyProxy(shared_engine().socket_path) as proxy, open_at(proxy.url) as store:
        store.upsert([sample_point(f"{i}.jpg", content=f"sha256:{i:064x}") for i in range(points)])
        yield store, Strict(proxy, **limits)
        proxy.heal()


@pytest.mark.parametrize("most", [1, 7, 999])
def test_pages_are_as_small_as_strict_mode_wants_them(most: int) -> None:
    with strict(30, max_query_limit=most) as (store, server):
        pages = list(store.ledger("images"))
        assert sum(map(len, pages)) == 30
        assert max(map(len, pages)) <= most
        assert len(list(store.points(vectors=True))) == 30
        assert store.folders() == {"images": 30}
        found = store.vectors([f"sha256:{i:064x}" for i in range(30)], MODEL)
        assert len(found) == 30
        refused = [request for request in server.refused if request.path.endswith("/scroll")]
        assert len(refused) == 1, "told once what is allowed, it asks for no more"


def test_a_search_for_more_than_strict_mode_allows_names_the_limit() -> None:
    with strict(30, max_query_limit=10) as (store, _):
        query = sample_point("1.jpg").vector
        assert len(store.search(query, 10, model=MODEL)) == 10
        with pytest.raises(RequestTooLarge, match="1000 > 10") as refused:
            store.search(query, 11, model=MODEL)
        assert "max_query_limit" in refused.value.hint


def test_upserts_and_conditions_are_as_small_as_strict_mode_wants_them() -> None:
    with strict(0, upsert_max_batchsize=7, condition_max_size=3) as (store, _):
        points = [sample_point(f"{i}.jpg", content=f"sha256:{i:064x}") for i in range(30)]
        assert store.upsert(points) == ()
        assert store.count("images") == 30
        assert len(store.vectors([f"sha256:{i:064x}" for i in range(30)], MODEL)) == 30
        store.refresh({point.id: {"size": 1} for point in points})
        store.delete("images", [point.id for point in points])
        assert store.count() == 0


def test_points_are_counted_exactly_where_exact_counts_are_forbidden() -> None:
    with strict(30, search_allow_exact=False, max_query_limit=8) as (store, _):
        assert store.count() == store.count("images") == store.count("images", model=MODEL) == 30
        assert store.count("others") == 0
        assert store.folders() == {"images": 30}


def test_a_filter_by_one_of_our_keys_needs_no_index_for_numbers() -> None:
    with FaultyProxy(shared_engine().socket_path) as proxy, open_at(proxy.url) as store:
        store.upsert([sample_point("a.jpg", folder="2024")])
        words = 'Index required but not found for "folder" of one of the following types: [integer]'
        proxy.fail(refusal(400, words), when=lambda request: b'"value":2024' in request.body, times=None)
        hits = store.search(sample_point("a.jpg").vector, 5, model=MODEL, filters={"folder": "2024"})
        assert len(hits) == 1


# -- collections that would not keep our points as they are ---------------------------------------------------


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "uint8": ({"vectors": {"size": WIDTH, "distance": "Cosine", "datatype": "uint8"}}, "uint8"),
    "float16": ({"vectors": {"size": WIDTH, "distance": "Cosine", "datatype": "float16"}}, ""),
    "float32": ({"vectors": {"size": WIDTH, "distance": "Cosine", "datatype": "float32"}}, ""),
    "custom sharding": (
        {"vectors": {"size": WIDTH, "distance": "Cosine"}, "sharding_method": "custom"},
        "custom sharding",
    ),
    "auto sharding": ({"vectors": {"size": WIDTH, "distance": "Cosine"}, "sharding_method": "auto"}, ""),
    "multivector": (
        {"vectors": {"size": WIDTH, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}},
        "multivector",
    ),
    "dot": ({"vectors": {"size": WIDTH, "distance": "Dot"}}, "Dot"),
    "named": ({"vectors": {"a": {"size": WIDTH, "distance": "Cosine"}}}, "named"),
    "another width": ({"vectors": {"size": 2 * WIDTH, "distance": "Cosine"}}, "wide"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_collection_that_would_not_keep_our_points_is_refused_before_anything_is_written(name: str) -> None:
    params, words = SHAPES[name]
    with FaultyProxy(shared_engine().socket_path) as proxy, open_at(proxy.url) as store:
        proxy.fail(
            Answer(200, json.dumps({"result": _info(params), "status": "ok", "time": 0.0}).encode()),
            when=lambda request: request.method == "GET" and request.path == f"/collections/{store.collection}",
            times=None,
        )
        with pytest.raises(ConfigError, match=words) if words else contextlib.nullcontext():
            store.ensure(WIDTH)
        assert store.width() == (WIDTH if not words else 2 * WIDTH if words == "wide" else None)


def _info(params: dict[str, Any]) -> dict[str, Any]:
    """A collection's description as a server gives it."""
    indexes = {key: {"data_type": "keyword", "points": 0} for key in ("folder", "path", "content", "model")}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 2,
        "config": {
            "params": {"shard_number": 1, "replication_factor": 1, **params},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
        },
        "payload_schema": indexes,
    }
