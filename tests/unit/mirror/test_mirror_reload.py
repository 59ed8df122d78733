"""Other settings, taken while files wait, are in hand or are held: nothing is forgotten, or waited for in vain."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from clipwatch.config import WatchConfig
from clipwatch.errors import StoreUnavailable
from support.mirrors import (
    HOUR,
    Bench,
    bench,
    fill,
    padded_picture,
    picture,
    put,
    run_until,
    shared_decoder,
    tiny_encoder,
)


def test_files_that_wait_or_are_in_hand_go_on(b: Bench) -> None:
    fill(b.folder, 100)
    b.start()
    run_until(b.now, b.clock, lambda: b.one.work.in_hand and len(b.one.work.pending) > 0)
    b.reload(extensions=("png",))
    b.quiet()
    b.assert_exact()
    assert b.inferences == 100, "what was in hand was not taken twice"


def test_a_gone_point_does_not_wait_for_a_file_that_waited_before_a_reload(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=60.0)) as b:
        put(b.folder, "a.png", padded_picture(1))
        put(b.folder, "stays.png", picture(3))
        b.start()
        b.quiet()
        put(b.folder, "b.png", padded_picture(2))
        b.touch("b.png")
        run_until(b.now, b.clock, lambda: b"b.png" in b.one.work.pending)
        b.reload(ignore=("b.png",))
        (b.folder / "a.png").unlink()
        (b.folder / "b.png").unlink()
        b.quiet()
        b.assert_exact()
        assert b.now.pending() == 0


def test_a_gone_point_does_not_wait_for_what_was_in_hand_of_a_folder_that_is_let_go(b: Bench, tmp_path: Path) -> None:
    put(b.folder, "a.png", padded_picture(1))
    put(b.folder, "stays.png", picture(3))
    b.start()
    b.quiet()
    b.stop()
    images, other = b.folder, tmp_path / "other"
    put(other, "b.png", padded_picture(2))
    b.folder, b.watch = other, WatchConfig(name="other", settle_seconds=0.0)
    reached = threading.Event()
    decoder = shared_decoder(tiny_encoder().preprocessing)
    decoder.before = lambda _: reached.set()
    b.start()
    try:
        run_until(b.now, b.clock, reached.is_set)
    finally:
        decoder.before = None
    assert b.one.work.in_hand
    b.folder = images
    b.reload(name="images")
    (b.folder / "a.png").unlink()
    b.quiet()
    b.assert_exact()


def test_what_a_person_confirmed_is_still_confirmed(b: Bench) -> None:
    fill(b.folder, 3)
    b.start()
    b.quiet()
    for file in b.folder.iterdir():
        file.unlink()
    b.look()
    b.now.confirm()
    b.reload(rescan_minutes=5)
    b.quiet()
    b.assert_exact()


def test_a_folder_that_goes_takes_its_waiting_files_along(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=60.0)) as b:
        fill(b.folder, 1)
        b.start()
        b.quiet()
        put(b.folder, "new.png", picture(9))
        b.touch("new.png")
        run_until(b.now, b.clock, lambda: b"new.png" in b.one.work.pending)
        b.folder.rename(b.folder.with_name("away"))
        assert not b.one.check_root()
        assert not b.now._on_the_way, "a point of another folder would wait for it"
        b.folder.with_name("away").rename(b.folder)
        b.clock.jump(3)
        b.quiet()
        b.assert_exact()


def test_a_reload_while_the_points_are_counted_ends_nothing(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 1)
    b.start()
    counting, reloaded, count = threading.Event(), threading.Event(), b.store.count

    def away(folder: str) -> int:
        counting.set()
        assert reloaded.wait(20)
        monkeypatch.setattr(b.store, "count", count)
        raise StoreUnavailable("It went away.")

    monkeypatch.setattr(b.store, "count", away)
    run_until(b.now, b.clock, counting.is_set)
    b.reload(rescan_minutes=5)
    b.now.inbox.wake.clear()
    reloaded.set()
    assert b.now.inbox.wake.wait(20), "the answer about the folder of before"
    b.quiet()
    b.assert_exact()


def test_a_reload_while_the_paths_of_what_is_gone_are_read_ends_nothing(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b.folder, 3)
    b.start()
    b.quiet()
    reading, reloaded, paths = threading.Event(), threading.Event(), b.store.paths

    def slow(ids: Sequence[str]) -> dict[str, bytes]:
        reading.set()
        assert reloaded.wait(20)
        return paths(ids)

    monkeypatch.setattr(b.store, "paths", slow)
    (b.folder / "00001.png").unlink()
    b.now.ask_looks("test")
    run_until(b.now, b.clock, reading.is_set)
    b.reload(rescan_minutes=5)
    reloaded.set()
    b.quiet()
    b.assert_exact()


def test_a_delete_on_its_way_through_a_reload_is_missed_no_more(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 2)
    b.start()
    b.quiet()
    delete, deleting, reloaded = b.store.delete, threading.Event(), threading.Event()

    def slow(folder: str, ids: Sequence[str]) -> None:
        deleting.set()
        assert reloaded.wait(20)
        delete(folder, ids)

    monkeypatch.setattr(b.store, "delete", slow)
    (b.folder / "00000.png").unlink()
    b.touch("00000.png")
    run_until(b.now, b.clock, deleting.is_set)
    b.reload(rescan_minutes=5)
    (b.folder / "00001.png").unlink()
    run_until(b.now, b.clock, lambda: b.one.unproven)
    b.touch("00000.png", "00001.png")
    run_until(b.now, b.clock, lambda: len(b.one.deletes.gone) == 2)
    reloaded.set()
    b.quiet()
    assert (b.one.deletes.held, b.one.images) == (1, 0)
    b.clock.jump(2 * HOUR)
    b.quiet()
    b.assert_exact()
