"""A model file → an open descriptor on it, and the SHA-256 of what it holds.

The session is made through the very descriptor whose content was hashed, and the file must be the same before and
after: replacing it while running changes nothing. It is never held in memory beside the session made of it, which
would double the peak of the whole program.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref
from collections.abc import Iterator
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


class Weights:
    """A whole, self-contained ONNX file; *sha256* is 64 hex digits."""

    def __init__(self, file: Path, descriptor: int) -> None:
        """Takes *descriptor* over: it is closed when this is no longer used. Raises `ModelError`, OSError."""
        self.file = file
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._status = _status(descriptor)
        self.size_bytes = self._status[0]
        if self.size_bytes > MAX_BYTES:
            raise ModelError(f"{file} is larger than 2 GB, which no ONNX file can be.", hint=_REFETCH)
        if not self.size_bytes:
            raise ModelError(f"The model {file} is empty.", hint=_REFETCH)
        # Closed with the last view of it: where it is no model, the frames of the error still hold some.
        content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        _require_model(file, content)
        # In one go: after each piece it would have to wait for the interpreter, which others import with meanwhile.
        self.sha256 = hashlib.sha256(content).hexdigest()

    @property
    def path(self) -> str:
        """A path that leads to the hashed file itself, whatever lies under its name by now."""
        return f"/proc/self/fd/{self._descriptor}"

    def content(self) -> bytes:
        """All of it, for whoever cannot read from `path`."""
        content = os.pread(self._descriptor, self.size_bytes, 0)
        self.require_unchanged()
        return content

    def require_unchanged(self) -> None:
        """Raise `ModelError` where somebody wrote into the file since it was hashed."""
        if _status(self._descriptor) != self._status:
            raise ModelError(f"{self.file} was changed while it was loaded.", hint="Try again when it is whole.")


def _status(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_weights(file: Path) -> Weights:
    """Open and check *file*. Raises `ModelError` for what cannot be a whole, self-contained ONNX model."""
    try:
        return Weights(file, os.open(file, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise ModelError(f"The model {file} cannot be read: {error.strerror}.") from error


def _require_model(file: Path, content: mmap.mmap) -> None:
    if content[: len(_LFS_POINTER)] == _LFS_POINTER:
        raise ModelError(
            f"{file} is a Git LFS pointer, not the model itself.", hint="Run `git lfs pull` where it came from."
        )
    try:
        with memoryview(content) as view:
            external = _keeps_weights_elsewhere(view)
    except ValueError as error:
        raise ModelError(f"{file} is not an ONNX model, or is cut short.", hint=_REFETCH) from error
    if external:
        raise ModelError(
            f"{file} keeps its weights in another file.",
            hint=f"Make it one file: `python -c \"import onnx; onnx.save(onnx.load('{file.name}'), 'one.onnx')\"`.",
        )


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
