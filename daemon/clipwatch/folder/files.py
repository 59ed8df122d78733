"""Many files and what `lstat` said of each, in columns: a look meets a million of them and makes objects of few."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from clipwatch.records import FileStat, Signature, wrapped


class Files:
    """Paths with their `FileStat`, in the order in which they were added."""

    __slots__ = ("_places", "_signatures", "paths")

    def __init__(self, pairs: Iterable[tuple[bytes, FileStat]] = ()) -> None:
        self.paths: list[bytes] = []
        self._signatures: list[tuple[int, int, int]] = []
        """Of each path: size, mtime_ns, ctime_ns, as the kernel said them."""
        self._places: list[tuple[int, int, int]] = []
        """Of each path: device, inode, number of names."""
        for path, stat in pairs:
            signature = stat.signature
            self.paths.append(path)
            self._signatures.append((signature.size, signature.mtime_ns, signature.ctime_ns))
            self._places.append((stat.device, stat.inode, stat.links))

    def add(self, path: bytes, status: os.stat_result) -> None:
        """One more."""
        self.paths.append(path)
        self._signatures.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        self._places.append((status.st_dev, status.st_ino, status.st_nlink))

    def signatures(self) -> NDArray[np.int64]:
        """Of each path its `Signature`, int64 `[n, 3]`: size, mtime_ns, ctime_ns."""
        try:
            numbers = np.fromiter(chain.from_iterable(self._signatures), np.int64, 3 * len(self.paths))
        except OverflowError:
            numbers = np.array([wrapped(number) for numbers in self._signatures for number in numbers], np.int64)
        return numbers.reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[bytes, FileStat]:
        return self.paths[index], FileStat(Signature.of(*self._signatures[index]), *self._places[index])

    def __iter__(self) -> Iterator[tuple[bytes, FileStat]]:
        return map(self.__getitem__, range(len(self.paths)))
