"""The values that flow: watch → settle → read → embed → store → verify.

Each carries its predecessor, so that a batch with holes can never misalign. A path is the bytes
below its folder, parts joined by `/`, never normalised.
"""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Pixels = NDArray[np.uint8]

POINT_NAMESPACE: Final = uuid.UUID("5b9a8c0e-64a5-5c1b-9d0f-3f6a2d1c7e48")
"""Fixed for ever: ids of existing collections depend on it."""

_SIGNATURE: Final = struct.Struct("<qqq")
_HALF: Final = 2**63
_WHOLE: Final = 2**64


def wrapped(number: int) -> int:
    """*number* modulo 2**64, as a signed 64-bit integer: the same number where it is one already.

    The kernel counts a file's seconds in 64 bits, so that nanoseconds pass 63 bits from 2262-04-11 on and before
    1677-09-21. Wrapped and not clamped: two times that differ by less than 584 years still differ, so that a change
    is seen.
    """
    return (number + _HALF) % _WHOLE - _HALF


class Reason(StrEnum):
    """Why an action is planned."""

    NEW = "new"
    CHANGED = "changed"
    MODEL = "model"
    RENAMED = "renamed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Signature:
    """What `stat` says of a file's content without reading it; equal signatures mean the same bytes.

    Signed 64-bit integers, because columns, the notebook and a Qdrant payload hold no larger ones: see `of`.
    """

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, size: int, mtime_ns: int, ctime_ns: int) -> Signature:
        """The signature of what the kernel says, however large the numbers are; the only way from a stat to one."""
        return cls(wrapped(size), wrapped(mtime_ns), wrapped(ctime_ns))

    def pack(self) -> bytes:
        """24 bytes, little-endian: size, mtime_ns, ctime_ns."""
        return _SIGNATURE.pack(self.size, self.mtime_ns, self.ctime_ns)

    @classmethod
    def unpack(cls, packed: bytes) -> Signature:
        return cls(*_SIGNATURE.unpack(packed))


@dataclass(frozen=True, slots=True)
class FileStat:
    """A regular file as `fstat` or `lstat` saw it."""

    signature: Signature
    device: int
    inode: int
    links: int = field(default=1, compare=False)
    """How many names the file has."""


def file_stat(status: os.stat_result) -> FileStat:
    """A stat answer as our value; the caller knows that it is a regular file."""
    signature = Signature.of(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return FileStat(signature, status.st_dev, status.st_ino, status.st_nlink)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may need work. *path* is below *folder* (the watch table's name)."""

    folder: str
    path: bytes
    stat: FileStat
    reason: Reason


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A candidate's bytes, read once: their hash and what the model will see.

    *pixels*: uint8 `[height, width, 3]` RGB at the model's input size. *width*, *height*: of the
    picture after orientation. *candidate.stat* is of the very bytes that were read.
    """

    candidate: Candidate
    content: str
    width: int
    height: int
    format: str
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class KnownContent:
    """A candidate whose bytes already have a vector in the collection: nothing was decoded."""

    candidate: Candidate
    content: str


@dataclass(frozen=True, slots=True)
class Embedding:
    """A picture and its unit vector, float32 `[d]`, made by the model with fingerprint *model*."""

    image: DecodedImage
    vector: Vector
    model: str


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the collection: id (UUID text), unit vector float32 `[d]`, payload of the contract."""

    id: str
    vector: Vector
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What one stored point says of itself; all that the mirror needs to know to compare."""

    id: bytes
    """The UUID's 16 bytes."""
    signature: Signature
    content: str
    model: str


def point_uuid(folder: str, path: bytes) -> bytes:
    """The 16 bytes of the UUIDv5 of `folder NUL path` (RFC 4122, section 4.3)."""
    digest = bytearray(
        hashlib.sha1(POINT_NAMESPACE.bytes + folder.encode() + b"\0" + path, usedforsecurity=False).digest()[:16]
    )
    digest[6] = (digest[6] & 0x0F) | 0x50
    digest[8] = (digest[8] & 0x3F) | 0x80
    return bytes(digest)


def uuid_text(id_bytes: bytes) -> str:
    """16 bytes as canonical UUID text."""
    return str(uuid.UUID(bytes=id_bytes))


def path_text(path: bytes) -> str:
    r"""A path for people and payloads: bytes that are not UTF-8 are spelled `\xNN`."""
    return path.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From a decoded picture to the model's input; part of the fingerprint.

    *resize* is "crop" (short side to *side*, bicubic or as *interpolation* says, then the centre) or
    "squash" (straight to *side* × *side*). The encoder then computes `(pixel * rescale - mean) / std` in RGB.
    Defaults: OpenAI's CLIP, clip/clip.py `_transform`.
    """

    side: int = 224
    resize: str = "crop"
    resize_side: int = 224
    """The short side before the crop."""
    interpolation: str = "bicubic"
    rescale: float = 1 / 255
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A candidate with an open, checked, read-only descriptor that the receiver must close.

    *candidate.stat* is what `fstat` said of this very descriptor before anything was read.
    """

    candidate: Candidate
    descriptor: int
