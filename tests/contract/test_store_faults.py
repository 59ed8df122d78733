"""Each way a store can fail: what it is called, and that waiting it out loses and doubles nothing.

The engine and the wire are real; a proxy between them fails on command.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from clipwatch.config import StoreConfig
from clipwatch.errors import (
    ClipwatchError,
    CollectionMissing,
    ConfigError,
    PointRefused,
    RequestTooLarge,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
)
from clipwatch.store.connect import socket_client
from clipwatch.store.contract import Store
from clipwatch.store.qdrant import QdrantStore
from clipwatch.store.retry import RetryingStore
from support.faulty_proxy import (
    Answer,
    CutAnswer,
    Drip,
    Fault,
    FaultyProxy,
    Hang,
    LoseAnswer,
    Request,
    Reset,
    refusal,
    too_many,
    writes,
)
from support.grpc_stand_in import GrpcStandIn
from support.stores import (
    MODEL,
    WIDTH,
    HastyClock,
    Told,
    drop_collection,
    sample_point,
    shared_engine,
    store_at,
    store_config,
    store_on,
    unit,
)

TOO_LARGE = refusal(400, "Payload error: JSON payload (34 MB) is larger than allowed (limit: 33 MB).")


def reply(result: Any) -> Answer:
    return Answer(200, json.dumps({"result": result, "status": "ok", "time": 0.0}).encode())


@pytest.fixture(scope="module", params=["socket", "http"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyProxy]:
    socket = tmp_path_factory.mktemp("proxy") / "s" if request.param == "socket" else None
    with FaultyProxy(shared_engine().socket_path, socket=socket) as running:
        yield running


def through(proxy: FaultyProxy, config: StoreConfig) -> QdrantStore:
    return store_on(proxy.socket_path, config) if proxy.socket_path else store_at(proxy.url, config)


@pytest.fixture(scope="module")
def behind(proxy: FaultyProxy) -> Iterator[QdrantStore]:
    """A store behind the proxy, shared by this module's tests: each cleans up with `store`."""
    config = store_config(timeout_seconds=1.0)
    with contextlib.closing(through(proxy, config)) as store:
        store.ensure(WIDTH)
        yield store
    drop_collection(shared_engine().socket_path, config.collection)


@pytest.fixture
def store(proxy: FaultyProxy, behind: QdrantStore) -> Iterator[QdrantStore]:
    """Empty and healthy at the start."""
    proxy.heal()
    behind.delete_folder("images")
    proxy.requests.clear()
    yield behind
    proxy.heal()
    proxy.on_request = None


def patient(store: Store, told: Told | None = None, clock: HastyClock | None = None) -> RetryingStore:
    return RetryingStore(
        store, stop=threading.Event(), clock=clock or HastyClock(), logger=told or Told(), on_state=lambda *_: None
    )


UNAVAILABLE: dict[str, Fault] = {
    "reset": Reset(),
    "broken off": CutAnswer(),
    "answer lost": LoseAnswer(),
    "204": Answer(204),
    "408": refusal(408, "Request Timeout"),
    "429": refusal(429, "Rate limiting exceeded"),
    "429, until a date": too_many("Wed, 21 Oct 2026 07:28:00 GMT"),
    "500": refusal(500, "Service internal error: panicked"),
    "502 from a proxy": Answer(502, b"<html><h1>Bad Gateway</h1></html>"),
    "503": refusal(503, "Service Unavailable"),
    "507": refusal(507, "Insufficient Storage"),
    "no space": refusal(400, "Wrong input: No space left on device (os error 28)"),
    "half a JSON": Answer(200, b'{"result": {'),
    "a page": Answer(200, b"<html>Please log in</html>"),
    "nothing": Answer(200, b""),
    "no text": Answer(200, b"\xff\xfe\x00"),
    "null": reply(None),
    "another shape": reply({"surprise": []}),
    "a list": reply([1, 2]),
}


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_what_time_heals_is_unavailable(store: QdrantStore, proxy: FaultyProxy, name: str) -> None:
    proxy.fail(UNAVAILABLE[name])
    with pytest.raises(StoreUnavailable) as unavailable:
        store.upsert([sample_point("a.jpg")])
    assert type(unavailable.value) is (StoreBusy if name.startswith("429") else StoreUnavailable)
    assert "\n" not in unavailable.value.sentence()
    proxy.fail(UNAVAILABLE[name])
    with pytest.raises(StoreUnavailable):
        store.count()
    assert store.upsert([sample_point("a.jpg")]) == ()
    assert store.count() == 1


@pytest.mark.parametrize("status", ["acknowledged", "wait_timeout"])
def test_a_write_that_is_only_acknowledged_is_not_done(store: QdrantStore, proxy: FaultyProxy, status: str) -> None:
    point = sample_point("a.jpg")
    for write in (
        lambda: store.upsert([point]),
        lambda: store.delete("images", [point.id]),
    ):
        proxy.fail(reply({"operation_id": 1, "status": status}))
        with pytest.raises(StoreUnavailable, match=status):
            write()
    proxy.fail(reply([{"operation_id": 1, "status": status}]))
    with pytest.raises(StoreUnavailable, match=status):
        store.refresh({point.id: {"size": 1}})


REJECTED: dict[str, tuple[Fault, type[ClipwatchError], str]] = {
    "401": (refusal(401, "Must provide an API key"), StoreRejected, "store.api_key"),
    "403": (refusal(403, "Forbidden"), StoreRejected, "store.api_key"),
    "404 of a proxy": (Answer(404, b"Cannot PUT /collections/x/points"), StoreRejected, "store.url"),
    "404 of a point": (refusal(404, "Not found: No point with id 7 found"), StoreRejected, "store.url"),
    "301": (Answer(301, b"", (("Location", "http://127.0.0.1:1/"),)), StoreRejected, "store.url"),
    "409": (refusal(409, "Conflict"), StoreRejected, ""),
    "wrong width": (refusal(400, "Wrong input: Vector dimension error: expected dim: 4, got 8"), StoreRejected, ""),
    "413": (Answer(413, b"<html>Request Entity Too Large</html>"), RequestTooLarge, "limit"),
    "400, too large": (TOO_LARGE, RequestTooLarge, "limit"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_the_operator_must_cure_is_rejected_with_the_cure(
    store: QdrantStore, proxy: FaultyProxy, name: str
) -> None:
    fault, kind, cure = REJECTED[name]
    proxy.fail(fault, times=None)
    with pytest.raises(kind) as rejected:
        store.upsert([sample_point("a.jpg")])
    assert not isinstance(rejected.value, PointRefused)
    assert cure in rejected.value.hint
    with pytest.raises(kind):
        patient(store).count()


def test_only_a_404_that_names_the_collection_means_that_it_is_missing(store: QdrantStore, proxy: FaultyProxy) -> None:
    name = store.info().collection
    proxy.fail(refusal(404, f"Not found: Collection `{name}` doesn't exist!"))
    with pytest.raises(CollectionMissing, match=name):
        store.count()
    others = {
        f"/collections/{name}/points/count not found": StoreRejected,
        f"Not found: Collection `{name}-2` doesn't exist!": StoreUnavailable,
    }
    for words, kind in others.items():
        proxy.fail(refusal(404, words))
        with pytest.raises(kind) as other:
            store.count()
        assert not isinstance(other.value, CollectionMissing)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("3600", 60.0), ("0", 0.0), ("-5", 0.0)])
def test_the_store_is_given_the_time_it_asks_for_up_to_a_minute(
    store: QdrantStore, proxy: FaultyProxy, header: str, seconds: float
) -> None:
    proxy.fail(too_many(header))
    with pytest.raises(StoreUnavailable) as limited:
        store.count()
    assert limited.value.retry_after_seconds == seconds
    waits: list[float] = []
    proxy.fail(too_many(header))
    patient(store, clock=HastyClock(waits.append)).count()
    assert seconds <= waits[0] <= max(seconds, 0.2)


def test_a_store_that_is_down_is_unavailable_and_found_again(store: QdrantStore, proxy: FaultyProxy) -> None:
    proxy.go_down()
    try:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.count()
    finally:
        proxy.come_up()
    assert store.count() == 0


@pytest.mark.parametrize("done", [False, True])
def test_a_store_that_does_not_answer_is_left_after_the_time_limit(
    store: QdrantStore, proxy: FaultyProxy, done: bool
) -> None:
    proxy.fail(Hang(forward=done))
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        store.upsert([sample_point("a.jpg")])
    assert store.count() == done


def test_an_answer_that_drips_ends_at_the_time_limit(store: QdrantStore, proxy: FaultyProxy) -> None:
    store.upsert([sample_point(f"{i}.jpg") for i in range(50)])
    proxy.fail(Drip(0.002))
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        list(store.points(vectors=True))
    assert time.monotonic() - started < 10


def test_a_poison_point_is_isolated_by_bisection(store: QdrantStore, proxy: FaultyProxy) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(25)]
    poison = [points[3], points[19]]

    def poisoned(request: Request) -> bool:
        return writes(request) and any(point.id.encode() in request.body for point in poison)

    proxy.fail(refusal(422, "Validation error in JSON body: [points[0].payload: unlucky]"), when=poisoned, times=None)
    refusals = patient(store).upsert(points)
    assert {refusal.point.id for refusal in refusals} == {point.id for point in poison}
    assert all("unlucky" in refusal.message for refusal in refusals)
    assert {point.id for point in store.points(vectors=False)} == {p.id for p in points if p not in poison}
    assert sum(map(writes, proxy.requests)) < 25


@pytest.mark.parametrize("fault", [TOO_LARGE, Answer(413, b"too big for me")], ids=["400", "413"])
def test_too_large_a_request_is_halved_until_it_fits(proxy: FaultyProxy, fault: Answer) -> None:
    config = store_config()
    with contextlib.closing(through(proxy, config)) as store:
        store.ensure(WIDTH)
        points = [sample_point(f"{i}.jpg") for i in range(25)]
        proxy.requests.clear()
        proxy.fail(fault, when=lambda request: writes(request) and len(request.body) > 4000, times=None)
        assert store.upsert(points) == ()
        store.refresh({point.id: {"size": 1, "note": "n" * 150} for point in points})
        assert store.count() == 25
        assert {row.signature.size for page in store.ledger("images") for row in page} == {1}
        proxy.heal()
        drop_collection(shared_engine().socket_path, config.collection)


def test_one_point_that_is_too_large_is_for_the_operator(store: QdrantStore, proxy: FaultyProxy) -> None:
    proxy.fail(TOO_LARGE, when=writes, times=None)
    with pytest.raises(RequestTooLarge):
        store.upsert([sample_point("a.jpg"), sample_point("b.jpg")])


def test_no_error_but_a_true_answer_makes_a_collection(proxy: FaultyProxy) -> None:
    config = store_config(timeout_seconds=1.0)
    with contextlib.closing(through(proxy, config)) as store:
        for fault in (
            refusal(404, "Not Found"),
            refusal(401, "no"),
            refusal(500, "no"),
            Answer(200, b"{}"),
            Reset(),
            LoseAnswer(),
        ):
            proxy.requests.clear()
            proxy.fail(fault, when=lambda request: request.path.endswith("/exists"))
            with pytest.raises(ClipwatchError):
                store.ensure(WIDTH)
            assert not [r for r in proxy.requests if r.method == "PUT"]
        store.ensure(WIDTH)
    drop_collection(shared_engine().socket_path, config.collection)


def test_a_collection_made_by_someone_else_in_between_is_judged_like_any_other(proxy: FaultyProxy) -> None:
    for width, refused in ((WIDTH, False), (2 * WIDTH, True)):
        config = store_config()
        with (
            contextlib.closing(store_on(shared_engine().socket_path, config)) as theirs,
            contextlib.closing(through(proxy, config)) as ours,
        ):

            def race(request: Request, other: QdrantStore = theirs, their_width: int = width) -> None:
                if request.method == "PUT" and request.path.count("/") == 2:
                    proxy.on_request = None
                    other.ensure(their_width)

            proxy.on_request = race
            with pytest.raises(ConfigError) if refused else contextlib.nullcontext():
                ours.ensure(WIDTH)
            assert proxy.on_request is None
        drop_collection(shared_engine().socket_path, config.collection)


def test_a_server_that_refuses_the_prefix_index_gets_the_plain_one(proxy: FaultyProxy) -> None:
    config = store_config()
    with contextlib.closing(through(proxy, config)) as store:
        proxy.fail(
            refusal(400, "Format error in JSON body: unknown field `prefix`"),
            when=lambda request: request.path.endswith("/index") and b"prefix" in request.body,
        )
        store.ensure(WIDTH)
    with contextlib.closing(socket_client(shared_engine().socket_path, timeout_seconds=5)) as raw:
        assert "path" in raw.get_collection(config.collection).payload_schema
    drop_collection(shared_engine().socket_path, config.collection)


@pytest.mark.parametrize(
    ("version", "refused"), [("1.9.7", True), ("1.10.0", False), ("2.0.0-dev", False), ("", False)]
)
def test_a_server_too_old_for_queries_is_refused_by_name(proxy: FaultyProxy, version: str, refused: bool) -> None:
    if proxy.socket_path is not None:
        pytest.skip("our own engine is as old as we are")
    config = store_config()
    title = Answer(200, json.dumps({"title": "qdrant - vector search engine", "version": version}).encode())
    with contextlib.closing(store_at(proxy.url, config)) as store:
        proxy.fail(title, when=lambda request: request.path == "/")
        with pytest.raises(ConfigError, match=r"1\.9\.7; 1\.10 is the oldest") if refused else contextlib.nullcontext():
            store.ensure(WIDTH)
    drop_collection(shared_engine().socket_path, config.collection)


def test_folders_are_counted_where_the_store_has_no_facets(store: QdrantStore, proxy: FaultyProxy) -> None:
    store.upsert([sample_point(f"{i}.jpg") for i in range(5)])
    for fault in (refusal(404, "no such path"), refusal(400, "Bad request: Index required but not found")):
        proxy.fail(fault, when=lambda request: request.path.endswith("/facet"))
        assert store.folders() == {"images": 5}


def test_the_key_is_cut_out_of_whatever_the_other_side_says(proxy: FaultyProxy) -> None:
    if proxy.socket_path is not None:
        pytest.skip("asks for no key")
    key = "sesame-1234"
    proxy.fail(refusal(403, f"the key {key} is not known\x1b[31m"))
    with contextlib.closing(store_at(proxy.url.replace("//", f"//user:{key}@"), api_key=key)) as store:
        with pytest.raises(StoreRejected, match=r"\*\*\*") as rejected:
            store.count()
        assert proxy.requests[-1].headers["api-key"] == key
        told = rejected.value.sentence() + str(rejected.value) + store.info().address
        assert key not in told
        assert "\x1b" not in told


def _write(store: Store) -> None:
    store.upsert([sample_point(f"{i}.jpg") for i in range(10)])


def _refresh(store: Store) -> None:
    store.refresh({sample_point(f"{i}.jpg").id: {"size": 1} for i in range(10)})


def _delete(store: Store) -> None:
    store.delete("images", [sample_point(f"{i}.jpg").id for i in range(4)])


def _read(store: Store) -> None:
    assert len([row for page in store.ledger("images") for row in page]) == store.count("images")
    store.search(unit(1), 3, model=MODEL)
    store.vectors(["h"], MODEL)
    store.folders()
    store.rows([sample_point("1.jpg").id])
    store.paths([sample_point("1.jpg").id])
    assert len(list(store.points(vectors=True))) == store.count()


STEPS: tuple[Callable[[Store], None], ...] = (_write, _refresh, _delete, _read, _write, _read)


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_every_call_succeeds_in_the_end_and_nothing_is_lost_or_doubled(
    store: QdrantStore, proxy: FaultyProxy, name: str
) -> None:
    """Each different request of a life fails twice in a row."""
    told = Told()
    retrying = patient(store, told)
    fault, seen = UNAVAILABLE[name], Counter[str]()

    def first_two(request: Request) -> bool:
        seen[request.target + str(request.body)] += 1
        return seen[request.target + str(request.body)] <= 2

    proxy.fail(fault, when=first_two, times=None)
    for step in STEPS:
        step(retrying)
    proxy.heal()
    expected = {sample_point(f"{i}.jpg").id for i in range(10)}
    assert [point.id for point in store.points(vectors=False)] == sorted(expected)
    assert retrying.retries == 2 * len(seen) >= 20
    # Being asked to wait is no outage, and is told once a minute.
    assert (1 if name.startswith("429") else 2) <= len(told.lines) <= len(seen)
    retrying.ensure(WIDTH)
    assert retrying.delete_folder("images") == 10


def test_a_folder_deleted_by_a_lost_answer_is_still_counted(store: QdrantStore, proxy: FaultyProxy) -> None:
    _write(store)
    proxy.fail(LoseAnswer(), when=writes)
    assert patient(store).delete_folder("images") == 10
    assert store.count() == 0


def test_a_missing_collection_is_not_waited_for(store: QdrantStore, proxy: FaultyProxy) -> None:
    name = store.info().collection
    proxy.fail(refusal(404, f"Not found: Collection `{name}` doesn't exist!"), times=None)
    clock = HastyClock()
    with pytest.raises(CollectionMissing):
        patient(store, clock=clock).count()
    assert clock.waits == 0


GRPC_FAULTS = {
    grpc.StatusCode.UNAVAILABLE: StoreUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: StoreUnavailable,
    grpc.StatusCode.INTERNAL: StoreUnavailable,
    grpc.StatusCode.ABORTED: StoreUnavailable,
    grpc.StatusCode.UNKNOWN: StoreUnavailable,
    grpc.StatusCode.FAILED_PRECONDITION: StoreUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: StoreUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: StoreRejected,
    grpc.StatusCode.PERMISSION_DENIED: StoreRejected,
    grpc.StatusCode.NOT_FOUND: StoreRejected,
    grpc.StatusCode.UNIMPLEMENTED: StoreRejected,
    grpc.StatusCode.INVALID_ARGUMENT: StoreRejected,
    grpc.StatusCode.ALREADY_EXISTS: StoreRejected,
}


def test_grpc_codes_mean_what_their_http_statuses_mean() -> None:
    raw = socket_client(shared_engine().socket_path, timeout_seconds=5)
    with contextlib.closing(raw), GrpcStandIn(raw) as stand_in, contextlib.closing(store_at(stand_in.url)) as store:
        store.ensure(WIDTH)
        name = store.info().collection
        for code, kind in GRPC_FAULTS.items():
            stand_in.fail(code, "for a test")
            with pytest.raises(kind) as raised:
                store.count()
            assert type(raised.value) in (kind, *kind.__subclasses__()), code
            assert not isinstance(raised.value, CollectionMissing)

        stand_in.fail(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")
        with pytest.raises(CollectionMissing):
            store.count()
        stand_in.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", metadata=[("retry-after", "9")])
        with pytest.raises(StoreUnavailable) as limited:
            store.count()
        assert limited.value.retry_after_seconds == 9

        points = [sample_point(f"{i}.jpg") for i in range(8)]
        stand_in.fail(grpc.StatusCode.OUT_OF_RANGE, "Error, decoded message length too large: found 9 bytes")
        assert store.upsert(points) == ()
        stand_in.fail(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: unlucky {points[0].id}", method="Upsert")
        assert store.upsert(points) == ()
        stand_in.fail(grpc.StatusCode.UNAVAILABLE, "away")
        assert patient(store).count() == 8
        drop_collection(shared_engine().socket_path, name)


def test_a_grpc_server_that_comes_back_is_found_again() -> None:
    raw = socket_client(shared_engine().socket_path, timeout_seconds=5)
    with contextlib.closing(raw):
        first = GrpcStandIn(raw)
        config = store_config()
        with contextlib.closing(store_at(first.url, config)) as store:
            store.ensure(WIDTH)
            first.close()
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                store.count()
            with GrpcStandIn(raw, port=first.port):
                stop, began = threading.Event(), time.monotonic()
                while time.monotonic() - began < 20:
                    with contextlib.suppress(StoreUnavailable):
                        assert store.count() == 0
                        break
                    stop.wait(0.05)
                else:
                    pytest.fail("not found again")
        drop_collection(shared_engine().socket_path, config.collection)
