"""Kernel events through watchfiles (an extra): a native thread drains the kernel's queue without the interpreter lock.

It tells less: no directory from a file, no overflow of the kernel's queue (none could be provoked), and a name that
is not UTF-8 ends it, which costs a full look and a new watch. Ignored directories take watches too.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import Final

from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from clipwatch.folder.backend import Heartbeat, WatchRefused
from clipwatch.folder.inbox import Inbox
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules

_GROUP_MS: Final = 200
_STEP_MS: Final = 25
_BEAT_MS: Final = 1_000
_JOIN_SECONDS: Final = 3.0


class WatchfilesBackend:
    """One native watcher for one folder, and a thread that posts what it collects."""

    name = "watchfiles"

    def __init__(self, root: Root, rules: FileRules, inbox: Inbox) -> None:
        self._folder = root.name
        self._path = os.path.realpath(root.path)
        self._rules = rules
        self._inbox = inbox
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clipwatch-watch", daemon=True)
        self._notify: RustNotify | None = None
        self._heartbeat = Heartbeat()
        self._beats = 0
        self._failure = ""

    def start(self) -> None:
        try:
            path = self._path.decode("utf-8")
            self._notify = RustNotify([path], False, False, 300, self._rules.recursive, True)
        except (WatchfilesRustInternalError, UnicodeDecodeError) as error:
            raise WatchRefused(
                f"watchfiles gives no watch: {error}",
                hint="A limit: see `sysctl fs.inotify.max_user_watches` and `fs.inotify.max_user_instances`.",
            ) from error
        self._thread.start()

    def trouble(self, now: float) -> str:
        if self._failure:
            return self._failure
        if not self._thread.is_alive():
            return "the thread that reads events ended"
        return "the thread that reads events is stuck" if self._heartbeat.is_stalled(self._beats, now) else ""

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)
        if self._notify is not None and not self._thread.is_alive():
            self._notify.close()
            self._notify = None

    def _run(self) -> None:
        try:
            while self._notify is not None and not self._stopping.is_set():
                changes = self._notify.watch(_GROUP_MS, _STEP_MS, _BEAT_MS, self._stopping)
                self._beats += 1
                if isinstance(changes, set):
                    for kind, path in changes:
                        self._post(kind, os.fsencode(path))
        except Exception as error:  # noqa: BLE001 - nobody is above this thread: it says why it ends, and is replaced
            self._fail(f"reading events failed: {error}")

    def _post(self, kind: int, absolute: bytes) -> None:
        if absolute == self._path:
            if kind == Change.deleted:
                self._fail("the folder was moved, removed or unmounted")
            return
        path = absolute.removeprefix(self._path + b"/")
        directory, _, name = path.rpartition(b"/")
        if not self._rules.enters(directory):
            return
        is_image = self._rules.is_image_name(name) and not self._rules.ignores_file(path, name)
        may_be_tree = self._rules.recursive and not self._rules.ignores_directory(path, name)
        if may_be_tree and self._may_be_directory(absolute, gone_counts=not is_image):
            self._inbox.post_tree(self._folder, path)
        if is_image:
            self._inbox.post(self._folder, path, removed=kind == Change.deleted)

    def _may_be_directory(self, absolute: bytes, *, gone_counts: bool) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(absolute).st_mode)
        except OSError:
            return gone_counts

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._inbox.look_everywhere(self._folder, reason)
