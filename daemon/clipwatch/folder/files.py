"""Many files and what `lstat` said of each, in columns: a look meets a million of them and makes objects of few."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from clipwatch.records import FileStat, Signature


class Files:
    """Paths with their `FileStat`, in the order in which they were added."""

    __slots__ = ("_places", "paths", "signatures")

    def __init__(self, pairs: Iterable[tuple[bytes, FileStat]] = ()) -> None:
        self.paths: list[bytes] = []
        self.signatures: list[tuple[int, int, int]] = []
        """Of each path: size, mtime_ns, ctime_ns."""
        self._places: list[tuple[int, int]] = []
        for path, stat in pairs:
            signature = stat.signature
            self.paths.append(path)
            self.signatures.append((signature.size, signature.mtime_ns, signature.ctime_ns))
            self._places.append((stat.device, stat.inode))

    def add(self, path: bytes, status: os.stat_result) -> None:
        """One more."""
        self.paths.append(path)
        self.signatures.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        self._places.append((status.st_dev, status.st_ino))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[bytes, FileStat]:
        return self.paths[index], FileStat(Signature(*self.signatures[index]), *self._places[index])

    def __iter__(self) -> Iterator[tuple[bytes, FileStat]]:
        return map(self.__getitem__, range(len(self.paths)))
