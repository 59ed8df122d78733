"""Which names are looked at."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder.rules import FileRules

DEFAULT = FileRules.from_config(WatchConfig())


@pytest.mark.parametrize("name", [b"a.jpg", b"A.JPG", b"a.b.JpEg", b"caf\xe9.png", b"new\nline.jpg", b"a'\".jpg"])
def test_an_extension_is_ours_whatever_its_case_and_the_bytes_before_it(name: bytes) -> None:
    assert DEFAULT.is_image_name(name)
    assert DEFAULT.admits(b"deep/er/" + name)


@pytest.mark.parametrize("name", [b"a.jpg.part", b"jpg", b"a.mov", b"a.jpgx", b"", b"a_jpg"])
def test_other_names_are_not_images(name: bytes) -> None:
    assert not DEFAULT.is_image_name(name)
    assert not DEFAULT.admits(name)


@pytest.mark.parametrize(
    "name", [b".hidden.jpg", b".a.jpg.Xq12Zs", b"x.part", b"y.tmp", b"z.jpg~", b".git", b".\n.jpg"]
)
def test_default_patterns_pass_over_hidden_and_temporary_names(name: bytes) -> None:
    assert DEFAULT.ignores_file(name, name)
    assert DEFAULT.ignores_directory(b"deep/er/" + name, name)


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "@Recycle", "@Recently-Snapshot"),
        *("System Volume Information", "lost+found", ".@__thumb"),
    ],
)
def test_the_thumbnails_and_trash_of_file_servers_are_passed_over(name: str) -> None:
    assert not DEFAULT.enters(os.fsencode(name))
    assert not DEFAULT.admits(os.fsencode(f"2019/{name}/a.jpg/SYNOPHOTO_THUMB_XL.jpg"))
    assert DEFAULT.admits(os.fsencode(f"2019/a {name}/a.jpg"))


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.jif", "a.mpo", "a.heic", "a.heif", "a.webp", "a.avif", "a.gif"])
def test_files_with_any_usual_name_of_a_picture_are_opened(name: str) -> None:
    assert DEFAULT.admits(os.fsencode(name))


def test_an_ignored_directory_hides_everything_below_it() -> None:
    assert not DEFAULT.admits(b".trash/a.jpg")
    assert not DEFAULT.admits(b"a/.trash/b/a.jpg")
    assert DEFAULT.admits(b"a/trash/b/a.jpg")


def ignored(*patterns: str) -> Callable[[bytes], bool]:
    rules = FileRules.from_config(WatchConfig(ignore=patterns))
    return lambda path: not rules.admits(path)


def test_a_pattern_matches_bytes_of_a_name_at_any_depth() -> None:
    is_ignored = ignored("thumb_*", "[0-9]?.jpg", "caf?.jpg", "ä*", "a|b.jpg")
    for path in (b"thumb_1.jpg", b"x/7x.jpg", b"caf\xe9.jpg", "y/älter.jpg".encode(), b"a|b.jpg", b"thumb_s/z.jpg"):
        assert is_ignored(path)
    for path in (b"b.jpg", b"77x.jpg", b"a_thumb_1.jpg", b"caf\xc3\xa9.jpg"):
        assert not is_ignored(path)


def test_a_pattern_with_a_slash_counts_from_the_folder() -> None:
    for pattern, yes, no in (
        ("@eaDir/", b"x/@eaDir/a.jpg", b"@eaDir.jpg"),
        ("**/@eaDir/**", b"x/@eaDir/y/a.jpg", b"x/eaDir/a.jpg"),
        ("/sub", b"sub/a.jpg", b"x/sub/a.jpg"),
        ("sub/*.jpg", b"sub/a.jpg", b"sub/x/a.jpg"),
        ("/*.jpg", b"a.jpg", b"sub/a.jpg"),
        ("a/**/b.jpg", b"a/x/y/b.jpg", b"x/a/b.jpg"),
        ("a.jpg/", b"a.jpg/b.jpg", b"a.jpg"),
        ("#recycle", b"#recycle/a.jpg", b"recycle/a.jpg"),
    ):
        assert ignored(pattern)(yes), pattern
        assert not ignored(pattern)(no), pattern


def test_the_last_pattern_that_matches_counts_but_nothing_below_an_ignored_directory_comes_back() -> None:
    is_ignored = ignored("*", "!*/", "!keep*.jpg", "keep-not.jpg", "old/", "!old/keep.jpg")
    assert not is_ignored(b"x/y/keep1.jpg")
    assert is_ignored(b"x/y/other.jpg")
    assert is_ignored(b"keep-not.jpg")
    assert is_ignored(b"old/keep.jpg")


def test_no_patterns_ignore_nothing() -> None:
    assert not ignored()(b".hidden.jpg")


def test_without_recursion_only_the_folder_itself_counts() -> None:
    rules = FileRules.from_config(WatchConfig(recursive=False))
    assert rules.admits(b"a.jpg")
    assert not rules.admits(b"sub/a.jpg")


def test_extensions_may_be_written_in_any_usual_way() -> None:
    rules = FileRules.from_config(WatchConfig(extensions=(".JPG", "*.webp", "Png", "thumb.gif")))
    for name in (b"a.jpg", b"a.WEBP", b"a.png", b"a.thumb.GIF"):
        assert rules.is_image_name(name)
    for name in (b"a.jpeg", b"a.gif", b"jpg"):
        assert not rules.is_image_name(name)


@pytest.mark.parametrize("path", [b"/a.jpg", b"//a.jpg", b"a//b.jpg", b"a/.jpg", b"/", b"", b"a/../b.jpg"])
def test_a_path_that_no_scan_gives_gets_an_answer_all_the_same(path: bytes) -> None:
    for rules in (DEFAULT, FileRules.from_config(WatchConfig(ignore=("/x", "a/**/b", "!y")))):
        assert rules.admits(path) in (True, False)


def test_a_name_made_to_be_compared_for_hours_is_compared_at_once() -> None:
    is_ignored = ignored("*a*a*a*a*a*a*a*a*b")
    assert not is_ignored(b"a" * 250 + b".jpg")
    assert is_ignored(b"a" * 250 + b"b")
