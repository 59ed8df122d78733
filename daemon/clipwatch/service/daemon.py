"""The loop: wait, step, supervise, tell; and an end that is always orderly."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

from clipwatch.clock import Clock
from clipwatch.errors import ClipwatchError, StoreUnavailable
from clipwatch.folder.watch import FolderWatch
from clipwatch.mirror.folder_mirror import FolderMirror
from clipwatch.mirror.mirror import Mirror
from clipwatch.model.cores import usable_cores
from clipwatch.service.liveness import Liveness, Sign
from clipwatch.service.logs import RepeatLimiter, tell_summaries
from clipwatch.service.notify import Notifier
from clipwatch.service.status import RecentWork, describe_mirror
from clipwatch.service.sync import SyncRequest

SUPERVISE_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 20.0
"""How often a store that nothing else is asked of is asked whether it is there."""

STOP_SECONDS: Final = 3.5
"""For what is in hand at the end; closing a store that hangs takes as long again, and the contract promises 10."""

STORE_ANSWER_SECONDS: Final = 20.0
"""How long readiness waits for a store that neither answers nor refuses: well within a unit's `TimeoutStartSec`."""

ANSWER_SECONDS: Final = 30.0
"""How long a question waits for the loop."""


class Stop:
    """The wish to end, as signals bring it: once is orderly, twice is at once."""

    def __init__(self, wake: threading.Event) -> None:
        self.requested = threading.Event()
        self.reload = threading.Event()
        self._wake = wake

    def rewire(self, wake: threading.Event) -> None:
        """Set *wake* from now on, too when the wish came before."""
        self._wake = wake
        if self.requested.is_set():
            wake.set()

    def install(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP; main thread only."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._reload)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested.is_set():
            os._exit(0)
        self.requested.set()
        self._wake.set()

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload.set()
        self._wake.set()


class Daemon:
    """Runs a mirror until told to stop."""

    def __init__(
        self,
        mirror: Mirror,
        *,
        stop: Stop,
        clock: Clock,
        logger: Any,
        limiter: RepeatLimiter,
        notifier: Notifier,
        reload: Callable[[], None] = lambda: None,
        signs: Callable[[], list[Sign]] = list,
        keep: Callable[[], None] = lambda: None,
        started: float,
    ) -> None:
        """*signs*: of life, of all that works beside the loop. *started*: when the process began, monotonic.

        *keep*: makes again what was deleted under us.
        """
        self.mirror = mirror
        self._stop, self._clock, self._logger = stop, clock, logger
        self._limiter, self._notifier = limiter, notifier
        self.reload, self._signs, self._keep = reload, signs, keep
        self._liveness = Liveness()
        self.stuck: list[str] = []
        """The workers that have work and do not get on with it; replaced, never changed."""
        self._supervise_seconds = min(SUPERVISE_SECONDS, (notifier.watchdog_seconds or 60.0) / 4)
        self._started = started
        self._watches: dict[str, FolderWatch] = {}
        self._requests: list[SyncRequest] = []
        self._supervised = self._probed = 0.0
        self.turned = clock.monotonic()
        """When the loop last turned, monotonic."""
        self._recent = RecentWork(usable_cores())
        mirror.on_folder = self._arm
        mirror.on_folder_gone = self._disarm

    # -- watching ------------------------------------------------------------------------------------------

    def _arm(self, folder: FolderMirror) -> None:
        """The folder is there: watch it before it is looked at, so that nothing falls in between."""
        self._disarm(folder.name)
        watch = FolderWatch(folder.root, folder.rules, folder.watch, self.mirror.inbox, self._clock, self._logger)
        self._watches[folder.name] = watch
        watch.start()
        folder.watched = watch.tells_all

    def _disarm(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.stop()

    def _supervise(self, now: float) -> None:
        if now - self._supervised < self._supervise_seconds:
            return
        self._supervised = now
        self._keep()
        self.mirror.note_kills()
        for name, folder in self.mirror.folders.items():
            if folder.available and folder.check_root():
                self._watches[name].note_look(folder.last_look_seconds)
                self._watches[name].supervise()
                folder.watched = self._watches[name].tells_all
        if now - self._probed >= PROBE_SECONDS:
            self._probed = now
            self.mirror.probe_store()
        tell_summaries(self._limiter, self._logger)
        status = self.status()
        self._notifier.status(f"{status['state']}: {status['points']} points, {status['pending']} pending")
        stuck = self._liveness.stuck(self._signs(), now)
        if not stuck:
            self._notifier.alive()
        elif stuck != self.stuck:
            self._logger.error("daemon.stuck", workers=stuck)
        self.stuck = stuck

    # -- asking, from other threads ----------------------------------------------------------------------------

    def ask(self, question: Callable[[], Any], seconds: float = ANSWER_SECONDS) -> Any:
        """Have *question* answered on the loop's thread; `StoreUnavailable` when that takes longer than *seconds*."""
        answered = threading.Event()
        box: list[Any] = []

        def answer() -> None:
            try:
                box.append(question())
            except ClipwatchError as error:
                box.append(error)
            answered.set()

        self.mirror.mailbox.post(answer)
        if not answered.wait(seconds):
            raise StoreUnavailable("The daemon is too busy to answer.", hint="Try again, and see `clipwatch status`.")
        if isinstance(box[0], ClipwatchError):
            raise box[0]
        return box[0]

    def status(self) -> dict[str, Any]:
        """On the loop's thread."""
        watches = {
            name: {"backend": watch.state.backend, "watch_reason": watch.state.reason, "healthy": watch.state.healthy}
            for name, watch in self._watches.items()
        }
        status = describe_mirror(self.mirror, watches, now=self._clock.monotonic(), recent=self._recent)
        return {**status, "stuck": self.stuck, "troubles": list(self._limiter.troubles)}

    def request_sync(self, looks: Callable[[], dict[str, int]] | None = None) -> SyncRequest:
        """On the loop's thread: a request that is checked after each step. *looks* asks for the looks it needs."""
        request = SyncRequest(self.mirror, self._clock, looks() if looks else None)
        self._requests.append(request)
        return request

    def unready(self) -> list[str]:
        """Why not, from any thread; nothing while the store answers and each folder is there and was scanned once."""
        store, reasons = self.mirror.store_state, []
        if not store.available or not store.ready:
            reasons.append(store.trouble or "The store has not answered yet.")
        for folder in list(self.mirror.folders.values()):
            if folder.trouble and not folder.available:
                reasons.append(folder.trouble)
            elif not folder.scans.done:
                reasons.append(f"The first scan of folder {folder.name} is not done.")
        return reasons

    # -- the loop --------------------------------------------------------------------------------------------------

    def _is_up(self, waited_seconds: float) -> bool:
        """Whether store and folders have answered, be it with their trouble."""
        store = self.mirror.store_state
        return (store.ready or bool(store.trouble) or waited_seconds > STORE_ANSWER_SECONDS) and all(
            folder.available or folder.trouble for folder in self.mirror.folders.values()
        )

    def run(self) -> None:
        """Until stopped; then finish what is in hand, or drop it whole."""
        wake = self.mirror.inbox.wake
        announced, began = False, self._clock.monotonic()
        while not self._stop.requested.is_set():
            wake.clear()
            wait = self.mirror.step()
            self.turned = now = self._clock.monotonic()
            self._requests = [request for request in self._requests if not request.check()]
            if not announced and self._is_up(now - began):
                announced = True
                self._logger.info("daemon.ready", seconds=round(now - self._started, 3))
                self._notifier.ready()
                # What stands now stands to the end: looking through it took 60 ms each time that all was collected.
                gc.freeze()
            self._supervise(now)
            if self._stop.reload.is_set():
                self._stop.reload.clear()
                self._notifier.reloading()
                self.reload()
                self._notifier.ready()
            if wait > 0:
                self._clock.wait(wake, min(wait, self._supervise_seconds))
        self._end()

    def _end(self) -> None:
        self._notifier.stopping()
        self._logger.info("daemon.stopping", in_hand=self.mirror.pipeline.in_hand)
        deadline = self._clock.monotonic() + STOP_SECONDS
        wake = self.mirror.inbox.wake
        self.mirror.stop()
        while not self.mirror.finished and self._clock.monotonic() < deadline:
            wake.clear()
            self.mirror.step()
            self._clock.wait(wake, 0.1)
        self.close()
        tell_summaries(self._limiter, self._logger, last=True)
        self._logger.info("daemon.stopped", finished=self.mirror.finished)

    def close(self) -> None:
        """Watch no folder any more."""
        for watch in self._watches.values():
            watch.stop()


def store_listener(mirror_of: Callable[[], Mirror | None]) -> Callable[[bool, str], None]:
    """What a `RetryingStore` tells, brought to the mirror's thread."""

    def changed(available: bool, reason: str) -> None:
        mirror = mirror_of()
        if mirror is not None:
            mirror.mailbox.post(partial(mirror.store_changed, available, reason))

    return changed
