"""The one place of retries: a store that waits out whatever time heals."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from clipwatch.clock import Clock
from clipwatch.errors import ClipwatchError, CollectionMissing, StoreBusy, StoreUnavailable
from clipwatch.records import LedgerRow, Point, Vector
from clipwatch.store.contract import Hit, Refusal, Store, StoredPoint, StoreInfo
from clipwatch.store.outage import Logger, Outage

FIRST_WAIT_SECONDS: Final = 0.2
LONGEST_WAIT_SECONDS: Final = 30.0

T = TypeVar("T")

_backoff = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)
"""Full jitter: anything from nothing to a ceiling that doubles, so that many clients do not come back as one."""


class RetryingStore:
    """`Store` around *inner*: a call that raised `StoreUnavailable` is repeated until it succeeds.

    It ends early, with the last `StoreUnavailable`, when *stop* is set (at once, also while waiting) or
    *give_up_seconds* after the call began (None: never; 0: no second attempt). `CollectionMissing` is raised
    as it comes: waiting does not bring a collection back. `info` is asked once, since `status` must answer
    during an outage too. Iterators repeat a page, not the scroll. *on_state* hears whether the store answers,
    and why not, on the thread that noticed; it must not call the store.
    """

    def __init__(
        self,
        inner: Store,
        *,
        stop: threading.Event,
        clock: Clock,
        logger: Logger,
        give_up_seconds: float | None = None,
        on_state: Callable[[bool, str], None],
    ) -> None:
        self._inner = inner
        self._stop = stop
        self._clock = clock
        self._give_up_seconds = give_up_seconds
        self._outage = Outage(clock, logger, on_state)

    def patient_for(self, seconds: float) -> RetryingStore:
        """The same store, and the same outage, for callers that would rather hear no than wait for ever."""
        other = copy.copy(self)
        other._give_up_seconds = seconds
        return other

    def over(self, inner: Store) -> RetryingStore:
        """*inner* instead, another collection of the same store: its outages are ours."""
        other = copy.copy(self)
        other._inner = inner
        return other

    def attempt(self, operation: str, call: Callable[[], T]) -> T:
        """Any other *call* on this store, repeated like the rest."""
        return self._run(operation, call)

    @property
    def retries(self) -> int:
        """Attempts repeated so far."""
        return self._outage.retries

    @property
    def seconds_unavailable(self) -> float:
        """Seconds without an answer so far, the present outage included."""
        return self._outage.seconds

    def ensure(self, width: int) -> None:
        self._run("ensure", lambda: self._inner.ensure(width))

    def upsert(self, points: Sequence[Point]) -> tuple[Refusal, ...]:
        return self._run("upsert", lambda: self._inner.upsert(points))

    def refresh(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        self._run("refresh", lambda: self._inner.refresh(payloads))

    def delete(self, folder: str, ids: Sequence[str]) -> None:
        self._run("delete", lambda: self._inner.delete(folder, ids))

    def delete_folder(self, folder: str) -> int:
        # Counted before: a repeated delete, whose first answer was lost, finds nothing any more.
        number = self.count(folder)
        return max(number, self._run("delete_folder", lambda: self._inner.delete_folder(folder)))

    def ledger(self, folder: str) -> Iterator[Sequence[LedgerRow]]:
        return self._each("ledger", self._inner.ledger(folder))

    def rows(self, ids: Sequence[str]) -> dict[str, LedgerRow]:
        return self._run("rows", lambda: self._inner.rows(ids))

    def paths(self, ids: Sequence[str]) -> dict[str, bytes]:
        return self._run("paths", lambda: self._inner.paths(ids))

    def vectors(self, contents: Sequence[str], model: str) -> dict[str, tuple[Vector, dict[str, Any]]]:
        return self._run("vectors", lambda: self._inner.vectors(contents, model))

    def count(self, folder: str | None = None, *, model: str | None = None) -> int:
        return self._run("count", lambda: self._inner.count(folder, model=model))

    def folders(self) -> dict[str, int]:
        return self._run("folders", self._inner.folders)

    def search(self, vector: Vector, limit: int, *, model: str, filters: Mapping[str, str] | None = None) -> list[Hit]:
        return self._run("search", lambda: self._inner.search(vector, limit, model=model, filters=filters))

    def points(self, *, vectors: bool) -> Iterator[StoredPoint]:
        return self._each("points", self._inner.points(vectors=vectors))

    def info(self) -> StoreInfo:
        return self._inner.info()

    def close(self) -> None:
        self._inner.close()

    def _each(self, operation: str, inner: Iterator[T]) -> Iterator[T]:
        return _RetriedIterator(lambda call: self._run(operation, call), inner)

    def _run(self, operation: str, call: Callable[[], T]) -> T:
        started = self._clock.monotonic()
        last: StoreUnavailable | None = None
        failing = answered = False

        def left_seconds() -> float:
            limit = self._give_up_seconds
            return math.inf if limit is None else limit - (self._clock.monotonic() - started)

        def failed(state: RetryCallState) -> None:
            nonlocal last, failing
            last = _error(state)
            if isinstance(last, StoreBusy):
                self._outage.busy(operation, last)
            else:
                self._outage.failed(operation, last, first=not failing)
                failing = True

        def wait(state: RetryCallState) -> float:
            # Who asks for no time at all is not hammered either.
            return min(max(_backoff(state), _error(state).retry_after_seconds or 0.0), left_seconds())

        def pause(seconds: float) -> None:
            if self._clock.wait(self._stop, seconds) and last is not None:
                raise last
            self._outage.retried()

        retrying = Retrying(
            retry=retry_if_exception(_time_heals),
            after=failed,
            wait=wait,
            stop=lambda _: self._stop.is_set() or left_seconds() <= 0,
            sleep=pause,
            reraise=True,
        )

        try:
            result: T = retrying(call)
            answered = True
        except ClipwatchError as error:
            answered = not _time_heals(error)
            raise
        else:
            return result
        finally:
            self._outage.left(failing=failing, answered=answered)


class _RetriedIterator(Iterator[T]):
    def __init__(self, run: Callable[[Callable[[], T | None]], T | None], inner: Iterator[T]) -> None:
        self._run = run
        self._inner = inner

    def __next__(self) -> T:
        item = self._run(lambda: next(self._inner, None))
        if item is None:
            raise StopIteration
        return item


def _error(state: RetryCallState) -> StoreUnavailable:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, StoreUnavailable):
        raise TypeError("only StoreUnavailable is retried")
    return error


def _time_heals(error: BaseException) -> bool:
    return isinstance(error, StoreUnavailable) and not isinstance(error, CollectionMissing)
