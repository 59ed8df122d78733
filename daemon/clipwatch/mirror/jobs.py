"""Work done on other threads whose answers come back to the one thread that owns the mirror."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Mailbox:
    """Calls posted from any thread, run by the owner's thread in `deliver`."""

    def __init__(self, wake: threading.Event) -> None:
        self.wake = wake
        self._calls: deque[Callable[[], None]] = deque()

    def post(self, call: Callable[[], None]) -> None:
        """Have *call* run by the owner soon."""
        self._calls.append(call)
        self.wake.set()

    def deliver(self) -> int:
        """Run what has been posted so far; how many calls that were."""
        waiting = len(self._calls)
        for _ in range(waiting):
            self._calls.popleft()()
        return waiting


class Lane:
    """One thread that does one thing after the other, in order.

    A daemon thread, unlike an executor's: a request that hangs must not keep the process from ending.
    """

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        self.name = name
        self._mailbox = mailbox
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._queued = self._answered = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Jobs given and not yet answered to the owner."""
        return self._queued

    @property
    def answered(self) -> int:
        """Jobs answered to the owner so far."""
        return self._answered

    def run(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do *work* on the lane, then call *then* with its result on the owner's thread.

        An exception of *work* is raised on the owner's thread: whoever expects one returns it as a value.
        """
        self._queued += 1
        self._work.put(partial(self._do, work, then))

    def _do(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed over whole to the owner's thread, which raises it
            self._mailbox.post(partial(self._raise, error))
        else:
            self._mailbox.post(partial(self._answer, then, result))

    def _answer(self, then: Callable[[T], None], result: T) -> None:
        self._queued -= 1
        self._answered += 1
        then(result)

    def _raise(self, error: BaseException) -> None:
        self._queued -= 1
        raise error

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def close(self, wait_seconds: float) -> bool:
        """End after what is queued; whether it did within *wait_seconds*."""
        self._work.put(None)
        self._thread.join(wait_seconds)
        return not self._thread.is_alive()
