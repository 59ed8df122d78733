"""One complete comparison, carried out; the daemon's and the command's way of telling its result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from clipwatch.clock import Clock
from clipwatch.errors import ClipwatchError, RejectReason, StoreUnavailable
from clipwatch.mirror.folder_mirror import FolderMirror
from clipwatch.mirror.mirror import Mirror
from clipwatch.mirror.state import Counts
from clipwatch.mirror.unconfirmed import sentence
from clipwatch.records import path_text
from clipwatch.service.status import ignored_in

PROGRESS_SECONDS: Final = 0.2


class SyncRequest:
    """A wish for every folder to be compared and made true.

    To be used on the mirror's thread only, but for `done` and, once that is set, `result` and `undone`.
    """

    def __init__(self, mirror: Mirror, clock: Clock, looks: Mapping[str, int] | None = None) -> None:
        self._mirror, self._clock = mirror, clock
        self._started = clock.monotonic()
        self._before: Counts = mirror.counts.copy()
        self._looks = mirror.ask_looks("sync") if looks is None else looks
        self.done = threading.Event()
        self.result: dict[str, Any] = {}
        self.undone: list[str] = []
        """Sentences about what was left."""
        self.error: ClipwatchError | None = None
        """Why it was given up; raised by whoever waits for it."""
        self._store_away_since: float | None = None

    def check(self) -> bool:
        """Whether everything that can be done has been."""
        if self.done.is_set() or self._is_given_up():
            return True
        folders = self._mirror.folders
        waited_for = [name for name in self._looks if name in folders and folders[name].available]
        # A folder that has not been tried yet has neither been found nor said what is wrong with it.
        untried = any(not f.available and not f.trouble for f in folders.values())
        at_rest = self._mirror.quiet or self._mirror.has_given_up
        if untried or not at_rest or any(folders[n].scans.done < self._looks[n] for n in waited_for):
            return False
        self.result = self.counts()
        self.undone = [f.trouble for f in folders.values() if not f.available]
        if self._mirror.doubt:
            self.undone.append(self._mirror.doubt)
        for folder in folders.values():
            self.undone += self._left_in_store(folder)
            self.undone += _left_in_folder(folder)
        # The other folders are done: what is said of this one is what ends the command.
        self.error = next((f.refused for f in folders.values() if f.refused is not None), None)
        self.done.set()
        return True

    def _left_in_store(self, folder: FolderMirror) -> Iterator[str]:
        """Sentences about points that are not as they should be."""
        unconfirmed = sentence(folder.name, self._mirror.unconfirmed(folder.name))
        if unconfirmed:
            yield unconfirmed
        waiting = len(folder.work.pending) - len(folder.restless)
        if unconfirmed and waiting:
            yield f"{waiting} more files of folder {folder.name} wait until those are confirmed."
        if folder.scans.doubts:
            yield f"The collection was not as it should be: {folder.scans.doubt_text} ({folder.name})."
        if folder.deletes.held:
            yield f"{folder.deletes.held} deletes in folder {folder.name} are held ({folder.hold_text})."
        refused = [it for it in folder.rejected.values() if it.reason is RejectReason.STORE_REFUSED]
        if refused:
            first = path_text(refused[0].path)
            yield (
                f"{len(refused)} images of folder {folder.name} have no point of their present content: {first} "
                f"first. {refused[0].message}"
            )

    def _is_given_up(self) -> bool:
        """A daemon waits for its store for ever; whoever asked it for a pass does not."""
        state, now = self._mirror.store_state, self._clock.monotonic()
        if state.available:
            self._store_away_since = None
            return False
        if self._store_away_since is None:
            self._store_away_since = now
        if now - self._store_away_since < self._mirror.config.store.timeout_seconds:
            return False
        self.error = StoreUnavailable(state.trouble or "The store does not answer.")
        self.result = self.counts()
        self.done.set()
        return True

    def counts(self) -> dict[str, Any]:
        """The command's answer, as of now."""
        folders = self._mirror.folders.values()
        done = self._mirror.counts.minus(self._before)
        images = sum(folder.images for folder in folders)
        rejected = sum(folder.rejected_images for folder in folders)
        return {
            "images": images,
            "embedded": done.embedded,
            "reused": done.reused,
            "unchanged": max(0, images - rejected - done.embedded - done.reused - self._mirror.pending()),
            "deleted": done.deleted,
            "rejected": rejected,
            "held": sum(folder.deletes.held for folder in folders),
            **ignored_in(folders),
            "seconds": round(self._clock.monotonic() - self._started, 3),
        }


def _left_in_folder(folder: FolderMirror) -> Iterator[str]:
    """Sentences about files that were not dealt with."""
    if folder.work.aside:
        yield folder.aside_text
    if folder.restless:
        first = path_text(folder.restless[0])
        yield f"{len(folder.restless)} files in folder {folder.name} keep changing and were left: {first} first."
    for directory, reason in folder.counts.unreadable.items():
        name = path_text(directory) or "."
        yield f"Directory {name} of folder {folder.name} could not be read: {reason}."


def run_to_quiet(
    mirror: Mirror,
    clock: Clock,
    *,
    stop: threading.Event,
    progress: Callable[[dict[str, Any], int], None],
) -> SyncRequest:
    """Drive *mirror* until one complete comparison is true, or *stop*; *progress* hears counts and what is pending.

    Raises what the store raised when it was given up on.
    """
    request = SyncRequest(mirror, clock)
    told = clock.monotonic()
    while not stop.is_set():
        mirror.inbox.wake.clear()
        wait = mirror.step()
        if mirror.failed is not None:
            raise mirror.failed
        if request.check():
            if request.error is not None:
                raise request.error
            break
        now = clock.monotonic()
        if now - told >= PROGRESS_SECONDS:
            progress(request.counts(), mirror.pending())
            told = now
        if wait > 0:
            clock.wait(mirror.inbox.wake, min(wait, PROGRESS_SECONDS))
    return request
