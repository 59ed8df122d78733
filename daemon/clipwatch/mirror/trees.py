"""Directories that events named: what lies below them is looked at before the look at everything comes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

from clipwatch.clock import Clock
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import Listing, walk
from clipwatch.mirror.unmet import is_below

MANY_TREES: Final = 1000
"""With more of them waiting, all are left to the look at everything."""


class Trees:
    """The directories of one folder that wait to be walked, one after the other, a slice at a time."""

    def __init__(self, root: Root, rules: FileRules, *, share: float, clock: Clock) -> None:
        """*share*: walking takes at most this much of the time. Links are not followed."""
        self._root, self._rules = root, rules
        self._share, self._clock = share, clock
        self._waiting: dict[bytes, None] = {}
        self._walk: Iterator[Listing] | None = None
        self._stop = threading.Event()
        self._spent = 0.0
        self._allowed = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._walk is not None

    def add(self, directory: bytes) -> None:
        """Walk *directory* soon; what a walk under way has seen of it is out of date."""
        if len(self._waiting) >= MANY_TREES:
            self.clear()
        else:
            self._waiting[directory] = None

    def next_moment(self) -> float | None:
        """The monotonic moment from which there is something to do."""
        return self._allowed if self else None

    def step(self, now: float, until: float, take: Callable[[Listing], None]) -> bool:
        """Walk until monotonic *until*; whether there is more to see now. Raises `FolderUnavailable`."""
        if self._walk is None:
            if not self._waiting or now < self._allowed:
                return False
            directory = self._next()
            self._spent = 0.0
            self._walk = walk(self._root, self._rules, follow_symlinks=False, below=directory, stop=self._stop)
        started = self._clock.monotonic()
        for listing in self._walk:
            take(listing)
            if self._clock.monotonic() >= until:
                self._spent += self._clock.monotonic() - started
                return True
        finished = self._clock.monotonic()
        self._walk = None
        self._allowed = finished + (self._spent + finished - started) * (1 / self._share - 1)
        return bool(self._waiting) and finished >= self._allowed

    def _next(self) -> bytes:
        """The first that waits, or of those above it the uppermost that waits too: all below is seen with it."""
        directory = next(iter(self._waiting))
        parts = directory.split(b"/")
        above = (b"/".join(parts[:depth]) for depth in range(len(parts)))
        directory = next((parent for parent in above if parent in self._waiting), directory)
        self._waiting = {known: None for known in self._waiting if not is_below(known, (directory,))}
        return directory

    def clear(self) -> None:
        """Leave all of them to the look at everything."""
        self._waiting.clear()
        self._walk = None
