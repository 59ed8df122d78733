"""What Qdrant servers say when they refuse: status and words over REST, code over gRPC, and who must act.

The words are those of Qdrant 1.18 and 1.19 (some as recorded from a real server), actix and common proxies.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from clipwatch.errors import (
    ClipwatchError,
    CollectionMissing,
    RequestTooLarge,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
    UpsertRefused,
)

Code = grpc.StatusCode


@dataclass(frozen=True)
class Said:
    """One refusal of a write that has nothing to do with any picture. *code*: None where gRPC has no such answer."""

    words: str
    status: int
    code: grpc.StatusCode | None
    upsert: type[ClipwatchError]
    scroll: type[ClipwatchError]
    hint: str = ""
    """What the cure must name."""


_TIME, _OPERATOR, _SIZE = StoreUnavailable, StoreRejected, RequestTooLarge
_LOST = "{collection}"

REFUSALS = {
    "precondition": Said(
        "Pre-condition failure: The shard 0 has no local replica on this peer",
        500,
        Code.FAILED_PRECONDITION,
        _TIME,
        _TIME,
    ),
    "locked": Said(
        "Storage locked: Write operations are forbidden",
        403,
        Code.FAILED_PRECONDITION,
        _OPERATOR,
        _OPERATOR,
        "unlock",
    ),
    "too few replicas": Said(
        "Service internal error: The replica set for shard 0 on peer 1 has not enough active replicas",
        500,
        Code.INTERNAL,
        _TIME,
        _TIME,
    ),
    "timeout": Said("Timeout: Operation 'upsert' timed out after 60s", 408, Code.DEADLINE_EXCEEDED, _TIME, _TIME),
    "shard unavailable": Said("Shard temporarily unavailable", 503, Code.UNAVAILABLE, _TIME, _TIME),
    "quota": Said(
        "Insufficient storage: disk usage 95% reached 90%", 507, Code.RESOURCE_EXHAUSTED, _TIME, _TIME, "disk"
    ),
    "rate limit": Said(
        "Rate limiting exceeded: Write rate limit exceeded: Operation requires 3 tokens but only 2.0 were available",
        429,
        Code.RESOURCE_EXHAUSTED,
        StoreBusy,
        StoreBusy,
    ),
    "points count": Said(
        "Bad request: Max points count limit of 100 reached!",
        400,
        Code.INVALID_ARGUMENT,
        _OPERATOR,
        _OPERATOR,
        "max_points_count",
    ),
    "vector size": Said(
        "Bad request: Max vector storage size limit of 0.5MB reached!",
        400,
        Code.INVALID_ARGUMENT,
        _OPERATOR,
        _OPERATOR,
        "max_collection_vector_size_bytes",
    ),
    "payload size": Said(
        "Bad request: Max payload storage size limit of 0.5MB reached!",
        400,
        Code.INVALID_ARGUMENT,
        _OPERATOR,
        _OPERATOR,
        "max_collection_payload_size_bytes",
    ),
    "resident memory": Said(
        "Bad request: Resident memory usage 91% is above max_resident_memory_percent 85%",
        400,
        Code.INVALID_ARGUMENT,
        _TIME,
        _TIME,
        "memory",
    ),
    "upsert batch": Said(
        'Bad request: Limit exceeded 25 > 0 for "upsert limit". Help: Reduce the "upsert limit" parameter.',
        400,
        Code.INVALID_ARGUMENT,
        _SIZE,
        _SIZE,
        "upsert_max_batchsize",
    ),
    "filter conditions": Said(
        "Bad request: Filter condition limit reached (3 > 2). Help: Reduce the amount of conditions of your filter.",
        400,
        Code.INVALID_ARGUMENT,
        _OPERATOR,
        _OPERATOR,
        "filter_max_conditions",
    ),
    "no index": Said(
        'Bad request: Index required but not found for "folder" of one of the following types: [keyword].',
        400,
        Code.INVALID_ARGUMENT,
        _OPERATOR,
        _OPERATOR,
        "unindexed_filtering",
    ),
    "custom sharding": Said(
        "Wrong input: Shard key not specified", 400, Code.INVALID_ARGUMENT, _OPERATOR, _OPERATOR, "custom sharding"
    ),
    "wrong dimension": Said(
        "Wrong input: Vector dimension error: expected dim: 4, got 8",
        400,
        Code.INVALID_ARGUMENT,
        _OPERATOR,
        _OPERATOR,
        "this model",
    ),
    "too large": Said(
        "Payload error: JSON payload (34 MB) is larger than allowed (limit: 33 MB).", 400, None, _SIZE, _SIZE, "limit"
    ),
    "too large, in chunks": Said(
        "Payload error: JSON payload has exceeded limit (33554432 bytes).", 400, None, _SIZE, _SIZE, "limit"
    ),
    "standalone": Said("Qdrant is running in standalone mode", 405, Code.UNIMPLEMENTED, _OPERATOR, _OPERATOR),
    "forbidden": Said(
        "Forbidden: Global manage access is required",
        403,
        Code.PERMISSION_DENIED,
        _OPERATOR,
        _OPERATOR,
        "store.api_key",
    ),
    "no key": Said("Must provide an API key", 401, Code.UNAUTHENTICATED, _OPERATOR, _OPERATOR, "store.api_key"),
    "collection gone": Said(
        f"Not found: Collection `{_LOST}` doesn't exist!", 404, Code.NOT_FOUND, CollectionMissing, CollectionMissing
    ),
    "gone behind an alias": Said(
        f"Not found: Collection `{_LOST}-0123456789ab` doesn't exist!", 404, Code.NOT_FOUND, _TIME, _TIME
    ),
    "log full": Said(
        "Service internal error: No space left on device: WAL buffer size exceeds available disk space",
        500,
        Code.INTERNAL,
        _TIME,
        _TIME,
        "disk",
    ),
    "words that nobody knows": Said(
        "Bad request: The moon is in the wrong house", 400, Code.INVALID_ARGUMENT, UpsertRefused, _OPERATOR
    ),
    "a body that cannot be read": Said(
        "Format error in JSON body: unknown field `payload`, expected `load` at line 1 column 63",
        400,
        Code.INVALID_ARGUMENT,
        UpsertRefused,
        _OPERATOR,
    ),
    "a validation without a place": Said(
        "Validation error in JSON body: [points: too many cooks]", 422, Code.INVALID_ARGUMENT, UpsertRefused, _OPERATOR
    ),
    "another collection's id": Said(
        "Wrong input: Collection of tenant 8d7ff8a8-5d54-4c5c-9b8e-0b7b4cf0a4c5 is closed",
        400,
        Code.INVALID_ARGUMENT,
        UpsertRefused,
        _OPERATOR,
    ),
}
"""By what happened."""
