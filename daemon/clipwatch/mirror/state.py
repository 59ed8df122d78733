"""What the mirror has done, and how its store is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clipwatch.errors import CollectionMissing, StoreRejected
from clipwatch.mirror.pauses import pause_seconds

PARKED_SECONDS: Final = 30.0
"""How long writing rests after the store refused for a reason that only the operator can remove."""


@dataclass(slots=True)
class Counts:
    """What has been done since the start, or since a `sync` began."""

    embedded: int = 0
    reused: int = 0
    refreshed: int = 0
    deleted: int = 0
    rejected: int = 0

    def minus(self, earlier: Counts) -> Counts:
        """What was done since *earlier*."""
        return Counts(
            self.embedded - earlier.embedded,
            self.reused - earlier.reused,
            self.refreshed - earlier.refreshed,
            self.deleted - earlier.deleted,
            self.rejected - earlier.rejected,
        )

    def copy(self) -> Counts:
        """As of now."""
        return self.minus(Counts())


@dataclass(slots=True)
class StoreState:
    """What is known of the store's health."""

    available: bool = True
    trouble: str = ""
    ready: bool = False
    """The collection has been found or made."""
    refused: bool = False
    """The last write was: what reads say does not end that."""
    parked_until: float = 0.0
    missing: int = 0
    """How often in a row the collection was said to be missing, with no write taken in between."""

    def changed(self, available: bool, reason: str) -> None:
        """It went away or came back."""
        if not (available and self.refused):
            self.available, self.trouble = available, reason

    def answered(self) -> None:
        """It did what was asked, and that was no write."""
        self.changed(True, "")

    def wrote(self) -> None:
        """It took a write."""
        self.available, self.trouble, self.refused, self.missing = True, "", False, 0

    def lost(self, error: CollectionMissing, now: float) -> None:
        """The collection is missing though it was found before; said again and again, it is looked for more rarely."""
        self.ready = False
        self.missing += 1
        if self.missing > 1:
            self.available, self.trouble, self.refused = False, error.sentence(), True
            self.parked_until = now + pause_seconds(self.missing - 1)

    def park(self, error: StoreRejected, now: float, *, writing: bool) -> bool:
        """It refuses, and only the operator can end that; whether this is news."""
        is_news = self.trouble != error.sentence()
        self.available, self.trouble = False, error.sentence()
        self.refused = self.refused or writing
        self.parked_until = now + PARKED_SECONDS
        return is_news
