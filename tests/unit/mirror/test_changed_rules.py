"""Which files of a folder have a point: by its rules, and by what is in them."""

from __future__ import annotations

from clipwatch.config import WatchConfig
from support.mirrors import Bench, fill, picture, put
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
