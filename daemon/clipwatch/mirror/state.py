"""What the mirror has done, and how its store is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clipwatch.errors import StoreRejected

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

    def changed(self, available: bool, reason: str) -> None:
        """It went away or came back."""
        if not (available and self.refused):
            self.available, self.trouble = available, reason

    def answered(self) -> None:
        """It did what was asked, and that was no write."""
        self.changed(True, "")

    def wrote(self) -> None:
        """It took a write."""
        self.available, self.trouble, self.refused = True, "", False

    def park(self, error: StoreRejected, now: float, *, writing: bool) -> bool:
        """It refuses, and only the operator can end that; whether this is news."""
        is_news = self.trouble != error.sentence()
        self.available, self.trouble = False, error.sentence()
        self.refused = self.refused or writing
        self.parked_until = now + PARKED_SECONDS
        return is_news
