"""`clipwatch export`: the collection for other programs."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clipwatch.cli.asking import ask_daemon
from clipwatch.cli.assemble import Context, opened
from clipwatch.errors import ConfigError
from clipwatch.visible import visible_json


def main(arguments: argparse.Namespace, context: Context) -> int:
    """JSON lines on stdout or in a file; or arrays in a file."""
    if arguments.format != "jsonl" and not arguments.output:
        raise ConfigError(f"--format {arguments.format} needs --output FILE.")
    arrays = arguments.format != "jsonl"
    vectors = arguments.vectors or arrays
    answer = ask_daemon(context, {"command": "export", "vectors": vectors})
    if answer is not None:
        _write(answer, arguments)
    else:
        from clipwatch.service.answers import export

        with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
            _write(export(parts.store, vectors=vectors), arguments)
    return 0


def _write(points: Iterator[dict[str, Any]], arguments: argparse.Namespace) -> None:
    if arguments.output is None:
        for point in points:
            sys.stdout.write(visible_json(point, sys.stdout.encoding) + "\n")
        return
    output, kind = Path(arguments.output), arguments.format
    write = {"jsonl": _write_lines, "npz": _write_npz, "parquet": _write_parquet}[kind]
    try:
        if not _is_special(output):
            _replace(Path(os.path.realpath(output)), points, write)
        elif kind == "jsonl":
            with output.open("wb") as file:
                write(points, file)
        else:
            raise ConfigError(f"{output} is no regular file, which --format {kind} needs.", hint="Name another file.")
    except OSError as error:
        raise ConfigError(f"The export cannot be written to {output}: {error.strerror or error}.") from error


def _is_special(output: Path) -> bool:
    """Whether it is a pipe, a device or the like: something that must stay what it is."""
    try:
        return not stat.S_ISREG(output.stat().st_mode)
    except FileNotFoundError:
        return False


def _replace(output: Path, points: Iterator[dict[str, Any]], write: Callable[[Any, Any], None]) -> None:
    """All of it or nothing: until the new file is whole, the old one is as it was."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            write(points, file)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def _write_lines(points: Iterator[dict[str, Any]], file: Any) -> None:
    for point in points:
        file.write(visible_json(point).encode() + b"\n")


def _write_npz(points: Iterator[dict[str, Any]], file: Any) -> None:
    import numpy as np

    rows = list(points)
    width = max((len(row.get("vector", ())) for row in rows), default=0)
    # Others' points need not have a vector that can be told.
    nothing = np.full(width, np.nan, np.float32)
    vectors = np.array([row.get("vector", nothing) for row in rows], np.float32).reshape(len(rows), width)
    np.savez(
        file,
        id=np.array([row["id"] for row in rows], dtype=np.str_),
        path=np.array([row["path"] for row in rows], dtype=np.str_),
        folder=np.array([row["folder"] for row in rows], dtype=np.str_),
        payload=np.array([json.dumps(row["payload"], ensure_ascii=False) for row in rows], dtype=np.str_),
        vector=vectors,
    )


def _write_parquet(points: Iterator[dict[str, Any]], file: Any) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            "Parquet needs the package pyarrow.", hint="Install it with `pip install 'clipwatch[parquet]'`."
        ) from error
    rows = list(points)
    table = pa.table(
        {
            "id": [row["id"] for row in rows],
            "path": [row["path"] for row in rows],
            "folder": [row["folder"] for row in rows],
            "payload": [json.dumps(row["payload"], ensure_ascii=False) for row in rows],
            "vector": pa.array([row.get("vector") for row in rows], pa.list_(pa.float32())),
        }
    )
    parquet.write_table(table, file)
