"""Kernel events through watchdog's inotify reader.

Of watchdog we take `InotifyFD`, its thread that reads the kernel's queue, and not its observer. That one, on top of
it, says nothing to its handlers when the queue overflows, passes over a directory silently when the watch limit is
reached, holds each move back for half a second, and hands every event through two more threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

from clipwatch.folder.backend import Heartbeat, WatchRefused, explain, limit_of
from clipwatch.folder.beneath import ABSENT, open_beneath
from clipwatch.folder.inbox import Inbox
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules

_K = InotifyConstants
_ACCEPTED: Final = Mask(
    _K.IN_CLOSE_WRITE  # written
    | _K.IN_CREATE  # hard links and directories
    | _K.IN_MOVED_FROM
    | _K.IN_MOVED_TO
    | _K.IN_DELETE
    | _K.IN_ATTRIB  # times set, permissions given
)
_SELF: Final = Mask(_K.IN_DELETE_SELF | _K.IN_MOVE_SELF)
_GONE: Final = _K.IN_DELETE | _K.IN_MOVED_FROM
_SHARE_OF_WATCHES: Final = 0.8
"""The limit is the user's, for all programs: taking the last watch breaks others."""
_JOIN_SECONDS: Final = 2.0
_PROBE: Final = CallbackId(0)


class WatchdogBackend:
    """One inotify instance for one folder; ignored directories take no watch."""

    name = "watchdog"

    def __init__(self, root: Root, rules: FileRules, inbox: Inbox) -> None:
        self._root = root
        self._rules = rules
        self._inbox = inbox
        self._id = CallbackId(id(self))
        self._paths: dict[WatchDescriptor, bytes] = {}
        self._watches: dict[bytes, WatchDescriptor] = {}
        self._most = int(limit_of("max_user_watches") * _SHARE_OF_WATCHES)
        self._moved_from: tuple[int, bytes, int] | None = None
        self._reader: _Reader | None = None
        self._heartbeat = Heartbeat()
        self._failure = ""

    @property
    def directories(self) -> int:
        """How many have a watch."""
        return len(self._paths)

    # The service's thread

    def start(self) -> None:
        self._reader = reader = _Reader(self._flush, self._fail)
        try:
            # Armed before the reader runs: its thread alone touches the two maps from then on, in the kernel's order.
            self._arm(b"")
        except BaseException:
            reader.start()  # only a running reader frees its descriptors
            self.stop()
            raise
        reader.start()

    def trouble(self, now: float) -> str:
        reader = self._reader
        if self._failure or reader is None:
            return self._failure or "not started"
        if not reader.is_alive():
            return "the thread that reads events ended"
        if self._heartbeat.is_stalled(reader.batches, now):
            return "the thread that reads events is stuck"
        self._nudge(reader)
        return ""

    def stop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
            reader.join(_JOIN_SECONDS)

    def _nudge(self, reader: _Reader) -> None:
        """Make the kernel send one event without touching a file: removing a watch does."""
        try:
            watch = reader.add_callback(b"/proc", Mask(_K.IN_DELETE_SELF | _K.IN_ONLYDIR), self, _PROBE)
            reader.remove_callbacks([(watch, _PROBE)])
        except OSError as error:
            self._fail(explain(error).message)

    # The reader's thread

    def on_event(self, event: InotifyEvent) -> None:
        mask = event.mask
        if mask & (_SELF | _K.IN_UNMOUNT):
            self._fail("the folder was moved, removed or unmounted")
            return
        directory = self._paths.get(event.wd)
        if directory is None:
            return
        if not event.name:
            if not directory:  # the permissions of the folder itself; others are told by their parents
                self._inbox.post_tree(self._root.name, b"")
            return
        completes = self._moved_from is not None and mask & _K.IN_MOVED_TO and self._moved_from[0] == event.cookie
        if not completes:
            self._flush()
        path = directory + b"/" + event.name if directory else event.name
        if mask & _K.IN_MOVED_FROM:
            self._moved_from = (event.cookie, path, mask)
        else:
            self._post(path, mask)
            self._flush()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        path = self._paths.pop(wd, None)
        if path is not None and self._watches.get(path) == wd:
            del self._watches[path]

    def on_queue_overflow(self) -> None:
        """Told by the reader itself."""

    def _flush(self) -> None:
        """Post what moved away after what it became: seen in between, it is a copy whose vector is reused."""
        if self._moved_from is not None:
            _, path, mask = self._moved_from
            self._moved_from = None
            self._post(path, mask)

    def _post(self, path: bytes, mask: int) -> None:
        name = path.rpartition(b"/")[2]
        is_directory = bool(mask & _K.IN_ISDIR)
        # What is above it is not ignored: else there would be no watch there.
        if (self._rules.ignores_directory if is_directory else self._rules.ignores_file)(path, name):
            return
        folder = self._root.name
        if is_directory and self._rules.recursive:
            # Moved onto an empty directory, that one's removal is not told: whatever was armed here is stale.
            if mask & (_K.IN_DELETE | _K.IN_MOVE):
                self._disarm(path, whole=not mask & _K.IN_DELETE)
            if not mask & _GONE:
                self._arm(path)
            self._inbox.post_tree(folder, path)
        if self._rules.is_image_name(name):
            self._inbox.post(folder, path, removed=bool(mask & _GONE))

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._inbox.look_everywhere(self._root.name, reason)

    # Either, one at a time

    def _arm(self, top: bytes) -> None:
        """Watch *top* and, where recursive, all directories below it, each before its entries are listed."""
        pending = [top]
        while pending:
            path = pending.pop()
            if path in self._watches:
                continue
            try:
                opened = open_beneath(self._root.descriptor, path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                # An unreadable directory is the look's to report; its parent tells when its permissions change.
                if path == b"" or error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    raise
                continue
            try:
                self._watch(path, opened)
                if self._rules.recursive:
                    pending += self._directories_in(path, opened)
            except OSError as error:
                if path == b"" or error.errno not in ABSENT:
                    raise
            finally:
                os.close(opened)

    def _watch(self, path: bytes, opened: int) -> None:
        if self._most and len(self._paths) >= self._most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reader = self._reader
        if reader is None:
            return
        mask = Mask(_ACCEPTED | _K.IN_ONLYDIR | _K.IN_EXCL_UNLINK | (0 if path else _SELF))
        # By descriptor: no link is crossed, no name is too long, and it is the very directory that was opened.
        watch = reader.add_callback(b"/proc/self/fd/%d" % opened, mask, self, self._id)
        self._paths[watch] = path
        self._watches[path] = watch

    def _directories_in(self, path: bytes, opened: int) -> list[bytes]:
        prefix = path + b"/" if path else b""
        with os.scandir(opened) as entries:
            names = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [prefix + name for name in names if not self._rules.ignores_directory(prefix + name, name)]

    def _disarm(self, top: bytes, *, whole: bool) -> None:
        below = top + b"/"
        paths = [path for path in self._watches if path == top or path.startswith(below)] if whole else [top]
        watches = [self._watches.pop(path) for path in paths if path in self._watches]
        stale = [watch for watch in watches if self._is_at_or_below(watch, top)]
        for watch in stale:
            del self._paths[watch]
        if self._reader is not None:
            self._reader.remove_callbacks([(watch, self._id) for watch in stale])

    def _is_at_or_below(self, watch: WatchDescriptor, top: bytes) -> bool:
        """Not so when its directory was meanwhile found, and armed, at another path."""
        path = self._paths.get(watch)
        return path is not None and (path == top or path.startswith(top + b"/"))


class _Reader(InotifyFD):
    """The reading thread; it counts its batches and ends with a word, never with a traceback."""

    def __init__(self, after_batch: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        try:
            super().__init__()
        except OSError as error:
            if error.errno:
                raise
            raise WatchRefused(f"inotify does not work here: {error}") from error
        self.name = "clipwatch-watch"
        self.batches = 0
        self._after_batch = after_batch
        self._on_failure = on_failure

    def run(self) -> None:
        try:
            while self.should_keep_running():
                for event in self.read_events():
                    self.handle_event(event)
                self._after_batch()
                self.batches += 1
        except Exception as error:  # noqa: BLE001 - nobody is above this thread: it says why it ends, and is replaced
            self._on_failure(f"reading events failed: {error}")

    def handle_event(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:  # the original prints it, in two lines that are no JSON
            self._on_failure("the kernel's event queue overflowed")
        else:
            super().handle_event(event)

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        # A directory met again at a new path keeps its watch; the original prints a warning then.
        watch = self._get_or_create_watch(path, mask)
        if watch.wd < 0:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))  # which the original swallows
        watch.callbacks[id_] = callback
        return watch.wd
