"""What happens next to each path of one folder: the one list of files that differ from the collection.

| state | entered when | left to |
| --- | --- | --- |
| pending | a scan or an event found that the file differs; it must stand still first | in hand; gone from the list |
| in hand | it was taken: it is read, embedded or stored | gone from the list; pending again; aside |
| aside | the program died several times while it had this file alone in hand | pending, after a pause or a change |

A path in hand that is reported as changed is marked, and checked again when it leaves. Rejected files are not in the
list: they are decided until they change (`rejections`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from clipwatch.mirror.pending import OnTheWay, Pending
from clipwatch.records import Candidate, FileStat, Signature

RESTLESS_SECONDS: Final = 30.0
RESTLESS_SETTLE_TIMES: Final = 10
"""A file that has been changing for so long, or for so many settle times, keeps nothing else waiting."""


class WorkList:
    """Owned by one thread; all moments are monotonic seconds."""

    def __init__(self, settle_seconds: float, on_the_way: OnTheWay) -> None:
        self.pending = Pending(settle_seconds, on_the_way)
        self.in_hand: dict[bytes, Candidate] = {}
        self.aside: dict[bytes, tuple[Signature, float]] = {}
        """As the file was then, and when it is tried again."""
        self._on_the_way = on_the_way
        self._restless_seconds = max(RESTLESS_SECONDS, RESTLESS_SETTLE_TIMES * settle_seconds)
        self._changing: dict[bytes, float] = {}
        """Files that changed when they were to be taken, and since when."""
        self._again: set[bytes] = set()
        """Paths in hand that are checked again when they leave."""
        self._given_up: set[bytes] = set()
        """Of `in_hand`: those whose point the store will not hold soon, so that no gone point waits for them."""

    def __iter__(self) -> Iterator[bytes]:
        yield from self.in_hand
        yield from self.pending
        yield from self.aside

    def signatures(self) -> Iterator[tuple[bytes, bytes]]:
        """Each path in the list with its packed signature."""
        for path, candidate in self.in_hand.items():
            yield path, candidate.stat.signature.pack()
        for path in self.pending:
            signature = self.pending.signature(path)
            if signature is not None:
                yield path, signature.pack()
        for path, (signature, _) in self.aside.items():
            yield path, signature.pack()

    # -- found ------------------------------------------------------------------------------------------

    def differs(self, path: bytes, stat: FileStat, now: float, *, fresh: bool) -> None:
        """The file differs from the collection. *fresh*: an event reported it, rather than a scan."""
        if path in self.aside:
            if self.aside[path][0] == stat.signature:
                return
            del self.aside[path]
        candidate = self.in_hand.get(path)
        if candidate is None:
            self._observe(path, stat.signature, now, fresh=fresh)
        elif candidate.stat.signature != stat.signature:
            self._again.add(path)

    def changed(self, path: bytes, stat: FileStat, now: float) -> None:
        """The file is another one than when it was last observed, just when it was to be taken: it waits anew."""
        self._changing.setdefault(path, now)
        self._observe(path, stat.signature, now, fresh=False)

    def _observe(self, path: bytes, signature: Signature, now: float, *, fresh: bool) -> None:
        self.pending.observe(path, signature, now, fresh=fresh, awaited=not self._is_restless(path, now))

    def forget(self, path: bytes) -> None:
        """The path waits for nothing: its file agrees with the collection, is rejected, or is gone."""
        self.pending.forget(path)
        self._changing.pop(path, None)
        self.aside.pop(path, None)

    def check_again(self, paths: Collection[bytes]) -> None:
        """Those of *paths* that are in hand are checked again when they leave."""
        self._again.update(self.in_hand.keys() & paths)

    def keep_first(self, first: Collection[bytes]) -> None:
        """Only *first* may be images now."""
        for path in [path for path in self.pending if path not in first]:
            self.pending.forget(path)
        self._again.update(self.in_hand.keys() - set(first))

    def is_settled(self, path: bytes) -> None:
        """The file was read as it is: it does not keep changing."""
        self._changing.pop(path, None)

    def _is_restless(self, path: bytes, now: float) -> bool:
        since = self._changing.get(path)
        return since is not None and now - since >= self._restless_seconds

    def restless(self, now: float) -> list[bytes]:
        """Pending files that have been changing for so long that nothing waits for them any more."""
        return [path for path in self._changing if path in self.pending and self._is_restless(path, now)]

    # -- in hand ------------------------------------------------------------------------------------------

    def take(self, candidate: Candidate) -> None:
        """The file is in hand from now on."""
        self.in_hand[candidate.path] = candidate
        self._on_the_way.enter(candidate.stat.signature.size)
        self.pending.forget(candidate.path)

    def leave(self, candidate: Candidate) -> bool:
        """The file is no longer in hand; whether it must be checked again."""
        taken = self.in_hand.pop(candidate.path, None)
        if candidate.path in self._given_up:
            self._given_up.discard(candidate.path)
        elif taken is not None:
            self._on_the_way.leave(taken.stat.signature.size)
        if candidate.path in self._again:
            self._again.discard(candidate.path)
            return True
        return False

    def must_check_again(self, path: bytes) -> bool:
        """Whether a path in hand is marked."""
        return path in self._again

    def is_unchanged(self, path: bytes) -> None:
        """A marked path in hand was checked, and is as it was when it was taken."""
        self._again.discard(path)

    def moved_on(self, candidate: Candidate, now: float) -> None:
        """The file changed or went while it was read: it is checked again when it leaves."""
        self._changing.setdefault(candidate.path, now)
        self._again.add(candidate.path)

    def give_up(self, candidate: Candidate) -> None:
        """The candidate's point may not come for long: what is gone no longer waits for what it may turn out to be."""
        taken = self.in_hand.get(candidate.path)
        if taken is not None and candidate.path not in self._given_up:
            self._given_up.add(candidate.path)
            self._on_the_way.leave(taken.stat.signature.size)

    def take_over(self, before: WorkList) -> None:
        """What is in hand for *before* is in hand for this list."""
        self.in_hand, self._given_up = before.in_hand, before._given_up

    def disown(self) -> None:
        """What is in hand comes back to nobody."""
        for path, candidate in self.in_hand.items():
            if path not in self._given_up:
                self._on_the_way.leave(candidate.stat.signature.size)
        self.in_hand = {}

    # -- aside, and all of it ------------------------------------------------------------------------------

    def put_aside(self, candidate: Candidate, until: float) -> None:
        """Leave the file alone until *until*, as long as it does not change."""
        self.aside[candidate.path] = candidate.stat.signature, until

    def back_from_aside(self, now: float) -> list[bytes]:
        """Paths whose pause is over: they are no longer aside, and are to be checked."""
        due = [path for path, (_, until) in self.aside.items() if now >= until]
        for path in due:
            del self.aside[path]
        return due

    def next_from_aside(self) -> float | None:
        """When the first pause is over."""
        return min((until for _, until in self.aside.values()), default=None)

    def clear(self) -> None:
        """Nothing is known of the files any more; what is in hand goes on."""
        self.pending.clear()
        self._changing.clear()
        self.aside.clear()
