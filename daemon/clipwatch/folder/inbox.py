"""Where to look: what watchers and commands post and the one owner drains; bounded, coalesced, never blocking."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

PATHS_PER_DIRECTORY: Final = 300
"""More changed files than this directly in one directory: listing it is cheaper than looking at each."""


@dataclass(frozen=True, slots=True)
class Dirty:
    """Places to look at, by folder name. A folder in *everywhere* (name → reason) is in no other mapping."""

    paths: dict[str, tuple[bytes, ...]]
    trees: dict[str, tuple[bytes, ...]]
    everywhere: dict[str, str]
    removed: frozenset[tuple[str, bytes]] = frozenset()
    """Folder and path of those among *paths* whose removal the kernel reported."""

    def __bool__(self) -> bool:
        return bool(self.paths or self.trees or self.everywhere)


@dataclass(slots=True)
class _Folder:
    files: dict[bytes, set[bytes]] = field(default_factory=dict)
    """By directory."""
    trees: set[bytes] = field(default_factory=set)
    removed: set[bytes] = field(default_factory=set)
    count: int = 0
    everywhere: str = ""

    def look_everywhere(self, reason: str) -> None:
        self.files, self.trees, self.removed, self.count = {}, set(), set(), 0
        self.everywhere = self.everywhere or reason


class Inbox:
    """Thread-safe; holds at most *limit* paths a folder. Paths are below their folder, as bytes.

    Too many files of one directory become that directory's tree, too many places the whole folder: nothing
    posted is ever lost, it only gets coarser.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self.wake = threading.Event()
        """Set by every post, and by whoever else wants the owner's attention; cleared by `drain`."""
        self._limit = limit
        self._lock = threading.Lock()
        self._folders: dict[str, _Folder] = {}

    def post(self, folder: str, path: bytes, *, removed: bool = False) -> None:
        """One file may have changed. *removed*: the kernel reported that it was deleted or moved away."""
        directory = path.rpartition(b"/")[0]
        with self._lock:
            known = self._folders.setdefault(folder, _Folder())
            if not known.everywhere and directory not in known.trees:
                files = known.files.setdefault(directory, set())
                before = len(files)
                files.add(path)
                known.count += len(files) - before
                if removed:
                    known.removed.add(path)
                if len(files) > PATHS_PER_DIRECTORY:
                    self._add_tree(known, directory)
                self._bound(known)
        self.wake.set()

    def post_tree(self, folder: str, directory: bytes) -> None:
        """Anything at or below *directory* may have changed; the empty path is the folder's own directory."""
        with self._lock:
            known = self._folders.setdefault(folder, _Folder())
            if not known.everywhere:
                self._add_tree(known, directory)
                self._bound(known)
        self.wake.set()

    def look_everywhere(self, folder: str, reason: str) -> None:
        """What is known of the folder is in doubt; the first *reason* is kept until `drain`."""
        with self._lock:
            self._folders.setdefault(folder, _Folder()).look_everywhere(reason)
        self.wake.set()

    def drain(self) -> Dirty:
        """All that was posted since the last call; a place that another one covers is left out."""
        with self._lock:
            folders, self._folders = self._folders, {}
            self.wake.clear()
        everywhere = {name: known.everywhere for name, known in folders.items() if known.everywhere}
        paths: dict[str, tuple[bytes, ...]] = {}
        trees: dict[str, tuple[bytes, ...]] = {}
        for name, known in folders.items():
            if known.trees:
                trees[name] = _uncovered(known.trees, known.trees)
            files = _uncovered((path for group in known.files.values() for path in group), known.trees)
            if files:
                paths[name] = files
        removed = frozenset(
            (name, path) for name, posted in paths.items() for path in posted if path in folders[name].removed
        )
        return Dirty(paths, trees, everywhere, removed)

    def _add_tree(self, known: _Folder, directory: bytes) -> None:
        covered = known.files.pop(directory, set())
        known.removed -= covered
        known.count -= len(covered)
        if directory not in known.trees:
            known.trees.add(directory)
            known.count += 1

    def _bound(self, known: _Folder) -> None:
        if known.count > self._limit:
            known.look_everywhere("overflow")


def _uncovered(places: Iterable[bytes], trees: set[bytes]) -> tuple[bytes, ...]:
    """Those *places* that lie below none of *trees*."""
    return tuple(sorted(place for place in places if not _is_covered(place, trees))) if trees else tuple(sorted(places))


def _is_covered(place: bytes, trees: set[bytes]) -> bool:
    while place:
        place = place.rpartition(b"/")[0]
        if place in trees:
            return True
    return False
