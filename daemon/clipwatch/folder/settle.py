"""Which files stood still for long enough to be read; pure: the caller brings the samples and the time."""

from __future__ import annotations

import heapq
import math
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

from clipwatch.records import Signature

Key = bytes
"""A path below the folder."""

COARSE_SECONDS: Final = 2.0
"""FAT keeps even seconds; within one tick such a file can change again with the same times."""

_SECOND_NS: Final = 1_000_000_000
_ENTRY: Final = struct.Struct("<24sd")


def required_seconds(signature: Signature, settle_seconds: float) -> float:
    """How long *signature* must have been seen unchanged; longer where the file system keeps whole seconds only."""
    if signature.mtime_ns % _SECOND_NS == 0 and signature.ctime_ns % _SECOND_NS == 0:
        return max(settle_seconds, COARSE_SECONDS)
    return settle_seconds


class Settling:
    """Files that are waiting to stand still. Not thread-safe; about 200 bytes a file beside its key.

    For one folder. *now* is monotonic seconds throughout.
    """

    def __init__(self, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        self._entries: dict[Key, bytes] = {}
        self._queue: list[tuple[float, Key]] = []
        self._ready: dict[Key, None] = {}

    def observe(self, key: Key, signature: Signature, now: float) -> None:
        """A sample of a file; the wait starts at its first sight, and again whenever its signature changed."""
        packed = signature.pack()
        known = self._entries.get(key)
        if known is not None and known.startswith(packed):
            return
        ready_at = now + required_seconds(signature, self.settle_seconds)
        self._entries[key] = _ENTRY.pack(packed, ready_at)
        self._ready.pop(key, None)
        heapq.heappush(self._queue, (ready_at, key))
        if len(self._queue) > 2 * len(self._entries) + 1000:
            self._queue = [(at, k) for at, k in self._queue if self._is_current(at, k)]
            heapq.heapify(self._queue)

    def ready(self, now: float, most: int | None = None) -> list[Key]:
        """Files whose wait is over, up to *most*, in the order they became so.

        They stay until `forget` or a changed sample.
        """
        while self._queue and self._queue[0][0] <= now:
            ready_at, key = heapq.heappop(self._queue)
            if self._is_current(ready_at, key):
                self._ready[key] = None
        return list(islice(self._ready, most))

    def next_ready(self) -> float | None:
        """When the next file is ready, -infinity where one is already; None when none waits."""
        if self._ready:
            return -math.inf
        while self._queue and not self._is_current(*self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def waiting_since(self) -> float | None:
        """Since when the file that has waited longest stood still; None when none waits."""
        self.next_ready()
        key = next(iter(self._ready), None) or (self._queue[0][1] if self._queue else None)
        if key is None:
            return None
        packed, ready_at = _ENTRY.unpack(self._entries[key])
        return float(ready_at) - required_seconds(Signature.unpack(packed), self.settle_seconds)

    def signature(self, key: Key) -> Signature | None:
        """What was last observed of a file that waits."""
        entry = self._entries.get(key)
        return None if entry is None else Signature.unpack(_ENTRY.unpack(entry)[0])

    def forget(self, key: Key) -> None:
        """Done with, or gone."""
        self._entries.pop(key, None)
        self._ready.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def _is_current(self, ready_at: float, key: Key) -> bool:
        entry = self._entries.get(key)
        return entry is not None and _ENTRY.unpack(entry)[1] == ready_at
