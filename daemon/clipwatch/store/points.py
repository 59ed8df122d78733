"""Ids and vectors as they lie in a collection that others may write to as well."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from clipwatch.payload import id_bytes
from clipwatch.records import Vector


def id_text(point_id: object) -> str:
    """The same as canonical UUID text."""
    return str(uuid.UUID(bytes=id_bytes(point_id)))


def stored_ids(ids: Sequence[str]) -> list[Any]:
    """Every spelling under which *ids* may be stored: below 2**64 the number too. No id of ours is that low."""
    numbers = (uuid.UUID(text).int for text in ids if text.startswith("00000000-0000-0000-"))
    return [*ids, *numbers]


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
