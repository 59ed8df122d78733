"""Files that differ from the collection and wait to be settled and taken, in two lines: fresh, and backlog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from clipwatch.folder.settle import Settling
from clipwatch.records import Signature


class OnTheWay:
    """The sizes in bytes of all files that wait or are in hand: one of them may be a gone file under a new name."""

    def __init__(self) -> None:
        self._sizes: Counter[int] = Counter()
        self.departures = 0
        """How often the last file of a size left: only then can what waits for it go on."""

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def __contains__(self, size: int) -> bool:
        return size in self._sizes

    def enter(self, size: int) -> None:
        """One more file of this size."""
        self._sizes[size] += 1

    def leave(self, size: int) -> None:
        """One less."""
        self._sizes[size] -= 1
        if not self._sizes[size]:
            del self._sizes[size]
            self.departures += 1


class Pending:
    """One folder's known differences. What an event reported overtakes what a look found."""

    def __init__(self, settle_seconds: float, on_the_way: OnTheWay) -> None:
        self._settle_seconds = settle_seconds
        self._fresh = Settling(settle_seconds)
        self._backlog = Settling(settle_seconds)
        self._on_the_way = on_the_way
        self._unawaited: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._backlog)

    def __contains__(self, path: object) -> bool:
        return path in self._fresh or path in self._backlog

    def __iter__(self) -> Iterator[bytes]:
        yield from self._fresh
        yield from self._backlog

    def signature(self, path: bytes) -> Signature | None:
        """What was last observed of a path."""
        return self._fresh.signature(path) or self._backlog.signature(path)

    def waiting_since(self) -> float | None:
        """Since which monotonic moment the file that has waited longest stood still."""
        moments = [since for since in (self._fresh.waiting_since(), self._backlog.waiting_since()) if since is not None]
        return min(moments, default=None)

    def observe(self, path: bytes, signature: Signature, now: float, *, fresh: bool, awaited: bool = True) -> None:
        """A path differs, with this *signature*, at monotonic *now*; a changed signature starts its wait anew.

        *awaited*: a gone point of its size waits for what it will turn out to be.
        """
        if awaited:
            self._on_the_way.enter(signature.size)
        self._leave(path)
        if fresh or path in self._fresh:
            self._backlog.forget(path)
            self._fresh.observe(path, signature, now)
        else:
            self._backlog.observe(path, signature, now)
        if not awaited:
            self._unawaited.add(path)

    def forget(self, path: bytes) -> None:
        """It is taken, or no longer differs."""
        self._leave(path)
        self._fresh.forget(path)
        self._backlog.forget(path)

    def settle(self, seconds: float) -> None:
        """How long whatever is observed from now on must stand still."""
        self._settle_seconds = self._fresh.settle_seconds = self._backlog.settle_seconds = seconds

    def clear(self) -> None:
        """Nothing waits any more: whatever differs will be found again."""
        for path in self:
            self._leave(path)
        self._fresh, self._backlog = Settling(self._settle_seconds), Settling(self._settle_seconds)

    def _leave(self, path: bytes) -> None:
        if path in self._unawaited:
            self._unawaited.discard(path)
        elif (before := self.signature(path)) is not None:
            self._on_the_way.leave(before.size)

    def ready(self, now: float, most: int, most_fresh: int) -> Iterator[tuple[bytes, bool]]:
        """Paths that stood still long enough, fresh ones first, each with whether it is fresh.

        Up to *most_fresh* of those, and of the others what they leave of *most*.
        """
        fresh = self._fresh.ready(now, most_fresh)
        for path in fresh:
            yield path, True
        for path in self._backlog.ready(now, max(0, most - len(fresh))):
            yield path, False

    def next_ready(self, *, backlog: bool = True) -> float | None:
        """The earliest monotonic moment at which something may be ready; without *backlog*: something fresh."""
        moments = [self._fresh.next_ready(), self._backlog.next_ready() if backlog else None]
        return min((moment for moment in moments if moment is not None), default=None)
