"""The times when the store does not answer: counted, told once, and once a minute while they last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from clipwatch.clock import Clock
from clipwatch.errors import StoreBusy, StoreUnavailable

SUMMARY_SECONDS: Final = 60.0
OUTAGES_TOLD: Final = 5
"""Within `SUMMARY_SECONDS`; a store that flickers faster is counted in silence."""


class Logger(Protocol):
    """What is asked of a logger here."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class Outage:
    """Shared by all calls of one store. An outage begins with a call that fails and ends with an answer.

    While one call is being repeated, another's success ends nothing: a store that reads but does not write
    is not well. Of constant size, however long it lasts. *on_state* is called under the lock, so that the
    last word it hears is the true one: it must not call the store.
    """

    def __init__(self, clock: Clock, logger: Logger, on_state: Callable[[bool, str], None]) -> None:
        self._clock = clock
        self._logger = logger
        self._on_state = on_state
        self._lock = threading.Lock()
        self._failing = 0
        self._began: float | None = None
        self._failures = 0
        self._told: float | None = None
        self._past_seconds = 0.0
        self._retries = 0
        self._busy: float | None = None
        self._lately: deque[float] = deque(maxlen=OUTAGES_TOLD)
        self._untold = 0

    @property
    def retries(self) -> int:
        """Attempts repeated, ever."""
        return self._retries

    @property
    def seconds(self) -> float:
        """Seconds without an answer, ever, the present outage included."""
        with self._lock:
            return self._past_seconds + self._present_seconds()

    def failed(self, operation: str, error: StoreUnavailable, *, first: bool) -> None:
        """A call failed, for the *first* time or again."""
        with self._lock:
            now = self._clock.monotonic()
            self._failing += first
            self._failures += 1
            if self._began is None:
                self._began = now
                self._failures = 1
                self._on_state(False, error.message)
                if len(self._lately) == OUTAGES_TOLD and now - self._lately[0] < SUMMARY_SECONDS:
                    self._untold += 1
                    return
                self._lately.append(now)
                self._tell(operation, error, now)
            elif now - (self._told if self._told is not None else self._began) >= SUMMARY_SECONDS:
                self._tell(operation, error, now)

    def busy(self, operation: str, error: StoreBusy) -> None:
        """The store asked for time: no outage, and said once a minute."""
        with self._lock:
            now = self._clock.monotonic()
            if self._busy is None or now - self._busy >= SUMMARY_SECONDS:
                self._busy = now
                self._logger.info("store.busy", reason=error.message, operation=operation)

    def retried(self) -> None:
        """An attempt is about to be repeated."""
        with self._lock:
            self._retries += 1

    def left(self, *, failing: bool, answered: bool) -> None:
        """A call is over; *failing*: it had failed before, *answered*: the store had the last word."""
        with self._lock:
            self._failing -= failing
            if self._began is None or not answered or self._failing:
                return
            seconds = self._present_seconds()
            self._past_seconds += seconds
            if self._told is not None:
                self._logger.info("store.recovered", seconds=round(seconds, 3), failures=self._failures)
            self._began = self._told = None
            self._on_state(True, "")

    def _tell(self, operation: str, error: StoreUnavailable, now: float) -> None:
        self._told = now
        untold = {"outages_untold": self._untold} if self._untold else {}
        self._untold = 0
        self._logger.warning(
            "store.unavailable",
            reason=error.message,
            hint=error.hint,
            operation=operation,
            seconds=round(self._present_seconds(), 3),
            failures=self._failures,
            **untold,
        )

    def _present_seconds(self) -> float:
        return 0.0 if self._began is None else self._clock.monotonic() - self._began
