"""A store that fails, a program that dies: nothing spins, nothing is forgotten, nothing is blamed wrongly."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipwatch.config import WatchConfig
from clipwatch.errors import RejectReason, StoreUnavailable
from clipwatch.mirror.mirror import Mirror
from clipwatch.mirror.notebook import Notebook
from clipwatch.records import LedgerRow, OpenedFile, Reason, point_uuid, uuid_text
from clipwatch.service.sync import SyncRequest
from clipwatch.store.contract import Store
from support.faulty_proxy import Answer, FaultyProxy, LoseAnswer, Request, Reset, refusal, too_many, writes
from support.mirrors import (
    HOUR,
    Bench,
    FakeClock,
    bench,
    fill,
    picture,
    put,
    retrying,
    run_until,
    shared_decoder,
    tiny_encoder,
)
from support.stores import Told, drop_collection, shared_engine, store_config, store_on


@contextlib.contextmanager
def behind_proxy(directory: Path) -> Iterator[tuple[Bench, FaultyProxy]]:
    """A bench whose store is retried, and fails as the proxy is told."""
    engine, config = shared_engine(), store_config()
    with FaultyProxy(engine.socket_path, socket=directory / "p.sock") as proxy:
        assert proxy.socket_path is not None
        inner = store_on(proxy.socket_path, config)
        clock, told, stop, made = FakeClock(), Told(), threading.Event(), list[Bench]()
        store: Store = retrying(inner, clock, told, lambda: made[0].mirror if made else None, stop)
        try:
            with bench(directory, store=store, clock=clock, told=told) as b:
                made.append(b)
                yield b, proxy
                proxy.heal()
                stop.set()
        finally:
            stop.set()
            drop_collection(engine.socket_path, config.collection)
            inner.close()


FAULTS = {
    "reset": Reset(),
    "answer lost after the write": LoseAnswer(),
    "500": Answer(500, b"oops"),
    "503": refusal(503, "Service not ready"),
    "429": too_many("2"),
    "wrong JSON": Answer(200, b"<html>"),
    "a proxy's 502": Answer(502, b"<html>bad gateway</html>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_passing_fault_of_the_store_is_waited_out(tmp_path: Path, fault: Answer) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 30)
        b.start()
        proxy.fail(fault, times=2)
        proxy.fail(fault, when=writes, after=1, times=2)
        b.quiet()
        (b.folder / "00003.png").unlink()
        put(b.folder, "new.png", picture(90))
        proxy.fail(fault, times=3)
        b.look()
        b.assert_exact()
        b.look()
        b.assert_exact()


def test_a_collection_that_is_dropped_is_made_again_and_filled(tmp_path: Path) -> None:
    with bench(tmp_path) as b:
        fill(b.folder, 12)
        b.start()
        b.quiet()
        collection = b.store.info().collection
        drop_collection(shared_engine().socket_path, collection)
        put(b.folder, "new.png", picture(90))
        b.touch("new.png")
        b.quiet()
        b.assert_exact()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_that_only_the_operator_ends_parks_writing_and_ends_by_itself(tmp_path: Path, status: int) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 3)
        b.start()
        b.quiet()
        proxy.fail(refusal(status, "Forbidden"), when=writes, times=None)
        put(b.folder, "new.png", picture(90))
        b.touch("new.png")
        run_until(b.now, b.clock, lambda: not b.now.store_state.available)
        assert b.now.store_state.trouble
        assert b.now.pending() == 1
        assert steps_without_a_pause(b.now, b.clock) < 10
        assert len(b.told.events("store.rejected")) == 1
        proxy.heal()
        b.clock.jump(31)
        b.quiet()
        assert b.now.store_state.available
        b.assert_exact()


def test_a_store_that_may_only_be_read_is_told_once_and_costs_one_batch_at_a_time(tmp_path: Path) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 3)
        b.start()
        b.quiet()
        proxy.fail(refusal(403, "Forbidden"), when=writes, times=None)
        fill(b.folder, 200, first=100)
        b.now.ask_looks("test")
        run_until(b.now, b.clock, lambda: not b.now.store_state.available)
        run_until(b.now, b.clock, lambda: not b.now.pipeline.in_flight)
        decoder, states = shared_decoder(tiny_encoder().preprocessing), set[bool]()
        for _ in range(4):
            before, parked = decoder.submitted, b.now.store_state.parked_until
            b.clock.jump(31)
            b.now.ask_looks("reads go well")
            b.now.probe_store()

            def is_parked_again(parked: float = parked) -> bool:
                states.add(b.now.store_state.available)
                return b.now.store_state.parked_until > parked and not b.now.pipeline.in_flight

            run_until(b.now, b.clock, is_parked_again)
            assert decoder.submitted - before <= 25
        assert states == {False}
        assert len(b.told.events("store.rejected")) == 1
        proxy.heal()
        b.clock.jump(31)
        b.quiet()
        assert b.now.store_state.available
        b.assert_exact()


def test_a_refused_store_with_nothing_left_to_write_is_asked_whether_it_would(tmp_path: Path) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 3)
        b.start()
        b.quiet()
        proxy.fail(refusal(403, "Forbidden"), when=writes, times=None)
        put(b.folder, "new.png", picture(90))
        b.touch("new.png")
        run_until(b.now, b.clock, lambda: not b.now.store_state.available)
        (b.folder / "new.png").unlink()
        b.touch("new.png")
        b.clock.jump(31)
        b.quiet()
        b.now.probe_store()
        run_until(b.now, b.clock, lambda: not b.now.writer.queued)
        assert not b.now.store_state.available, "reads go well, writes do not"
        proxy.heal()
        b.clock.jump(31)
        b.now.probe_store()
        run_until(b.now, b.clock, lambda: b.now.store_state.available)
        b.assert_exact()


def test_a_store_that_is_away_makes_nothing_spin_and_nothing_grow(tmp_path: Path) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 200)
        b.start()
        away = threading.Event()

        def go(request: Request) -> None:
            if writes(request) and not away.is_set():
                proxy.fail(Answer(503), times=None)
                away.set()

        proxy.on_request = go
        run_until(b.now, b.clock, away.is_set)
        for _ in range(40):
            run_briefly(b.now, b.clock)
        assert steps_without_a_pause(b.now, b.clock) < 10
        assert b.now.pipeline.in_flight <= 200
        assert sum(b.now.pipeline.depths.values()) <= 6 * 25
        proxy.on_request = None
        proxy.heal()
        b.quiet(60)
        b.assert_exact()


def run_briefly(mirror: Mirror, clock: FakeClock) -> None:
    mirror.inbox.wake.clear()
    wait = mirror.step()
    mirror.inbox.wake.wait(min(wait, 0.02))


def steps_without_a_pause(mirror: Mirror, clock: FakeClock) -> int:
    """Of a hundred steps, how many asked for the next one at once although nothing had happened."""
    spun = 0
    for _ in range(100):
        mirror.inbox.wake.clear()
        wait = mirror.step()
        if wait <= 0 and not mirror.inbox.wake.is_set():
            spun += 1
    return spun


def test_a_poison_point_is_put_aside_and_its_batch_goes_on(tmp_path: Path) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 25)
        put(b.folder, "poison.png", picture(99))
        words = f"Wrong input: poison in {uuid_text(point_uuid('images', b'poison.png'))}"
        proxy.fail(refusal(400, words), when=lambda r: writes(r) and b"poison.png" in r.body, times=None)
        b.start()
        b.quiet()
        assert [item.reason for item in b.one.rejected.values()] == [RejectReason.STORE_REFUSED]
        assert b.store.count("images") == 25
        proxy.heal()
        b.look()
        b.assert_exact()


def test_a_pass_that_somebody_waits_for_is_given_up_where_the_store_stays_away(tmp_path: Path) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 3)
        b.start()
        b.quiet()
        proxy.fail(refusal(403, "Forbidden"), times=None)
        request = SyncRequest(b.now, b.clock)
        run_until(b.now, b.clock, request.check)
        assert isinstance(request.error, StoreUnavailable)
        assert request.done.is_set()
        proxy.heal()
        b.clock.jump(31)
        run_until(b.now, b.clock, lambda: b.now.store_state.available)
        request = SyncRequest(b.now, b.clock)
        run_until(b.now, b.clock, request.check)
        assert request.error is None
        b.assert_exact()


def test_what_is_doubted_while_the_collection_is_read_is_read_again(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gives cause to doubt may have happened after the page that would tell of it was read."""
    fill(b.folder, 2)
    b.start()
    b.quiet()
    read, reads = b.store.ledger, list[str]()

    def once_more(folder: str) -> Iterator[Sequence[LedgerRow]]:
        yield from list(read(folder))
        reads.append(folder)
        if len(reads) == 1:
            b.store.delete("images", [uuid_text(point_uuid("images", b"00001.png"))])
            b.now.mailbox.post(partial(b.now.store_changed, True, ""))

    monkeypatch.setattr(b.store, "ledger", once_more)
    b.look()
    assert len(reads) == 2
    assert b.told.events("collection.surprise") == []
    b.assert_exact()


def test_a_point_that_somebody_deletes_before_its_file_is_touched_is_made_again(tmp_path: Path) -> None:
    """The ledger believes in the point, so its times are refreshed, in vain: that is doubt, not a reason to repeat."""
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.5, rescan_minutes=0)) as b:
        fill(b.folder, 2)
        b.start()
        b.quiet()
        b.store.delete("images", [uuid_text(point_uuid("images", b"00001.png"))])
        os.utime(b.folder / "00001.png", ns=(1, 2))
        b.touch("00001.png")
        b.quiet()
        b.assert_exact()
        assert len(b.told.events("batch.mismatch")) <= 2


def test_a_look_asked_for_during_a_look_is_another_one(b: Bench) -> None:
    fill(b.folder, 3)
    b.start()
    run_until(b.now, b.clock, lambda: b.one.scans.started == 1)
    wanted = b.one.scans.ask("test")
    assert wanted == 2
    assert b.one.scans.ask("again") == 2, "those that wait share one"
    b.quiet()
    assert b.one.scans.done == 2


def test_an_end_is_not_kept_waiting_by_reading_the_collection(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 3)
    b.sync()
    pages = threading.Event()
    read = b.store.ledger

    def endless(folder: str) -> Iterator[Sequence[LedgerRow]]:
        while True:
            yield from read(folder)
            pages.set()

    monkeypatch.setattr(b.store, "ledger", endless)
    b.start()
    run_until(b.now, b.clock, pages.is_set)
    b.now.stop()
    run_until(b.now, b.clock, lambda: b.now.finished)


def test_a_hold_whose_time_is_up_makes_nothing_spin_while_the_store_is_away(tmp_path: Path) -> None:
    with behind_proxy(tmp_path) as (b, proxy):
        fill(b.folder, 3)
        b.start()
        b.quiet()
        for file in b.folder.iterdir():
            file.unlink()
        b.look()
        assert b.one.deletes.held == 3
        proxy.fail(refusal(403, "Forbidden"), times=None)
        b.now.ask_looks("test")
        run_until(b.now, b.clock, lambda: not b.now.store_state.available)
        b.clock.jump(2 * HOUR)
        run_briefly(b.now, b.clock)
        run_until(b.now, b.clock, lambda: b.now.store_state.parked_until > b.clock.seconds)
        assert steps_without_a_pause(b.now, b.clock) < 10
        proxy.heal()
        b.clock.jump(31)
        b.quiet()
        b.assert_exact()


# -- files that bring the program down --------------------------------------------------------------------


def die_while_decoding(b: Bench, name: str) -> None:
    """The program ends at the moment at which *name* is given to a decoder."""
    reached = threading.Event()
    decoder = shared_decoder(tiny_encoder().preprocessing)

    def stop_there(opened: OpenedFile) -> None:
        if opened.candidate.path == name.encode():
            reached.set()
            raise _Killed

    decoder.before = stop_there
    b.start()
    try:
        with pytest.raises(_Killed):
            run_until(b.now, b.clock, lambda: False)
    finally:
        decoder.before = None
        b.die()
    assert reached.is_set()


class _Killed(BaseException):
    pass


def test_a_file_that_is_in_hand_at_every_death_is_put_aside_and_tried_again_with_growing_pauses(b: Bench) -> None:
    fill(b.folder, 10)
    put(b.folder, "evil.png", picture(90))
    for _ in range(3):  # beside others, alone, and alone once more
        die_while_decoding(b, "evil.png")
    answer = b.sync()
    assert b.store.count("images") == 10, "everything else is mirrored"
    assert answer["rejected"] == 0, "the death of the program is no word against a picture"
    assert any("evil.png is tried again in 60 s" in sentence for sentence in answer["undone"])
    b.clock.jump(61)
    die_while_decoding(b, "evil.png")
    b.start()
    b.quiet()
    assert b.now.pending() == 1
    assert "evil.png is tried again in 120 s" in b.one.aside_text
    b.now.ask_looks("test")
    b.quiet()
    assert b.store.count("images") == 10, "a scan does not try it before its time"
    b.clock.jump(121)
    run_until(b.now, b.clock, lambda: not b.now.pending())
    b.quiet()
    b.assert_exact()


def put_evil_aside(b: Bench) -> None:
    put(b.folder, "evil.png", picture(90))
    for _ in range(3):
        die_while_decoding(b, "evil.png")
    b.start()
    b.quiet()
    assert set(b.one.work.aside) == {b"evil.png"}


def test_a_file_that_is_put_aside_and_changes_is_tried_at_once(b: Bench) -> None:
    put_evil_aside(b)
    put(b.folder, "evil.png", picture(92))
    b.touch("evil.png")
    b.quiet()
    b.assert_exact()
    assert not b.now.pending()


@pytest.mark.parametrize("told", [True, False], ids=["by an event", "by a scan"])
def test_a_file_that_is_put_aside_and_deleted_is_forgotten(b: Bench, told: bool) -> None:
    put_evil_aside(b)
    (b.folder / "evil.png").unlink()
    if told:
        b.touch("evil.png")
        b.quiet()
    else:
        b.look()
    assert not b.one.work.aside
    b.assert_exact()


def test_a_machine_that_goes_down_costs_no_file_anything(b: Bench) -> None:
    fill(b.folder, 3)
    put(b.folder, "late.png", picture(90))
    for _ in range(6):
        die_while_decoding(b, "late.png")
        b.clock.reboot()
    b.start()
    b.quiet()
    assert not b.one.work.aside
    b.assert_exact()


def test_a_picture_on_which_the_model_dies_is_found_and_the_rest_goes_on(b: Bench) -> None:
    fill(b.folder, 10)
    Image.new("RGB", (16, 16), (200, 30, 90)).save(b.folder / "evil.png")
    encoder = tiny_encoder()

    class Deadly:
        def encode(self, pixels: Sequence[Any]) -> Any:
            if any((image == image[0, 0]).all() for image in pixels):
                raise _Killed
            return encoder.encode(pixels)

        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

    b.encoder = Deadly()
    for _ in range(3):
        b.start()
        with pytest.raises(_Killed):
            run_until(b.now, b.clock, lambda: False)
        b.die()
    b.start()
    b.quiet()
    assert set(b.one.work.aside) == {b"evil.png"}
    assert b.store.count("images") == 10


def test_a_file_whose_decoder_is_killed_is_tried_again_alone_and_costs_nobody_a_point(b: Bench) -> None:
    fill(b.folder, 8)
    decoder = shared_decoder(tiny_encoder().preprocessing)
    kills = 0

    def kill(opened: OpenedFile) -> None:
        nonlocal kills
        if opened.candidate.path == b"00003.png" and kills < 2:
            kills += 1
            decoder.kill_next()

    decoder.before = kill
    try:
        b.start()
        b.quiet()
        assert kills == 2
        assert not b.one.rejected
        b.assert_exact()
    finally:
        decoder.before = None


def test_a_file_whose_decoder_is_killed_every_time_is_put_aside(b: Bench) -> None:
    fill(b.folder, 8)
    decoder = shared_decoder(tiny_encoder().preprocessing)

    def kill(opened: OpenedFile) -> None:
        if opened.candidate.path == b"00003.png":
            decoder.kill_next()

    decoder.before = kill
    try:
        b.start()
        b.quiet()
        assert set(b.one.work.aside) == {b"00003.png"}
        assert b.store.count("images") == 7
        assert b.told.events("decode.killed")[-1]["deaths"] == 2
    finally:
        decoder.before = None
    b.clock.jump(61)
    run_until(b.now, b.clock, lambda: not b.now.pending())
    b.quiet()
    b.assert_exact()


def test_who_was_beside_it_is_not_blamed(b: Bench) -> None:
    fill(b.folder, 20)
    for _ in range(4):
        die_while_decoding(b, "00010.png")
        b.start()
        b.stop()
    b.start()
    b.quiet()
    assert not b.one.rejected
    assert set(b.one.work.aside) <= {b"00010.png"}
    assert b.store.count("images") >= 19


def test_suspects_go_one_by_one_after_all_others(b: Bench) -> None:
    fill(b.folder, 8)
    die_while_decoding(b, "00007.png")
    fill(b.folder, 30, first=100)
    order: list[bytes] = []
    beside: list[int] = []
    b.start()
    decoder = shared_decoder(tiny_encoder().preprocessing)

    def note(opened: OpenedFile) -> None:
        order.append(opened.candidate.path)
        if opened.candidate.path < b"00008":
            beside.append(b.now.pipeline.in_flight)

    decoder.before = note
    b.quiet()
    decoder.before = None
    assert set(order[:30]) == {b"%05d.png" % number for number in range(100, 130)}
    assert beside == [1] * 8, "a suspect is alone in hand"
    b.assert_exact()


def test_no_suspect_waits_for_ever_behind_new_files(b: Bench) -> None:
    fill(b.folder, 8)
    die_while_decoding(b, "00007.png")
    decoder = shared_decoder(tiny_encoder().preprocessing)
    b.start()
    news, tried = count(1000), 0

    def note(opened: OpenedFile) -> None:
        nonlocal tried
        tried += opened.candidate.path < b"00008"
        put(b.folder, f"{(seed := next(news))}.png", picture(seed))
        b.touch(f"{seed}.png")
        b.clock.jump(20.0)

    put(b.folder, "first.png", picture(900))
    decoder.before = note
    run_until(b.now, b.clock, lambda: tried == 8)
    decoder.before = None
    b.quiet()
    b.assert_exact()


def test_after_the_last_suspect_files_are_decoded_together_again(b: Bench) -> None:
    put(b.folder, "00000.png", picture(0))
    die_while_decoding(b, "00000.png")
    b.start()
    b.quiet()
    fill(b.folder, 30, first=1)
    b.now.ask_looks("test")
    run_until(b.now, b.clock, lambda: b.now.pipeline.decoding > 0)
    assert b.now._room() > 0
    b.quiet()
    b.assert_exact()


def test_a_suspect_that_is_deleted_is_forgotten(b: Bench) -> None:
    fill(b.folder, 3)
    die_while_decoding(b, "00002.png")
    (b.folder / "00002.png").unlink()
    b.start()
    b.quiet()
    assert not b.now._suspects
    b.stop()
    notebook = Notebook(b.state / "notebook.sqlite", limits="limits", logger=Told())
    assert notebook.suspects(None) == []
    notebook.close()


def test_a_suspect_whose_content_is_known_does_not_stop_everything(b: Bench) -> None:
    fill(b.folder, 3)
    b.sync()
    put(b.folder, "copy.png", picture(1))
    put(b.folder, "new.png", picture(50))
    die_while_decoding(b, "copy.png")
    b.start()
    b.quiet()
    b.assert_exact()


def test_an_end_in_good_order_blames_nobody(b: Bench) -> None:
    fill(b.folder, 60)
    for _ in range(3):
        b.start()
        run_until(b.now, b.clock, lambda: b.now.pipeline.decoding > 5)
        b.stop()
    b.start()
    assert not b.now._suspects
    b.quiet()
    b.assert_exact()


def test_stopping_takes_no_new_work_and_finishes_what_is_in_hand(b: Bench) -> None:
    fill(b.folder, 100)
    b.start()
    run_until(b.now, b.clock, lambda: b.store.count("images") > 0 if b.now.store_state.ready else False)
    b.now.stop()
    run_until(b.now, b.clock, lambda: b.now.finished)
    stored = b.now.counts.embedded
    assert stored < 100
    assert b.store.count("images") == stored, "what was acknowledged is there, and nothing is half done"


def test_the_reasons_of_planned_work(b: Bench) -> None:
    fill(b.folder, 2)
    seen: list[Reason] = []
    decoder = shared_decoder(tiny_encoder().preprocessing)
    decoder.before = lambda opened: seen.append(opened.candidate.reason)
    try:
        b.start()
        b.quiet()
        put(b.folder, "00001.png", picture(9))
        b.touch("00001.png")
        b.quiet()
        b.stop()
        b.encoder = tiny_encoder(seed=6)
        b.start()
        b.quiet()
    finally:
        decoder.before = None
    assert seen == [Reason.NEW] * 2 + [Reason.CHANGED] + [Reason.MODEL] * 2
