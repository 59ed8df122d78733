"""The seam between what the kernel tells and what we make of it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final, Protocol

from clipwatch.errors import ClipwatchError

STALL_SECONDS: Final = 30.0
"""A backend that has not moved for this long although it was asked to is stuck."""


class WatchRefused(ClipwatchError):
    """No watch can be had; the folder must be polled."""


class Backend(Protocol):
    """Posts what changes below one folder to its inbox, from threads of its own, and never raises in them.

    One that has any trouble stays in trouble and is replaced by a new one: what it missed can't be known.
    """

    name: str

    def start(self) -> None:
        """Return once every change from now on will be posted. Raises OSError or `WatchRefused`, leaving nothing."""
        ...

    def trouble(self, now: float) -> str:
        """Why events were or may be lost, "" while it works; called every few seconds, *now* is monotonic."""
        ...

    def stop(self) -> None:
        """End the threads and free the watches; idempotent, and returns even if a thread is stuck."""
        ...


class Heartbeat:
    """Tells a stuck thread from an idle one: beats must follow a nudge within `STALL_SECONDS`."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._beats = 0

    def is_stalled(self, beats: int, now: float) -> bool:
        if self._asked_at is None or beats != self._beats:
            self._asked_at, self._beats = now, beats
        return now - self._asked_at > STALL_SECONDS


def limit_of(name: str) -> int:
    """The kernel's `fs.inotify.NAME`, or 0 where it can't be read."""
    try:
        return int(Path(f"/proc/sys/fs/inotify/{name}").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def explain(error: OSError) -> WatchRefused:
    """Why the kernel gives no watch, with the setting that cures it."""
    if error.errno == errno.ENOSPC:
        limit = limit_of("max_user_watches")
        return WatchRefused(
            f"too many directories for fs.inotify.max_user_watches ({limit})",
            hint=f"Raise it: `sysctl fs.inotify.max_user_watches={max(524_288, 2 * limit)}`.",
        )
    if error.errno == errno.EMFILE:
        limit = limit_of("max_user_instances")
        return WatchRefused(
            f"no inotify instance is left (fs.inotify.max_user_instances is {limit})",
            hint=f"Raise it: `sysctl fs.inotify.max_user_instances={max(512, 2 * limit)}`, or `ulimit -n`.",
        )
    return WatchRefused(f"the kernel refuses a watch: {error.strerror or error}")
