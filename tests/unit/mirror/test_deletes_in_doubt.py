"""An absent folder is not an empty one: what is held, for how long, and how it ends by itself."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import LimitsConfig, WatchConfig
from clipwatch.folder import scan
from clipwatch.mirror import mirror
from clipwatch.mirror.folder_mirror import FolderMirror
from support.mirrors import HOUR, Bench, bench, fill, picture, put, run_until
from support.privileges import bound_by_permissions


def mirrored(b: Bench, number: int) -> None:
    fill(b.folder, number)
    b.start()
    b.quiet()
    b.assert_exact()


def remove(b: Bench, first: int, last: int) -> list[str]:
    names = [f"{seed:05d}.png" for seed in range(first, last)]
    for name in names:
        (b.folder / name).unlink()
    return names


def another_disk_is_in_its_place(b: Bench) -> Path:
    """An empty one, and taken for what it is; where the old one went."""
    away = b.folder.with_name("away")
    b.folder.rename(away)
    b.folder.mkdir()
    b.look()
    b.clock.jump(3)
    b.quiet()
    return away


@pytest.fixture(name="two")
def _two(tmp_path: Path) -> Iterator[Bench]:
    """A mirror of two folders; the other one is `second`."""
    second = tmp_path / "second"
    second.mkdir()
    with bench(tmp_path, more={"second": second}) as made:
        yield made


def held(b: Bench) -> int:
    return b.one.deletes.held


def test_the_share_and_the_number_decide_together(b: Bench) -> None:
    mirrored(b, 110)
    b.touch(*remove(b, 0, 50))
    b.quiet()
    b.assert_exact()
    assert b.now.counts.deleted == 50, "50 deletes are never an unusual share"
    b.touch(*remove(b, 50, 61))
    b.quiet()
    assert held(b) == 11, "61 of 110 within the hold time are, in however many passes"
    assert b.now.pending() == 0, "held ones are counted apart"


def test_an_emptied_folder_is_held_however_small(b: Bench) -> None:
    mirrored(b, 2)
    remove(b, 0, 2)
    b.look()
    assert held(b) == 2
    assert len(b.told.events("deletes.held")) == 1
    assert b.store.count("images") == 2


@pytest.mark.parametrize("number", [3, 60])
def test_a_folder_that_shares_no_file_with_its_points_is_held_whatever_else_is_in_it(b: Bench, number: int) -> None:
    """Another disk is where the right one was, and holds more files; it stays, and the mirror is restarted."""
    mirrored(b, number)
    other_disk(b, number)
    b.look()
    b.clock.jump(3)
    b.quiet()
    assert (held(b), b.now.counts.deleted) == (number, 0)
    assert b.store.count("images") == 2 * number + 1, "its new files are stored all the same"
    b.stop()
    b.start()
    b.quiet()
    b.look()
    assert (held(b), b.now.counts.deleted) == (number, 0)
    b.clock.jump(2 * HOUR)
    b.quiet()
    b.assert_exact()


@pytest.mark.parametrize("number", [3, 60])
def test_sync_on_another_disk_holds_and_so_does_the_next_one(b: Bench, number: int) -> None:
    fill(b.folder, number)
    b.sync()
    other_disk(b, number)
    for _ in range(3):
        result = b.sync()
        assert (result["held"], result["deleted"]) == (number, 0)
    b.folder.rename(b.folder.with_name("other"))
    b.folder.with_name("away").rename(b.folder)
    result = b.sync()
    if number == 3:
        assert (result["held"], result["deleted"], result["embedded"]) == (0, 4, 0), "the old files prove the old disk"
    else:
        assert (result["held"], result["deleted"], result["embedded"]) == (61, 0, 0), "61 of 121 are an unusual share"
        b.clock.jump(HOUR)
        assert b.sync()["deleted"] == 61
    b.assert_exact()


def test_a_mirror_killed_between_the_new_files_and_the_hold_still_holds(b: Bench) -> None:
    mirrored(b, 3)
    b.stop()
    other_disk(b, 3)
    b.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderMirror, "take_paths", lambda *_: None)  # what is gone is asked of the store, in vain
        run_until(b.now, b.clock, lambda: b.now.counts.embedded == 4)
    b.die()
    b.start()
    b.quiet()
    assert (held(b), b.now.counts.deleted) == (3, 0)


def test_a_new_file_on_the_mountpoint_is_not_stored_before_the_loss_is_seen(b: Bench) -> None:
    """The disk goes under a running mirror, its events name the new file at once, and a look is not yet due."""
    mirrored(b, 3)
    b.folder.rename(b.folder.with_name("away"))
    b.folder.mkdir()
    assert not b.one.check_root()
    put(b.folder, "new.png", picture(50))
    b.one.scans.allowed_at = b.clock.seconds + 60
    b.clock.jump(3)
    b.touch("new.png")
    b.quiet()
    assert (held(b), b.now.counts.deleted, b.store.count("images")) == (3, 0, 4)


def test_new_files_that_come_and_go_while_others_are_held_do_not_prolong_it(b: Bench) -> None:
    mirrored(b, 3)
    remove(b, 0, 3)
    b.look()
    for seed in range(10, 15):
        b.clock.jump(10 * 60)
        put(b.folder, "passing.png", picture(seed))
        b.touch("passing.png")
        b.quiet()
        (b.folder / "passing.png").unlink()
        b.touch("passing.png")
        b.quiet()
    b.clock.jump(11 * 60)
    b.quiet()
    b.assert_exact()


def test_a_file_that_goes_while_a_folder_is_first_read_is_no_loss_of_everything(b: Bench) -> None:
    fill(b.folder, 60)
    b.start()
    run_until(b.now, b.clock, lambda: b.now.counts.embedded >= 25)
    b.touch(*remove(b, 0, 1))
    b.quiet()
    assert b.told.events("deletes.held") == []
    b.assert_exact()


def other_disk(b: Bench, number: int) -> None:
    """In the folder's place: one file more, and none of the same."""
    b.folder.rename(b.folder.with_name("away"))
    fill(b.folder, number + 1, first=1000)


def test_many_small_passes_do_not_slip_under_the_share(b: Bench) -> None:
    mirrored(b, 120)
    deleted = 0
    for start in range(0, 120, 10):
        b.touch(*remove(b, start, start + 10))
        b.quiet()
        deleted = b.now.counts.deleted
        b.clock.jump(60)
        if held(b):
            break
    assert 50 <= deleted <= 60
    assert held(b) == 10


def test_deletes_of_long_ago_do_not_count(b: Bench) -> None:
    mirrored(b, 120)
    for start in range(0, 100, 20):
        b.touch(*remove(b, start, start + 20))
        b.quiet()
        b.clock.jump(61 * 60)
    b.quiet()
    b.assert_exact()
    assert b.told.events("deletes.held") == []


def test_a_hold_ends_when_its_cause_does(b: Bench) -> None:
    mirrored(b, 60)
    b.folder.rename(b.folder.with_name("away"))
    b.folder.mkdir()
    b.look()
    assert not b.one.available
    b.clock.jump(3)
    b.quiet()
    assert held(b) == 60
    b.folder.rmdir()
    b.folder.with_name("away").rename(b.folder)
    b.look()
    b.clock.jump(3)
    b.quiet()
    assert held(b) == 0
    assert b.now.counts.deleted == 0
    b.assert_exact()


def test_a_copy_of_what_is_gone_does_not_end_the_hold_of_everything_and_a_file_back_at_its_path_does(b: Bench) -> None:
    mirrored(b, 20)
    away = another_disk_is_in_its_place(b)
    assert held(b) == 20
    put(b.folder, "new.png", picture(99))
    b.touch("new.png")
    b.quiet()
    assert held(b) == 20
    shutil.copy(away / "00003.png", b.folder / "any.png")
    b.touch("any.png")
    b.quiet()
    assert (held(b), b.now.counts.deleted) == (19, 1), "the copy's own point goes, as that of a renamed file"
    b.look()
    assert held(b) == 19
    b.stop()
    b.start()
    b.quiet()
    assert held(b) == 19, "nor does the next process forget it"
    shutil.copy2(away / "00005.png", b.folder)
    b.touch("00005.png")
    b.quiet()
    assert held(b) == 0
    b.assert_exact()


def test_copies_in_another_folder_are_no_sign_that_all_of_this_one_was_moved_there(two: Bench) -> None:
    b, second = two, two.more["second"]
    mirrored(b, 20)
    for name in sorted(b.folder.iterdir())[:10]:
        shutil.copy(name, second)
    b.look()
    b.assert_exact()
    away = another_disk_is_in_its_place(b)
    assert (held(b), b.now.counts.deleted) == (20, 0)
    put(b.folder, "new.png", picture(99))
    b.touch("new.png")
    b.quiet()
    assert (held(b), b.now.counts.deleted) == (20, 0)
    (away / "new.png").write_bytes(picture(99))
    shutil.rmtree(b.folder)
    away.rename(b.folder)
    b.look()
    b.clock.jump(3)
    b.quiet()
    b.assert_exact()
    assert b.inferences == 21


def test_what_moves_to_another_folder_is_no_loss_while_some_stay(two: Bench) -> None:
    b, second = two, two.more["second"]
    mirrored(b, 100)
    for path in sorted(b.folder.iterdir())[:99]:
        path.rename(second / path.name)
    b.look()
    b.assert_exact()
    assert (held(b), b.inferences) == (0, 100)


def test_a_rename_and_a_delete_seen_at_once_are_not_held_for_long(b: Bench) -> None:
    mirrored(b, 3)
    (b.folder / "00000.png").rename(b.folder / "renamed.png")
    remove(b, 1, 3)
    b.look()
    assert (held(b), b.now.counts.deleted) == (0, 3)
    b.assert_exact()


def test_a_delete_that_comes_about_while_a_look_goes_on_is_missed_no_more(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored(b, 3)
    remove(b, 0, 3)
    put(b.folder, "new.png", picture(50))
    b.look()
    assert held(b) == 3
    delete, looked = b.store.delete, threading.Event()

    def slowly(folder: str, ids: Sequence[str]) -> None:
        assert looked.wait(20)
        delete(folder, ids)

    monkeypatch.setattr(b.store, "delete", slowly)
    monkeypatch.setattr(mirror, "LOOK_SLICE_SECONDS", 0.0)  # The look pauses, and what is confirmed goes meanwhile.
    b.now.confirm()
    run_until(b.now, b.clock, lambda: b.one.unproven)
    assert b.one.deletes.busy
    looked.set()
    b.quiet()
    assert (b.one.deletes.hold, b.one.deletes.gone) == (None, {})
    b.assert_exact()


def test_a_hold_ends_when_a_look_a_hold_time_later_agrees(b: Bench) -> None:
    mirrored(b, 60)
    remove(b, 0, 60)
    b.look()
    b.clock.jump(59 * 60)
    b.look()
    assert held(b) == 60
    b.clock.jump(2 * 60)
    b.quiet()
    assert held(b) == 0
    b.assert_exact()


def test_a_hold_makes_its_own_look_where_there_are_no_periodic_ones(tmp_path: Path) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.0, rescan_minutes=0)) as b:
        mirrored(b, 3)
        b.touch(*remove(b, 0, 3))
        b.quiet()
        assert held(b) == 3
        wait = b.now.step()
        assert 3500 <= wait <= 3600
        b.clock.jump(wait)
        b.quiet()
        b.assert_exact()


def test_a_person_can_confirm(b: Bench) -> None:
    mirrored(b, 60)
    remove(b, 0, 59)
    b.look()
    assert held(b) == 59
    b.now.confirm()
    b.quiet()
    b.assert_exact()
    assert b.now.counts.deleted == 59


def test_confirming_what_came_back_deletes_nothing(b: Bench) -> None:
    mirrored(b, 3)
    shutil.copytree(b.folder, b.folder.with_name("copy"))
    remove(b, 0, 3)
    b.look()
    for file in b.folder.with_name("copy").iterdir():
        shutil.copy2(file, b.folder)
    b.now.confirm()
    b.quiet()
    b.assert_exact()
    assert b.now.counts.deleted == 0


def test_a_hold_survives_restarts_and_keeps_its_beginning(b: Bench) -> None:
    mirrored(b, 60)
    remove(b, 0, 60)
    b.look()
    began = b.one.deletes.hold
    b.clock.jump(30 * 60)
    b.stop()
    b.start()
    b.quiet()
    assert b.one.deletes.hold == began
    b.now.ask_looks("the collection is read anew")
    b.quiet()
    assert b.one.deletes.hold == began
    b.clock.jump(31 * 60)
    b.quiet()
    b.assert_exact()


def test_sync_from_cron_carries_a_hold_to_its_end(b: Bench) -> None:
    fill(b.folder, 60)
    b.sync()
    remove(b, 0, 60)
    put(b.folder, "new.png", picture(99))
    for minutes in (0, 20, 40):
        result = b.sync()
        assert result["held"] == 60, f"after {minutes} minutes"
        assert result["undone"]
        b.clock.jump(20 * 60)
    result = b.sync()
    assert (result["held"], result["deleted"], result["undone"]) == (0, 60, [])
    b.assert_exact()


def test_a_wall_clock_that_is_set_forward_ends_no_hold(b: Bench) -> None:
    """A machine without a clock of its own boots, the disk is late, and the network tells the time."""
    mirrored(b, 60)
    remove(b, 0, 60)
    b.look()
    b.clock.set_forward(5 * HOUR)
    b.look()
    assert held(b) == 60
    b.stop()
    b.start()
    b.quiet()
    b.look()
    assert held(b) == 60, "nor for the next process"
    b.stop()
    assert b.sync()["held"] == 60, "nor for a pass by itself"
    b.start()
    b.quiet()
    b.clock.jump(61 * 60)
    b.quiet()
    b.assert_exact()


def test_time_across_a_boot_counts_for_half_the_hold_time_at_most(b: Bench) -> None:
    fill(b.folder, 60)
    b.sync()
    remove(b, 0, 60)
    assert b.sync()["held"] == 60
    b.clock.jump(20 * 60)
    assert b.sync()["held"] == 60
    b.clock.reboot()
    b.clock.set_forward(48 * HOUR)
    assert b.sync()["held"] == 60
    b.clock.jump(9 * 60)
    assert b.sync()["held"] == 60, "20 minutes before it, 30 across, 9 since"
    b.clock.jump(2 * 60)
    assert b.sync()["deleted"] == 60
    b.assert_exact()


def test_a_machine_that_is_up_for_one_pass_a_night_carries_a_hold_to_its_end(b: Bench) -> None:
    fill(b.folder, 60)
    b.sync()
    remove(b, 0, 60)
    for _ in range(2):
        assert b.sync()["held"] == 60
        b.clock.reboot()
        b.clock.set_forward(24 * HOUR)
    assert b.sync()["deleted"] == 60
    b.assert_exact()


def test_deletes_count_as_recent_whatever_the_wall_clock_does(b: Bench) -> None:
    mirrored(b, 100)
    b.touch(*remove(b, 0, 50))
    b.quiet()
    for hours in (5, -10):
        b.clock.set_forward(hours * HOUR)
        b.touch(*remove(b, 50 + abs(hours), 50 + abs(hours) + 1))
        b.quiet()
    assert b.now.counts.deleted == 50
    assert held(b) == 2


def test_confirming_vouches_for_what_was_told_and_no_more(b: Bench) -> None:
    mirrored(b, 110)
    remove(b, 0, 80)
    b.look()
    assert held(b) == 80
    remove(b, 80, 110)  # and now the rest of the disk goes too
    b.now.confirm()
    b.quiet()
    assert held(b) == 110 - b.now.counts.deleted
    assert b.now.counts.deleted in (0, 80)
    b.now.confirm()
    b.quiet()
    b.assert_exact()


def test_confirming_by_a_process_of_its_own_vouches_for_what_was_told_last(b: Bench) -> None:
    fill(b.folder, 110)
    b.sync()
    remove(b, 0, 60)
    assert b.sync()["held"] == 60
    remove(b, 60, 65)
    assert b.sync()["held"] == 65
    remove(b, 65, 110)
    for deleted in (0, 110):
        b.start()
        b.now.confirm()
        b.quiet()
        assert b.now.counts.deleted == deleted
        b.stop()
    b.assert_exact()


def test_an_ordinary_delete_beside_the_confirmed_ones_goes_with_them(b: Bench) -> None:
    mirrored(b, 110)
    remove(b, 0, 80)
    b.look()
    remove(b, 80, 81)
    b.now.confirm()
    b.quiet()
    assert b.now.counts.deleted == 81
    b.assert_exact()


def test_a_file_that_comes_back_while_its_point_is_deleted_has_one_again(b: Bench) -> None:
    """With its directory it keeps size and times: to whoever looks before the store has answered, all is well."""
    fill(b.folder, 3)
    fill(b.folder, 3, first=10, below="a/")
    b.start()
    b.quiet()
    names = [f"a/{seed:05d}.png" for seed in range(10, 13)]
    delete, asked, seen = b.store.delete, threading.Event(), threading.Event()

    def slowly(folder: str, ids: Sequence[str]) -> None:
        asked.set()
        assert seen.wait(20)
        delete(folder, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(b.store, "delete", slowly)
        (b.folder / "a").rename(b.folder.with_name("a"))
        b.touch(*names)
        run_until(b.now, b.clock, asked.is_set)
        b.folder.with_name("a").rename(b.folder / "a")
        b.touch(*names)
        b.now.step()
        seen.set()
        b.quiet()
    assert b.now.counts.deleted == 3
    b.assert_exact()


def test_confirm_without_a_daemon_carries_out_what_the_last_sync_held(b: Bench) -> None:
    fill(b.folder, 60)
    b.sync()
    remove(b, 0, 60)
    assert b.sync()["held"] == 60
    b.start()
    b.now.confirm()
    b.quiet()
    b.assert_exact()


def test_a_lost_notebook_makes_a_hold_longer_never_shorter(b: Bench) -> None:
    mirrored(b, 60)
    remove(b, 0, 60)
    b.look()
    b.clock.jump(59 * 60)
    b.stop()
    (b.state / "notebook.sqlite").unlink()
    b.start()
    b.quiet()
    b.clock.jump(59 * 60)
    b.look()
    assert held(b) == 60
    b.clock.jump(2 * 60)
    b.quiet()
    b.assert_exact()


def test_what_goes_while_others_are_held_waits_as_long_where_it_is_many(b: Bench) -> None:
    """A disk that is lost in the last minute of a hold is not carried away with it."""
    mirrored(b, 200)
    remove(b, 0, 101)
    b.look()
    assert held(b) == 101
    b.clock.jump(59 * 60)
    remove(b, 101, 199)
    b.look()
    b.clock.jump(2 * 60)
    b.quiet()
    assert held(b) == 199
    assert b.now.counts.deleted == 0
    b.clock.jump(61 * 60)
    b.quiet()
    b.assert_exact()


def test_a_clock_that_goes_back_makes_a_hold_no_longer_than_its_time(b: Bench) -> None:
    mirrored(b, 60)
    remove(b, 0, 60)
    b.look()
    b.stop()
    b.clock._began -= 30 * 24 * HOUR
    b.start()
    b.quiet()
    b.clock.jump(61 * 60)
    b.quiet()
    b.assert_exact()


@pytest.mark.parametrize("trouble", ["away", "marker", "replaced"])
def test_an_absent_or_replaced_folder_loses_nothing_and_comes_back_by_itself(tmp_path: Path, trouble: str) -> None:
    watch = WatchConfig(settle_seconds=0.0, marker=".mounted" if trouble == "marker" else "")
    with bench(tmp_path, watch=watch) as b:
        b.folder.joinpath(".mounted").touch()
        mirrored(b, 60)
        away = b.folder.with_name("away")
        if trouble == "marker":
            (b.folder / ".mounted").unlink()
            shutil.move(b.folder / "00001.png", tmp_path)
        else:
            b.folder.rename(away)
        if trouble == "replaced":
            b.folder.mkdir()
        b.touch("00001.png")
        b.touch_tree("")
        b.clock.jump(1)
        run_until(b.now, b.clock, lambda: not b.one.available or b.one.deletes.hold)
        b.quiet()
        assert b.store.count("images") == 60
        if trouble == "marker":
            shutil.move(tmp_path / "00001.png", b.folder)
            (b.folder / ".mounted").touch()
        else:
            if trouble == "replaced":
                b.folder.rmdir()
            away.rename(b.folder)
        b.clock.jump(5)
        run_until(b.now, b.clock, lambda: b.one.available and b.now.quiet and not held(b))
        b.assert_exact()
        assert b.now.counts.deleted == 0
        assert len(b.told.events("folder.unavailable")) <= 3


def test_a_folder_that_goes_in_the_middle_of_a_look_proves_nothing(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 30, below="a/")
    fill(b.folder, 30, first=30, below="b/")
    b.start()
    b.quiet()
    away = b.folder.with_name("away")
    read, listings = scan._Walk._read, 0

    def read_and_go(self: Any, directory: bytes, opened: int) -> Any:
        nonlocal listings
        listings += 1
        if listings == 2:
            b.folder.rename(away)
            b.folder.mkdir()
        yield from read(self, directory, opened)

    monkeypatch.setattr(scan._Walk, "_read", read_and_go)
    b.now.ask_looks("test")
    run_until(b.now, b.clock, lambda: listings >= 2)
    monkeypatch.undo()
    b.quiet()
    assert b.store.count("images") == 60
    b.folder.rmdir()
    away.rename(b.folder)
    b.clock.jump(5)
    b.look()
    run_until(b.now, b.clock, lambda: b.one.available and b.now.quiet and not held(b))
    b.assert_exact()
    assert b.now.counts.deleted == 0


def test_a_directory_that_cannot_be_read_keeps_its_points_and_is_told_once_a_look(b: Bench) -> None:
    fill(b.folder, 3, below="locked/")
    fill(b.folder, 3, first=10)
    b.start()
    b.quiet()
    (b.folder / "locked").chmod(0)
    (b.folder / "00010.png").unlink()
    put(b.folder, "new.png", picture(60))
    with bound_by_permissions():
        b.look()
    assert b.paths() == {
        b"locked/00000.png",
        b"locked/00001.png",
        b"locked/00002.png",
        b"00011.png",
        b"00012.png",
        b"new.png",
    }
    assert len(b.told.events("directory.unreadable")) == 1
    (b.folder / "locked").chmod(0o755)
    (b.folder / "locked" / "00001.png").unlink()
    b.look()
    b.assert_exact()


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
@pytest.mark.parametrize("directory", ["", "locked"])
def test_where_there_is_a_limit_too_what_cannot_be_seen_is_not_beyond_it(
    tmp_path: Path, directory: str, mode: int
) -> None:
    with bench(tmp_path, watch=WatchConfig(settle_seconds=0.0, max_images=3)) as b:
        fill(b.folder, 2, below="locked/")
        put(b.folder, "zebra.png", picture(60))
        b.start()
        b.quiet()
        before = b.paths()
        (b.folder / directory).chmod(mode)
        with bound_by_permissions():
            b.look()
            assert b.paths() == before
        (b.folder / directory).chmod(0o755)
        put(b.folder, "another.png", picture(61))
        b.look()
        b.assert_exact()


def test_more_renames_than_one_write_takes_go_on_while_others_are_held(b: Bench) -> None:
    fill(b.folder, 60, first=5000)
    fill(b.folder, 20, below="old/")
    b.start()
    b.quiet()
    remove(b, 5000, 5060)
    b.look()
    assert held(b) == 60
    (b.folder / "old").rename(b.folder / "new")
    b.look()
    assert held(b) == 60
    assert b.store.count("images") == 80
    assert b.inferences == 80


def test_files_that_come_back_changed_are_no_longer_held(b: Bench) -> None:
    mirrored(b, 4)
    remove(b, 0, 4)
    b.look()
    assert held(b) == 4
    fill(b.folder, 1, first=0)
    put(b.folder, "00001.png", picture(40))
    b.look()
    assert held(b) == 0, "two of four gone is nothing unusual"
    b.assert_exact()


def test_limits_of_zero_mean_no_wait_and_no_tolerance(tmp_path: Path) -> None:
    with bench(tmp_path, limits=LimitsConfig(delete_hold_minutes=0, delete_fraction=0)) as b:
        mirrored(b, 60)
        remove(b, 0, 55)
        b.look()
        b.quiet()
        b.assert_exact()
        assert len(b.told.events("deletes.held")) == 1, "one more look, at once"


def test_points_whose_path_the_rules_no_longer_let_in_are_removed(tmp_path: Path) -> None:
    with bench(tmp_path) as b:
        fill(b.folder, 2)
        put(b.folder, "a.jpg", picture(5))
        b.sync()
        b.watch = WatchConfig(settle_seconds=0.0, extensions=("jpg",))
        b.sync()
        assert b.paths() == {b"a.jpg"}
