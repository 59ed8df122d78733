"""Every REST call that the engine answers, through a stock client, over the Unix socket and over TCP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from clipwatch.engine.process import Engine
from support.engines import client_of, running_engine, tcp_client_of

WIDTH = 4
KEY = "correct horse"
IDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(6)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("rest") / "store"
    with running_engine(directory, listen="127.0.0.1:0", api_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[QdrantClient]:
    with client_of(engine) as opened:
        yield opened


@pytest.fixture(params=["unix", "tcp"])
def any_client(engine: Engine, client: QdrantClient, request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    if request.param == "unix":
        yield client
    else:
        with tcp_client_of(engine, KEY) as opened:
            yield opened


@pytest.fixture(scope="module")
def shared(client: QdrantClient) -> str:
    client.create_collection("a shared one", models.VectorParams(size=WIDTH, distance=models.Distance.COSINE))
    return "a shared one"


@pytest.fixture
def name(client: QdrantClient, shared: str) -> str:
    """A collection with six points: n-th has vector (1, n, 0, 0) and a payload of n."""
    client.delete(shared, models.FilterSelector(filter=models.Filter()))
    client.upsert(shared, [point(n) for n in range(6)])
    return shared


def point(n: int) -> models.PointStruct:
    payload = {
        "path": f"{'even' if n % 2 == 0 else 'odd'}/{n}.jpg",
        "size": n,
        "mtime_ns": 2**60 + n,
        "deep": {"list": [{"x": n, "y": n % 2}]},
    }
    if n:
        payload["some"] = None if n == 1 else "here"
    return models.PointStruct(id=IDS[n], vector=[1.0, float(n), 0.0, 0.0], payload=payload)


def numbers(found: list[models.Record] | list[models.ScoredPoint]) -> list[int]:
    return sorted(IDS.index(str(item.id)) for item in found)


def test_collections_are_created_listed_described_and_deleted(any_client: QdrantClient) -> None:
    name = uuid.uuid4().hex
    assert not any_client.collection_exists(name)
    assert any_client.create_collection(name, models.VectorParams(size=7, distance=models.Distance.DOT))
    assert any_client.collection_exists(name)
    assert name in [item.name for item in any_client.get_collections().collections]
    info = any_client.get_collection(name)
    assert info.config.params.vectors == models.VectorParams(size=7, distance=models.Distance.DOT)
    assert (info.status, info.points_count, info.payload_schema) == (models.CollectionStatus.GREEN, 0, {})
    assert any_client.delete_collection(name)
    assert not any_client.collection_exists(name)
    assert not any_client.delete_collection(name)


def test_updating_a_collection_keeps_metadata_and_the_vacuum_threshold(client: QdrantClient, name: str) -> None:
    client.update_collection(name, metadata={"a": 1})
    client.update_collection(
        name, metadata={"b": [2]}, optimizers_config=models.OptimizersConfigDiff(deleted_threshold=0.5)
    )
    config = client.get_collection(name).config
    assert config.metadata == {"a": 1, "b": [2]}
    assert config.optimizer_config.deleted_threshold == 0.5


def test_unit_vectors_and_payloads_come_back_as_they_were_written(any_client: QdrantClient, name: str) -> None:
    vector = np.array([0.5, 0.5, -0.5, 0.5], dtype=np.float32)
    payload = {
        "mtime_ns": 1790000000123456789,
        "path": "ünï\N{SNOWMAN}/\0.jpg",
        "none": None,
        "real": 0.1,
        "flag": True,
    }
    any_client.upsert(name, [models.PointStruct(id=IDS[0], vector=vector.tolist(), payload=payload)])
    (stored,) = any_client.retrieve(name, [IDS[0]], with_vectors=True)
    assert stored.id == IDS[0]
    assert stored.payload == payload
    assert np.array_equal(np.array(stored.vector, dtype=np.float32), vector)


def test_points_may_come_as_columns(client: QdrantClient, name: str) -> None:
    batch = models.Batch(ids=[1, 2], vectors=[[1.0, 0, 0, 0], [0.0, 1, 0, 0]], payloads=[{"a": 1}, {"a": 2}])
    assert client.upsert(name, batch).status == models.UpdateStatus.COMPLETED
    assert [item.payload for item in client.retrieve(name, [1, 2])] == [{"a": 1}, {"a": 2}]


def test_the_last_of_two_points_with_one_id_wins_and_an_empty_list_is_fine(client: QdrantClient, name: str) -> None:
    client.upsert(
        name, [point(0), models.PointStruct(id=IDS[0].upper(), vector=[0.0, 0, 0, 1], payload={"last": True})]
    )
    assert client.retrieve(name, [IDS[0]])[0].payload == {"last": True}
    client.upsert(name, [])
    client.delete(name, models.PointIdsList(points=[]))
    client.set_payload(name, {"a": 1}, points=[])
    assert client.retrieve(name, []) == []
    assert client.count(name).count == 6


def test_insert_only_leaves_what_is_there(client: QdrantClient, name: str) -> None:
    changed = models.PointStruct(id=IDS[1], vector=[0.0, 0, 0, 1], payload={})
    client.upsert(name, [changed], update_mode=models.UpdateMode.INSERT_ONLY)
    assert client.retrieve(name, [IDS[1]])[0].payload != {}


def test_retrieve_skips_ids_that_do_not_exist(client: QdrantClient, name: str) -> None:
    found = client.retrieve(name, [IDS[3], str(uuid.uuid4()), IDS[1]], with_payload=["size"])
    assert [(item.id, item.payload, item.vector) for item in found] == [
        (IDS[3], {"size": 3}, None),
        (IDS[1], {"size": 1}, None),
    ]


def test_one_point_is_read_by_its_address(client: QdrantClient, name: str) -> None:
    stored = client.http.points_api.get_point(collection_name=name, id=IDS[2]).result
    assert stored is not None
    assert stored.id == IDS[2]


def test_scroll_walks_all_points_in_id_order(any_client: QdrantClient, name: str) -> None:
    seen: list[str] = []
    offset = None
    while True:
        page, offset = any_client.scroll(name, limit=4, offset=offset, with_payload=False)
        seen += [str(item.id) for item in page]
        if offset is None:
            break
    assert seen == sorted(IDS)


def test_a_page_holds_at_most_a_thousand_points_and_the_next_one_follows(client: QdrantClient, name: str) -> None:
    client.upsert(name, models.Batch(ids=list(range(1100)), vectors=[[1.0, 0, 0, 0]] * 1100))
    page, offset = client.scroll(name, limit=100_000)
    assert (len(page), offset) == (1000, 1000)
    rest, end = client.scroll(name, limit=100_000, offset=offset)
    assert (len(rest), end) == (106, None)


def test_query_gives_the_nearest_with_scores_payloads_and_vectors(any_client: QdrantClient, name: str) -> None:
    asked = [1.0, 2.0, 0.0, 0.0]
    found = any_client.query_points(name, query=asked, limit=3, with_vectors=True).points
    assert numbers(found[:1]) == [2]
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert isinstance(found[0].vector, list)
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    second = any_client.query_points(
        name, query=asked, limit=1, offset=1, search_params=models.SearchParams(exact=True)
    )
    assert second.points[0].id == found[1].id
    assert len(any_client.query_points(name, query=asked, score_threshold=0.999).points) == 1
    assert any_client.query_points(name, query=asked, offset=2**40).points == []
    assert len(any_client.query_points(name, query=asked, limit=2**40).points) == 6
    selected = any_client.query_points(
        name, query=asked, limit=1, with_payload=models.PayloadSelectorExclude(exclude=["deep"])
    )
    assert set(selected.points[0].payload or {}) == {"path", "size", "mtime_ns", "some"}


def test_query_by_a_points_id_leaves_that_point_out(client: QdrantClient, name: str) -> None:
    assert numbers(client.query_points(name, query=IDS[2], limit=2).points) == [3, 4]
    only_odd = models.Filter(must=models.FieldCondition(key="path", match=models.MatchPrefix(prefix="odd/")))
    assert numbers(client.query_points(name, query=IDS[1], query_filter=only_odd).points) == [3, 5]


def test_several_queries_are_answered_in_order(client: QdrantClient, name: str) -> None:
    asked = [models.QueryRequest(query=[1.0, n, 0, 0], limit=1) for n in (0, 5)]
    answers = client.query_batch_points(name, asked)
    assert [numbers(answer.points) for answer in answers] == [[0], [5]]


def field(key: str, **condition: object) -> models.FieldCondition:
    return models.FieldCondition.model_validate({"key": key, **condition})


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (models.Filter(), [0, 1, 2, 3, 4, 5]),
        (models.Filter(must=[field("size", match=models.MatchValue(value=3))]), [3]),
        (models.Filter(must=[field("path", match=models.MatchValue(value="odd/3.jpg"))]), [3]),
        (models.Filter(must=[field("size", match=models.MatchAny(any=[1, 4, 9]))]), [1, 4]),
        (
            models.Filter(must=[field("path", match=models.MatchExcept(**{"except": ["odd/1.jpg", "odd/3.jpg"]}))]),
            [0, 2, 4, 5],
        ),
        (models.Filter(must=[field("path", match=models.MatchPrefix(prefix="even/"))]), [0, 2, 4]),
        (models.Filter(must=[field("path", match=models.MatchSubstring(substring="/5."))]), [5]),
        (models.Filter(must=[field("path", match=models.MatchText(text="even"))]), [0, 2, 4]),
        (models.Filter(must=[field("size", range=models.Range(gt=1, lte=4))]), [2, 3, 4]),
        (models.Filter(must_not=[field("size", range=models.Range(gt=1))]), [0, 1]),
        (models.Filter(should=[field("size", match=models.MatchValue(value=n)) for n in (0, 5)]), [0, 5]),
        (
            models.Filter(
                min_should=models.MinShould(
                    conditions=[
                        field("size", range=models.Range(gte=3)),
                        field("size", range=models.Range(lte=4)),
                        field("path", match=models.MatchPrefix(prefix="odd")),
                    ],
                    min_count=3,
                )
            ),
            [3],
        ),
        (models.Filter(must=[models.HasIdCondition(has_id=[IDS[4], IDS[1], 7])]), [1, 4]),
        (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="some"))]), [0, 1]),
        (models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="some"))]), [1]),
        (models.Filter(must=[field("deep.list[].x", range=models.Range(gte=5))]), [5]),
        (models.Filter(must=[field("deep.list", values_count=models.ValuesCount(gte=2))]), []),
        (
            models.Filter(
                must=models.NestedCondition(
                    nested=models.Nested(
                        key="deep.list",
                        filter=models.Filter(
                            must=[field("x", range=models.Range(gte=2)), field("y", match=models.MatchValue(value=1))]
                        ),
                    )
                )
            ),
            [3, 5],
        ),
        (
            models.Filter(
                must=models.Filter(
                    should=[
                        models.Filter(must_not=field("size", range=models.Range(lt=5))),
                        field("size", match=models.MatchValue(value=2)),
                    ]
                )
            ),
            [2, 5],
        ),
    ],
)
def test_filters_choose_what_they_say(
    client: QdrantClient, name: str, chosen: models.Filter, expected: list[int]
) -> None:
    found, _ = client.scroll(name, scroll_filter=chosen)
    assert numbers(found) == expected
    assert client.count(name, count_filter=chosen).count == len(expected)


def test_times_are_compared_as_times(client: QdrantClient, name: str) -> None:
    for n in range(3):
        client.set_payload(name, {"at": f"2026-01-0{n + 1}T12:00:00Z"}, points=[IDS[n]])
    late = models.Filter(
        must=[models.FieldCondition(key="at", range=models.DatetimeRange(gte=datetime(2026, 1, 2, tzinfo=UTC)))]
    )
    assert numbers(client.scroll(name, scroll_filter=late)[0]) == [1, 2]


def test_delete_by_ids_and_by_filter(any_client: QdrantClient, name: str) -> None:
    any_client.delete(name, [IDS[0], str(uuid.uuid4())])
    any_client.delete(
        name,
        models.FilterSelector(filter=models.Filter(must=[field("path", match=models.MatchPrefix(prefix="odd/"))])),
    )
    assert numbers(any_client.scroll(name)[0]) == [2, 4]


def test_payloads_are_merged_overwritten_thinned_and_cleared_and_vectors_stay(client: QdrantClient, name: str) -> None:
    before = client.retrieve(name, [IDS[1]], with_payload=False, with_vectors=True)[0].vector
    client.set_payload(name, {"a": 1}, points=[IDS[1]])
    client.set_payload(name, {"z": 5}, points=[IDS[1]], key="deep")
    payload = client.retrieve(name, [IDS[1]])[0].payload or {}
    assert (payload["a"], payload["path"], payload["deep"]["z"]) == (1, "odd/1.jpg", 5)
    client.overwrite_payload(name, {"b": 2, "c": 3}, points=[IDS[1]])
    assert client.retrieve(name, [IDS[1]])[0].payload == {"b": 2, "c": 3}
    client.delete_payload(name, ["c"], points=[IDS[1]])
    assert client.retrieve(name, [IDS[1]])[0].payload == {"b": 2}
    client.clear_payload(name, [IDS[1]])
    after = client.retrieve(name, [IDS[1]], with_vectors=True)[0]
    assert (after.payload, after.vector) == ({}, before)


def test_payloads_are_changed_by_filter(client: QdrantClient, name: str) -> None:
    odd = models.Filter(must=[field("path", match=models.MatchPrefix(prefix="odd/"))])
    client.set_payload(name, {"mark": "yes"}, points=odd)
    marked = models.Filter(must=[field("mark", match=models.MatchValue(value="yes"))])
    assert numbers(client.scroll(name, scroll_filter=marked)[0]) == [1, 3, 5]
    client.delete_payload(name, ["mark"], points=odd)
    assert client.count(name, count_filter=marked).count == 0
    client.overwrite_payload(name, {"only": 1}, points=odd)
    assert client.retrieve(name, [IDS[5]])[0].payload == {"only": 1}
    client.clear_payload(
        name, models.FilterSelector(filter=models.Filter(must=[models.HasIdCondition(has_id=[IDS[5]])]))
    )
    assert client.retrieve(name, [IDS[5]])[0].payload == {}


def test_operations_of_several_kinds_go_in_one_request_in_order(any_client: QdrantClient, name: str) -> None:
    answers = any_client.batch_update_points(
        name,
        [
            models.UpsertOperation(upsert=models.PointsList(points=[models.PointStruct(id=9, vector=[0.0, 0, 1, 0])])),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"a": 1, "b": 2}, points=[9, IDS[0]])),
            models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["b"], points=[9])),
            models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"c": 3}, points=[IDS[1]])),
            models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[IDS[2]])),
            models.DeleteOperation(delete=models.PointIdsList(points=[IDS[0]])),
        ],
    )
    assert [answer.status for answer in answers] == [models.UpdateStatus.COMPLETED] * 6
    assert {item.id: item.payload for item in any_client.retrieve(name, [9, *IDS[:3]])} == {
        9: {"a": 1},
        IDS[1]: {"c": 3},
        IDS[2]: {},
    }


def test_payload_indexes_are_made_told_used_and_dropped(client: QdrantClient, name: str) -> None:
    client.create_payload_index(
        name, "path", models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
    )
    client.create_payload_index(name, "size", models.PayloadSchemaType.INTEGER)
    client.create_payload_index(name, "size", models.PayloadSchemaType.INTEGER)
    schema = client.get_collection(name).payload_schema
    assert schema["path"].data_type == models.PayloadSchemaType.KEYWORD
    assert isinstance(schema["path"].params, models.KeywordIndexParams)
    assert schema["path"].params.prefix is True
    assert (schema["size"].data_type, schema["size"].points) == (models.PayloadSchemaType.INTEGER, 6)
    odd = models.Filter(must=[field("path", match=models.MatchPrefix(prefix="odd/"))])
    assert client.count(name, count_filter=odd).count == 3
    client.delete_payload_index(name, "size")
    client.delete_payload_index(name, "never_was")
    assert "size" not in client.get_collection(name).payload_schema


def test_facets_count_values(client: QdrantClient, name: str) -> None:
    client.set_payload(name, {"folder": "a"}, points=[*IDS[:4]])
    client.set_payload(name, {"folder": "b"}, points=[*IDS[4:]])
    client.create_payload_index(name, "folder", models.PayloadSchemaType.KEYWORD)
    hits = client.facet(name, "folder", exact=True).hits
    assert {hit.value: hit.count for hit in hits} == {"a": 4, "b": 2}


def test_an_alias_stands_wherever_a_name_does_and_moves_at_once(any_client: QdrantClient, name: str) -> None:
    alias, other = uuid.uuid4().hex, uuid.uuid4().hex
    any_client.create_collection(other, models.VectorParams(size=WIDTH, distance=models.Distance.COSINE))

    def create(target: str) -> models.CreateAliasOperation:
        return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=target, alias_name=alias))

    def drop() -> models.DeleteAliasOperation:
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))

    any_client.update_collection_aliases([create(name)])
    assert any_client.collection_exists(alias)
    assert any_client.count(alias).count == 6
    assert any_client.get_collection(alias).points_count == 6
    any_client.upsert(alias, [models.PointStruct(id=77, vector=[1.0, 0, 0, 0])])
    assert any_client.count(name).count == 7
    any_client.update_collection_aliases([drop(), create(other)])
    assert any_client.count(alias).count == 0
    assert not any_client.delete_collection(alias)
    assert models.AliasDescription(alias_name=alias, collection_name=other) in any_client.get_aliases().aliases
    assert any_client.get_collection_aliases(name).aliases == []
    renamed = uuid.uuid4().hex
    any_client.update_collection_aliases(
        [models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name=alias, new_alias_name=renamed))]
    )
    assert [item.alias_name for item in any_client.get_collection_aliases(other).aliases] == [renamed]
    any_client.delete_collection(other)
    assert renamed not in [item.alias_name for item in any_client.get_aliases().aliases]


def test_it_says_what_it_is_and_that_it_is_well(engine: Engine, any_client: QdrantClient) -> None:
    told = any_client.info()
    assert "clipwatch" in told.title
    assert told.version == "1.20.0"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(engine.socket_path))) as plain:
        assert [plain.get(f"http://x/{path}").status_code for path in ("healthz", "livez", "readyz")] == [200] * 3
