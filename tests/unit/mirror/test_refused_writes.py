"""A server that refuses to write, over REST and gRPC: no picture is blamed, and the mirror says what is the matter."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipwatch.errors import RejectReason
from clipwatch.mirror.notebook import Rejection
from clipwatch.mirror.verify import verify
from clipwatch.records import point_uuid, uuid_text
from clipwatch.service.sync import SyncRequest
from clipwatch.store.connect import socket_client
from clipwatch.store.contract import Store
from support.faulty_proxy import FaultyProxy, refusal, writes
from support.grpc_stand_in import GrpcStandIn
from support.mirrors import (
    Bench,
    FakeClock,
    bench,
    fill,
    picture,
    put,
    retrying,
    run_until,
    shared_decoder,
    tiny_encoder,
)
from support.refusals import REFUSALS, Said
from support.stores import Told, drop_collection, shared_engine, store_at, store_config


@dataclass
class Server:
    """A bench on a server that can be made to refuse writes."""

    b: Bench
    collection: str
    refuse: Callable[[Said], bool]
    """Every write from now on; False where the protocol has no such answer."""
    refuse_point: Callable[[str, str], None]
    """Every write that carries the point of this id, in these words."""
    heal: Callable[[], None]


@contextlib.contextmanager
def on(url: str, directory: Path) -> Iterator[tuple[Bench, str]]:
    config = store_config()
    inner = store_at(url, config)
    clock, told, stop, made = FakeClock(), Told(), threading.Event(), list[Bench]()
    store: Store = retrying(inner, clock, told, lambda: made[0].mirror if made else None, stop)
    try:
        with bench(directory, store=store, clock=clock, told=told) as b:
            made.append(b)
            yield b, config.collection
            stop.set()
    finally:
        stop.set()
        drop_collection(shared_engine().socket_path, config.collection)
        inner.close()


@contextlib.contextmanager
def rest(directory: Path) -> Iterator[Server]:
    with FaultyProxy(shared_engine().socket_path) as proxy, on(proxy.url, directory) as (b, name):

        def refuse(said: Said) -> bool:
            proxy.fail(refusal(said.status, said.words.format(collection=name)), when=writes, times=None)
            return True

        def refuse_point(point: str, words: str) -> None:
            proxy.fail(refusal(400, words), when=lambda r: writes(r) and point.encode() in r.body, times=None)

        yield Server(b, name, refuse, refuse_point, proxy.heal)
        proxy.heal()


@contextlib.contextmanager
def over_grpc(directory: Path) -> Iterator[Server]:
    raw = socket_client(shared_engine().socket_path, timeout_seconds=5)
    with contextlib.closing(raw), GrpcStandIn(raw) as stand_in, on(stand_in.url, directory) as (b, name):

        def refuse(said: Said) -> bool:
            if said.code is not None:
                for method in ("Upsert", "Delete", "UpdateBatch"):
                    stand_in.fail(said.code, said.words.format(collection=name), method=method, times=None)
            return said.code is not None

        def refuse_point(point: str, words: str) -> None:
            def carries(request: Any) -> bool:
                return any(item.id.uuid == point for item in request.points)

            stand_in.fail(grpc.StatusCode.INVALID_ARGUMENT, words, method="Upsert", when=carries, times=None)

        yield Server(b, name, refuse, refuse_point, stand_in.heal)
        stand_in.heal()


WIRES = {"rest": rest, "grpc": over_grpc}


@pytest.fixture(params=WIRES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with WIRES[request.param](tmp_path) as made:
        yield made


def verified(b: Bench) -> dict[str, Any]:
    def noted(_folder: str) -> dict[bytes, Rejection]:
        return dict(b.one.rejected)

    encoder = tiny_encoder()
    decoder = shared_decoder(encoder.preprocessing)
    decoder.known = lambda _: False
    return verify(
        b.now.config.watch,
        store=b.store,
        encoder=encoder,
        decoder=decoder,
        file_bytes=1_000_000,
        rejections=noted,
        mounts=lambda _folder: (),
        deep=False,
    )


@pytest.mark.parametrize("name", REFUSALS)
def test_no_picture_is_blamed_for_what_the_server_says_and_all_is_exact_once_it_writes(
    server: Server, name: str
) -> None:
    b, said = server.b, REFUSALS[name]
    fill(b.folder, 5)
    b.start()
    b.quiet()
    if not server.refuse(said):
        pytest.skip("gRPC has no such answer")
    fill(b.folder, 40, first=100)
    (b.folder / "00000.png").unlink()
    b.now.ask_looks("test")
    run_until(b.now, b.clock, lambda: not b.now.store_state.available or b.told.events("store.busy"))
    told = " ".join(str(line) for line in b.told.lines)
    words = said.words.format(collection=server.collection)
    assert name in ("timeout", "collection gone") or words[:40] in told, "in the server's own words"
    assert said.hint in told
    assert not b.one.rejected
    assert b.now.pending() >= 40
    result = verified(b)
    assert not result["exact"]
    assert len(result["missing"]) == 40
    assert result["rejected"] == []
    for _ in range(3):
        b.clock.jump(31)
        run_until(b.now, b.clock, lambda: not b.now.store_state.available or b.told.events("store.busy"))
    assert not b.one.rejected
    server.heal()
    b.clock.jump(700)
    b.quiet()
    assert b.now.store_state.available
    assert not b.one.rejected
    b.assert_exact()
    assert verified(b)["exact"]


@pytest.mark.parametrize("words", ["Wrong input: point {id}: bad luck", "Validation error: [points[0].payload: bad]"])
def test_a_point_that_the_words_are_about_is_put_aside_alone_and_nothing_is_exact(server: Server, words: str) -> None:
    b = server.b
    fill(b.folder, 30)
    put(b.folder, "poison.png", picture(99))
    point = uuid_text(point_uuid("images", b"poison.png"))
    server.refuse_point(point, words.format(id=point))
    b.start()
    request = SyncRequest(b.now, b.clock)
    run_until(b.now, b.clock, request.check)
    assert {path: it.reason for path, it in b.one.rejected.items()} == {b"poison.png": RejectReason.STORE_REFUSED}
    assert request.result["rejected"] == 1
    assert request.result["embedded"] == 30
    assert [sentence for sentence in request.undone if "poison.png" in sentence and "bad" in sentence]
    assert b.now.store_state.available
    result = verified(b)
    assert not result["exact"], "the picture is good, and has no point"
    assert [entry["path"] for entry in result["missing"]] == ["poison.png"]
    assert [entry["reason"] for entry in result["rejected"]] == ["store_refused"]
    server.heal()
    b.look()
    b.assert_exact()
    assert verified(b)["exact"]
