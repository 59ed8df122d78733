"""Every way in which a call on qdrant-client fails, said in our words: the one place that knows its exceptions.

The client has five families for REST (`UnexpectedResponse`, `ResponseHandlingException`, `QdrantException`,
bare `ValueError` for an answer that is no JSON, `AssertionError` for a null result) and `grpc.RpcError`. All
are reduced to an HTTP status and words; `classify` says who must act on those.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

import grpc
import httpx
from pydantic_core import PydanticSerializationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from clipwatch.errors import (
    ClipwatchError,
    CollectionMissing,
    PointRefused,
    RequestTooLarge,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
    UpsertRefused,
)
from clipwatch.store.classify import STATUS_OF_CODE, UPSERT, Actor, classify

CLIENT_ERRORS: Final = (ApiException, QdrantException, grpc.RpcError, ValueError, AssertionError)
"""What a call may raise; `ValueError` covers JSON, Unicode and serialisation errors."""

RETRY_AFTER_CAP_SECONDS: Final = 60.0
_WORDS_CAP_CHARACTERS: Final = 300


class StoreConflict(StoreRejected):
    """What should be created is there already (409)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a call spoke to, for sentences; *secret* is cut out of whatever the other side says.

    *proxy*: what stands between, with the variable that names it; "" for nothing.
    """

    address: str
    collection: str
    secret: str = ""
    proxy: str = ""

    @property
    def where(self) -> str:
        """The address, with the proxy on the way to it."""
        return f"{self.address} (through the proxy {self.proxy})" if self.proxy else self.address

    def words(self, text: str) -> str:
        """Foreign text as one short printable line without the key."""
        if self.secret:
            text = text.replace(self.secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _WORDS_CAP_CHARACTERS else line[: _WORDS_CAP_CHARACTERS - 1] + "…"


def lost_connection(error: BaseException) -> bool:
    """Whether nobody, or nobody sane, was at the other end: a reason to look after our own engine."""
    return isinstance(error, ResponseHandlingException) and isinstance(error.source, httpx.TransportError)


def translate(error: BaseException, operation: str, origin: Origin) -> ClipwatchError:
    """The error of ours that says what to do about *error*, raised by *operation* (a word such as "upsert")."""
    if isinstance(error, UnexpectedResponse):
        return _by_status(error.status_code or 0, _error_words(error.content), operation, origin, error.headers)
    if isinstance(error, ResourceExhaustedResponse):
        return _rate_limited(origin, str(error), float(error.retry_after_s))
    if isinstance(error, QdrantException):
        return _rate_limited(origin, str(error), None)
    if isinstance(error, ResponseHandlingException):
        return _by_source(error.source, origin)
    if isinstance(error, grpc.RpcError):
        return _by_code(error, operation, origin)
    if isinstance(error, (PydanticSerializationError, UnicodeEncodeError)):
        unwritable = f"The store's request cannot be written: {origin.words(str(error))}."
        return PointRefused(unwritable) if operation == UPSERT else StoreRejected(unwritable)
    return _garbage(error, origin)


def not_completed(status: object, origin: Origin) -> StoreUnavailable:
    """A write that was answered without having been done (`acknowledged`, `wait_timeout`)."""
    said = origin.words(str(getattr(status, "value", status)))
    return StoreUnavailable(f"The store at {origin.where} has taken a write but not finished it ({said}).")


def _by_source(source: Exception, origin: Origin) -> ClipwatchError:
    if isinstance(source, httpx.TimeoutException):
        return _timeout(origin)
    if isinstance(source, httpx.ConnectError):
        return _refused(origin, str(source))
    if isinstance(source, httpx.TransportError):
        reason = origin.words(str(source)) or type(source).__name__
        return StoreUnavailable(f"The connection to the store at {origin.where} broke: {reason}.")
    return _garbage(source, origin)


def _by_code(error: grpc.RpcError, operation: str, origin: Origin) -> ClipwatchError:
    # An error that ends a call is a grpc.Call as well; anything less has no code and is an outage.
    code = error.code() if isinstance(error, grpc.Call) else None
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return _timeout(origin)
    if code is grpc.StatusCode.UNAVAILABLE:
        return _refused(origin, details)
    return _by_status(STATUS_OF_CODE.get(code, 503) if code else 503, details, operation, origin, None)


def _by_status(status: int, text: str, operation: str, origin: Origin, headers: httpx.Headers | None) -> ClipwatchError:
    words = (origin.words(text) or "no reason given").rstrip(".!")
    said = f"The store at {origin.where} answered {status} to {operation}: {words}."
    if status in (401, 403):
        said = f"The store at {origin.where} does not let us in ({status}: {words})."
    judged = classify(status, text, call=operation, collection=origin.collection)
    match judged.actor:
        case Actor.TIME:
            return StoreUnavailable(said, hint=judged.hint, retry_after_seconds=_retry_after(headers))
        case Actor.RATE:
            return _rate_limited(origin, text, _retry_after(headers))
        case Actor.CREATOR:
            return CollectionMissing(f"The collection {origin.collection} does not exist at {origin.where}.")
        case Actor.RIVAL:
            return StoreConflict(said)
        case Actor.SENDER:
            return RequestTooLarge(said, hint=judged.hint, limit=judged.limit, most=judged.most)
        case Actor.POINT:
            return PointRefused(said, points=judged.points)
        case Actor.UNCLEAR:
            return UpsertRefused(said, hint=judged.hint)
        case Actor.OPERATOR:
            return StoreRejected(said, hint=judged.hint, limit=judged.limit)


def _refused(origin: Origin, reason: str) -> StoreUnavailable:
    words = origin.words(reason) or "no answer"
    hint = "Check that it runs and that store.url is right."
    if origin.proxy:
        hint += " To dial it straight, name its host in no_proxy."
    if re.search("certificate|ssl|verification", reason, re.IGNORECASE):
        hint = "Check the certificate, and store.tls_ca_file for an authority of your own."
    return StoreUnavailable(f"The store at {origin.where} cannot be reached: {words}.", hint=hint)


def _timeout(origin: Origin) -> StoreUnavailable:
    return StoreUnavailable(
        f"The store at {origin.where} did not answer in time.", hint="Raise store.timeout_seconds if it is only slow."
    )


def _rate_limited(origin: Origin, text: str, asked_seconds: float | None) -> StoreBusy:
    words = origin.words(text) or "too many requests"
    asked = None if asked_seconds is None else min(max(asked_seconds, 0.0), RETRY_AFTER_CAP_SECONDS)
    return StoreBusy(f"The store at {origin.where} asks us to wait: {words}.", retry_after_seconds=asked)


def _garbage(error: BaseException, origin: Origin) -> StoreUnavailable:
    reason = origin.words(str(error)) or type(error).__name__
    return StoreUnavailable(
        f"The store at {origin.where} gave an answer that makes no sense: {reason}.",
        hint="Check that store.url is the address of a Qdrant server, and what stands between.",
    )


def _retry_after(headers: httpx.Headers | None) -> float | None:
    asked = headers.get("retry-after", "") if headers is not None else ""
    return min(float(asked), RETRY_AFTER_CAP_SECONDS) if asked.isdecimal() and asked.isascii() else None


def _error_words(content: bytes) -> str:
    """What an answer says went wrong: Qdrant's `status.error`, else its body as it stands."""
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, LookupError, TypeError):
        return content[:4096].decode("utf-8", "replace")
