"""The payload of a point: written and read here, and nowhere else.

The payload is the ledger that lives in the collection. Others may write to a collection too, so nothing that is read is
trusted: a value of another type than the documented one counts as absent.

| key | type | source |
| --- | --- | --- |
| `path`, `path_base64` | text | the path below the folder; the second where the first does not give the bytes |
| `folder` | text | `watch.name` |
| `size`, `mtime_ns`, `ctime_ns` | 64-bit integers | the file's `Signature` |
| `content` | text | `algorithm:hex` of the file's bytes |
| `model` | text | the fingerprint of the model that made the vector |
| `schema` | integer | `SCHEMA` |
| `width`, `height` | integers | pixels of the picture, after orientation |
| `format` | text | what the bytes are |
| `embedded_at` | text | RFC 3339, UTC |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from clipwatch.records import (
    Candidate,
    Embedding,
    LedgerRow,
    Point,
    Signature,
    Vector,
    path_text,
    point_uuid,
    uuid_text,
)

SCHEMA: Final[int] = 1
"""The shape of a payload as this release writes it; a point without the key has the first (docs/decisions/0004)."""

SIGNATURE_KEYS: Final = ("size", "mtime_ns", "ctime_ns")
LEDGER_KEYS: Final = (*SIGNATURE_KEYS, "content", "model", "schema")
PATH_KEYS: Final = ("path", "path_base64")
INTEGER_FACTS: Final = ("width", "height")
TEXT_FACTS: Final = ("format", "embedded_at")

UNLIKE: Final = -1
"""A `ctime_ns` that no file has: what looks like its file otherwise is read again all the same."""

_FOREIGN: Final = Signature(UNLIKE, UNLIKE, UNLIKE)


# -- writing ---------------------------------------------------------------------------------------------------


def refreshed_payload(signature: Signature) -> dict[str, int]:
    """What a point of the same content and model is told anew: a later shape's new keys belong here too."""
    times = {"size": signature.size, "mtime_ns": signature.mtime_ns, "ctime_ns": signature.ctime_ns}
    return {**times, "schema": SCHEMA}


def embedded_point(embedding: Embedding, embedded_at: str) -> Point:
    """A point for a picture that went through the model."""
    image = embedding.image
    facts = {"width": image.width, "height": image.height, "format": image.format, "embedded_at": embedded_at}
    return _point(image.candidate, image.content, embedding.model, embedding.vector, facts)


def reused_point(candidate: Candidate, content: str, model: str, vector: Vector, source: dict[str, Any]) -> Point:
    """A point for a file whose content another point, with payload *source*, already has a vector of."""
    return _point(candidate, content, model, vector, picture_facts(source))


def _point(candidate: Candidate, content: str, model: str, vector: Vector, facts: dict[str, Any]) -> Point:
    payload = {
        **path_payload(candidate.path),
        "folder": candidate.folder,
        **refreshed_payload(candidate.stat.signature),
        "content": content,
        "model": model,
        **facts,
    }
    return Point(uuid_text(point_uuid(candidate.folder, candidate.path)), vector, payload)


def row_of(candidate: Candidate, content: str, model: str) -> LedgerRow:
    """What the ledger is to say once the candidate's point is stored."""
    return LedgerRow(point_uuid(candidate.folder, candidate.path), candidate.stat.signature, content, model)


def path_payload(path: bytes) -> dict[str, str]:
    r"""`path`, and `path_base64` where the text alone would not give the bytes back."""
    text = path_text(path)
    if text.encode() == path and "\\x" not in text:
        return {"path": text}
    return {"path": text, "path_base64": base64.b64encode(path).decode("ascii")}


# -- reading ---------------------------------------------------------------------------------------------------


def path_bytes(payload: Mapping[str, Any]) -> bytes:
    """The true bytes of a payload's path; inverse of `path_payload`. Raises ValueError where they cannot be told."""
    encoded = payload.get("path_base64")
    if isinstance(encoded, str):
        return base64.b64decode(encoded)
    return str(payload["path"]).encode("utf-8")


def stored_path(payload: Mapping[str, Any] | None) -> bytes | None:
    """The path a payload names, or None where it names none."""
    if payload is None or not isinstance(payload.get("path"), str):
        return None
    try:
        return path_bytes(payload) or None
    except ValueError:  # base64 that is none, text that is no UTF-8
        return None


def ledger_row(point_id: object, payload: Mapping[str, Any] | None) -> LedgerRow:
    """What a point says of itself; one that is not ours, or broken, has model "" and content "".

    One of another shape keeps content and model, which say what its vector was made of, and differs from every file.
    """
    payload = payload or {}
    content, model = payload.get("content"), payload.get("model")
    if not isinstance(content, str) or not isinstance(model, str):
        return LedgerRow(id_bytes(point_id), _FOREIGN, "", "")
    size, mtime_ns, ctime_ns = (payload.get(key) for key in SIGNATURE_KEYS)
    if not (_fits(size) and _fits(mtime_ns) and _fits(ctime_ns)):
        return LedgerRow(id_bytes(point_id), _FOREIGN, content, model)
    if payload.get("schema", 1) != SCHEMA:
        ctime_ns = UNLIKE
    return LedgerRow(id_bytes(point_id), Signature(size, mtime_ns, ctime_ns), content, model)


def picture_facts(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What *payload* says of its picture, where it has the documented type: a number of others may not be sent on."""
    numbers = {key: payload[key] for key in INTEGER_FACTS if _fits(payload.get(key))}
    texts = {key: payload[key] for key in TEXT_FACTS if isinstance(payload.get(key), str)}
    return {**numbers, **texts}


def id_bytes(point_id: object) -> bytes:
    """A point's id as 16 bytes; a number *n*, which only others give, is the UUID with the value *n*."""
    return point_id.to_bytes(16, "big") if isinstance(point_id, int) else bytes.fromhex(str(point_id).replace("-", ""))


def _fits(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
