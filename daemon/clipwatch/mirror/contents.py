"""Which contents the collection has a vector of: the only state of the owner that decode workers' threads read."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from clipwatch.mirror.ledger import Ledger, content_key


class ContentIndex:
    """Over the ledgers of all folders. One thread writes, any thread asks.

    The mapping of ledgers is replaced as a whole and never changed, and each ledger locks what it answers from.
    """

    def __init__(self) -> None:
        self._ledgers: Mapping[str, Ledger] = {}
        self._lock = threading.Lock()
        self._unusable: set[str] = set()
        """Contents that a ledger names and whose vector the store turned out not to have."""

    def publish(self, folder: str, ledger: Ledger | None) -> None:
        """From now on *ledger* says what *folder* has; None: nothing is known of the folder."""
        others = {name: known for name, known in self._ledgers.items() if name != folder}
        self._ledgers = others if ledger is None else {**others, folder: ledger}

    def points(self, keys: Sequence[bytes]) -> list[int]:
        """For each `ledger.content_key`, how many points of all folders made by the present model have it."""
        counts = [ledger.content_points(keys) for ledger in self._ledgers.values()]
        return [sum(points) for points in zip(*counts, strict=True)] if counts else [0] * len(keys)

    def has(self, content: str) -> bool:
        """Whether some point has a vector of this content that can be used again."""
        with self._lock:
            usable = content not in self._unusable
        return usable and self.points([content_key(content)])[0] > 0

    def is_unusable(self, content: str) -> None:
        """The store does not have its vector: files with this content are decoded."""
        with self._lock:
            self._unusable.add(content)

    def is_usable(self, content: str) -> None:
        """A point with this content was written."""
        with self._lock:
            self._unusable.discard(content)
