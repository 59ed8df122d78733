"""Which files of a folder have a point: by its rules, and by what is in them."""

from __future__ import annotations

from typing import Any

import pytest

from clipwatch.config import WatchConfig
from support.mirrors import HOUR, Bench, fill, picture, put
from support.pictures import small_jpeg


def test_a_directory_named_like_a_picture_is_walked_and_is_no_bad_picture(b: Bench) -> None:
    put(b.folder, "album.jpg/in.png", picture(1))
    b.start()
    b.quiet()
    (b.folder / "later.png").mkdir()
    put(b.folder, "later.png/in.png", picture(2))
    b.touch("later.png", "later.png/in.png")
    b.touch_tree("later.png")
    b.quiet()
    b.assert_exact()
    assert b.paths() == {b"album.jpg/in.png", b"later.png/in.png"}
    assert (b.one.images, b.one.rejected_images, b.told.events("image.rejected")) == (2, 0, [])


def test_a_picture_that_becomes_a_directory_loses_its_point(b: Bench) -> None:
    fill(b.folder, 2)
    put(b.folder, "a.png", picture(7))
    b.start()
    b.quiet()
    (b.folder / "a.png").unlink()
    (b.folder / "a.png").mkdir()
    b.touch("a.png")
    b.quiet()
    b.assert_exact()
    assert b"a.png" not in b.paths()


def test_the_folders_of_file_servers_have_no_points(b: Bench) -> None:
    for name in ("@eaDir/a.png", "2019/@eaDir/b.png/SYNOPHOTO_THUMB_M.png", "#recycle/c.png", "lost+found/d.png"):
        put(b.folder, name, picture(len(name)))
    put(b.folder, "2019/b.png", picture(1))
    b.sync()
    b.assert_exact()
    assert b.paths() == {b"2019/b.png"}


def test_a_jpeg_is_a_picture_under_any_usual_name(b: Bench) -> None:
    names = ["a.jfif", "b.jpe", "c.JIF", "d.mpo", "e.heic", "f.HEIF", "g.webp", "h.gif", "i.tif"]
    for number, name in enumerate(names):
        put(b.folder, name, small_jpeg() + bytes([number]))
    b.sync()
    b.assert_exact()
    assert b.paths() == {name.encode() for name in names}


def test_events_obey_the_same_patterns_as_scans(b: Bench) -> None:
    b.watch = WatchConfig(settle_seconds=0.0, ignore=("/raw/", "sub/*.png", "!sub/keep.png"))
    names = ["raw/a.png", "sub/b.png", "sub/keep.png", "sub/deep/c.png", "raw.png"]
    b.start()
    b.quiet()
    for number, name in enumerate(names):
        put(b.folder, name, picture(number))
    b.touch(*names)
    b.touch_tree("raw")
    b.touch_tree("sub")
    b.quiet()
    assert b.paths() == {b"sub/keep.png", b"sub/deep/c.png", b"raw.png"}


def reason_of_hold(b: Bench) -> str:
    hold = b.one.deletes.hold
    return hold.reason if hold is not None else ""


@pytest.mark.parametrize(
    "rules",
    [{"extensions": ("jpg",)}, {"ignore": ("*[0-9].png",)}, {"recursive": False}, {"max_images": 10}],
    ids=["extensions", "ignore", "recursive", "max_images"],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_changed_rules_that_would_cost_most_points_are_held_and_named(
    b: Bench, rules: dict[str, Any], restarted: bool
) -> None:
    for seed in range(70):
        put(b.folder, f"sub/{seed:05d}.png", picture(seed))
    b.start()
    b.quiet()
    if restarted:
        b.stop()
        b.watch = WatchConfig(settle_seconds=0.0, **rules)
        b.start()
    else:
        b.reload(**rules)
    b.quiet()
    assert reason_of_hold(b) == "rules_changed"
    assert len(b.paths()) == 70
    told = b.told.events("deletes.held")
    assert [event["reason"] for event in told] == ["rules_changed"]
    assert "no longer lets these files in" in told[0]["hint"]
    assert "rules_changed" in b.one.hold_text
    b.reload(extensions=WatchConfig().extensions, ignore=WatchConfig().ignore, recursive=True, max_images=0)
    b.quiet()
    assert reason_of_hold(b) == "", "put back, they are in force again"
    b.assert_exact()


def test_a_hold_for_changed_rules_ends_like_any_other(b: Bench) -> None:
    fill(b.folder, 3)
    b.start()
    b.quiet()
    b.reload(extensions=("jpg",))
    b.quiet()
    assert (reason_of_hold(b), len(b.paths())) == ("rules_changed", 3)
    b.clock.jump(HOUR + 60)
    b.quiet()
    assert (reason_of_hold(b), b.paths()) == ("", set())


def test_a_few_points_less_by_changed_rules_are_not_held(b: Bench) -> None:
    fill(b.folder, 5)
    put(b.folder, "a.jpg", picture(9))
    b.start()
    b.quiet()
    b.reload(ignore=("*.jpg",))
    b.quiet()
    assert reason_of_hold(b) == ""
    assert b"a.jpg" not in b.paths()


def test_links_that_are_no_longer_followed_are_changed_rules(b: Bench) -> None:
    other = b.folder.with_name("other")
    for seed in range(3):
        put(other, f"{seed}.png", picture(seed))
    (b.folder / "link").symlink_to(other)
    b.watch = WatchConfig(settle_seconds=0.0, follow_symlinks=True)
    b.start()
    b.quiet()
    assert len(b.paths()) == 3
    b.reload(follow_symlinks=False)
    b.quiet()
    assert reason_of_hold(b) == "rules_changed"


def test_files_that_are_really_gone_are_not_blamed_on_the_rules(b: Bench) -> None:
    fill(b.folder, 150)
    put(b.folder, "a.jpg", picture(500))
    b.start()
    b.quiet()
    b.stop()
    for path in sorted(b.folder.glob("*.png"))[:130]:
        path.unlink()
    b.watch = WatchConfig(settle_seconds=0.0, ignore=("*.jpg",))
    b.start()
    b.quiet()
    assert reason_of_hold(b) == "unusual_share"
