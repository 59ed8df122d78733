"""Exports as files of arrays."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from clipwatch.cli.export import _write
from clipwatch.errors import ConfigError


def points() -> Iterator[dict[str, Any]]:
    """Two of ours, and one whose vector cannot be told."""
    for name, more in (("a", {"vector": [1.0, 0.0]}), ("b", {}), ("c", {"vector": [0.0, 1.0]})):
        yield {"id": name, "path": f"{name}.jpg", "folder": "images", "payload": {"size": 1}, **more}


def write(kind: str, file: Path, items: Iterator[dict[str, Any]]) -> None:
    _write(items, argparse.Namespace(format=kind, output=str(file)))


def test_npz_has_a_row_for_every_point_and_no_number_where_there_is_no_vector(tmp_path: Path) -> None:
    write("npz", tmp_path / "out.npz", points())
    with np.load(tmp_path / "out.npz") as arrays:
        assert list(arrays["path"]) == ["a.jpg", "b.jpg", "c.jpg"]
        assert arrays["vector"].dtype == np.float32
        assert arrays["vector"][[0, 2]].tolist() == [[1, 0], [0, 1]]
        assert np.isnan(arrays["vector"][1]).all()
        assert json.loads(str(arrays["payload"][0])) == {"size": 1}


def test_parquet_has_a_row_for_every_point_and_null_where_there_is_no_vector(tmp_path: Path) -> None:
    write("parquet", tmp_path / "out.parquet", points())
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["id"] == ["a", "b", "c"]
    assert table["folder"] == ["images"] * 3
    assert table["vector"] == [[1, 0], None, [0, 1]]
    assert json.loads(table["payload"][0]) == {"size": 1}


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_an_empty_collection_is_an_empty_file_of_arrays(tmp_path: Path, kind: str) -> None:
    write(kind, tmp_path / "out", iter(()))
    assert (tmp_path / "out").stat().st_size > 0
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_parquet_without_its_package_is_one_sentence_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="needs the package pyarrow") as caught:
        write("parquet", tmp_path / "out.parquet", points())
    assert "clipwatch[parquet]" in caught.value.hint
    assert not list(tmp_path.iterdir())
