"""A backup that keeps hard links changes nothing but the ctime of every file: content decides, and is read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipwatch.mirror import folder_mirror
from support.mirrors import HOUR, Bench, fill, padded_picture, put, shared_decoder, tiny_encoder
from unit.mirror.test_verify_and_plan import paths, plan_of, verified

NIGHT = 24 * HOUR


def snapshot(folder: Path, at: Path) -> None:
    """What `cp -al` does."""
    at.mkdir()
    for file in sorted(folder.iterdir()):
        os.link(file, at / file.name)


def remove(at: Path) -> None:
    for file in at.iterdir():
        file.unlink()
    at.rmdir()


def overwrite(file: Path, data: bytes) -> None:
    """Other bytes in place; size and mtime are as they were."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def reads(b: Bench) -> int:
    return shared_decoder(tiny_encoder().preprocessing).submitted


@pytest.fixture(name="w")
def _w(b: Bench) -> Bench:
    """Twelve pictures, mirrored by a daemon that the kernel tells of changes."""
    for seed in range(12):
        put(b.folder, f"{seed:05d}.png", padded_picture(seed))
    b.start()
    b.one.watched = True
    b.quiet()
    b.assert_exact()
    return b


def rest_until_the_next_scan(b: Bench) -> None:
    looks = b.one.scans.done
    b.clock.jump(2 * HOUR)
    b.quiet()
    assert b.one.scans.done == looks + 1


def test_a_snapshot_of_hard_links_is_no_difference_and_neither_is_its_removal(b: Bench, tmp_path: Path) -> None:
    fill(b.folder, 4)
    b.sync()
    snapshot(b.folder, tmp_path / "snap")
    assert verified(b)["exact"]
    assert plan_of(b) == ([], [])
    assert verified(b, deep=True)["exact"]
    remove(tmp_path / "snap")
    assert verified(b)["exact"]
    assert b.sync()["unchanged"] == 4
    b.assert_exact()


def test_what_was_overwritten_under_a_hard_link_is_told(b: Bench, tmp_path: Path) -> None:
    for seed in range(3):
        put(b.folder, f"{seed}.png", padded_picture(seed))
    b.sync()
    snapshot(b.folder, tmp_path / "snap")
    overwrite(tmp_path / "snap" / "1.png", padded_picture(9))
    result = verified(b)
    assert (paths(result, "stale"), result["exact"]) == ({"1.png"}, False)
    assert [(action["action"], action["path"]) for action in plan_of(b)[0]] == [("embed", "1.png")]
    assert b.sync()["embedded"] == 1
    b.assert_exact()


def test_a_touched_file_is_still_told(b: Bench) -> None:
    fill(b.folder, 3)
    b.sync()
    os.utime(b.folder / "00001.png", ns=(1, 2))
    assert paths(verified(b), "stale") == {"00001.png"}


def test_a_backup_that_rotates_hard_links_does_not_make_the_daemon_read_the_library(w: Bench, tmp_path: Path) -> None:
    before = reads(w)
    for night in range(5):
        snapshot(w.folder, tmp_path / f"snap-{night}")
        if night >= 2:
            remove(tmp_path / f"snap-{night - 2}")
        w.clock.jump(NIGHT)
        rest_until_the_next_scan(w)
        assert w.now.pending() == 0
    assert reads(w) - before <= 5, "a few of them, in turn"
    assert w.inferences == 12
    assert verified(w)["exact"]


def test_every_linked_file_is_read_in_its_turn(w: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_mirror, "LINKED_TURNS", 6)
    snapshot(w.folder, tmp_path / "snap")
    for name in ("00003.png", "00007.png"):
        overwrite(tmp_path / "snap" / name, padded_picture(100 + int(name[:5])))
    before = reads(w)
    for _ in range(6):
        rest_until_the_next_scan(w)
    assert reads(w) - before == 12, "each once, since its point then has the new ctime"
    w.assert_exact()


def test_an_overwritten_file_is_read_when_the_kernel_tells_though_it_has_links(w: Bench, tmp_path: Path) -> None:
    snapshot(w.folder, tmp_path / "snap")
    overwrite(w.folder / "00003.png", padded_picture(100))
    w.touch("00003.png")
    w.quiet()
    assert w.now.counts.embedded == 13


@pytest.mark.parametrize("how", ["asked for", "events were lost", "nothing tells", "no other name"])
def test_where_the_kernel_may_not_have_told_everything_is_read(w: Bench, tmp_path: Path, how: str) -> None:
    if how != "no other name":
        snapshot(w.folder, tmp_path / "snap")
    overwrite(w.folder / "00003.png", padded_picture(100))
    if how == "asked for":
        w.look()
    elif how == "events were lost":
        w.now.inbox.look_everywhere(w.one.name, "overflow")
        w.quiet()
    else:
        w.one.watched = how != "nothing tells"
        rest_until_the_next_scan(w)
    w.assert_exact()


def test_a_restart_reads_what_was_taken_on_trust(w: Bench, tmp_path: Path) -> None:
    snapshot(w.folder, tmp_path / "snap")
    overwrite(tmp_path / "snap" / "00003.png", padded_picture(100))
    rest_until_the_next_scan(w)
    w.stop()
    w.start()
    w.quiet()
    w.assert_exact()
