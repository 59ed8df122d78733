"""Who must act on a store's refusal: one pure function over status, words and kind of call.

The words are those of Qdrant 1.10 to 1.19 and of the proxies in front of it. A gRPC code is turned into the status that
the same error has over REST, so that both are judged by the same rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import grpc

STATUS_OF_CODE: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""The server's own mapping from errors to codes, turned round; every other code is a 503."""

UPSERT: Final = "upsert"
"""The only call that carries points; no other can be refused for the sake of one."""


class Actor(StrEnum):
    """Who can make the same call succeed."""

    TIME = "time"
    """Nobody needs to: the same call may succeed later."""
    RATE = "rate"
    """Time, and the server says how much: it is well and asks for fewer requests."""
    CREATOR = "creator"
    """Whoever makes collections: this one does not exist."""
    RIVAL = "rival"
    """Nobody: what should be created is there already."""
    SENDER = "sender"
    """We: a smaller request, or a smaller page, may pass."""
    POINT = "point"
    """Nobody while the picture stays as it is: the words are about one point of the request."""
    OPERATOR = "operator"
    """A person: the store, the collection or the settings must change."""
    UNCLEAR = "unclear"
    """A person, or one point of the upsert is to blame: the words do not tell."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who must act, and what to tell a person."""

    actor: Actor
    hint: str = ""
    limit: str = ""
    """The setting of the collection's strict mode that the words speak of."""
    most: int | None = None
    """With `Actor.SENDER`: how many items at a time are allowed, where the words tell."""
    points: frozenset[str] = frozenset()
    """With `Actor.POINT`: the ids that the words name; empty where they speak of a place in the request."""


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_NO_SPACE: Final = _words(r"no space left|disk (is )?full|insufficient storage|not enough (disk )?space")
_MEMORY: Final = _words(r"max_(resident_memory|disk_usage)_percent|resident memory|disk usage")
_LOCKED: Final = _words(r"storage (is )?locked|write operations are forbidden")
_TOO_LARGE: Final = _words(r"larger than (allowed|max)|too large|exceeded limit \(|size limit")
_SHAPE: Final = _words(r"vector dimension|expected dim|vector name|not existing vector")
_SHARD_KEY: Final = _words(r"shard key")
_MISSING: Final = _words(r"collection\W+([^`'\"\s]+)\W+doesn't exist")
_POSITION: Final = _words(r"\bpoints?\[\d+\]")
_UUID: Final = _words(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_MOST: Final = re.compile(r"\d+ > (\d+)")

_BY_SENDER: Final = (
    (_words(r'exceeded \d+ > \d+ for "upsert limit"'), "upsert_max_batchsize"),
    (_words(r'exceeded \d+ > \d+ for "limit"'), "max_query_limit"),
    (_words(r"condition size limit"), "condition_max_size"),
)
"""Limits of a collection's strict mode that a smaller request keeps (qdrant, operations/verification)."""

_BY_OPERATOR: Final = (
    (_words(r"max points count limit"), "max_points_count"),
    (_words(r"max vector storage size limit"), "max_collection_vector_size_bytes"),
    (_words(r"max payload storage size limit"), "max_collection_payload_size_bytes"),
    (_words(r"filter condition limit"), "filter_max_conditions"),
    (_words(r"exact search disabled"), "search_allow_exact"),
    (_words(r"maximum number of payload ind"), "max_payload_index_count"),
    (_words(r'for "oversampling"'), "search_max_oversampling"),
    (_words(r'for "hnsw_ef"'), "search_max_hnsw_ef"),
    (_words(r'for "timeout"'), "max_timeout"),
    (_words(r"index required but not found"), "unindexed_filtering"),
)
"""Those that only their owner can change."""

_KEY_HINT: Final = "Set store.api_key, or store.api_key_file, to a key that may read and write this collection."
_VERSION_HINT: Final = "Check that store.url is the address of a Qdrant server, and its version 1.10 or newer."
_SIZE_HINT: Final = "Raise the request limit of the store, or of the proxy in front of it, or lower batch.size."


def classify(status: int, words: str, *, call: str, collection: str) -> Judgement:
    """Who must act on an answer of *status* with *words* to *call* (such as "upsert") on *collection*.

    Only words about one very point lead to `Actor.POINT`. Words that nobody knows never do.
    """
    if status == 507 or _NO_SPACE.search(words):
        return Judgement(Actor.TIME, "Free disk space where the store keeps its data.")
    if status in (400, 403, 412, 422):
        known = _known_words(status, words, call, collection)
        if known is not None:
            return known
    if status == 413 or (status in (400, 422, 429) and _TOO_LARGE.search(words)):
        return Judgement(Actor.SENDER, _SIZE_HINT)
    if status in (400, 422):
        return _of_the_content(words, call)
    if status == 404:
        return _not_found(words, call, collection)
    if status in (401, 403):
        return Judgement(Actor.OPERATOR, _KEY_HINT)
    if status == 409:
        return Judgement(Actor.RIVAL)
    if status == 429:
        return Judgement(Actor.RATE)
    if status == 501:
        return Judgement(Actor.OPERATOR, "Update the Qdrant server: version 1.10 or newer is needed.")
    if status >= 500 or status in (0, 200, 204, 408, 412, 425):
        return Judgement(Actor.TIME)
    return Judgement(Actor.OPERATOR, "Check store.url.")


def _known_words(status: int, words: str, call: str, collection: str) -> Judgement | None:
    """What the state of the store or of the collection is to blame for, by its words."""
    if _LOCKED.search(words):
        return Judgement(Actor.OPERATOR, "Somebody has locked the server against writes: unlock it (POST /locks).")
    if _MEMORY.search(words):
        return Judgement(Actor.TIME, "The server limits its memory or disk: give it more, or raise that limit.")
    for pattern, limit in _BY_SENDER:
        if pattern.search(words):
            most = _MOST.search(words)
            return Judgement(Actor.SENDER, strict_hint(limit, collection), limit, int(most[1]) if most else None)
    for pattern, limit in _BY_OPERATOR:
        if pattern.search(words):
            if limit == "unindexed_filtering":
                limit += "_update" if call in ("delete", "refresh") else "_retrieve"
            return Judgement(Actor.OPERATOR, strict_hint(limit, collection), limit)
    if _SHARD_KEY.search(words):
        return Judgement(
            Actor.OPERATOR,
            f"The collection {collection} has custom sharding, which clipwatch does not use: set store.collection "
            "to a new name.",
        )
    if status in (400, 422) and _SHAPE.search(words):
        return Judgement(Actor.OPERATOR, "See that the collection was made for this model and by this program.")
    return None


def _of_the_content(words: str, call: str) -> Judgement:
    if call != UPSERT:
        return Judgement(Actor.OPERATOR, "The words are the server's; its log may say more.")
    named = frozenset(match.lower() for match in _UUID.findall(words))
    if named or _POSITION.search(words):
        return Judgement(Actor.POINT, points=named)
    return Judgement(Actor.UNCLEAR, "The words are the server's; its log may say more.")


def _not_found(words: str, call: str, collection: str) -> Judgement:
    if re.search(rf"collection\W+{re.escape(collection)}(?![\w-])", words, re.IGNORECASE):
        return Judgement(Actor.CREATOR)
    if _MISSING.search(words) and call != "alias":
        # Our name is an alias, and this node of a cluster has not heard yet what it means now.
        return Judgement(Actor.TIME)
    return Judgement(Actor.OPERATOR, _VERSION_HINT)


def strict_hint(limit: str, collection: str) -> str:
    """What to do about *limit* of a collection's strict mode."""
    return (
        f"Strict mode of the collection {collection} sets {limit}: change it there "
        f"(PATCH /collections/{collection}, strict_mode_config)."
    )


def blames(judged: frozenset[str], point_id: str) -> bool:
    """Whether a refusal that names the ids *judged* is about the only point of its request, *point_id*."""
    return not judged or point_id.lower() in judged
