"""Points that are read back otherwise than written: named, tried again after growing pauses, embedded once."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import BatchConfig
from clipwatch.mirror import unconfirmed
from clipwatch.mirror.pauses import LONGEST_SECONDS, TRIES, pause_seconds
from clipwatch.mirror.unconfirmed import difference
from clipwatch.records import LedgerRow, Signature
from clipwatch.service.metrics import families
from clipwatch.service.status import describe_mirror
from clipwatch.service.sync import SyncRequest
from clipwatch.store.contract import Store
from support.faulty_proxy import Answer, FaultyProxy, Request, refusal, writes
from support.mirrors import Bench, FakeClock, bench, fill, picture, put, retrying, run_until
from support.stores import Told, drop_collection, shared_engine, store_config, store_on

DONE = Answer(200, b'{"result":{"operation_id":0,"status":"completed"},"status":"ok","time":0.0}')


class Gateway:
    """What stands between the mirror and its store, over real HTTP."""

    def __init__(self, proxy: FaultyProxy, clock: FakeClock) -> None:
        self.proxy, self._clock = proxy, clock
        self._late: list[tuple[float, Request]] = []

    @property
    def upserts(self) -> int:
        return sum(request.method == "PUT" and request.path.endswith("/points") for request in self.proxy.requests)

    def round_numbers(self) -> None:
        """As what reads JSON numbers as doubles does, JavaScript for one."""

        def rounded(request: Request) -> bytes:
            if not request.body:
                return request.body
            return json.dumps(json.loads(request.body, parse_int=lambda text: int(float(text)))).encode()

        self.proxy.change_body = rounded

    def lose_writes(self) -> None:
        """Acknowledge upserts and forget them."""
        self.proxy.fail(DONE, when=lambda r: r.method == "PUT" and r.path.endswith("/points"), times=None)

    def lag(self, seconds: float) -> None:
        """Reads show what was written so long ago."""

        def is_later(request: Request) -> bool:
            now = self._clock.seconds
            while self._late and self._late[0][0] + seconds <= now:
                self.proxy.forward(self._late.pop(0)[1])
            if writes(request) and not request.path.endswith("/batch"):
                self._late.append((now, request))
                return True
            return False

        self.proxy.fail(DONE, when=is_later, times=None)

    def mend(self) -> None:
        """Everything arrives as it was sent."""
        for _, request in self._late:
            self.proxy.forward(request)
        self._late.clear()
        self.proxy.heal()
        self.proxy.change_body = None


@contextlib.contextmanager
def behind_gateway(directory: Path) -> Iterator[tuple[Bench, Gateway]]:
    engine, config = shared_engine(), store_config()
    with FaultyProxy(engine.socket_path, socket=directory / "p.sock") as proxy:
        assert proxy.socket_path is not None
        inner = store_on(proxy.socket_path, config)
        clock, told, stop, made = FakeClock(), Told(), threading.Event(), list[Bench]()
        store: Store = retrying(inner, clock, told, lambda: made[0].mirror if made else None, stop)
        try:
            with bench(directory, store=store, clock=clock, told=told, batch=BatchConfig(max_wait_seconds=0.5)) as b:
                made.append(b)
                yield b, Gateway(proxy, clock)
                proxy.heal()
                stop.set()
        finally:
            stop.set()
            drop_collection(engine.socket_path, config.collection)
            inner.close()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Bench, Gateway]]:
    with behind_gateway(tmp_path) as pair:
        yield pair


def run_for(b: Bench, seconds: float) -> None:
    """Let so much time pass."""
    until = b.clock.seconds + seconds
    run_until(b.now, b.clock, lambda: b.clock.seconds >= until, seconds=60)


def scans(b: Bench) -> int:
    return len(b.told.events("scan.started"))


def status(b: Bench) -> dict[str, Any]:
    return {**describe_mirror(b.now, {}, now=b.clock.seconds), "stuck": []}


def test_behind_a_gateway_that_rounds_nothing_is_tried_at_once_for_ever(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 10)
    gateway.round_numbers()
    b.start()
    run_for(b, 100)
    assert b.inferences == 10
    assert scans(b) <= 2
    told = b.told.events("batch.mismatch")
    assert [line["again_seconds"] for line in told] == [1, 2, 4, 8, 16, 32, 64]
    assert {(line["points"], line["folder"], line["path"]) for line in told} == {(10, "images", "00000.png")}
    assert {line["differs"] for line in told} <= {"mtime_ns", "ctime_ns", "mtime_ns, ctime_ns"}
    assert gateway.upserts <= 7
    page = status(b)
    assert (page["pending"], page["unconfirmed"]) == (10, 10)
    assert "ctime_ns" in page["watch"][0]["unconfirmed_why"]
    assert "00000.png" in page["watch"][0]["unconfirmed_why"]
    [gauge] = [family for family in families(metrics(page)) if family.name == "clipwatch_unconfirmed"]
    assert [(sample.labels, sample.value) for sample in gauge.samples] == [({"folder": "images"}, 10)]
    gateway.mend()
    b.clock.jump(LONGEST_SECONDS)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 10
    assert status(b)["unconfirmed"] == 0


def metrics(page: dict[str, Any]) -> dict[str, Any]:
    return {**page, "store": {"available": True, "retries": 0, "unavailable_seconds": 0.0}}


def test_a_pass_ends_with_the_differing_key_after_a_bounded_number_of_tries(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 10)
    gateway.round_numbers()
    for embedded in (10, 0):
        began, before = b.clock.seconds, gateway.upserts
        result = b.sync()
        [sentence] = result["undone"]
        assert result["embedded"] == embedded, "inferences made"
        assert re.match(r"\d+ points of folder images were written, .* differ in (mtime_ns, )?ctime_ns", sentence)
        assert b.clock.seconds - began < 60
        assert gateway.upserts - before <= TRIES
    assert b.inferences == 10, "the second pass finds the vectors in the store"
    gateway.mend()
    assert b.sync()["undone"] == []
    b.assert_exact()
    assert b.inferences == 10


def test_a_pass_that_somebody_asks_a_daemon_for_tries_at_once_and_again(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 10)
    gateway.round_numbers()
    b.start()
    run_for(b, 200)
    request = SyncRequest(b.now, b.clock)
    run_until(b.now, b.clock, request.check)
    assert request.undone
    gateway.mend()
    began, request = b.clock.seconds, SyncRequest(b.now, b.clock)
    run_until(b.now, b.clock, request.check)
    assert request.undone == []
    assert b.clock.seconds - began < 5
    b.assert_exact()
    assert b.now.counts.embedded == b.inferences == 10


@pytest.mark.parametrize("seconds", [0.5, 3, 10])
def test_a_replica_that_lags_behind_costs_no_inference_and_no_scan(made: tuple[Bench, Gateway], seconds: float) -> None:
    b, gateway = made
    fill(b.folder, 10)
    gateway.lag(seconds)
    result = b.sync()
    assert result["undone"] == []
    assert (result["embedded"], b.inferences) == (10, 10)
    assert gateway.upserts <= 1 + seconds / 3
    assert scans(b) <= 2
    gateway.mend()
    b.assert_exact()


def test_deletes_that_a_replica_shows_late_cost_few_scans(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 10)
    b.sync()
    b.inferences, before = 0, scans(b)
    gateway.lag(3)
    for seed in range(3):
        (b.folder / f"{seed:05d}.png").unlink()
    result = b.sync()
    assert result["undone"] == []
    assert scans(b) - before <= 5
    assert b.inferences == 0
    gateway.mend()
    b.assert_exact()


def test_writes_that_get_lost_are_repeated_with_the_vectors_that_were_made(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 10)
    put(b.folder, "copy.png", picture(3))
    gateway.lose_writes()
    b.start()
    run_for(b, 40)
    put(b.folder, "later-copy.png", picture(4))
    b.touch("later-copy.png")
    run_for(b, 40)
    assert b.inferences == 10
    assert {line["differs"] for line in b.told.events("batch.mismatch")} == {"missing"}
    assert "are not there" in status(b)["watch"][0]["unconfirmed_why"]
    assert b.now.pending() == 12
    gateway.mend()
    b.clock.jump(LONGEST_SECONDS)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 10


def test_new_files_go_on_beside_points_that_are_not_confirmed(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 3)
    gateway.proxy.fail(DONE, when=lambda r: r.method == "PUT" and b"00001.png" in r.body, times=None)
    b.start()
    run_for(b, 30)
    fill(b.folder, 60, first=100)
    b.now.ask_looks("test")
    run_until(b.now, b.clock, lambda: b.one.points >= 60)
    run_for(b, 30)
    assert b.now.pending() == 3, "those that were written with it"
    gateway.mend()
    b.clock.jump(LONGEST_SECONDS)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 63


def test_a_file_that_changes_or_goes_meanwhile_is_not_kept_waiting(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 3)
    gateway.round_numbers()
    b.start()
    run_for(b, 200)
    gateway.mend()
    put(b.folder, "00001.png", picture(50))
    (b.folder / "00002.png").unlink()
    b.touch("00001.png", "00002.png")
    began = b.clock.seconds
    run_until(b.now, b.clock, lambda: b.store.count("images") == 2 and b.inferences == 4 and not b.now.writer.queued)
    assert b.clock.seconds - began < 5, "the pause was 128 seconds by then"
    b.clock.jump(LONGEST_SECONDS)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 4


def test_a_gone_file_does_not_wait_for_ever_for_one_of_its_size_that_is_not_confirmed(
    made: tuple[Bench, Gateway],
) -> None:
    b, gateway = made
    put(b.folder, "a.png", picture(1) + bytes(10))
    put(b.folder, "z.png", picture(3))
    b.sync()
    gateway.proxy.fail(DONE, when=lambda r: r.method == "PUT" and b"b.png" in r.body, times=None)
    (b.folder / "a.png").unlink()
    put(b.folder, "b.png", picture(1) + bytes(9) + b"x")
    [sentence] = b.sync()["undone"]
    assert "b.png" in sentence
    assert b.paths() == {b"z.png"}


def test_with_too_many_such_points_nothing_more_is_taken_and_a_pass_still_ends(
    made: tuple[Bench, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    b, gateway = made
    monkeypatch.setattr(unconfirmed, "UNCONFIRMED_MOST", 30)
    fill(b.folder, 200)
    gateway.lose_writes()
    unconfirmed_, waiting = b.sync()["undone"]
    assert "are not there" in unconfirmed_
    assert "more files" in waiting
    assert b.inferences <= 30 + 5 * 25
    gateway.mend()
    assert b.sync()["undone"] == []
    b.assert_exact()


def test_a_point_refused_alone_in_words_that_blame_nobody_is_kept_and_keeps_nothing_waiting(
    made: tuple[Bench, Gateway],
) -> None:
    b, gateway = made
    fill(b.folder, 60)
    words = refusal(400, "Bad request: the moon is in the wrong house")
    gateway.proxy.fail(words, when=lambda r: writes(r) and b"00010.png" in r.body, times=None)
    b.start()
    request = SyncRequest(b.now, b.clock)
    run_until(b.now, b.clock, request.check)
    assert request.result["embedded"] == 59
    [sentence] = request.undone
    assert "00010.png" in sentence
    assert "moon" in sentence
    assert not b.one.rejected
    assert b.now.store_state.available, "it takes whatever else it is sent"
    assert "moon" in status(b)["watch"][0]["unconfirmed_why"]
    assert {line["points"] for line in b.told.events("batch.refused")} == {1}
    gateway.mend()
    b.clock.jump(LONGEST_SECONDS)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 60


def test_a_store_that_refuses_everything_costs_each_vector_once(made: tuple[Bench, Gateway]) -> None:
    b, gateway = made
    fill(b.folder, 300)
    gateway.proxy.fail(refusal(403, "Forbidden"), when=writes, times=None)
    b.start()
    run_for(b, 40)
    before = b.inferences
    assert before <= 5 * 25, "what was on its way when it refused for the first time"
    run_for(b, 600)
    assert b.inferences == before
    assert b.now.pending() == 300
    gateway.mend()
    b.clock.jump(31)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 300


def test_a_count_that_never_agrees_is_doubted_with_growing_pauses_and_ends_a_pass(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b.folder, 3)
    b.sync()
    count, before = b.store.count, scans(b)
    monkeypatch.setattr(b.store, "count", lambda *names, **more: count(*names, **more) + 1)
    [sentence] = b.sync()["undone"]
    assert "the store counts 4 points, not 3" in sentence
    assert scans(b) - before <= TRIES + 1
    before = scans(b)
    b.start()
    run_for(b, 200)
    assert scans(b) - before <= 9
    monkeypatch.setattr(b.store, "count", count)
    b.look()
    assert b.one.scans.doubts == 0
    b.assert_exact()


def test_a_collection_that_goes_again_and_again_is_made_again_with_growing_pauses(
    made: tuple[Bench, Gateway],
) -> None:
    b, gateway = made
    fill(b.folder, 5)
    b.start()
    b.quiet()
    name = b.store.info().collection
    gateway.proxy.fail(refusal(404, f"Not found: Collection `{name}` doesn't exist!"), when=writes, times=None)
    fill(b.folder, 5, first=10)
    b.now.ask_looks("test")
    before = scans(b)
    run_for(b, 100)
    assert scans(b) - before <= 10
    assert b.inferences == 10
    assert "does not exist" in b.now.store_state.trouble
    gateway.mend()
    b.clock.jump(LONGEST_SECONDS)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 10


def test_pauses_double_up_to_ten_minutes() -> None:
    pauses = [pause_seconds(failures) for failures in range(1, 100)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_SECONDS == 600


def test_the_differing_keys_are_named() -> None:
    wanted = LedgerRow(b"i" * 16, Signature(1, 2, 3), "sha256:aa", "model")
    assert difference(wanted, wanted) == ""
    assert difference(wanted, None) == "missing"
    assert difference(wanted, LedgerRow(wanted.id, Signature(1, 2, 4), "sha256:aa", "model")) == "ctime_ns"
    assert (
        difference(wanted, LedgerRow(wanted.id, Signature(9, 8, 7), "b", "m"))
        == "size, mtime_ns, ctime_ns, content, model"
    )
