"""A model file → its bytes and their SHA-256, read once.

The session is made from the very bytes whose hash was taken: replacing the file while running changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipwatch.errors import ModelError

MAX_BYTES: Final = (1 << 31) - 1
"""A protobuf message, and so an ONNX file, cannot be larger."""

_LFS_POINTER: Final = b"version https://git-lfs"
_REFETCH: Final = "Fetch it again, for example with `clipwatch model fetch`."

# Field numbers of onnx.proto3: ModelProto.graph, GraphProto.initializer, TensorProto.data_location (1 = EXTERNAL).
_GRAPH: Final = 7
_INITIALIZER: Final = 5
_DATA_LOCATION: Final = 14


@dataclass(frozen=True, slots=True)
class Weights:
    """An ONNX file's bytes; *sha256* is 64 hex digits."""

    file: Path
    content: bytes
    sha256: str


def read_weights(file: Path) -> Weights:
    """Read and check *file*. Raises `ModelError` for what cannot be a whole, self-contained ONNX model."""
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{file} is larger than 2 GB, which no ONNX file can be.", hint=_REFETCH)
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"The model {file} cannot be read: {error.strerror}.") from error
    if not content:
        raise ModelError(f"The model {file} is empty.", hint=_REFETCH)
    if content.startswith(_LFS_POINTER):
        raise ModelError(
            f"{file} is a Git LFS pointer, not the model itself.", hint="Run `git lfs pull` where it came from."
        )
    try:
        external = _keeps_weights_elsewhere(memoryview(content))
    except ValueError as error:
        raise ModelError(f"{file} is not an ONNX model, or is cut short.", hint=_REFETCH) from error
    if external:
        raise ModelError(
            f"{file} keeps its weights in another file.",
            hint=f"Make it one file: `python -c \"import onnx; onnx.save(onnx.load('{file.name}'), 'one.onnx')\"`.",
        )
    return Weights(file, content, hashlib.sha256(content).hexdigest())


def _keeps_weights_elsewhere(model: memoryview) -> bool:
    """Whether an initializer is external. ONNX Runtime would look for it below the *current* directory.

    Raises ValueError where *model* is no protobuf message with a graph.
    """
    graphs = [value for field, value in _fields(model) if field == _GRAPH and isinstance(value, memoryview)]
    if not graphs:
        raise ValueError("no graph")
    return any(
        field == _DATA_LOCATION and value == 1
        for graph in graphs
        for number, tensor in _fields(graph)
        if number == _INITIALIZER and isinstance(tensor, memoryview)
        for field, value in _fields(tensor)
    )


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of one protobuf message (protobuf.dev/programming-guides/encoding)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            number, at = _varint(message, at)
            yield key >> 3, number
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(message):
            raise ValueError("cut short")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("cut short")
