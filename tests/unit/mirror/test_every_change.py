"""Real files, the real engine: once quiet, the collection is the folder, whatever was done to it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipwatch import payload
from clipwatch.config import WatchConfig
from clipwatch.folder.watch import POLL_SECONDS
from clipwatch.mirror import folder_mirror
from clipwatch.records import OpenedFile, Point
from support.folders import wait_until
from support.mirrors import (
    Bench,
    FakeClock,
    assert_exact,
    bench,
    fill,
    padded_picture,
    picture,
    put,
    run_until,
    shared_decoder,
    tiny_encoder,
)
from support.small_disk import small_disk
from support.stores import sample_point


def mirrored(b: Bench, number: int = 4) -> None:
    """A folder of pictures, mirrored and quiet."""
    fill(b.folder, number)
    b.start()
    b.quiet()
    b.assert_exact()
    b.inferences = 0


def test_what_is_there_at_the_start_is_stored_once(b: Bench) -> None:
    fill(b.folder, 30)
    b.start()
    b.quiet()
    b.assert_exact()
    assert b.inferences == 30
    b.stop()
    b.start()
    b.quiet()
    b.assert_exact()
    assert b.inferences == 30, "nothing is embedded again after a restart"


def test_a_new_file_is_stored(b: Bench) -> None:
    mirrored(b)
    put(b.folder, "new.png", picture(100))
    b.touch("new.png")
    b.quiet()
    b.assert_exact()
    assert b.inferences == 1


def test_a_deleted_file_loses_its_point(b: Bench) -> None:
    mirrored(b)
    (b.folder / "00001.png").unlink()
    b.touch("00001.png")
    b.quiet()
    b.assert_exact()


def test_overwriting_with_the_same_size_and_times_is_seen(b: Bench) -> None:
    put(b.folder, "a.png", padded_picture(1))
    put(b.folder, "b.png", padded_picture(9))
    b.start()
    b.quiet()
    before = (b.folder / "a.png").stat()
    put(b.folder, "a.png", padded_picture(2))
    os.utime(b.folder / "a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (b.folder / "a.png").stat().st_size == before.st_size
    b.look()
    b.assert_exact()


def test_files_of_any_century_are_mirrored_and_stay_unchanged(b: Bench) -> None:
    with small_disk(b.folder, 4):
        fill(b.folder, 6)
        for number, seconds in enumerate((10413792000, -14831769600, 2**63 - 1, -(2**63), 67768036191676799)):
            os.utime(b.folder / f"{number:05d}.png", ns=(0, seconds * 10**9))
        b.start()
        b.quiet()
        b.assert_exact()
        os.utime(b.folder / "00000.png", ns=(0, 10413792001 * 10**9))
        b.touch("00000.png", "00001.png")
        b.quiet()
        b.look()
        b.assert_exact()
        assert (b.inferences, b.now.counts.embedded, b.now.counts.refreshed) == (6, 6, 1)
        b.stop()
        assert b.sync()["unchanged"] == 6


def test_a_touched_file_is_refreshed_without_an_inference(b: Bench) -> None:
    mirrored(b)
    os.utime(b.folder / "00001.png", ns=(1, 2))
    b.touch("00001.png")
    b.quiet()
    b.assert_exact()
    assert b.inferences == 0
    assert b.now.counts.refreshed == 1


@pytest.mark.parametrize(("present", "stored"), [(2, 1), (1, 2)], ids=["upgrade", "downgrade"])
def test_points_of_another_shape_are_written_anew_without_an_inference(
    b: Bench, monkeypatch: pytest.MonkeyPatch, present: int, stored: int
) -> None:
    monkeypatch.setattr(payload, "SCHEMA", stored)
    mirrored(b, 30)
    b.stop()
    assert {point.payload["schema"] for point in b.store.points(vectors=False)} == {stored}
    monkeypatch.setattr(payload, "SCHEMA", present)
    (b.folder / "00001.png").rename(b.folder / "renamed.png")
    (b.folder / "00002.png").unlink()
    b.start()
    b.quiet()
    b.assert_exact()
    points = list(b.store.points(vectors=False))
    assert {point.payload["schema"] for point in points} == {present}
    assert all(point.payload.keys() >= {"width", "height", "format", "embedded_at"} for point in points)
    assert (b.inferences, b.now.counts.refreshed) == (0, 28)
    b.look()
    assert b.now.counts.refreshed == 28, "once each, and never again"


def test_points_from_before_shapes_had_numbers_are_left_as_they_are(b: Bench) -> None:
    mirrored(b, 3)
    b.stop()
    stored = list(b.store.points(vectors=True))
    b.store.delete("images", [point.id for point in stored])
    old = [{key: value for key, value in point.payload.items() if key != "schema"} for point in stored]
    old[0].pop("ctime_ns")
    vectors = [point.vector for point in stored if point.vector is not None]
    b.store.upsert([Point(point.id, vector, keys) for point, vector, keys in zip(stored, vectors, old, strict=True)])
    b.start()
    b.quiet()
    b.assert_exact()
    assert (b.inferences, b.now.counts.refreshed) == (0, 1)
    assert sum("schema" in point.payload for point in b.store.points(vectors=False)) == 1


def test_times_before_1970_and_in_the_far_future_are_times(b: Bench) -> None:
    mirrored(b)
    os.utime(b.folder / "00001.png", ns=(-(10**18), -(10**18)))
    os.utime(b.folder / "00002.png", ns=(4 * 10**18, 4 * 10**18))
    b.look()
    b.assert_exact()
    b.look()
    assert b.now.counts.refreshed == 2, "once each, and never again"


def test_an_atomic_rename_over_a_file_replaces_its_point(b: Bench) -> None:
    mirrored(b)
    put(b.folder, ".00001.png.Xy12z", picture(50))
    (b.folder / ".00001.png.Xy12z").rename(b.folder / "00001.png")
    b.touch(".00001.png.Xy12z", "00001.png")
    b.quiet()
    b.assert_exact()
    assert b.inferences == 1


def test_renaming_a_file_costs_no_inference(b: Bench) -> None:
    mirrored(b)
    (b.folder / "00001.png").rename(b.folder / "z.png")
    b.touch("00001.png", "z.png")
    b.quiet()
    b.assert_exact()
    assert b.inferences == 0
    assert b.told.events("deletes.held") == []


@pytest.mark.slow
def test_renaming_a_tree_of_500_files_costs_no_inference_and_is_never_held(b: Bench) -> None:
    fill(b.folder, 500, below="old/")
    b.start()
    b.quiet(60)
    b.inferences = 0
    (b.folder / "old").rename(b.folder / "new")
    b.touch_tree("old")
    b.touch_tree("new")
    b.quiet(60)
    b.assert_exact()
    assert b.inferences == 0
    assert b.told.events("deletes.held") == []


def test_renaming_everything_while_nobody_watched_costs_no_inference(b: Bench) -> None:
    fill(b.folder, 120, below="old/")
    b.sync()
    (b.folder / "old").rename(b.folder / "new")
    result = b.sync()
    b.assert_exact()
    assert (result["embedded"], result["reused"], result["deleted"], result["held"]) == (0, 120, 120, 0)
    assert b.told.events("deletes.held") == []


def test_swapping_two_files_swaps_their_points(b: Bench) -> None:
    mirrored(b)
    one, two, tmp = b.folder / "00001.png", b.folder / "00002.png", b.folder / "x.tmp"
    one.rename(tmp)
    two.rename(one)
    tmp.rename(two)
    b.touch("00001.png", "00002.png")
    b.quiet()
    b.assert_exact()
    assert b.inferences == 0


def test_a_file_that_takes_a_gone_ones_place_keeps_nothing_of_it(b: Bench) -> None:
    """A deleted file's inode is often the next one's: a name that appears is no rename unless its content says so."""
    put(b.folder, "a.png", padded_picture(1))
    put(b.folder, "keep.png", picture(9))
    b.start()
    b.quiet()
    (b.folder / "a.png").unlink()
    put(b.folder, "b.png", padded_picture(2))
    b.touch("a.png", "b.png")
    b.quiet()
    b.assert_exact()


def test_copies_and_hard_links_share_one_inference(b: Bench) -> None:
    fill(b.folder, 2)
    shutil.copy2(b.folder / "00000.png", b.folder / "copy.png")
    os.link(b.folder / "00001.png", b.folder / "link.png")
    b.start()
    b.quiet()
    b.assert_exact()
    assert b.inferences == 2
    shutil.copy2(b.folder / "00000.png", b.folder / "later.png")
    b.touch("later.png")
    b.quiet()
    b.assert_exact()
    assert b.inferences == 2


def test_a_hard_link_written_through_its_other_name_is_found_by_the_next_look(b: Bench) -> None:
    mirrored(b)
    os.link(b.folder / "00001.png", b.folder / "link.png")
    b.look()
    put(b.folder, "00001.png", picture(77))
    b.touch("00001.png")
    b.look()
    b.assert_exact()


def test_moving_in_and_out_of_the_folder(b: Bench, tmp_path: Path) -> None:
    mirrored(b)
    fill(tmp_path / "elsewhere", 3, first=10)
    (tmp_path / "elsewhere").rename(b.folder / "in")
    b.touch_tree("in")
    b.quiet()
    b.assert_exact()
    (b.folder / "in").rename(tmp_path / "out")
    b.touch_tree("in")
    b.quiet()
    b.assert_exact()


def test_deleting_a_tree_deletes_its_points(b: Bench) -> None:
    fill(b.folder, 5, below="a/b/")
    mirrored(b)
    shutil.rmtree(b.folder / "a")
    b.touch_tree("a")
    b.quiet()
    b.assert_exact()


def test_a_file_replaced_while_it_is_read_ends_with_the_new_content(b: Bench) -> None:
    mirrored(b)
    put(b.folder, "00001.png", picture(60))

    def overwrite(opened: OpenedFile) -> None:
        decoder.before = None
        put(b.folder, "00001.png", picture(61))

    decoder = shared_decoder(tiny_encoder().preprocessing)
    decoder.before = overwrite
    b.touch("00001.png")
    b.quiet()
    decoder.before = None
    b.assert_exact()


@pytest.mark.parametrize("deed", ["replaced", "deleted", "renamed"])
def test_what_happens_to_a_file_in_hand_without_an_event_is_found_by_the_next_look(b: Bench, deed: str) -> None:
    mirrored(b)
    path = b.folder / "new.png"
    put(b.folder, "new.png", picture(60))

    def change(opened: OpenedFile) -> None:
        decoder.before = None
        path.unlink() if deed != "renamed" else path.rename(b.folder / "other.png")
        if deed == "replaced":
            put(b.folder, "new.png", picture(61))

    decoder = shared_decoder(tiny_encoder().preprocessing)
    decoder.before = change
    b.touch("new.png")
    b.quiet()
    decoder.before = None
    b.look()
    b.assert_exact()


class Held:
    """The encoder, as slow as a test wants it."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self._encoder = tiny_encoder()

    def encode(self, pixels: Sequence[Any]) -> Any:
        assert self.go_on.wait(20)
        return self._encoder.encode(pixels)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def test_a_directory_that_moves_while_its_files_are_in_hand_leaves_no_point_behind(tmp_path: Path) -> None:
    """Moving it changes nothing about the files in it, neither their times nor what is read of them."""
    held = Held()
    with bench(tmp_path, encoder=held, watch=WatchConfig(settle_seconds=0.0, rescan_minutes=0)) as b:
        put(b.folder, "old/a.png", picture(50))
        b.start()
        run_until(b.now, b.clock, lambda: b.now.pipeline.inference.queued)
        (b.folder / "old").rename(b.folder / "new")
        looks = b.one.scans.done
        b.touch_tree("new")
        b.touch_tree("old")
        run_until(b.now, b.clock, lambda: b.one.scans.done > looks)
        held.go_on.set()
        b.quiet()
        b.assert_exact()


def test_a_file_that_appears_and_goes_within_the_settle_time_leaves_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.5)) as b:
        mirrored(b)
        put(b.folder, "brief.png", picture(50))
        b.touch("brief.png")
        b.now.step()
        (b.folder / "brief.png").unlink()
        b.touch("brief.png")
        b.quiet()
        b.assert_exact()
        assert b.inferences == 0


@pytest.mark.parametrize(("backend", "kind"), [("polling", ""), ("auto", "nfs4")])
def test_where_others_write_a_file_must_stand_still_until_the_next_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, kind: str
) -> None:
    """What the kernel remembers of a file there may be seconds old."""
    monkeypatch.setattr(folder_mirror, "silent_file_system", lambda *_: kind)
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.5, backend=backend)) as b:
        mirrored(b)
        put(b.folder, "slow.png", picture(50)[:100])
        b.touch("slow.png")
        b.now.step()
        b.clock.jump(POLL_SECONDS - 0.1)
        b.now.step()
        assert b.inferences == 0
        assert b.one.work.in_hand == {}
        put(b.folder, "slow.png", picture(50))
        b.quiet()
        b.assert_exact()
        assert b.inferences == 1
        assert b.one.rejected == {}


def test_a_slow_writer_gives_one_inference_of_the_final_content(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.5)) as b:
        mirrored(b)
        data = picture(50, side=64)
        for end in range(0, len(data), max(1, len(data) // 10)):
            put(b.folder, "slow.png", data[:end])
            b.touch("slow.png")
            b.now.step()
            b.clock.jump(0.3)
        put(b.folder, "slow.png", data)
        b.touch("slow.png")
        b.quiet()
        b.assert_exact()
        assert b.inferences == 1
        assert b.one.rejected == {}


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.jpg",
        b"line\nbreak.png",
        b"quote'\".png",
        b"back\\xslash.png",
        b"a" * 250 + b".png",
        "ä/ö/日本.png".encode(),
        b"UPPER.PNG",
        b" .png",
    ],
    ids=repr,
)
def test_every_name_a_file_can_have(b: Bench, name: bytes) -> None:
    mirrored(b, 1)
    put(b.folder, name, picture(50))
    b.touch(name)
    b.quiet()
    b.assert_exact()
    os.unlink(os.path.join(os.fsencode(b.folder), name))
    b.look()
    b.assert_exact()


def test_a_path_near_the_length_limit(b: Bench) -> None:
    deep = "/".join(["d" * 200] * 15)
    put(b.folder, "x.png", picture(1))
    descriptor = os.open(b.folder, os.O_RDONLY)
    try:
        for part in deep.split("/"):
            os.mkdir(part, dir_fd=descriptor)
            below = os.open(part, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        file = os.open("deep.png", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
        os.write(file, picture(2))
        os.close(file)
    finally:
        os.close(descriptor)
    b.start()
    b.quiet()
    assert b.paths() == {b"x.png", f"{deep}/deep.png".encode()}


def test_changing_only_the_case_of_a_name_moves_its_point(b: Bench) -> None:
    mirrored(b)
    (b.folder / "00001.png").rename(b.folder / "00001.PNG")
    b.look()
    b.assert_exact()
    assert b.inferences == 0


def test_symbolic_links_are_not_images(b: Bench) -> None:
    mirrored(b)
    (b.folder / "link.png").symlink_to(b.folder / "00001.png")
    (b.folder / "loop").symlink_to(b.folder)
    b.look()
    b.assert_exact()


def test_a_linked_directory_is_mirrored_once_where_links_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "other", 2, first=70)
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.0, follow_symlinks=True)) as b:
        fill(b.folder, 1)
        (b.folder / "linked").symlink_to(tmp_path / "other")
        (b.folder / "loop").symlink_to(b.folder)
        b.start()
        b.quiet()
        assert b.paths() == {b"00000.png", b"linked/00070.png", b"linked/00071.png"}


def test_a_bad_file_costs_one_file_and_a_good_one_in_its_place_is_stored(b: Bench) -> None:
    put(b.folder, "bad.png", b"no picture")
    mirrored(b, 24)
    assert list(b.one.rejected) == [b"bad.png"]
    put(b.folder, "bad.png", picture(99))
    b.touch("bad.png")
    b.quiet()
    b.assert_exact()
    assert b.one.rejected == {}


@pytest.mark.parametrize("number", [1, 5])
def test_a_good_file_overwritten_by_a_bad_one_loses_its_point(b: Bench, number: int) -> None:
    mirrored(b, number)
    put(b.folder, "00000.png", b"no picture any more")
    b.touch("00000.png")
    b.quiet()
    b.assert_exact()
    assert b.told.events("deletes.held") == []


def test_a_rejected_file_is_told_once_and_not_read_again(b: Bench) -> None:
    put(b.folder, "bad.png", b"no picture")
    mirrored(b, 1)
    decoder = shared_decoder(tiny_encoder().preprocessing)
    before = decoder.submitted
    b.look()
    b.stop()
    b.start()
    b.quiet()
    b.assert_exact()
    assert decoder.submitted == before
    assert len(b.told.events("image.rejected")) == 1


class BusyClock(FakeClock):
    """Time passes with each glance at the clock, as it does where a folder is large."""

    def monotonic(self) -> float:
        self.seconds += 0.03
        return self.seconds


def test_what_is_rejected_while_a_look_is_under_way_stays_known(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.0)) as b:
        b.clock = BusyClock()
        put(b.folder, "bad.png", b"")
        for number in range(40):
            (b.folder / f"directory-{number}").mkdir()
        result = b.sync()
        assert (result["images"], result["rejected"]) == (1, 1)


def test_a_rejected_file_that_goes_is_forgotten(b: Bench) -> None:
    put(b.folder, "bad.png", b"no picture")
    mirrored(b, 1)
    (b.folder / "bad.png").unlink()
    b.look()
    b.assert_exact()
    assert b.one.rejected == {}


def test_a_new_model_embeds_everything_anew_in_place(b: Bench) -> None:
    mirrored(b, 10)
    b.stop()
    b.encoder = tiny_encoder(seed=5)
    b.inferences = 0
    b.start()
    b.quiet()
    b.assert_exact()
    assert b.inferences == 10


def test_only_the_first_images_by_path_are_mirrored_where_there_is_a_limit(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.0, max_images=3)) as b:
        fill(b.folder, 5, first=1)
        b.start()
        b.quiet()
        b.assert_exact()
        assert b.paths() == {b"00001.png", b"00002.png", b"00003.png"}
        put(b.folder, "00000.png", picture(90))
        b.touch("00000.png")
        b.quiet()
        b.assert_exact()
        assert b.paths() == {b"00000.png", b"00001.png", b"00002.png"}
        (b.folder / "00001.png").unlink()
        b.touch("00001.png")
        b.quiet()
        b.assert_exact()


def test_a_pending_file_pushed_out_by_an_earlier_one_is_not_stored(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=1.0, max_images=2)) as b:
        fill(b.folder, 1)
        b.start()
        b.quiet()
        put(b.folder, "9.png", picture(90))
        b.touch("9.png")
        run_until(b.now, b.clock, lambda: len(b.one.work.pending) == 1)
        put(b.folder, "1.png", picture(91))
        b.touch("1.png")
        b.quiet()
        b.assert_exact()


def test_points_that_others_delete_change_or_add_under_our_name_are_put_right(b: Bench) -> None:
    mirrored(b, 4)
    points = {point.payload["path"]: point for point in b.store.points(vectors=True)}
    b.store.delete("images", [points["00001.png"].id])
    b.store.refresh({points["00002.png"].id: {"content": "sha256:00"}})
    b.store.refresh({points["00003.png"].id: {"size": 1}})
    b.store.upsert(
        [sample_point("theirs.png"), replace(sample_point("odd.png"), id=str(points["00000.png"].id)[:-1] + "f")]
    )
    b.clock.jump(90 * 60)
    b.quiet()
    # The content of a payload is believed while its signature holds: only `verify --deep` reads the bytes again.
    b.store.refresh({points["00002.png"].id: {"content": points["00002.png"].payload["content"]}})
    b.assert_exact()


def test_points_of_another_folder_are_never_touched(b: Bench) -> None:
    mirrored(b, 2)
    b.store.upsert([sample_point("theirs.png", folder="other"), sample_point("00000.png", folder="other")])
    (b.folder / "00001.png").unlink()
    b.look()
    b.assert_exact()
    assert b.store.count("other") == 2


def test_a_collection_put_back_to_what_it_was_is_put_right_by_the_next_look(b: Bench) -> None:
    mirrored(b, 4)
    b.store.upsert([sample_point("theirs.png", folder="other")])
    before = list(b.store.points(vectors=True))
    assert len(before) == 5
    (b.folder / "00000.png").unlink()
    put(b.folder, "00001.png", picture(90))
    (b.folder / "00002.png").rename(b.folder / "moved.png")
    put(b.folder, "new.png", picture(91))
    b.look()
    b.assert_exact()
    b.store.delete(
        "images", [point.id for point in b.store.points(vectors=False) if point.payload["folder"] == "images"]
    )
    b.store.upsert([Point(point.id, point.vector, point.payload) for point in before if point.vector is not None])
    b.clock.jump(90 * 60)
    b.quiet()
    b.assert_exact()
    assert b.store.count("other") == 1


def test_two_mirrors_of_two_folders_in_one_collection_leave_each_other_alone(tmp_path: Path) -> None:
    named = WatchConfig(name="other", settle_seconds=0.0)
    with bench(tmp_path) as b, bench(tmp_path / "second", store=b.store, watch=named) as other:
        fill(b.folder, 20)
        fill(other.folder, 20, first=10)
        benches = (b, other)

        def both_quiet() -> bool:
            for one in benches:
                one.clock.jump(min(one.now.step(), 0.05))
            return all(one.now.quiet for one in benches)

        for one in benches:
            one.start()
        wait_until(both_quiet)
        for one in benches:
            one.assert_exact()
        (b.folder / "00015.png").unlink()
        (other.folder / "00016.png").rename(other.folder / "moved.png")
        put(other.folder, "00017.png", b"no picture")
        for one in benches:
            one.touch("00015.png", "00016.png", "00017.png", "moved.png")
        wait_until(both_quiet)
        other.folder.rename(tmp_path / "away")
        for one in benches:
            one.now.ask_looks("test")
        wait_until(both_quiet)
        b.assert_exact()
        (tmp_path / "away").rename(other.folder)
        other.look()
        other.assert_exact()


def test_two_state_directories_on_one_folder_agree(tmp_path: Path) -> None:
    """As two machines with the same share would: each its own notebook, one collection."""
    with bench(tmp_path) as b, bench(tmp_path / "second", store=b.store) as other:
        other.folder = b.folder
        fill(b.folder, 6)
        b.start()
        b.quiet()
        b.one.root.close()  # Two machines do not see each other's locks.
        b.one.root.open()
        other.start()
        other.quiet()
        assert other.inferences == 0
        (b.folder / "00001.png").rename(b.folder / "moved.png")
        put(b.folder, "00002.png", picture(80))
        (b.folder / "00003.png").unlink()
        for one in (b, other):
            one.touch("00001.png", "moved.png", "00002.png", "00003.png")
        for _ in range(20):
            b.now.step()
            other.now.step()
        b.look()
        other.look()
        b.look()
        b.assert_exact()
        other.assert_exact()


def test_a_file_that_never_stands_still_does_not_keep_sync_from_ending(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.5)) as b:
        fill(b.folder, 3)
        grown = threading.Event()
        jump = b.clock.jump

        def jump_and_write(seconds: float) -> None:
            put(b.folder, "log.png", os.urandom(100))
            grown.set()
            jump(seconds)

        b.clock.jump = jump_and_write  # type: ignore[method-assign]
        put(b.folder, "log.png", b"1")
        result = b.sync()
        assert grown.is_set()
        assert b.clock.seconds < 1000 + 120
        assert any("log.png" in sentence and "changing" in sentence for sentence in result["undone"])
        assert b.paths() == {b"00000.png", b"00001.png", b"00002.png"}
        b.clock.jump = jump  # type: ignore[method-assign]
        put(b.folder, "log.png", picture(70))
        assert b.sync()["undone"] == []
        assert_exact(b.folder, b.store, encoder=tiny_encoder())
