"""How an engine starts, or says in one sentence why it cannot."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from clipwatch.engine.process import Engine
from clipwatch.errors import ConfigError, StoreUnavailable
from support.engines import Notes, client_of, running_engine

VECTORS = models.VectorParams(size=2, distance=models.Distance.COSINE)


def refusal(directory: Path, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Engine(directory, logger=Notes(), **options).start()
    assert "Traceback" not in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


def test_its_socket_is_for_this_user_only_and_its_key_in_no_command_line(tmp_path: Path) -> None:
    with running_engine(tmp_path / "store", listen="127.0.0.1:0", api_key="sesame street") as engine:
        assert stat.S_IMODE(engine.socket_path.stat().st_mode) == 0o600
        assert stat.S_IMODE(engine.socket_path.parent.stat().st_mode) == 0o700
        assert engine.pid is not None
        assert b"sesame" not in Path(f"/proc/{engine.pid}/cmdline").read_bytes()
        assert "CLIPWATCH_ENGINE_API_KEY" not in os.environ
        assert (tmp_path / "store.lock").read_text().strip() == str(engine.pid)


def test_a_directory_too_deep_for_a_socket_gets_one_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / "store"
    with running_engine(deep) as engine, client_of(engine) as client:
        assert len(os.fsencode(engine.socket_path)) < 108
        client.create_collection("c", VECTORS)
        private = engine.socket_path.parent
    assert not private.exists()


def test_two_stores_may_share_a_runtime_directory(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with running_engine(tmp_path / "a", runtime=run) as one, running_engine(tmp_path / "b", runtime=run) as two:
        assert one.socket_path.parent == two.socket_path.parent == run
        with client_of(one) as first, client_of(two) as second:
            first.create_collection("c", VECTORS)
            assert not second.collection_exists("c")


@pytest.mark.parametrize("depth", [1, 120])
def test_a_socket_that_was_deleted_is_made_again_at_the_same_place(tmp_path: Path, depth: int) -> None:
    notes = Notes()
    with running_engine(tmp_path / ("d" * depth) / "store", logger=notes) as engine:
        with client_of(engine) as client:
            client.create_collection("c", VECTORS)
            client.upsert("c", [models.PointStruct(id=1, vector=[1.0, 0.0])])
        first = engine.pid
        shutil.rmtree(engine.socket_path.parent)
        assert engine.ensure_running()
        assert engine.pid != first
        with client_of(engine) as client:
            assert client.count("c").count == 1
        assert stat.S_IMODE(engine.socket_path.parent.stat().st_mode) == 0o700
        assert not engine.ensure_running()
    assert [event for _, event, _ in notes.entries] == ["engine.started", "engine.socket_lost", "engine.started"]


def test_a_start_that_is_no_longer_wanted_is_not_waited_for(tmp_path: Path) -> None:
    stop = threading.Event()
    with running_engine(tmp_path / "store"):
        waiting = Engine(tmp_path / "store", logger=Notes(), stop=stop, lock_wait_seconds=60)
        asker = threading.Timer(0.3, stop.set)
        asker.start()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="the end was asked for"):
            waiting.start()
        assert time.monotonic() - began < 10
        assert waiting.pid is None
        asker.join()


def test_before_its_start_there_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        _ = Engine(tmp_path / "store", logger=Notes()).socket_path


def test_a_file_where_the_directory_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    assert "store cannot be used" in refusal(tmp_path / "store")
    assert (tmp_path / "store").read_text() == "mine"


def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "cannot be opened" in refusal(Path("/proc/nowhere/store"), runtime=run)


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in refusal(tmp_path / "store", listen=address, api_key="k")


def test_tcp_without_a_key_is_refused(tmp_path: Path) -> None:
    assert "API key" in refusal(tmp_path / "store", listen="127.0.0.1:0")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1, "later": true}'])
def test_a_collection_it_does_not_understand_is_named_and_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "store" / "collections" / "c-1" / "collection.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert "c-1" in refusal(tmp_path / "store")
    assert file.read_text() == content


def test_debris_of_a_crash_is_removed_and_a_lost_shard_is_made_anew(tmp_path: Path) -> None:
    notes = Notes()
    with running_engine(tmp_path / "store") as engine, client_of(engine) as client:
        client.create_collection("c", VECTORS)
        client.upsert("c", [models.PointStruct(id=1, vector=[1.0, 0.0])])
    home = tmp_path / "store" / "collections"
    for debris in (".new-x", ".gone-y"):
        (home / debris / "shard").mkdir(parents=True)
    (shard,) = home.glob("c-*/shard")
    shutil.rmtree(shard)
    (shard / "segments").mkdir(parents=True)
    with running_engine(tmp_path / "store", logger=notes) as engine, client_of(engine) as client:
        assert [item.name[:2] for item in home.iterdir()] == ["c-"]
        assert client.count("c").count == 0
        client.upsert("c", [models.PointStruct(id=2, vector=[1.0, 0.0])])
        assert client.count("c").count == 1
    assert any("holds no data" in line for line in notes.lines())


def test_a_socket_finds_a_place_where_the_temporary_directory_has_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with running_engine(tmp_path / "store", runtime=long) as engine:
        assert len(os.fsencode(engine.socket_path)) <= 107
