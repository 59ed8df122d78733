"""The write-ahead log of a shard: there because we say so, not because it happens to be the default."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import qdrant_edge as edge

from clipwatch.engine.files import FreeSpace
from clipwatch.engine.shard import Shape, Shard

SHAPE = Shape(2, "Cosine")


def upsert(number: int) -> edge.UpdateOperation:
    return edge.UpdateOperation.upsert_points([edge.Point(id=number, vector=[1.0, 0.0], payload={})])


def shard_in(directory: Path) -> Shard:
    return Shard(directory, SHAPE, FreeSpace(directory, 0), print, deleted_threshold=0.2)


def test_a_new_shard_has_a_log(tmp_path: Path) -> None:
    with contextlib.closing(shard_in(tmp_path)) as shard:
        shard.write([upsert(1)], 100)
    assert json.loads((tmp_path / "edge_config.json").read_text())["wal_enabled"] is True
    assert any((tmp_path / "wal").iterdir())


def test_a_shard_that_was_made_by_default_keeps_its_points_and_its_log(tmp_path: Path) -> None:
    vectors = edge.EdgeVectorParams(size=2, distance=edge.Distance.Cosine)
    before = edge.EdgeShard.create(str(tmp_path), edge.EdgeConfig(vectors=vectors))
    before.update(upsert(1))
    before.close()
    with contextlib.closing(shard_in(tmp_path)) as shard:
        shard.write([upsert(2)], 100)
        assert shard.opened().info().points_count == 2
    assert json.loads((tmp_path / "edge_config.json").read_text()).get("wal_enabled", True) is True
