"""Points that the store does not hold as they were written: kept with their vectors, read and written again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from clipwatch.mirror.pauses import pause_seconds
from clipwatch.records import Candidate, LedgerRow, Point, path_text

UNCONFIRMED_MOST: Final = 1000
"""With so many, 2 KB each where vectors are 512 wide, no more files are taken: the store is what needs mending."""

READ_ONLY_FAILURES: Final = 1
"""After so many, a point is only read again: a replica that lags behind needs time, not another write."""

MISSING: Final = "missing"


class How(StrEnum):
    """What it took to store a point."""

    EMBEDDED = "embedded"
    REUSED = "reused"
    REFRESHED = "refreshed"


@dataclass(frozen=True, slots=True)
class Item:
    """One point on its way to the store. *why*: what was wrong with it the last time, as `difference` says it.

    *failures*: how often in a row it was not found as it was written. *written*: the store has taken it.
    *counted*: what it took is counted as done.
    """

    candidate: Candidate
    content: str
    point: Point
    how: How
    failures: int = 0
    why: str = ""
    written: bool = False
    counted: bool = False


def difference(wanted: LedgerRow, found: LedgerRow | None) -> str:
    """Which keys of the payload differ; "missing" where there is no such point; "" where all is as it was written."""
    if found is None:
        return MISSING
    keys = {
        "size": wanted.signature.size != found.signature.size,
        "mtime_ns": wanted.signature.mtime_ns != found.signature.mtime_ns,
        "ctime_ns": wanted.signature.ctime_ns != found.signature.ctime_ns,
        "content": wanted.content != found.content,
        "model": wanted.model != found.model,
    }
    return ", ".join(key for key, differs in keys.items() if differs)


class Unconfirmed:
    """Items that wait to be read and written again, and those that are being tried just now. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, bytes], tuple[float, Item]] = {}
        self._trying: dict[tuple[str, bytes], Item] = {}
        self._by_content: dict[str, Item] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._trying)

    def __iter__(self) -> Iterator[Item]:
        yield from self._trying.values()
        yield from (item for _, item in self._waiting.values())

    @property
    def is_full(self) -> bool:
        """Whether no more files should be taken."""
        return len(self) >= UNCONFIRMED_MOST

    def add(self, item: Item, now: float) -> None:
        """Keep *item*: until its pause is over, or, without failures, until the store may be written to."""
        due = now + pause_seconds(item.failures) if item.failures else now
        self._trying.pop(_key(item.candidate), None)
        self._waiting[_key(item.candidate)] = (due, item)
        if len(item.point.vector):
            self._by_content[item.content] = item

    def next_due(self) -> float | None:
        """The monotonic moment at which the first may be tried again."""
        return min((due for due, _ in self._waiting.values()), default=None)

    def take_due(self, now: float, most: int) -> list[Item]:
        """Up to *most* whose time has come: `add` or `done` must follow for each."""
        due = [key for key, (moment, _) in self._waiting.items() if moment <= now][:most]
        for key in due:
            self._trying[key] = self._waiting.pop(key)[1]
        return [self._trying[key] for key in due]

    def hurry(self) -> None:
        """Somebody waits: what waits is read and written again at once, and as often as if it had just failed."""
        for key, (_, item) in self._waiting.items():
            failures = min(item.failures, READ_ONLY_FAILURES + 1)
            self._waiting[key] = (0.0, replace(item, failures=failures))

    def withdraw(self, candidate: Candidate) -> bool:
        """Forget the item of this file where it waits; whether it did."""
        _, item = self._waiting.get(_key(candidate), (0.0, None))
        if item is not None:
            self.done(item)
        return item is not None

    def with_content(self, content: str) -> Item | None:
        """One that has a vector of *content*."""
        return self._by_content.get(content)

    def done(self, item: Item) -> None:
        """Its point is as it should be, or nobody wants it any more."""
        self._trying.pop(_key(item.candidate), None)
        self._waiting.pop(_key(item.candidate), None)
        kept = self._by_content.get(item.content)
        if kept is not None and kept.point.id == item.point.id:
            del self._by_content[item.content]


def _key(candidate: Candidate) -> tuple[str, bytes]:
    return candidate.folder, candidate.path


def sentence(folder: str, items: Sequence[Item]) -> str:
    """Why *items* of *folder* are pending, for people; "" where there are none."""
    if not items:
        return ""
    item = max(items, key=lambda item: item.failures)
    path = path_text(item.candidate.path)
    if not item.written:
        return f"{len(items)} points of folder {folder} are refused, {path} first: {item.why}"
    how = "are not there" if item.why == MISSING else f"differ in {item.why}"
    return (
        f"{len(items)} points of folder {folder} were written, and when they are read back they {how} ({path} first). "
        "Something between here and the store changes or loses what is written."
    )
