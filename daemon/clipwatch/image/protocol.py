"""What a decode worker and its parent say to each other over one stream socket.

The parent sends settings once; the worker answers with the walls that are in force. Then, for each picture:
job (with the descriptor) → hashed → decode or drop → pixels. A rejection may stand in for either answer.
Answers have a fixed size, so that a worker that was taken over cannot make its parent parse anything.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from clipwatch.errors import RejectReason

JOB: Final = struct.Struct("<Q")
"""The file's size in bytes; the descriptor comes with it."""

DECODE: Final = b"D"
DROP: Final = b"X"
REASONS: Final = tuple(RejectReason)
FORMATS: Final = ("JPEG", "PNG")

REVISION: Final = 2
"""Raised where a release accepts files that were rejected before: rejections of an older one are judged anew."""

_ANSWER: Final = struct.Struct("<BBIIQ160s")
_LENGTH: Final = struct.Struct("<I")
_MAX_DOCUMENT: Final = 65536


class Kind(IntEnum):
    """What an answer is."""

    HASHED = 1
    PIXELS = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a worker.

    HASHED: *text* holds the 32 bytes of the SHA-256, *number* the bytes read. PIXELS: *code* is the format's place
    in `FORMATS`, side × side × 3 bytes follow. REJECTED: *code* is the reason's place in `REASONS`, *text* the message,
    *width* the format's place in `container.OTHER_PICTURES`, from 1; 0: none of them. *number* of the last two:
    resident bytes of the worker.
    """

    kind: int
    code: int = 0
    width: int = 0
    height: int = 0
    number: int = 0
    text: bytes = b""

    SIZE = _ANSWER.size

    def pack(self) -> bytes:
        return _ANSWER.pack(self.kind, self.code, self.width, self.height, self.number, self.text[:160])

    @classmethod
    def unpack(cls, packed: bytes) -> Answer:
        return cls(*_ANSWER.unpack(packed))

    def message(self) -> str:
        """*text* for people: printable ASCII only."""
        return "".join(c if c.isprintable() else "?" for c in self.text.rstrip(b"\0").decode("ascii", "replace"))


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly *size* bytes; raises `EOFError` where the other end is gone."""
    buffer = bytearray(size)
    receive_into(connection, memoryview(buffer))
    return bytes(buffer)


def receive_into(connection: socket.socket, view: memoryview) -> None:
    """Fill *view*; raises `EOFError` where the other end is gone."""
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError("the other end is gone")
        view = view[count:]


def send_document(connection: socket.socket, document: dict[str, Any]) -> None:
    """A JSON object behind its length; only before a worker has seen anyone's file."""
    body = json.dumps(document).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive_document(connection: socket.socket) -> dict[str, Any]:
    """The other end of `send_document`; raises `EOFError` or `ValueError`."""
    (size,) = _LENGTH.unpack(receive(connection, _LENGTH.size))
    if size > _MAX_DOCUMENT:
        raise ValueError("the document is too long")
    document = json.loads(receive(connection, size))
    if not isinstance(document, dict):
        raise ValueError("the document is no object")  # noqa: TRY004
    return document
