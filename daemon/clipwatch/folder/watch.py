"""Watching one folder: choose how, arm it, doubt it, replace it.

An event only says where to look, so a backend in trouble is simply thrown away: a new one is armed, and then the
whole folder is looked at. Where no kernel can tell of changes, the whole folder is looked at every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from clipwatch.clock import Clock
from clipwatch.config import WatchConfig
from clipwatch.errors import ClipwatchError, FolderUnavailable
from clipwatch.folder.backend import Backend, WatchRefused, explain
from clipwatch.folder.inbox import Inbox
from clipwatch.folder.mounts import Mount, mounts_within, silent_file_system
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules

POLL_SECONDS: Final = 10.0
_LOOKING_SHARE: Final = 20
"""Polling may keep the machine busy for one part in so many."""
_RETRY_SECONDS: Final = 600.0
"""How long a folder is polled before the kernel, having refused once, is asked for a watch again."""

MakeBackend = Callable[[Root, FileRules, Inbox], Backend]


class Logger(Protocol):
    """What is asked of a structlog logger."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class WatchState:
    """How a folder is watched now: "watchdog", "watchfiles", "polling", or "none" while it is away.

    Not *healthy*: not as configured, and *reason* says why; a *reason* can be there without harm.
    """

    backend: str
    healthy: bool
    reason: str


def _watchdog(root: Root, rules: FileRules, inbox: Inbox) -> Backend:
    try:
        from clipwatch.folder.by_watchdog import WatchdogBackend
    except Exception as error:  # what it raises where there is no inotify has no common class
        raise WatchRefused(f"there is no inotify here: {error}") from error
    return WatchdogBackend(root, rules, inbox)


def _watchfiles(root: Root, rules: FileRules, inbox: Inbox) -> Backend:
    try:
        from clipwatch.folder.by_watchfiles import WatchfilesBackend
    except ImportError as error:
        raise WatchRefused(
            "watchfiles is not installed", hint="Install it: `pip install 'clipwatch[watchfiles]'`."
        ) from error
    return WatchfilesBackend(root, rules, inbox)


BACKENDS: Final[Mapping[str, MakeBackend]] = MappingProxyType({"watchdog": _watchdog, "watchfiles": _watchfiles})


class FolderWatch:
    """Keeps an inbox told of one folder's changes. `start`, `supervise` and `stop` belong to one thread."""

    def __init__(
        self,
        root: Root,
        rules: FileRules,
        watch: WatchConfig,
        inbox: Inbox,
        clock: Clock,
        logger: Logger,
        *,
        backends: Mapping[str, MakeBackend] = BACKENDS,
    ) -> None:
        self._root = root
        self._rules = rules
        self._watch = watch
        self._inbox = inbox
        self._clock = clock
        self._logger = logger
        self._backends = backends
        self._backend: Backend | None = None
        self._mounts: frozenset[Mount] = frozenset()
        self._poll_seconds = POLL_SECONDS
        self._poll_at: float | None = None
        self._retry_at: float | None = None
        self._said = ""
        self.state = WatchState("none", False, "not started")

    def start(self) -> None:
        """Arm the watch; on return every later change will be told. Falls back to polling, never raises for it."""
        self._retry_at = self._poll_at = None
        self._mounts = mounts_within(self._root.path)
        wanted = self._watch.backend
        if wanted == "auto":
            silent = silent_file_system(self._root.descriptor, self._root.path)
            wanted = "polling" if silent else "watchdog"
            if silent:
                self._poll(f"{silent} does not tell of all changes")
                return
        if wanted == "polling":
            self._poll("")
            return
        try:
            backend = self._backends[wanted](self._root, self._rules, self._inbox)
            try:
                backend.start()
            except OSError as error:
                raise explain(error) from error
        except WatchRefused as refused:
            self._retry_at = self._clock.monotonic() + _RETRY_SECONDS
            self._schedule_poll()
            self.state = WatchState("polling", False, refused.sentence())
            self._say(refused.message, hint=refused.hint, backend="polling")
            return
        self._backend = backend
        self._said = ""
        if self._watch.follow_symlinks:
            # What lies behind a link can change, and be entered by another path, without an event of this folder.
            self._schedule_poll()
        reason = "what lies behind links is polled" if self._watch.follow_symlinks else ""
        self.state = WatchState(backend.name, True, reason)
        self._logger.info("watch.armed", folder=self._root.name, backend=backend.name, reason=reason)

    def supervise(self) -> None:
        """Prove that the watch still works and replace it if not; call it every few seconds. Never raises for it."""
        now = self._clock.monotonic()
        try:
            self._root.check()
        except FolderUnavailable as error:
            self._lose_root(error)
            return
        if self.state.backend == "none":
            self._replace("the folder is back")
        elif trouble := self._trouble(now):
            if self._backend is not None:
                self._say(trouble, backend=self._backend.name)
            self._replace(trouble)
        elif self._retry_at is not None and now >= self._retry_at:
            self._replace("watching was tried again")
        if self._poll_at is not None and now >= self._poll_at:
            self._schedule_poll()
            self._inbox.look_everywhere(self._root.name, "poll")

    def _trouble(self, now: float) -> str:
        if mounts_within(self._root.path) != self._mounts:
            return "what is mounted in the folder changed"
        return self._backend.trouble(now) if self._backend is not None else ""

    @property
    def tells_all(self) -> bool:
        """Whether the kernel tells of every change that is made by a path of the folder."""
        return self._backend is not None and not self._watch.follow_symlinks

    def note_look(self, seconds: float) -> None:
        """How long looking at the whole folder took; polling slows down accordingly."""
        self._poll_seconds = max(POLL_SECONDS, seconds * _LOOKING_SHARE)

    def stop(self) -> None:
        """End all threads; idempotent."""
        self._drop()
        self._poll_at = self._retry_at = None
        self.state = WatchState("none", False, "stopped")

    def _poll(self, reason: str) -> None:
        self._schedule_poll()
        self.state = WatchState("polling", True, reason)
        self._logger.info("watch.armed", folder=self._root.name, backend="polling", reason=reason)

    def _schedule_poll(self) -> None:
        self._poll_at = self._clock.monotonic() + self._poll_seconds

    def _replace(self, reason: str) -> None:
        """A new backend first, then the look: what happens during the look is told by the new one."""
        self._drop()
        self.start()
        self._inbox.look_everywhere(self._root.name, reason)

    def _lose_root(self, error: FolderUnavailable) -> None:
        """Wait for the folder; one that was put in its place becomes the folder, for removals to be judged anew."""
        if self.state.backend != "none":
            self._say(error.message, hint=error.hint)
            self._drop()
            self._poll_at = self._retry_at = None
            self._inbox.look_everywhere(self._root.name, error.message)
        self.state = WatchState("none", False, error.sentence())
        try:
            self._root.open()
        except ClipwatchError as still:
            self.state = WatchState("none", False, still.sentence())
            return
        self._replace("the folder was replaced")

    def _drop(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.stop()

    def _say(self, reason: str, **fields: Any) -> None:
        if reason != self._said:
            self._said = reason
            self._logger.warning("events.lost", folder=self._root.name, reason=reason, **fields)
