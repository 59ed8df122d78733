"""What `Store` promises, kept by each thing it can talk to.

A real server joins in when CLIPWATCH_TEST_QDRANT_URL (and CLIPWATCH_TEST_QDRANT_API_KEY) is set; its
collections are fresh and dropped afterwards.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from clipwatch.config import StoreConfig
from clipwatch.errors import CollectionMissing, ConfigError, StoreRejected, StoreUnavailable
from clipwatch.payload import reused_point
from clipwatch.records import Candidate, FileStat, Reason, Signature
from clipwatch.store.connect import server_client, socket_client
from clipwatch.store.contract import Store
from clipwatch.store.qdrant import QdrantStore
from support.grpc_stand_in import GrpcStandIn
from support.stores import (
    API_KEY,
    MODEL,
    WIDTH,
    fresh_collection,
    sample_point,
    shared_engine,
    store_at,
    store_config,
    store_on,
    unit,
)

SERVER_URL = os.environ.get("CLIPWATCH_TEST_QDRANT_URL", "")
SERVER_KEY = os.environ.get("CLIPWATCH_TEST_QDRANT_API_KEY", "")


@dataclass(frozen=True)
class End:
    """One thing to talk to: a way to open stores, and a stock client beside them."""

    name: str
    raw: QdrantClient
    url: str
    api_key: str = ""

    def open(self, config: StoreConfig | None = None) -> QdrantStore:
        config = config or store_config()
        if self.url:
            return store_at(self.url, config, api_key=self.api_key)
        return store_on(shared_engine().socket_path, config)


@pytest.fixture(scope="module", params=["socket", "http", "grpc", *(["server"] if SERVER_URL else [])])
def end(request: pytest.FixtureRequest) -> Iterator[End]:
    name: str = request.param
    if name == "server":
        client = server_client(store_config(url=SERVER_URL), api_key=SERVER_KEY)
    else:
        client = socket_client(shared_engine().socket_path, timeout_seconds=10)
    with contextlib.closing(client) as raw, contextlib.ExitStack() as stack:
        if name == "server":
            yield End(name, raw, SERVER_URL, SERVER_KEY)
        elif name == "grpc":
            stand_in = stack.enter_context(GrpcStandIn(raw, api_key=API_KEY))
            yield End(name, raw, stand_in.url, API_KEY)
        elif name == "http":
            yield End(name, raw, f"http://{shared_engine().listen_address}", API_KEY)
        else:
            yield End(name, raw, "")


@pytest.fixture
def collection(end: End) -> Iterator[str]:
    name = fresh_collection()
    yield name
    end.raw.delete_collection(name)


@pytest.fixture
def store(end: End, collection: str) -> Iterator[QdrantStore]:
    with contextlib.closing(end.open(store_config(collection=collection))) as opened:
        opened.ensure(WIDTH)
        yield opened


def ledger(store: Store, folder: str = "images") -> dict[bytes, tuple[Signature, str, str]]:
    rows = [row for page in store.ledger(folder) for row in page]
    assert len(rows) == len({row.id for row in rows})
    return {row.id: (row.signature, row.content, row.model) for row in rows}


def test_a_missing_collection_is_made_with_cosine_and_its_indexes(
    store: QdrantStore, end: End, collection: str
) -> None:
    info = end.raw.get_collection(collection)
    vectors = info.config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (WIDTH, models.Distance.COSINE)
    assert set(info.payload_schema) == {"folder", "path", "content", "model"}


def test_ensuring_again_changes_nothing_and_keeps_the_points(store: QdrantStore) -> None:
    store.upsert([sample_point("a.jpg")])
    store.ensure(WIDTH)
    assert store.count() == 1


def test_a_collection_of_another_width_is_refused_and_left_alone(store: QdrantStore) -> None:
    store.upsert([sample_point("a.jpg")])
    with pytest.raises(ConfigError, match="8 wide; the model makes 16") as refused:
        store.ensure(2 * WIDTH)
    assert "store.collection" in refused.value.hint
    assert store.count() == 1


def test_a_collection_of_another_distance_is_refused(end: End, collection: str) -> None:
    end.raw.create_collection(collection, models.VectorParams(size=WIDTH, distance=models.Distance.DOT))
    with (
        contextlib.closing(end.open(store_config(collection=collection))) as store,
        pytest.raises(ConfigError, match="compares by Dot"),
    ):
        store.ensure(WIDTH)


def test_many_creators_at_once_end_with_one_collection(end: End, collection: str) -> None:
    config = store_config(collection=collection)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        stores = [stack.enter_context(contextlib.closing(end.open(config))) for _ in range(4)]
        for done in [pool.submit(store.ensure, WIDTH) for store in stores]:
            done.result()
        assert stores[0].count() == 0


def test_what_is_written_comes_back_bit_for_bit(store: QdrantStore) -> None:
    point = sample_point("ä/ü 😀\n\"'.jpg", mtime_ns=2**60 + 1)
    assert store.upsert([point]) == ()
    (found,) = store.points(vectors=True)
    assert (found.id, found.payload) == (point.id, point.payload)
    assert found.vector is not None
    assert found.vector.dtype == np.float32
    np.testing.assert_allclose(found.vector, point.vector, atol=1e-7)


def test_writing_a_point_again_replaces_it(store: QdrantStore) -> None:
    store.upsert([sample_point("a.jpg", size=1), sample_point("b.jpg")])
    store.upsert([sample_point("a.jpg", size=2)])
    assert store.count() == 2
    assert min(row[0].size for row in ledger(store).values()) == 2


def test_writing_nothing_is_allowed(store: QdrantStore) -> None:
    assert store.upsert([]) == ()
    store.refresh({})
    store.delete("images", [])
    assert (store.rows([]), store.paths([]), store.vectors([], MODEL)) == ({}, {}, {})
    assert store.count() == 0


@pytest.mark.parametrize(
    "vector",
    [
        np.full(WIDTH, np.nan, np.float32),
        np.full(WIDTH, np.inf, np.float32),
        np.zeros(WIDTH, np.float32),
        unit(1, WIDTH + 1),
        unit(1).astype(np.float64),
        unit(1).reshape(1, -1),
    ],
    ids=["nan", "inf", "zero", "width", "float64", "shape"],
)
def test_a_vector_that_cannot_be_right_is_our_bug_and_never_sent(store: QdrantStore, vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match="vector"):
        store.upsert([sample_point("a.jpg"), sample_point("b.jpg", vector=vector)])
    assert store.count() == 0


def test_one_poison_point_is_isolated_and_the_rest_is_written(store: QdrantStore) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(25)]
    poison = sample_point("17.jpg", note="\ud800")  # no text that any wire can carry
    points[17] = poison
    (refusal,) = store.upsert(points)
    assert refusal.point is poison
    assert refusal.message
    assert store.count() == 24


def test_refreshing_merges_keys_and_leaves_vectors_and_absent_points_alone(store: QdrantStore) -> None:
    a, b = sample_point("a.jpg"), sample_point("b.jpg")
    store.upsert([a, b])
    absent = sample_point("never.jpg")
    store.refresh({absent.id: {"size": 1}, a.id: {"size": 7, "ctime_ns": 8}, str(uuid.uuid4()): {"size": 1}})
    found = {point.id: point for point in store.points(vectors=True)}
    assert found[a.id].payload == {**a.payload, "size": 7, "ctime_ns": 8}
    assert found[b.id].payload == b.payload
    assert set(found) == {a.id, b.id}
    np.testing.assert_allclose(found[a.id].vector, a.vector, atol=1e-7)  # type: ignore[arg-type]


def test_a_delete_never_touches_another_folder(store: QdrantStore) -> None:
    mine, theirs = sample_point("a.jpg"), sample_point("a.jpg", folder="theirs")
    store.upsert([mine, theirs])
    store.delete("images", [mine.id, theirs.id, str(uuid.uuid4())])
    assert [point.id for point in store.points(vectors=False)] == [theirs.id]


def test_a_folder_is_deleted_whole_and_counted(store: QdrantStore) -> None:
    store.upsert([sample_point(f"{i}.jpg") for i in range(7)] + [sample_point("a.jpg", folder="other")])
    assert store.delete_folder("images") == 7
    assert store.delete_folder("images") == 0
    assert store.folders() == {"other": 1}


def test_counts_are_exact_by_folder_and_in_all(store: QdrantStore) -> None:
    store.upsert([sample_point(f"{i}.jpg", folder="ab"[i % 3 == 0]) for i in range(30)])
    assert (store.count(), store.count("a"), store.count("b"), store.count("c")) == (30, 20, 10, 0)
    assert store.folders() == {"a": 20, "b": 10}
    store.upsert([sample_point("x.jpg", folder="a", model="another")])
    assert (store.count("a", model=MODEL), store.count(model="another"), store.count("b", model="another")) == (
        20,
        1,
        0,
    )


def test_the_ledger_has_every_point_of_its_folder_once_over_many_pages(store: QdrantStore) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(2345)]
    store.upsert([*points, sample_point("x.jpg", folder="other")])
    pages = list(store.ledger("images"))
    assert len(pages) > 1
    expected = {
        uuid.UUID(p.id).bytes: (
            Signature(p.payload["size"], p.payload["mtime_ns"], p.payload["ctime_ns"]),
            p.payload["content"],
            p.payload["model"],
        )
        for p in points
    }
    assert ledger(store) == expected


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"content": None},
        {"model": ["m"]},
        {"path": 5, "path_base64": "%"},
    ],
    ids=str,
)
def test_a_payload_that_is_not_ours_has_no_model(
    store: QdrantStore, end: End, collection: str, payload: dict[str, object]
) -> None:
    whole = sample_point("a.jpg").payload if payload and "path" not in payload else {}
    point_id = str(uuid.uuid4())
    struct = models.PointStruct(id=point_id, vector=unit(1).tolist(), payload={**whole, **payload, "folder": "images"})
    end.raw.upsert(collection, [struct])
    ((row_id, (_, content, model)),) = ledger(store).items()
    assert (row_id, content, model) == (uuid.UUID(point_id).bytes, "", "")
    assert store.rows([point_id])[point_id].model == ""
    assert point_id not in store.paths([point_id]) or whole


@pytest.mark.parametrize("size", ["big", 1.5, True, None], ids=str)
def test_a_broken_signature_is_no_files_and_takes_nothing_from_the_vector(
    store: QdrantStore, end: End, collection: str, size: object
) -> None:
    point = sample_point("a.jpg")
    struct = models.PointStruct(id=point.id, vector=point.vector.tolist(), payload={**point.payload, "size": size})
    end.raw.upsert(collection, [struct])
    ((signature, content, model),) = ledger(store).values()
    assert (content, model) == (point.payload["content"], point.payload["model"])
    assert signature == store.rows([point.id])[point.id].signature == Signature(-1, -1, -1)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -(2**63), 1e300, -0.5], ids=str)
def test_any_number_in_a_payload_is_read_and_a_picture_of_its_content_can_be_stored(
    store: QdrantStore, end: End, collection: str, number: float
) -> None:
    point = sample_point("a.jpg")
    odd = dict.fromkeys(("size", "mtime_ns", "ctime_ns", "width", "height", "schema", "path"), number)
    payload = {**point.payload, **odd}
    try:
        end.raw.upsert(collection, [models.PointStruct(id=point.id, vector=point.vector.tolist(), payload=payload)])
    except ValueError:
        pytest.skip("this protocol cannot carry the number")
    content, model = point.payload["content"], point.payload["model"]
    ((_, stored_content, stored_model),) = ledger(store).values()
    assert (stored_content, stored_model) == (content, model)
    assert store.paths([point.id]) == {}
    assert [item.id for item in store.points(vectors=False)] == [point.id]
    vector, source = store.vectors([content], model)[content]
    candidate = Candidate("images", b"b.jpg", FileStat(Signature(1, 2, 3), 1, 1), Reason.NEW)
    assert store.upsert([reused_point(candidate, content, model, vector, source)]) == ()


@pytest.mark.parametrize("without", ["schema", "ctime_ns", "schema width height format embedded_at"])
def test_of_an_older_shape_what_matters_is_understood(store: QdrantStore, without: str) -> None:
    point = sample_point("a.jpg", schema=1)
    for key in without.split():
        del point.payload[key]
    store.upsert([point])
    ((signature, content, model),) = ledger(store).values()
    assert (content, model) == (point.payload["content"], point.payload["model"])
    whole = Signature(point.payload["size"], point.payload["mtime_ns"], point.payload.get("ctime_ns", -1))
    assert signature == (Signature(-1, -1, -1) if without == "ctime_ns" else whole)
    assert list(store.vectors([content], model)) == [content]


@pytest.mark.parametrize("schema", [2, 0, "1", None])
def test_another_shape_differs_from_its_file_and_keeps_its_vector(store: QdrantStore, schema: object) -> None:
    point = sample_point("a.jpg", schema=schema)
    store.upsert([point])
    ((signature, content, model),) = ledger(store).values()
    assert signature == Signature(point.payload["size"], point.payload["mtime_ns"], -1)
    assert (content, model) == (point.payload["content"], point.payload["model"])


def test_points_with_numbers_for_ids_are_seen_and_can_be_deleted(store: QdrantStore, end: End, collection: str) -> None:
    """Others may give numbers; under our folder's name they must be removable like any other."""
    payload = {"folder": "images"}
    end.raw.upsert(
        collection,
        [models.PointStruct(id=n, vector=unit(n).tolist(), payload=payload) for n in (1, 2**64 - 1)],
    )
    ids = [str(uuid.UUID(bytes=row_id)) for row_id in ledger(store)]
    assert ids == [str(uuid.UUID(int=1)), str(uuid.UUID(int=2**64 - 1))]
    assert set(store.rows(ids)) == set(ids)
    store.delete("images", ids)
    assert store.count() == 0


def test_rows_and_paths_of_ids_leave_out_those_that_are_absent(store: QdrantStore) -> None:
    plain, odd = sample_point("a/b.jpg"), sample_point(b"\xff\\x.jpg")
    store.upsert([plain, odd])
    absent = str(uuid.uuid4())
    assert store.paths([plain.id, absent, odd.id]) == {plain.id: b"a/b.jpg", odd.id: b"\xff\\x.jpg"}
    rows = store.rows([absent, plain.id])
    assert list(rows) == [plain.id]
    assert rows[plain.id].content == plain.payload["content"]


def test_vectors_are_found_by_content_in_any_folder_but_only_of_the_model(store: QdrantStore) -> None:
    store.upsert(
        [
            sample_point("a.jpg", content="h:1", vector=unit(1)),
            sample_point("a.jpg", folder="other", content="h:2", vector=unit(2)),
            sample_point("b.jpg", content="h:3", model="another", vector=unit(3)),
        ]
    )
    found = store.vectors(["h:1", "h:2", "h:3", "h:4"], MODEL)
    assert set(found) == {"h:1", "h:2"}
    np.testing.assert_allclose(found["h:2"][0], unit(2), atol=1e-7)
    assert found["h:2"][1]["folder"] == "other"


def test_a_thousand_copies_of_one_content_do_not_hide_another(store: QdrantStore) -> None:
    copies = [sample_point(f"{i}.jpg", content="h:many") for i in range(1000)]
    rest = [sample_point(f"rest{i}.jpg", content=f"h:{i}") for i in range(250)]
    store.upsert([*copies, *rest])
    wanted = ["h:many", *(f"h:{i}" for i in range(250)), "h:none"]
    assert set(store.vectors(wanted, MODEL)) == set(wanted) - {"h:none"}


def test_a_search_answers_best_first_and_only_of_the_model(store: QdrantStore) -> None:
    points = [sample_point(f"{i}.jpg", vector=unit(i)) for i in range(40)]
    stale = sample_point("stale.jpg", vector=unit(7), model="another")
    store.upsert([*points, stale])
    hits = store.search(unit(7), 5, model=MODEL)
    scores = np.array([point.vector @ unit(7) for point in points])
    assert [hit.payload["path"] for hit in hits] == [f"{i}.jpg" for i in np.argsort(-scores)[:5]]
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_search_is_filtered_by_text_and_by_numbers(store: QdrantStore) -> None:
    store.upsert(
        [
            sample_point("a.jpg", format="PNG", width=10),
            sample_point("b.jpg", format="PNG", width=20),
            sample_point("c.jpg", format="JPEG", width=10),
            sample_point("d.jpg", format="10", width=30),
        ]
    )

    def paths(**filters: str) -> list[str]:
        return sorted(hit.payload["path"] for hit in store.search(unit(1), 9, model=MODEL, filters=filters))

    assert paths(format="PNG") == ["a.jpg", "b.jpg"]
    assert paths(format="PNG", width="10") == ["a.jpg"]
    assert paths(format="10") == ["d.jpg"]
    assert paths(format="10", width="10") == []


def test_every_point_comes_once_in_the_order_of_ids(store: QdrantStore) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(1203)]
    store.upsert(points)
    found = list(store.points(vectors=False))
    assert [point.id for point in found] == sorted(point.id for point in points)
    assert {point.vector is None for point in found} == {True}
    assert sum(point.vector is not None for point in store.points(vectors=True)) == 1203


def test_a_large_write_is_split_and_complete(store: QdrantStore) -> None:
    """Some 12 MiB in one call; more than one request takes."""
    points = [sample_point(f"{i}.jpg", filler="x" * 60_000) for i in range(200)]
    assert store.upsert(points) == ()
    assert store.count() == 200


def test_threads_share_one_store(store: QdrantStore) -> None:
    errors: Counter[str] = Counter()
    finished = threading.Event()

    def write(worker: int) -> None:
        for i in range(8):
            store.upsert([sample_point(f"{worker}/{i}/{j}.jpg") for j in range(10)])

    def read() -> None:
        while not finished.is_set():
            for found in store.search(unit(3), 5, model=MODEL):
                errors["torn"] += found.payload["folder"] != "images"
            store.count()

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for writer in [pool.submit(write, worker) for worker in range(4)]:
                writer.result()
        finally:
            finished.set()
        for reader in readers:
            reader.result()
    assert store.count() == len(ledger(store)) == 320
    assert errors["torn"] == 0


def test_a_collection_that_went_away_is_told_from_any_other_trouble(
    store: QdrantStore, end: End, collection: str
) -> None:
    store.upsert([sample_point("a.jpg")])
    end.raw.delete_collection(collection)
    with pytest.raises(CollectionMissing, match=collection):
        store.count()
    with pytest.raises(CollectionMissing):
        store.upsert([sample_point("a.jpg")])
    with pytest.raises(CollectionMissing):
        next(store.ledger("images"))
    with pytest.raises(CollectionMissing):
        store.search(unit(1), 3, model=MODEL)
    with pytest.raises(CollectionMissing):
        store.folders()
    assert store.info().details["exists"] is False
    store.ensure(WIDTH)
    assert store.count() == 0


def test_an_iterator_that_failed_goes_on_with_the_same_page(store: QdrantStore, end: End, collection: str) -> None:
    points = [sample_point(f"{i}.jpg") for i in range(1500)]
    store.upsert(points)
    each = store.points(vectors=False)
    first = [next(each).id for _ in range(1000)]
    end.raw.delete_collection(collection)
    with pytest.raises(CollectionMissing):
        next(each)
    store.ensure(WIDTH)
    store.upsert(points)
    assert first + [point.id for point in each] == sorted(point.id for point in points)


def test_info_tells_who_answers_and_what_the_collection_is(store: QdrantStore, end: End, collection: str) -> None:
    info = store.info()
    assert (info.collection, info.kind) == (collection, "server" if end.url else "embedded")
    assert info.version
    assert info.details["width"] == WIDTH
    assert API_KEY not in repr(info)


def test_a_wrong_key_is_the_operators_business_and_never_shown(end: End) -> None:
    if not end.api_key:
        pytest.skip("asks for no key")
    config = store_config()
    with (
        contextlib.closing(store_at(end.url, config, api_key="wrong-key-1234")) as store,
        pytest.raises(StoreRejected, match="does not let us in") as refused,
    ):
        store.ensure(WIDTH)
    assert "store.api_key" in refused.value.hint
    assert "wrong-key-1234" not in refused.value.sentence()


def test_a_closed_store_says_so(end: End) -> None:
    store = end.open()
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.count()
