"""What lay on a disk below the folder is neither there nor gone while the disk is not mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder.mounts import mount_points, unmounted
from clipwatch.mirror import unmet
from support.mirrors import HOUR, Bench, bench, fill, picture, put
from support.small_disk import bind, unmount
from unit.mirror.test_verify_and_plan import paths, plan_of, verified


@dataclass
class Disk:
    """A directory that is mounted at *at*, or not."""

    source: Path
    at: Path
    mounted: bool = False

    def mount(self) -> None:
        bind(self.source, self.at)
        self.mounted = True

    def unmount(self) -> None:
        unmount(self.at)
        self.mounted = False


@pytest.fixture(name="usb")
def _usb(b: Bench, tmp_path: Path) -> Iterator[Disk]:
    """A disk with six pictures, mounted at `usb`, in a folder with fourteen more."""
    (tmp_path / "disk").mkdir()
    fill(tmp_path / "disk", 6, first=100)
    fill(b.folder, 14)
    disk = Disk(tmp_path / "disk", b.folder / "usb")
    disk.mount()
    yield disk
    if disk.mounted:
        disk.unmount()


def mirrored(b: Bench) -> None:
    b.start()
    b.quiet()
    b.assert_exact()


def held(b: Bench) -> int:
    return b.one.deletes.held


def reasons(b: Bench) -> list[str]:
    return [event["reason"] for event in b.told.events("deletes.held")]


def test_points_of_a_disk_that_goes_wait_however_long_and_all_is_well_when_it_is_back(b: Bench, usb: Disk) -> None:
    mirrored(b)
    usb.unmount()
    b.look()
    assert (held(b), b.now.pending(), len(b.paths())) == (6, 0, 20)
    assert (b.one.images, b.one.points) == (14, 20)
    assert reasons(b) == ["unmounted"]
    assert b.told.events("deletes.held")[0]["path"] == "usb"
    assert "nothing is mounted at usb (6 points)" in b.one.hold_text
    b.clock.jump(100 * HOUR)
    b.look()
    assert (held(b), len(b.paths())) == (6, 20)
    assert reasons(b) == ["unmounted"], "told once"
    usb.mount()
    b.look()
    assert held(b) == 0
    assert not b.one.in_doubt
    assert len(b.told.events("deletes.released")) == 1
    b.assert_exact()
    assert b.inferences == 20


@pytest.mark.parametrize("place", ["nothing", "an empty directory", "a directory with a file of the same name"])
def test_whatever_lies_at_the_mount_point_afterwards(b: Bench, usb: Disk, place: str) -> None:
    mirrored(b)
    usb.unmount()
    if place == "nothing":
        usb.at.rmdir()
    elif place.startswith("a directory"):
        put(usb.at, "00100.png", picture(500))
        put(usb.at, "other.png", picture(501))
    b.look()
    b.look()
    there = 2 if place.startswith("a directory") else 0
    assert held(b) == 6 - there // 2
    assert len(b.paths()) == 20 + there // 2


def test_deletes_beside_the_disk_go_on(b: Bench, usb: Disk) -> None:
    mirrored(b)
    usb.unmount()
    (b.folder / "00003.png").unlink()
    (b.folder / "00004.png").rename(b.folder / "other.png")
    b.touch("00003.png", "00004.png", "other.png")
    b.quiet()
    assert b.now.counts.deleted == 2
    b.look()
    assert (held(b), len(b.paths())) == (6, 19)


def test_a_copy_elsewhere_is_no_sign_that_the_disk_was_moved_there(b: Bench, usb: Disk) -> None:
    for seed in range(100, 106):
        put(b.folder, f"copy-{seed}.png", picture(seed))
    mirrored(b)
    usb.unmount()
    b.look()
    assert (held(b), len(b.paths())) == (6, 26)


def test_a_file_removed_before_the_disk_went_is_judged_when_it_is_back(b: Bench, usb: Disk) -> None:
    mirrored(b)
    (usb.at / "00100.png").unlink()
    usb.unmount()
    b.touch("usb/00100.png")
    b.quiet()
    b.look()
    assert (held(b), len(b.paths())) == (6, 20)
    usb.mount()
    b.look()
    b.assert_exact()
    assert len(b.paths()) == 19


def test_a_disk_that_goes_between_the_look_and_the_delete(b: Bench, usb: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system says "no such file" of a directory that was left a moment before."""
    mirrored(b)
    look_one = unmet._look

    def look_and_lose(*arguments: Any) -> Any:
        if usb.mounted:
            usb.unmount()
        return look_one(*arguments)

    monkeypatch.setattr(unmet, "_look", look_and_lose)
    (b.folder / "usb" / "00100.png").unlink()
    b.touch("usb/00100.png")
    b.quiet()
    b.look()
    assert (held(b), len(b.paths())) == (6, 20)


def test_a_start_before_the_mount_deletes_nothing(b: Bench, usb: Disk) -> None:
    b.sync()
    usb.unmount()
    for _ in range(3):
        result = b.sync()
        assert (result["held"], result["deleted"], result["images"]) == (6, 0, 14)
        assert "nothing is mounted at usb (6 points)" in result["undone"][0]
        b.clock.reboot()
        b.clock.jump(HOUR)
    usb.mount()
    assert b.sync()["undone"] == []
    b.assert_exact()


def test_verify_and_the_dry_run_say_what_a_pass_would_do(b: Bench, usb: Disk) -> None:
    b.sync()
    usb.unmount()
    (b.folder / "00003.png").unlink()
    result = verified(b)
    assert not result["exact"]
    assert paths(result, "extra") == {"00003.png", *(f"usb/{seed:05d}.png" for seed in range(100, 106))}
    assert "nothing is mounted at usb (6 points)" in result["undone"][0]
    plan, undone = plan_of(b)
    assert {action["path"] for action in plan if action.get("held") == "unmounted"} == paths(result, "extra") - {
        "00003.png"
    }
    assert undone == result["undone"]
    assert b.sync()["deleted"] == 1
    usb.mount()
    assert verified(b)["exact"]
    assert plan_of(b) == ([], [])


@pytest.mark.parametrize("by", ["the daemon", "a process of its own"])
def test_a_person_can_confirm_that_a_disk_is_gone_for_good(b: Bench, usb: Disk, by: str) -> None:
    mirrored(b)
    usb.unmount()
    b.look()
    if by == "the daemon":
        wanted = b.now.confirm()
        assert wanted == {"images": b.one.scans.asked}
    else:
        b.stop()
        b.start()
        b.one.confirm()
    b.quiet()
    b.look()
    b.assert_exact()
    assert (held(b), b.now.counts.deleted) == (0, 6)
    put(usb.at, "a.png", picture(1000))
    b.look()
    (usb.at / "a.png").unlink()
    b.look()
    b.assert_exact()


def test_confirming_vouches_for_what_was_told_and_no_more(b: Bench, usb: Disk) -> None:
    mirrored(b)
    usb.unmount()
    b.look()
    b.now.confirm()
    for seed in range(14):
        (b.folder / f"{seed:05d}.png").unlink()
    b.quiet()
    assert held(b) == 20
    assert reasons(b)[-1] == "everything_gone"


def test_confirming_while_the_disk_is_back_deletes_nothing(b: Bench, usb: Disk) -> None:
    mirrored(b)
    usb.unmount()
    b.look()
    usb.mount()
    b.now.confirm()
    b.quiet()
    b.assert_exact()
    usb.unmount()
    b.look()
    assert (held(b), len(b.paths())) == (6, 20)


def test_all_that_is_left_beside_the_disk_is_judged_by_itself(b: Bench, usb: Disk) -> None:
    mirrored(b)
    usb.unmount()
    for seed in range(14):
        (b.folder / f"{seed:05d}.png").unlink()
    b.look()
    assert (held(b), len(b.paths())) == (20, 20)
    assert set(reasons(b)) == {"unmounted", "everything_gone"}


def test_a_disk_mounted_on_a_disk(b: Bench, usb: Disk, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    fill(tmp_path / "inner", 3, first=200)
    inner = Disk(tmp_path / "inner", usb.at / "deep" / "inner")
    inner.mount()
    mirrored(b)
    inner.unmount()
    b.look()
    assert held(b) == 3
    usb.unmount()
    b.look()
    assert (held(b), len(b.paths())) == (9, 23)
    usb.mount()
    b.look()
    assert held(b) == 3
    inner.mount()
    b.look()
    b.assert_exact()
    inner.unmount()


def test_what_is_mounted_at_another_place_waits_for_a_person_at_the_old_one(b: Bench, usb: Disk) -> None:
    mirrored(b)
    usb.unmount()
    elsewhere = Disk(usb.source, b.folder / "disk")
    elsewhere.mount()
    b.look()
    assert (held(b), len(b.paths()), b.inferences) == (6, 26, 20)
    b.now.confirm()
    b.quiet()
    b.assert_exact()
    elsewhere.unmount()


def test_a_mount_that_is_hidden_by_another_one_counts_as_gone(b: Bench, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    fill(tmp_path / "disk", 3, first=100)
    fill(b.folder, 5)
    usb = Disk(tmp_path / "disk", b.folder / "media" / "usb")
    usb.mount()
    mirrored(b)
    (tmp_path / "empty").mkdir()
    over = Disk(tmp_path / "empty", b.folder / "media")
    over.mount()
    b.look()
    assert (held(b), len(b.paths())) == (3, 8)
    over.unmount()
    b.look()
    b.assert_exact()
    usb.unmount()


def test_a_mount_point_without_points_is_forgotten_once_it_is_gone(b: Bench, usb: Disk) -> None:
    mirrored(b)
    for file in sorted(usb.at.iterdir()):
        file.unlink()
    b.look()
    b.assert_exact()
    usb.unmount()
    b.look()
    put(usb.at, "a.png", picture(1000))
    b.look()
    (usb.at / "a.png").unlink()
    b.look()
    b.assert_exact()


def test_a_folder_that_is_reached_by_a_link_or_moved_elsewhere_knows_its_disks(b: Bench, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    fill(tmp_path / "disk", 3, first=100)
    fill(b.folder, 5)
    real = b.folder.rename(tmp_path / "real")
    b.folder.symlink_to(real)
    usb = Disk(tmp_path / "disk", b.folder / "usb")
    usb.mount()
    b.sync()
    usb.unmount()
    assert b.sync()["held"] == 3
    b.folder.unlink()
    real.rename(b.folder)
    assert (b.sync()["held"], len(b.paths())) == (3, 8)


@pytest.mark.parametrize("linked", ["directory", "part of the disk", "file"])
def test_a_disk_that_followed_links_lead_to(tmp_path: Path, linked: str) -> None:
    with bench(tmp_path / "bench", watch=WatchConfig(settle_seconds=0.0, follow_symlinks=True)) as b:
        (tmp_path / "disk").mkdir()
        disk = Disk(tmp_path / "disk", tmp_path / "mnt")
        disk.at.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk.at)], check=True)
        try:
            fill(disk.at, 3, first=100, below="photos/")
            fill(b.folder, 5)
            if linked == "directory":
                (b.folder / "link").symlink_to(disk.at)
            elif linked == "part of the disk":
                (b.folder / "link").symlink_to(disk.at / "photos")
            else:
                for file in sorted((disk.at / "photos").iterdir()):
                    (b.folder / file.name).symlink_to(file)
            b.start()
            b.quiet()
            assert len(b.paths()) == 8
        finally:
            unmount(disk.at)
        b.look()
        assert (held(b), len(b.paths())) == (3, 8)
        b.now.confirm()
        b.quiet()
        assert (held(b), len(b.paths())) == (0, 5)


def test_without_the_notebook_a_small_loss_is_carried_out(b: Bench, usb: Disk) -> None:
    """The limit that `docs/guarantees.md` names: nobody knows then that there was a disk."""
    b.sync()
    usb.unmount()
    for file in b.state.glob("notebook*"):
        os.unlink(file)
    assert b.sync()["deleted"] == 6


def test_the_whole_machine_as_a_folder_has_its_mounts_and_not_itself_below_it() -> None:
    points = mount_points(b"/", ())
    assert b"proc" in points
    assert b"" not in points
    assert not unmounted(b"/", [b"proc"], follow_symlinks=False).points
