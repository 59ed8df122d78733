"""Which files of one folder have no point as they are, and why: in memory, and in the notebook for the next start."""

from __future__ import annotations

from typing import Any

from clipwatch.clock import Clock
from clipwatch.errors import RejectReason
from clipwatch.mirror.notebook import Notebook, Rejection
from clipwatch.mirror.plan import KEEPS_ITS_POINT
from clipwatch.records import path_text


class Rejections:
    """The rejected files of one folder."""

    def __init__(self, folder: str, *, notebook: Notebook, clock: Clock, logger: Any) -> None:
        self._folder, self._notebook, self._clock, self._logger = folder, notebook, clock, logger
        self.by_path: dict[bytes, Rejection] = {item.path: item for item in notebook.rejections(folder)}
        self.keeping = {path for path, item in self.by_path.items() if item.reason in KEEPS_ITS_POINT}
        """Those that may have a point all the same: it is not known to be of other content."""

    @property
    def has_crashed(self) -> bool:
        """Whether some file brought a process down."""
        return any(item.reason is RejectReason.CRASHED for item in self.by_path.values())

    def add(self, path: bytes, signature: bytes, reason: RejectReason, message: str) -> Rejection | None:
        """Note and tell one; None where the same is known."""
        rejection = Rejection(self._folder, path, signature, reason, message, self._clock.now().timestamp())
        if reason is not RejectReason.CRASHED and self.by_path.get(path) == rejection:
            return None
        self.by_path[path] = rejection
        if reason in KEEPS_ITS_POINT:
            self.keeping.add(path)
        else:
            self.keeping.discard(path)
        self._notebook.reject(rejection)
        self._logger.warning(
            "image.rejected", folder=self._folder, path=path_text(path), reason=str(reason), message=message
        )
        return rejection

    def forget(self, path: bytes) -> None:
        """The file is gone, or good now."""
        if self.by_path.pop(path, None) is not None:
            self.keeping.discard(path)
            self._notebook.accept(self._folder, path)
