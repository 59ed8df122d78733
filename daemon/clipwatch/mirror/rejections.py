"""Which files of one folder have no point as they are, and why: in memory, and in the notebook for the next start."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import Any

from clipwatch.clock import Clock
from clipwatch.errors import RejectReason
from clipwatch.mirror.notebook import Notebook, Rejection
from clipwatch.mirror.plan import KEEPS_ITS_POINT, is_same_but_ctime
from clipwatch.records import Signature, path_text


class Rejections:
    """The rejected files of one folder."""

    def __init__(self, folder: str, *, notebook: Notebook, clock: Clock, logger: Any) -> None:
        self._folder, self._notebook, self._clock, self._logger = folder, notebook, clock, logger
        self.by_path: dict[bytes, Rejection] = {item.path: item for item in notebook.rejections(folder)}
        self._told: set[str] = set()
        self.keeping = {path for path, item in self.by_path.items() if item.reason in KEEPS_ITS_POINT}
        """Those that may have a point all the same: it is not known to be of other content."""
        self.ignored: Counter[str] = Counter(item.ignored_as for item in self.by_path.values() if item.ignored_as)
        """How many of them are told as ignored, by type."""

    @property
    def has_crashed(self) -> bool:
        """Whether some file brought a process down."""
        return any(item.reason is RejectReason.CRASHED for item in self.by_path.values())

    @property
    def by_reason(self) -> Counter[str]:
        """How many are told as rejected, by reason."""
        return Counter(str(item.reason) for item in self.by_path.values() if not item.ignored_as)

    def add(
        self, path: bytes, signature: bytes, reason: RejectReason, message: str, ignored_as: str = ""
    ) -> Rejection | None:
        """Note and tell one; None where the same is known. It is not told again where only the file's ctime changed."""
        now = self._clock.now().timestamp()
        rejection = Rejection(self._folder, path, signature, reason, sys.intern(message), now, ignored_as)
        before = self.by_path.get(path)
        if reason is not RejectReason.CRASHED and before == rejection:
            return None
        self._count(before, -1)
        self._count(rejection, 1)
        self.by_path[path] = rejection
        if reason in KEEPS_ITS_POINT:
            self.keeping.add(path)
        else:
            self.keeping.discard(path)
        self._notebook.reject(rejection)
        if _is_told(before, rejection):
            return rejection
        if not ignored_as:
            self._logger.warning(
                "image.rejected", folder=self._folder, path=path_text(path), reason=str(reason), message=message
            )
        elif ignored_as not in self._told:
            # There may be 100,000 of them, and nothing is wrong with any: the first one is told.
            self._told.add(ignored_as)
            hint = "Files of this format are counted as ignored, and not told one by one."
            self._logger.warning(
                "format.unsupported",
                folder=self._folder,
                format=ignored_as,
                path=path_text(path),
                message=message,
                hint=hint,
            )
        return rejection

    def _count(self, rejection: Rejection | None, number: int) -> None:
        if rejection is not None and rejection.ignored_as:
            self.ignored[rejection.ignored_as] += number
            if not self.ignored[rejection.ignored_as]:
                del self.ignored[rejection.ignored_as]

    def forget(self, path: bytes) -> None:
        """The file is gone, or good now."""
        rejection = self.by_path.pop(path, None)
        if rejection is not None:
            self._count(rejection, -1)
            self.keeping.discard(path)
            self._notebook.accept(self._folder, path)


def _is_told(before: Rejection | None, now: Rejection) -> bool:
    """Whether *before* told what *now* says of a file whose ctime alone changed since, as by a hard link."""
    if before is None or now.reason is RejectReason.CRASHED or not now.signature:
        return False
    same = replace(before, signature=now.signature) == now
    return same and is_same_but_ctime(before.signature, Signature.unpack(now.signature))
