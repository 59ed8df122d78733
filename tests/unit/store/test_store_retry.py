"""Waiting a store out: how long, how loudly, and when to stop."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from clipwatch.clock import SystemClock
from clipwatch.errors import CollectionMissing, ConfigError, StoreBusy, StoreRejected, StoreUnavailable
from clipwatch.store.contract import Store
from clipwatch.store.pages import Each, Pages
from clipwatch.store.retry import LONGEST_WAIT_SECONDS, RetryingStore
from support.stores import HastyClock, Told


class Scripted:
    """The calls of a store that matter here, each answered by *answer*."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    def count(self, folder: str | None = None, *, model: str | None = None) -> Any:
        return self._answer()

    def folders(self) -> Any:
        return {}

    def info(self) -> Any:
        return self._answer()

    def points(self, *, vectors: bool) -> Iterator[Any]:
        return Each(Pages(lambda offset: self._answer()(offset)))


class Bench:
    """A retrying store around a script, and everything it told."""

    def __init__(self, answer: Callable[[], Any], *, clock: Any = None, give_up_seconds: float | None = None) -> None:
        self.told = Told()
        self.states: list[tuple[bool, str]] = []
        self.stop = threading.Event()
        self.clock: Any = clock or HastyClock()
        self.store = RetryingStore(
            cast(Store, Scripted(answer)),
            stop=self.stop,
            clock=self.clock,
            logger=self.told,
            give_up_seconds=give_up_seconds,
            on_state=lambda up, why: self.states.append((up, why)),
        )


def away(message: str = "away", **more: Any) -> StoreUnavailable:
    return StoreUnavailable(message, **more)


def _raise(error: Exception) -> Any:
    raise error


def failing(times: int, result: Any = 7, error: Callable[[], Exception] = away) -> Callable[[], Any]:
    left = [times]

    def answer() -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise error()
        return result

    return answer


def test_an_outage_is_told_once_and_its_end_once() -> None:
    bench = Bench(failing(3))
    assert bench.store.count() == 7
    assert [event for _, event, _ in bench.told.lines] == ["store.unavailable", "store.recovered"]
    assert bench.told.events("store.unavailable")[0]["reason"] == "away"
    assert bench.told.events("store.recovered")[0]["failures"] == 3
    assert bench.states == [(False, "away"), (True, "")]
    assert bench.store.retries == 3
    assert bench.store.seconds_unavailable == pytest.approx(bench.clock.seconds - 1000)


def test_a_call_that_succeeds_at_once_tells_nothing() -> None:
    bench = Bench(failing(0))
    assert bench.store.count() == 7
    assert (bench.told.lines, bench.states, bench.store.retries) == ([], [], 0)


def test_waits_grow_to_a_ceiling_and_are_jittered() -> None:
    waits: list[float] = []
    bench = Bench(failing(400), clock=HastyClock(waits.append))
    bench.store.count()
    for n, wait in enumerate(waits):
        assert 0 <= wait <= min(LONGEST_WAIT_SECONDS, 0.2 * 2**n)
    assert 10 < sum(waits[20:]) / len(waits[20:]) < 20
    assert len(set(waits)) > 350


def test_hours_without_a_store_cost_a_line_a_minute_and_no_memory() -> None:
    def until_evening() -> int:
        if bench.clock.seconds < 1000 + 8 * 3600:
            raise away("refused " + "x" * 1000)
        return 7

    bench = Bench(until_evening)
    tracemalloc.start()
    try:
        bench.store.count()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bench.store.retries > 1000
    assert 300 <= len(bench.told.events("store.unavailable")) <= 8 * 60 + 1
    assert kept < 2_000_000
    assert bench.states == [(False, "refused " + "x" * 1000), (True, "")]


def test_a_store_that_flickers_does_not_flood_the_log() -> None:
    answers = [failing(1) for _ in range(500)]
    bench = Bench(lambda: answers[-1]())
    for _ in range(500):
        bench.store.count()
        answers.pop()
        bench.clock.seconds += 0.1
    assert len(bench.told.lines) < 60
    assert sum(line.get("outages_untold", 0) for line in bench.told.events("store.unavailable")) > 250
    assert bench.store.retries == 500
    assert len(bench.states) == 1000


def test_while_one_call_fails_the_success_of_another_is_no_recovery() -> None:
    def on_wait(seconds: float) -> None:
        bench.store.folders()

    bench = Bench(failing(3), clock=HastyClock(on_wait))
    bench.store.count()
    assert [event for _, event, _ in bench.told.lines] == ["store.unavailable", "store.recovered"]


@pytest.mark.parametrize(
    "error", [CollectionMissing("gone"), StoreRejected("no"), ConfigError("no"), ValueError("bug")]
)
def test_what_time_does_not_heal_is_raised_at_once(error: Exception) -> None:
    bench = Bench(failing(1, error=lambda: error))
    with pytest.raises(type(error)):
        bench.store.count()
    assert bench.clock.waits == 0
    assert bench.told.lines == []


def test_a_refusal_after_an_outage_ends_the_outage() -> None:
    errors: list[Exception] = [StoreRejected("key"), away()]
    bench = Bench(lambda: (_ for _ in ()).throw(errors.pop()))
    with pytest.raises(StoreRejected):
        bench.store.count()
    assert bench.states[-1] == (True, "")


def test_what_the_store_asks_for_is_waited() -> None:
    waits: list[float] = []
    bench = Bench(failing(2, error=lambda: away(retry_after_seconds=17.0)), clock=HastyClock(waits.append))
    bench.store.count()
    assert waits == [17.0, 17.0]


def test_who_asks_for_no_time_is_not_hammered() -> None:
    waits: list[float] = []
    bench = Bench(failing(40, error=lambda: away(retry_after_seconds=0.0)), clock=HastyClock(waits.append))
    bench.store.count()
    assert sum(waits) > 60


def test_a_store_that_asks_for_time_is_well() -> None:
    bench = Bench(failing(30, error=lambda: StoreBusy("slow down", retry_after_seconds=9.0)))
    assert bench.store.count() == 7
    assert bench.states == []
    assert bench.store.seconds_unavailable == 0
    assert bench.store.retries == 30
    assert 2 <= len(bench.told.events("store.busy")) <= 8
    assert not bench.told.events("store.unavailable")


def test_an_outage_in_the_middle_of_being_asked_to_wait_is_one() -> None:
    errors: list[Exception] = [StoreBusy("slow"), away(), StoreBusy("slow")]
    bench = Bench(lambda: _raise(errors.pop()) if errors else 7)
    assert bench.store.count() == 7
    assert bench.states == [(False, "away"), (True, "")]


def test_it_gives_up_after_its_time_with_the_last_reason_and_no_longer() -> None:
    bench = Bench(failing(10**9), give_up_seconds=5.0)
    with pytest.raises(StoreUnavailable, match="away"):
        bench.store.count()
    assert bench.clock.seconds == pytest.approx(1005.0)
    assert bench.states == [(False, "away")]


def test_with_no_time_given_there_is_one_attempt() -> None:
    bench = Bench(failing(1), give_up_seconds=0.0)
    with pytest.raises(StoreUnavailable):
        bench.store.count()
    assert bench.clock.waits == 0
    assert bench.store.count() == 7
    assert bench.states[-1] == (True, "")


def test_stopping_ends_a_wait_at_once_with_the_last_reason() -> None:
    """The real clock: the wait that is interrupted would take a minute."""
    failed = threading.Event()

    def answer() -> int:
        failed.set()
        raise away(retry_after_seconds=60.0)

    bench = Bench(answer, clock=SystemClock())
    outcome: list[BaseException] = []

    def call() -> None:
        try:
            bench.store.count()
        except StoreUnavailable as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert failed.wait(10)
    bench.stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(outcome[0], StoreUnavailable)
    assert bench.store.retries == 0


def test_after_the_stop_a_call_is_tried_once() -> None:
    bench = Bench(failing(1))
    bench.stop.set()
    with pytest.raises(StoreUnavailable):
        bench.store.count()
    assert bench.store.count() == 7


def test_an_iterator_repeats_the_page_that_failed_and_no_other() -> None:
    asked: list[Any] = []

    def fetch(offset: Any) -> tuple[list[int], Any]:
        asked.append(offset)
        if len(asked) in (2, 3, 5):
            raise away()
        start = offset or 0
        return [start, start + 1], (start + 2 if start < 4 else None)

    bench = Bench(lambda: fetch)
    numbers: Iterator[Any] = bench.store.points(vectors=False)
    assert list(numbers) == [0, 1, 2, 3, 4, 5]
    assert asked == [None, 2, 2, 2, 4, 4]


def test_info_is_asked_once_so_that_status_answers_during_an_outage() -> None:
    bench = Bench(failing(1))
    with pytest.raises(StoreUnavailable):
        bench.store.info()
    assert bench.clock.waits == 0
