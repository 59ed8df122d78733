"""What the engine refuses, in a Qdrant server's own status codes and words, and that nothing of it is written."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from clipwatch.engine.process import Engine
from support.engines import client_of, running_engine

KEY = "correct horse"
NAME = "images"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("refusals") / "store"
    with running_engine(directory, listen="127.0.0.1:0", api_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def plain(engine: Engine) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=str(engine.socket_path))
    with httpx.Client(base_url="http://engine", transport=transport, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[QdrantClient]:
    with client_of(engine) as opened:
        opened.create_collection(NAME, models.VectorParams(size=3, distance=models.Distance.COSINE))
        opened.upsert(NAME, [models.PointStruct(id=1, vector=[1.0, 0, 0], payload={"a": 1})])
        yield opened


def error_of(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert isinstance(body["time"], float)
    return answer.status_code, body["status"]["error"]


def test_a_missing_collection_is_named(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        client.count("nope")
    assert caught.value.status_code == 404
    assert caught.value.structured()["status"]["error"] == "Not found: Collection `nope` doesn't exist!"


def test_a_collection_is_not_created_twice(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        client.create_collection(NAME, models.VectorParams(size=9, distance=models.Distance.DOT))
    assert caught.value.status_code == 409
    assert caught.value.structured()["status"]["error"] == f"Wrong input: Collection `{NAME}` already exists!"
    assert client.count(NAME).count == 1


GOOD = {"id": 7, "vector": [1, 1, 1]}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"id": 8, "vector": [1, 2]}, "Wrong input: Vector dimension error: expected dim: 3, got 2"),
        ({"id": 8, "vector": [0, 0, 0]}, "all zeros"),
        ({"id": 8, "vector": [1e39, 0, 0]}, "not finite"),
        ({"id": 8, "vector": [None, 0, 0]}, "Format error in JSON body"),
        ({"id": 8, "vector": ["1", 0, 0]}, "Format error in JSON body"),
        ({"id": 8, "vector": {"named": [1, 2, 3]}}, "Not existing vector name error: named"),
        ({"id": 8, "vector": [[1, 2, 3]]}, "not supported"),
        ({"id": -1, "vector": [1, 2, 3]}, "is not a valid point ID"),
        ({"id": "not a uuid", "vector": [1, 2, 3]}, "is not a valid point ID"),
        ({"id": 8, "vector": [1, 2, 3], "extra": 1}, "extra"),
        ({"id": 8}, "vector"),
    ],
)
def test_one_bad_point_refuses_its_whole_request(
    client: QdrantClient, plain: httpx.Client, bad: dict[str, Any], words: str
) -> None:
    for path, body in (
        ("points", {"points": [GOOD, bad, GOOD]}),
        ("points/batch", {"operations": [{"upsert": {"points": [GOOD]}}, {"upsert": {"points": [bad]}}]}),
    ):
        method = "PUT" if path == "points" else "POST"
        status, told = error_of(plain.request(method, f"/collections/{NAME}/{path}", json=body))
        assert status == 400
        assert words in told or path != "points"
    assert [item.id for item in client.scroll(NAME)[0]] == [1]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_are_not_finite_are_refused(plain: httpx.Client, client: QdrantClient, literal: str) -> None:
    body = b'{"points":[{"id":7,"vector":[1,1,1]},{"id":8,"vector":[%s,0,0]}]}' % literal.encode()
    assert error_of(plain.put(f"/collections/{NAME}/points", content=body))[0] == 400
    query = b'{"query":[%s,0,0]}' % literal.encode()
    assert error_of(plain.post(f"/collections/{NAME}/points/query", content=query))[0] == 400
    assert client.count(NAME).count == 1


def test_a_payload_that_is_not_text_is_refused(plain: httpx.Client, client: QdrantClient) -> None:
    body = b'{"points":[{"id":7,"vector":[1,1,1],"payload":{"path":"\\udc80"}}]}'
    assert error_of(plain.put(f"/collections/{NAME}/points", content=body))[0] == 400
    assert client.count(NAME).count == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("PUT", "points", b"{", 400, "Format error in JSON body"),
        ("PUT", "points", b"", 400, "Format error in JSON body"),
        ("PUT", "points", b'{"batch":{"ids":[1,2],"vectors":[[1,1,1]]}}', 400, "do not go together"),
        ("PUT", "points", b'{"points":[],"shard_key":"a"}', 400, "not supported"),
        ("POST", "points/query", b'{"query":[1,2]}', 400, "Vector dimension error: expected dim: 3, got 2"),
        ("POST", "points/query", b'{"query":[1,2,3],"using":"other"}', 400, "Not existing vector name error: other"),
        ("POST", "points/query", b'{"query":[1,2,3],"limit":0}', 422, "limit"),
        ("POST", "points/query", b'{"query":55}', 404, "No point with id 55 found"),
        ("POST", "points/query", b'{"query":{"recommend":{"positive":[1]}}}', 400, "not supported"),
        ("POST", "points/query", b'{"query":[1,2,3],"prefetch":[]}', 400, "not supported"),
        ("POST", "points/query", b'{"query":[1,2,3],"params":{"indexed_only":true}}', 400, "not supported"),
        ("POST", "points/scroll", b'{"order_by":"a"}', 400, "not supported"),
        ("POST", "points/scroll", b'{"limit":0}', 422, "limit"),
        ("POST", "points/scroll", b'{"with_vector":["a"]}', 400, "not supported"),
        ("POST", "points/count", b'{"filter":{"must":[{"key":"a["}]}}', 422, "condition"),
        ("POST", "points/count", b'{"filter":{"must":[{"key":"a[","match":{"value":1}}]}}', 400, "JSON path"),
        ("POST", "points/count", b'{"filter":{"must":[{"key":"a","match":{"value":true}}]}}', 400, "not supported"),
        ("POST", "points/count", b'{"filter":{"must":[{"has_vector":"a"}]}}', 400, "not supported"),
        ("POST", "points/delete", b"{}", 400, "must be given"),
        ("POST", "points/payload", b'{"payload":{"x":1}}', 400, "either points or a filter"),
        ("POST", "points/batch", b'{"operations":[{"delete_vectors":{"vector":["a"],"points":[1]}}]}', 400, "not supp"),
        ("PUT", "index", b'{"field_name":"a","field_schema":"text"}', 400, "not supported"),
        ("PUT", "index", b'{"field_name":"a"}', 400, "type must be given"),
        ("POST", "facet", b'{"key":"nothing"}', 400, "index"),
        ("GET", "points/99", b"", 404, "Point with id 99 does not exists!"),
        ("GET", "points/zz", b"", 400, "not a valid point ID"),
        ("POST", "points/search", b"{}", 404, "not answered"),
        ("PUT", "points/vectors", b"{}", 404, "not answered"),
        ("PATCH", "", b'{"hnsw_config":{"m":4}}', 400, "not supported"),
        ("PATCH", "", b'{"optimizers_config":{"indexing_threshold":4}}', 400, "not supported"),
    ],
)
def test_refusals_say_why(
    client: QdrantClient, plain: httpx.Client, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    answer = plain.request(method, f"/collections/{NAME}/{path}".rstrip("/"), content=body)
    told = error_of(answer)
    assert told[0] == status
    assert words in told[1]
    assert client.retrieve(NAME, [1])[0].payload == {"a": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"vectors": {"size": 0, "distance": "Cosine"}}, 422),
        ({"vectors": {"size": 65537, "distance": "Cosine"}}, 422),
        ({"vectors": {"size": 3, "distance": "Hamming"}}, 400),
        ({"vectors": {"named": {"size": 3, "distance": "Dot"}}}, 400),
        ({"vectors": {"size": 3, "distance": "Dot", "datatype": "uint8"}}, 400),
        ({"vectors": {"size": 3, "distance": "Dot"}, "shard_number": 2}, 400),
        ({"vectors": {"size": 3, "distance": "Dot"}, "quantization_config": {"scalar": {"type": "int8"}}}, 400),
    ],
)
def test_a_collection_that_this_engine_cannot_be_is_not_created(
    plain: httpx.Client, body: dict[str, Any], status: int
) -> None:
    assert error_of(plain.put("/collections/odd", json=body))[0] == status
    assert plain.get("/collections/odd/exists").json()["result"] == {"exists": False}


@pytest.mark.parametrize("name", ["a:b", "a*", "x" * 256])
def test_names_that_a_server_refuses_are_refused(plain: httpx.Client, name: str) -> None:
    answer = plain.put(f"/collections/{name}", json={"vectors": {"size": 3, "distance": "Dot"}})
    assert error_of(answer)[0] == 422


def test_missing_ids_are_told_and_the_others_are_changed(client: QdrantClient) -> None:
    """As a server does: the store above must not take the 404 for a missing collection."""
    gone = str(uuid.uuid4())
    with pytest.raises(UnexpectedResponse) as caught:
        client.set_payload(NAME, {"seen": 1}, points=[1, gone])
    assert caught.value.status_code == 404
    assert f"No point with id {gone} found" in caught.value.structured()["status"]["error"]
    assert client.retrieve(NAME, [1])[0].payload == {"a": 1, "seen": 1}
    client.delete_payload(NAME, ["seen"], points=[1])


def test_aliases_change_all_together_or_not_at_all(client: QdrantClient) -> None:
    good = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=NAME, alias_name="good"))
    missing = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="nope", alias_name="b"))
    shadow = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=NAME, alias_name=NAME))
    rename = models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name="x", new_alias_name="y"))
    for bad, status in ((missing, 404), (shadow, 409), (rename, 404)):
        with pytest.raises(UnexpectedResponse) as caught:
            client.update_collection_aliases([good, bad])
        assert caught.value.status_code == status
        assert client.get_aliases().aliases == []
    client.update_collection_aliases([good])
    with pytest.raises(UnexpectedResponse) as caught:
        client.create_collection("good", models.VectorParams(size=3, distance=models.Distance.DOT))
    assert caught.value.status_code == 400
    client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="good"))])


def test_a_body_over_the_servers_limit_is_400_and_the_client_hears_it(plain: httpx.Client) -> None:
    body = json.dumps({"points": [{"id": 1, "vector": [1, 1, 1], "payload": {"a": "x" * (33 << 20)}}]}).encode()
    status, told = error_of(plain.put(f"/collections/{NAME}/points", content=body))
    assert status == 400
    assert f"JSON payload ({len(body)} bytes) is larger than allowed (limit: 33554432 bytes)" in told


def test_unknown_paths_are_404(plain: httpx.Client) -> None:
    assert error_of(plain.get("/nothing"))[0] == 404
    assert error_of(plain.get(f"/collections/{NAME}/"))[0] == 404
    assert error_of(plain.post("/collections"))[0] == 404


def test_over_tcp_nobody_gets_in_without_the_key(engine: Engine) -> None:
    with httpx.Client(base_url=f"http://{engine.listen_address}") as stranger:
        assert error_of(stranger.get("/collections"))[0] == 401
        assert error_of(stranger.put("/collections/x", json={"vectors": {"size": 3, "distance": "Dot"}}))[0] == 401
        for wrong in ("", "correct hors", "correct horse "):
            assert error_of(stranger.get("/collections", headers={"api-key": wrong + "!"}))[0] == 401
        assert error_of(stranger.get("/collections", headers=[(b"api-key", "ü".encode())]))[0] == 401
        assert stranger.get("/collections", headers={"api-key": KEY}).status_code == 200
        assert stranger.get("/collections", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        assert stranger.get("/healthz").status_code == 200
