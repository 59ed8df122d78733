"""Files that were being decoded when the program died: they go alone, and not for a third time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Final

from clipwatch.mirror.notebook import Notebook
from clipwatch.records import Candidate

DEATHS: Final = 2
"""A file that was in hand at so many deaths is put aside."""


class Suspects:
    """Who was in hand at a death, who waits to be decoded alone, and whether one is."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._deaths = notebook.survivors()
        self._lonely: deque[tuple[Candidate, bool]] = deque()
        """Suspects in hand that wait for the decoders to be empty, and whether they are fresh."""
        self._alone = False

    def __bool__(self) -> bool:
        return bool(self._deaths)

    def is_guilty(self, candidate: Candidate) -> bool:
        """Whether it is put aside."""
        return self._deaths.get(_key(candidate), 0) >= DEATHS

    def keeps(self, candidate: Candidate, *, fresh: bool) -> bool:
        """Whether it waits here until it can go alone."""
        if not self._deaths.get(_key(candidate), 0):
            return False
        self._lonely.append((candidate, fresh))
        return True

    def keep_others_back(self, decoding: int) -> bool:
        """Whether nobody else may be decoded now."""
        return bool(self._lonely) or (self._alone and decoding > 0)

    def next_alone(self, decoding: Callable[[], int]) -> Iterable[tuple[Candidate, bool]]:
        """The next ones, as long as nothing else is being decoded that could be to blame instead."""
        if not decoding():
            self._alone = False
        while self._lonely and not decoding():
            self._alone = True
            yield self._lonely.popleft()

    def begin(self, candidates: Iterable[Candidate]) -> None:
        """They are read from here on."""
        self._notebook.begin([_key(candidate) for candidate in candidates])

    def decoded(self, candidate: Candidate) -> None:
        """Whatever comes of it now, this file can no longer bring the program down."""
        self._deaths.pop(_key(candidate), None)
        self._notebook.end([_key(candidate)])

    def acquit(self, folder: str, waiting: Container[bytes]) -> None:
        """All is done in *folder* but what is *waiting*: a suspect that is not among that is gone."""
        gone = [key for key in self._deaths if key[0] == folder and key[1] not in waiting]
        for key in gone:
            del self._deaths[key]
        if gone:
            self._notebook.end(gone)

    def forget(self, candidates: Iterable[Candidate]) -> None:
        """An end in good order is nobody's fault."""
        self._notebook.end([_key(candidate) for candidate in candidates])


def _key(candidate: Candidate) -> tuple[str, bytes]:
    return candidate.folder, candidate.path
