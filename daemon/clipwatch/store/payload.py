"""Payloads and ids as they lie in a collection that others may write to as well."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import numpy as np

from clipwatch.records import LedgerRow, Signature, Vector, path_bytes

SCHEMA: Final[int] = 1
"""The shape of a payload as this release writes it; a point without the key has the first (docs/decisions/0004)."""

SIGNATURE_KEYS: Final = ("size", "mtime_ns", "ctime_ns")
LEDGER_KEYS: Final = (*SIGNATURE_KEYS, "content", "model", "schema")
PATH_KEYS: Final = ("path", "path_base64")

UNLIKE: Final = -1
"""A `ctime_ns` that no file has: what looks like its file otherwise is read again all the same."""

_FOREIGN: Final = Signature(UNLIKE, UNLIKE, UNLIKE)


def id_bytes(point_id: object) -> bytes:
    """A point's id as 16 bytes; a number *n*, which only others give, is the UUID with the value *n*."""
    return point_id.to_bytes(16, "big") if isinstance(point_id, int) else bytes.fromhex(str(point_id).replace("-", ""))


def id_text(point_id: object) -> str:
    """The same as canonical UUID text."""
    return str(uuid.UUID(bytes=id_bytes(point_id)))


def stored_ids(ids: Sequence[str]) -> list[Any]:
    """Every spelling under which *ids* may be stored: below 2**64 the number too. No id of ours is that low."""
    numbers = (uuid.UUID(text).int for text in ids if text.startswith("00000000-0000-0000-"))
    return [*ids, *numbers]


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


def stored_path(payload: Mapping[str, Any] | None) -> bytes | None:
    """The path a payload names, or None where it names none."""
    if payload is None or not isinstance(payload.get("path"), str):
        return None
    try:
        return path_bytes(dict(payload)) or None
    except ValueError:  # base64 that is none, text that is no UTF-8
        return None


def picture_facts(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What *payload* says of its picture, where it has the documented type: a number of others may not be sent on."""
    numbers = {key: payload[key] for key in ("width", "height") if _fits(payload.get(key))}
    texts = {key: payload[key] for key in ("format", "embedded_at") if isinstance(payload.get(key), str)}
    return {**numbers, **texts}


def stored_vector(vector: object) -> Vector | None:
    """A stored vector as float32 `[d]`, or None where it is no usable plain vector."""
    if not isinstance(vector, list):
        return None
    try:
        array = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return array if is_usable(array) else None


def is_usable(vector: Vector) -> bool:
    """Whether *vector* is float32 `[d]`, finite, and has a direction."""
    return bool(vector.dtype == np.float32 and vector.ndim == 1 and np.isfinite(vector).all() and vector.any())


def _fits(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
