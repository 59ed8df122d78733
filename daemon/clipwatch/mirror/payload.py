"""The payload of a point: the ledger that lives in the collection."""

from __future__ import annotations

from typing import Any

from clipwatch.records import (
    Candidate,
    Embedding,
    LedgerRow,
    Point,
    Signature,
    Vector,
    path_payload,
    point_uuid,
    uuid_text,
)
from clipwatch.store import payload as stored


def refreshed_payload(signature: Signature) -> dict[str, int]:
    """What a point of the same content and model is told anew: a later shape's new keys belong here too."""
    times = {"size": signature.size, "mtime_ns": signature.mtime_ns, "ctime_ns": signature.ctime_ns}
    return {**times, "schema": stored.SCHEMA}


def embedded_point(embedding: Embedding, embedded_at: str) -> Point:
    """A point for a picture that went through the model."""
    image = embedding.image
    facts = {"width": image.width, "height": image.height, "format": image.format, "embedded_at": embedded_at}
    return _point(image.candidate, image.content, embedding.model, embedding.vector, facts)


def reused_point(candidate: Candidate, content: str, model: str, vector: Vector, source: dict[str, Any]) -> Point:
    """A point for a file whose content another point, with payload *source*, already has a vector of."""
    return _point(candidate, content, model, vector, stored.picture_facts(source))


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
