"""A file is ready when it stood still for long enough."""

from __future__ import annotations

import math
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from clipwatch.folder.settle import COARSE_SECONDS, Key, Settling, required_seconds
from clipwatch.records import Signature

FINE = Signature(10, 1_500_000_001, 1_500_000_002)
COARSE = Signature(10, 1_000_000_000, 2_000_000_000)
KEY: Key = b"a.jpg"


def test_the_wait_begins_at_first_sight_and_again_at_every_change() -> None:
    settling = Settling(0.5)
    settling.observe(KEY, FINE, 10.0)
    assert settling.ready(10.4) == []
    assert settling.next_ready() == 10.5
    settling.observe(KEY, Signature(11, 1, 2), 10.4)
    settling.observe(KEY, Signature(11, 1, 2), 10.8)
    assert settling.next_ready() == 10.9
    assert settling.ready(10.8) == []
    assert settling.ready(10.9) == [KEY]


def test_a_ready_file_stays_so_until_it_is_forgotten_or_changes() -> None:
    settling = Settling(0.5)
    settling.observe(KEY, FINE, 0.0)
    assert settling.ready(1.0) == settling.ready(2.0) == [KEY]
    assert settling.next_ready() == -math.inf
    settling.observe(KEY, FINE, 3.0)
    assert settling.ready(3.0) == [KEY]
    settling.observe(KEY, Signature(1, 2, 3), 4.0)
    assert settling.ready(4.0) == []
    settling.forget(KEY)
    assert len(settling) == 0
    assert settling.next_ready() is None
    assert settling.ready(9.0) == []


def test_whole_second_times_need_two_seconds() -> None:
    assert required_seconds(COARSE, 0.5) == COARSE_SECONDS
    assert required_seconds(COARSE, 5.0) == 5.0
    assert required_seconds(FINE, 0.5) == 0.5
    assert required_seconds(Signature(1, 1_000_000_000, 5), 0.5) == 0.5


def test_no_more_than_asked_for_are_ready_at_once_oldest_first() -> None:
    settling = Settling(0.5)
    for i in range(5):
        settling.observe(b"%d.jpg" % i, FINE, 10.0 - i)
    assert settling.ready(20.0, 2) == [b"4.jpg", b"3.jpg"]
    assert len(settling.ready(20.0)) == len(settling) == 5


def test_what_was_last_observed_can_be_asked() -> None:
    settling = Settling(0.5)
    settling.observe(KEY, FINE, 0.0)
    settling.observe(KEY, COARSE, 0.0)
    assert settling.signature(KEY) == COARSE
    assert settling.signature(b"other.jpg") is None
    assert KEY in settling
    assert list(settling) == [KEY]


def test_a_file_that_changes_for_ever_costs_no_more_memory() -> None:
    settling = Settling(0.5)
    for i in range(20_000):
        settling.observe(KEY, Signature(i, 1, 1), float(i))
    assert len(settling._queue) < 2_000


def test_a_waiting_file_costs_few_bytes() -> None:
    count = 20_000
    keys = [b"%d.jpg" % i for i in range(count)]
    tracemalloc.start()
    settling = Settling(0.5)
    for i, key in enumerate(keys):
        settling.observe(key, Signature(i, i, i), float(i))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / count < 350


samples = st.tuples(
    st.integers(0, 2),
    st.sampled_from([FINE, COARSE, Signature(1, 1, 1)]),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]),
)


@given(st.lists(samples, max_size=40))
def test_ready_is_what_was_seen_unchanged_long_enough(steps: list[tuple[int, Signature, bool, float]]) -> None:
    settling, model, now = Settling(0.5), dict[Key, tuple[Signature, float]](), 0.0
    for name, signature, forget, passed in steps:
        now += passed
        key = b"%d" % name
        if forget:
            settling.forget(key)
            model.pop(key, None)
        else:
            settling.observe(key, signature, now)
            if key not in model or model[key][0] != signature:
                model[key] = (signature, now)
        due = {k: since + required_seconds(seen, 0.5) for k, (seen, since) in model.items()}
        assert set(settling.ready(now)) == {k for k, at in due.items() if at <= now}
        waiting = min(due.values(), default=None)
        assert settling.next_ready() == (-math.inf if waiting is not None and waiting <= now else waiting)
        assert len(settling) == len(model)
