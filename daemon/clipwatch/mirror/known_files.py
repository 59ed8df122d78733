"""A few files without a point, remembered over restarts: one that is still there proves that the folder is the same.

The points of a young folder are fewer than its files. When all files that have a point are deleted, only the others can
tell such a folder from another disk in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from clipwatch.mirror.notebook import Notebook
from clipwatch.records import FileStat

MOST: Final = 64
"""One is enough; a few dozen outlive ordinary deletes until the next scan."""


class KnownFiles:
    """Those of one folder, by path."""

    def __init__(self, folder: str, notebook: Notebook) -> None:
        self._folder, self._notebook = folder, notebook
        self.signatures: Mapping[bytes, bytes] = notebook.known_files(folder)

    def is_outgrown(self, files: int) -> bool:
        """Whether so many *files* without a point are worth remembering anew; `MOST` are renewed by each scan."""
        return len(self.signatures) < MOST and files > 2 * len(self.signatures)

    def note(self, files: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember the first of *files* (path, packed signature) instead of the ones before. No files: keep those."""
        signatures = dict(islice(files, MOST))
        if signatures and signatures != self.signatures:
            self.signatures = signatures
            self._notebook.set_known_files(self._folder, signatures)


def still_there(signatures: Mapping[bytes, bytes], look: Callable[[bytes], object]) -> int:
    """How many of them *look* finds with the same size and times: another disk has other change times."""
    found = ((look(path), signature) for path, signature in signatures.items())
    return sum(isinstance(stat, FileStat) and stat.signature.pack() == signature for stat, signature in found)
