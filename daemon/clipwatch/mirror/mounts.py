"""The mount points seen in one folder: what lies below one waits while nothing is mounted there.

Remembered in the notebook, so that a start before the disk is mounted knows them too. The folder itself is not among
them: that it is another directory, or empty, is noticed without (`Root.check`, and holds).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clipwatch.config import WatchConfig
from clipwatch.folder.mounts import Unmounted, mount_points, unmounted
from clipwatch.mirror.holds import UNTIL_MOUNTED
from clipwatch.mirror.losses import HoldReason
from clipwatch.mirror.notebook import Notebook
from clipwatch.mirror.unmet import is_below
from clipwatch.records import path_text


class Mounts:
    """What one folder knows of its mount points. One thread owns it."""

    def __init__(self, watch: WatchConfig, folder: bytes, *, notebook: Notebook, logger: Any) -> None:
        """*folder*: its absolute path."""
        self._watch, self._folder = watch, folder
        self._notebook, self._logger = notebook, logger
        self._waiting = notebook.mounts(watch.name)
        """By mount point, how many points wait for it, as last told."""
        self._gone_at_look: frozenset[bytes] = frozenset()

    def gone(self) -> Unmounted:
        """The mount points seen at which nothing is mounted now."""
        return unmounted(self._folder, self._waiting, follow_symlinks=self._watch.follow_symlinks)

    def gone_over(self, path: bytes) -> bytes | None:
        """The mount point seen above *path*, below the folder, at which nothing is mounted now; None where none is."""
        follow = self._watch.follow_symlinks
        seen = [point for point in self._waiting if follow or is_below(path, [point])]
        return unmounted(self._folder, seen, follow_symlinks=follow).over(path)

    def look_begins(self) -> None:
        """Note what is mounted before anything of it is stored."""
        self._gone_at_look = self.gone().points
        self.note(())

    def note(self, linked: Iterable[bytes]) -> None:
        """Note what is mounted now. *linked*: paths below the folder at which links lead to other file systems."""
        targets = [os.path.join(self._folder, path) for path in linked]
        for point in mount_points(self._folder, targets) - self._waiting.keys():
            self._waiting[point] = 0
            self._notebook.note_mount(self._watch.name, point, 0)

    def tell(self, away: Mapping[bytes, bytes]) -> None:
        """Log and note what waits now. *away*: for the id of each waiting point its mount point."""
        counts = Counter(away.values())
        for point, told in list(self._waiting.items()):
            points = counts[point]
            if points == told:
                continue
            self._waiting[point] = points
            self._notebook.note_mount(self._watch.name, point, points)
            if not told:
                self._logger.warning(
                    "deletes.held",
                    folder=self._watch.name,
                    path=path_text(point),
                    points=points,
                    reason=str(HoldReason.UNMOUNTED),
                    hint=f"They are kept {UNTIL_MOUNTED}.",
                )
            elif not points:
                self._logger.info("deletes.released", folder=self._watch.name, path=path_text(point), points=told)

    @property
    def waiting(self) -> dict[bytes, int]:
        """The mount points that points wait for, each with how many, as last told."""
        return {point: points for point, points in self._waiting.items() if points}

    def give_up(self) -> int:
        """A person says that what was mounted there is gone for good: how many points had been told to wait for it."""
        gone = self.gone().points
        given_up = {point: points for point, points in self.waiting.items() if point in gone}
        for point in given_up:
            self._forget(point)
        return sum(given_up.values())

    def forget_unused(self) -> None:
        """Forget what was gone before the last look and what no point waits for: nothing of it is in the collection."""
        for point in self._gone_at_look & self.gone().points:
            if not self._waiting.get(point):
                self._forget(point)

    def _forget(self, point: bytes) -> None:
        self._waiting.pop(point, None)
        self._notebook.forget_mount(self._watch.name, point)


def sentence(points: Mapping[bytes, int]) -> str:
    """What the deletes held for these mount points wait for; "" where there are none."""
    if not points:
        return ""
    where = ", ".join(f"{path_text(point)} ({number} points)" for point, number in sorted(points.items()))
    return f"{HoldReason.UNMOUNTED}: nothing is mounted at {where}; {UNTIL_MOUNTED}"
