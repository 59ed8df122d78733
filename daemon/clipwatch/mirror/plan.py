"""What to do about a difference: pure functions over values, no clock, no files, no store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clipwatch.errors import RejectReason
from clipwatch.mirror.ledger import Known
from clipwatch.mirror.notebook import Rejection
from clipwatch.payload import UNLIKE
from clipwatch.records import Reason, Signature

TRY_EACH_LOOK: Final = frozenset({RejectReason.UNREADABLE, RejectReason.STORE_REFUSED})
"""Trouble that may heal with the file as it is: tried again at each look, and told only once."""

KEEPS_ITS_POINT: Final = TRY_EACH_LOOK
"""And it says nothing about what is in the file: its point is not taken away."""

RETRY_CRASHED_SECONDS: Final = 3600.0
"""A file that brought a process down is left alone for this long: looks are more frequent than that."""


def reason_for(signature: Signature, known: Known | None) -> Reason | None:
    """Why a file that is there needs work; None where its point says all the same."""
    if known is None:
        return Reason.NEW
    if known.model != 0:
        return Reason.MODEL
    if known.signature != signature.pack():
        return Reason.CHANGED
    return None


def differs_in_ctime_alone(signature: Signature, known: Known | None) -> bool:
    """Whether a file's point, made by the present model, says all the same of it but `ctime_ns`.

    A link made or removed elsewhere does that to a file, and so does who overwrites it and sets its mtime back: only
    its content tells.
    """
    if known is None or known.model != 0:
        return False
    stored = Signature.unpack(known.signature)
    return (stored.size, stored.mtime_ns) == (signature.size, signature.mtime_ns) and stored.ctime_ns not in (
        signature.ctime_ns,
        UNLIKE,
    )


def is_same_but_ctime(noted: bytes, signature: Signature) -> bool:
    """Whether a file has the size and mtime of a *noted* (packed) signature, whatever its ctime."""
    if len(noted) != len(signature.pack()):
        return False  # Of what was no regular file.
    before = Signature.unpack(noted)
    return (before.size, before.mtime_ns) == (signature.size, signature.mtime_ns)


def may_have_healed(rejection: Rejection, now: float) -> bool:
    """Whether a file that is as it was when it was rejected is tried again *now* (seconds since the epoch)."""
    if rejection.reason is RejectReason.CRASHED:
        return not 0 <= now - rejection.at < RETRY_CRASHED_SECONDS
    return rejection.reason in TRY_EACH_LOOK


class Verdict(StrEnum):
    """What becomes of a point whose file a complete look did not meet."""

    DELETE = "delete"
    KEEP = "keep"
    WAIT = "wait"
    """Kept, and told: it lies below a mount point at which nothing is mounted now."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """A point without a file, with what proof there is.

    *path*: as its payload says, None where that is not ours or the id is not the path's.
    *admitted*: whether the rules still let such a path be an image. *absent*: the file system said "no such file".
    *unreadable_above*: the look could not read a directory above it. *unmounted_above*: a mount point above it, or its
    own path, was seen once and nothing is mounted there now.
    """

    path: bytes | None
    admitted: bool
    absent: bool
    unreadable_above: bool
    unmounted_above: bool = False


def verdict_for(unmet: Unmet) -> Verdict:
    """Gone means "no such file", or never one of ours; every other trouble means still there."""
    if unmet.path is None or not unmet.admitted:
        return Verdict.DELETE
    if not unmet.absent or unmet.unreadable_above:
        return Verdict.KEEP
    return Verdict.WAIT if unmet.unmounted_above else Verdict.DELETE


def cut_to_first(paths: Collection[bytes], most: int) -> set[bytes]:
    """The first *most* of *paths* by their bytes; all of them where *most* is 0."""
    return set(sorted(paths)[:most]) if most else set(paths)
