"""Exports as files of arrays."""

from __future__ import annotations

import argparse
import json
import os
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


def test_a_file_is_replaced_through_its_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old.jsonl").write_text("old")
    for name in ("old.jsonl", "new.jsonl"):
        (tmp_path / name).symlink_to(Path("there") / name)
        write("jsonl", tmp_path / name, points())
        assert (tmp_path / name).is_symlink()
        lines = (tmp_path / "there" / name).read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == ["a", "b", "c"]
    assert {file.name for file in (tmp_path / "there").iterdir()} == {"old.jsonl", "new.jsonl"}


def test_a_pipe_is_written_into_as_lines_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write("jsonl", pipe, points())
        assert os.read(reader, 65536).count(b"\n") == 3
        for kind in ("npz", "parquet"):
            with pytest.raises(ConfigError, match=f"no regular file, which --format {kind} needs"):
                write(kind, pipe, points())
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("name", ["", ".", "file/below"])
def test_where_nothing_can_be_written_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ConfigError, match="cannot be written to"):
        _write(points(), argparse.Namespace(format="jsonl", output=name))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"
