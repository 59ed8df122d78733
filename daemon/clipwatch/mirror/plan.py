"""What to do about a difference: pure functions over values, no clock, no files, no store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clipwatch.mirror.ledger import Known
from clipwatch.records import Reason, Signature

HOLD_POINTS: Final = 50
"""Fewer deletes than this within the hold time are never an unusual share (but see `EVERYTHING_GONE`)."""


def reason_for(signature: Signature, known: Known | None) -> Reason | None:
    """Why a file that is there needs work; None where its point says all the same."""
    if known is None:
        return Reason.NEW
    if known.model != 0:
        return Reason.MODEL
    if known.signature != signature.pack():
        return Reason.CHANGED
    return None


class Verdict(StrEnum):
    """What becomes of a point whose file a complete look did not meet."""

    DELETE = "delete"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Unmet:
    """A point without a file, with what proof there is.

    *path*: as its payload says, None where that is not ours or the id is not the path's.
    *admitted*: whether the rules still let such a path be an image. *absent*: the file system said "no such file".
    *unreadable_above*: the look could not read a directory above it.
    """

    path: bytes | None
    admitted: bool
    absent: bool
    unreadable_above: bool


def verdict_for(unmet: Unmet) -> Verdict:
    """Gone means "no such file", or never one of ours; every other trouble means still there."""
    if unmet.path is None or not unmet.admitted:
        return Verdict.DELETE
    if unmet.absent and not unmet.unreadable_above:
        return Verdict.DELETE
    return Verdict.KEEP


class HoldReason(StrEnum):
    """Why deletes are in doubt."""

    UNUSUAL_SHARE = "unusual_share"
    EVERYTHING_GONE = "everything_gone"


def hold_reason(*, points: int, gone: int, deleted_lately: int, fraction: float) -> HoldReason | None:
    """Whether *gone* deletes are in doubt, for a folder of *points* points.

    *gone* and *deleted_lately* (within the hold time) leave out renames: those lose nothing.
    """
    if gone == 0:
        return None
    if gone >= points:
        return HoldReason.EVERYTHING_GONE
    total = gone + deleted_lately
    if total > HOLD_POINTS and total > fraction * (points + deleted_lately):
        return HoldReason.UNUSUAL_SHARE
    return None


def must_wait_for_rename(size: int, pending_sizes: Collection[int]) -> bool:
    """Whether a gone file may yet turn out to have been renamed: something pending has its size.

    Its vector is then wanted, so the point stays until the pending file has been read.
    """
    return size in pending_sizes


def cut_to_first(paths: Collection[bytes], most: int) -> set[bytes]:
    """The first *most* of *paths* by their bytes; all of them where *most* is 0."""
    return set(sorted(paths)[:most]) if most else set(paths)
