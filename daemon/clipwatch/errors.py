"""One exception tree, sorted by *who must act*.

The image (`FileRejected`), the operator (`ConfigError`, `ModelError`, `StoreRejected`, `LockHeld`),
time (`FolderUnavailable`, `FileNotReady`, `StoreUnavailable`), or us (anything else: a bug).
Exceptions of libraries are translated where they enter, `from` their cause.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ClipwatchError(Exception):
    """Something a person can understand and, with `hint`, cure."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def sentence(self) -> str:
        """The message and the cure on one line, as the command line prints it."""
        return f"{self.message} {self.hint}".strip()


class ConfigError(ClipwatchError):
    """The configuration or the command line is wrong; trying again changes nothing."""

    exit_status = 2


class OwnedElsewhere(ConfigError):
    """A folder name's points belong to another machine, or to another folder of this one."""


class ModelError(ClipwatchError):
    """The model file is missing, broken, or not what it must be; trying again changes nothing."""

    exit_status = 2


class ModelUnavailable(ModelError):
    """The hub that has the model does not answer now; the same call may succeed later."""

    exit_status = 3


class Interrupted(ClipwatchError):
    """Somebody wants this program to end before it has begun."""


class LockHeld(ClipwatchError):
    """Another process owns the embedded store or the folder."""

    exit_status = 4


class FolderUnavailable(ClipwatchError):
    """A watched folder is absent, replaced or not mounted; removals wait until it is back."""


class FileNotReady(ClipwatchError):
    """A file is still changing, or went away while it was looked at; look again later."""


class DecodeUnavailable(FileNotReady):
    """No decode worker can be started now; no file is to blame, and each is looked at again."""


class DecoderKilled(FileNotReady):
    """A decode worker was killed from outside, or for want of memory; its file is tried again alone."""


class RejectReason(StrEnum):
    """Why a file has no point; each value is a stable word of the log and of `verify`."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    NOT_REGULAR = "not_regular"
    UNREADABLE = "unreadable"
    BAD_VECTOR = "bad_vector"
    STORE_REFUSED = "store_refused"


class FileRejected(ClipwatchError):
    """One file cannot have a point until it, or the limits, change."""

    def __init__(self, reason: RejectReason, message: str, *, hint: str = "", other_format: str = "") -> None:
        """*other_format*: the file holds a picture, in this format, which cannot be decoded here."""
        super().__init__(message, hint=hint)
        self.reason = reason
        self.other_format = other_format


class StoreUnavailable(ClipwatchError):
    """The store does not answer now; the same call may succeed later.

    *retry_after_seconds* is what the store asked for, or None.
    """

    exit_status = 3

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class StoreBusy(StoreUnavailable):
    """The store is well and asks us to come back later (429): nothing was done, and nothing is in doubt."""


class CollectionMissing(StoreUnavailable):
    """The collection itself is gone (a 404 that names it); it is created again and filled anew."""


class StoreRejected(ClipwatchError):
    """The store refuses, and will refuse again until the operator acts.

    *limit*: the setting of the collection's strict mode that is in the way, or "".
    """

    def __init__(self, message: str, *, hint: str = "", limit: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class RequestTooLarge(StoreRejected):
    """The request was over a limit in bytes or in items; a smaller one may pass.

    *most*: how many items a request may have or ask for, or None where the answer does not tell.
    """

    def __init__(self, message: str, *, hint: str = "", limit: str = "", most: int | None = None) -> None:
        super().__init__(message, hint=hint, limit=limit)
        self.most = most


class PointRefused(StoreRejected):
    """One point of the request is refused for its own sake.

    *points*: the ids that the store's words name; empty where they speak of a place in the request.
    """

    def __init__(self, message: str, *, hint: str = "", points: frozenset[str] = frozenset()) -> None:
        super().__init__(message, hint=hint)
        self.points = points


class UpsertRefused(StoreRejected):
    """Points were refused (400, 422) in words that do not tell whether the store or one of them is to blame."""
