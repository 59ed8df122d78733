"""The collection moves between stores without inference, whole and exactly counted, or it is said what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from clipwatch.engine.process import Engine
from clipwatch.store.connect import socket_client
from support.commands import Home
from support.grpc_stand_in import GrpcStandIn
from support.stores import Told

pytestmark = pytest.mark.slow


def _export(home: Home) -> list[object]:
    lines = [json.loads(line) for line in home.run("export", "--vectors").stdout.splitlines()]
    return sorted(lines, key=lambda line: str(line["id"]))


@pytest.fixture
def filled(home: Home) -> Home:
    home.add_samples("cat.jpg", "moon.png", "rocket.jpg")
    home.run("sync")
    return home


def test_embedded_to_embedded_and_again_and_the_next_sync_embeds_nothing(filled: Home) -> None:
    home = filled
    before = _export(home)
    told = home.json("migrate", "--to", "embedded:elsewhere/store")
    assert told == {"points": 3, "copied": 3, "present": 0, "refused": 0, "exact": True}
    told = home.json("migrate", "--to", "embedded:elsewhere/store")
    assert told == {"points": 3, "copied": 0, "present": 3, "refused": 0, "exact": True}
    home.environment["CLIPWATCH_STORE__URL"] = "embedded:elsewhere/store"
    assert _export(home) == before
    synced = home.json("sync")
    assert (synced["embedded"], synced["unchanged"]) == (0, 3)


def test_to_a_server_over_grpc_under_another_name_with_its_key(filled: Home, tmp_path: Path) -> None:
    home = filled
    before = _export(home)
    engine = Engine(tmp_path / "behind", logger=Told())
    engine.start()
    client = socket_client(engine.socket_path, timeout_seconds=30)
    (home.path / "key").write_text("a long key\n")
    arguments = ("--collection", "moved", "--api-key-file", "key")
    try:
        with GrpcStandIn(client, api_key="a long key") as server:
            refused = home.run("migrate", "--to", server.url, expect=None)
            assert refused.returncode not in (0, 2)
            server.fail(grpc.StatusCode.UNAVAILABLE, method="Upsert")
            told = home.json("migrate", "--to", server.url, *arguments)
            assert (told["copied"], told["exact"]) == (3, True)
            home.environment |= {
                "CLIPWATCH_STORE__URL": server.url,
                "CLIPWATCH_STORE__COLLECTION": "moved",
                "CLIPWATCH_STORE__API_KEY_FILE": "key",
                "CLIPWATCH_WATCH__NAME": "images",
            }
            assert _export(home) == before
            # And back.
            assert home.json("migrate", "--to", "embedded:back")["exact"] is True
    finally:
        client.close()
        engine.close()


def test_while_a_daemon_runs_it_is_refused_naming_its_process(filled: Home) -> None:
    with filled.daemon() as daemon:
        refused = filled.run("migrate", "--to", "embedded:elsewhere", expect=4)
        assert str(daemon.process.pid) in refused.stderr
        assert not (filled.path / "elsewhere").exists()
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "embedded:data/store"), "in use"),
        (("--to", "embedded:./data/store", "--collection", "other"), "Two collections"),
        (("--to", "ftp://host"), "no store address"),
        ((), "--to"),
    ],
)
def test_a_target_that_cannot_be_is_wrong_usage(home: Home, arguments: tuple[str, ...], said: str) -> None:
    assert said in home.run("migrate", *arguments, expect=2).stderr
