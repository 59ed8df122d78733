"""Which names are looked at."""

from __future__ import annotations

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder.rules import FileRules

DEFAULT = FileRules.from_config(WatchConfig())


@pytest.mark.parametrize("name", [b"a.jpg", b"A.JPG", b"a.b.JpEg", b"caf\xe9.png", b"new\nline.jpg", b"a'\".jpg"])
def test_an_extension_is_ours_whatever_its_case_and_the_bytes_before_it(name: bytes) -> None:
    assert DEFAULT.is_image_name(name)
    assert DEFAULT.admits(b"deep/er/" + name)


@pytest.mark.parametrize("name", [b"a.jpg.part", b"jpg", b"a.gif", b"a.jpgx", b"", b"a_jpg"])
def test_other_names_are_not_images(name: bytes) -> None:
    assert not DEFAULT.is_image_name(name)
    assert not DEFAULT.admits(name)


@pytest.mark.parametrize(
    "name", [b".hidden.jpg", b".a.jpg.Xq12Zs", b"x.part", b"y.tmp", b"z.jpg~", b".git", b".\n.jpg"]
)
def test_default_patterns_pass_over_hidden_and_temporary_names(name: bytes) -> None:
    assert DEFAULT.is_ignored(name)


def test_an_ignored_directory_hides_everything_below_it() -> None:
    assert not DEFAULT.admits(b".trash/a.jpg")
    assert not DEFAULT.admits(b"a/.trash/b/a.jpg")
    assert DEFAULT.admits(b"a/trash/b/a.jpg")


def test_patterns_are_shell_patterns_on_bytes() -> None:
    rules = FileRules.from_config(WatchConfig(ignore=("thumb_*", "[0-9]?.jpg", "caf?.jpg", "ä*", "a|b.jpg")))
    assert rules.is_ignored(b"thumb_1.jpg")
    assert rules.is_ignored(b"7x.jpg")
    assert rules.is_ignored(b"caf\xe9.jpg")
    assert rules.is_ignored("älter.jpg".encode())
    assert rules.is_ignored(b"a|b.jpg")
    assert not rules.is_ignored(b"b.jpg")
    assert not rules.is_ignored(b"77x.jpg")


def test_no_patterns_ignore_nothing() -> None:
    assert not FileRules.from_config(WatchConfig(ignore=())).is_ignored(b".hidden.jpg")


def test_without_recursion_only_the_folder_itself_counts() -> None:
    rules = FileRules.from_config(WatchConfig(recursive=False))
    assert rules.admits(b"a.jpg")
    assert not rules.admits(b"sub/a.jpg")


def test_extensions_may_be_written_with_a_dot_and_in_capitals() -> None:
    rules = FileRules.from_config(WatchConfig(extensions=(".JPG", "webp")))
    assert rules.is_image_name(b"a.jpg")
    assert rules.is_image_name(b"a.WEBP")
    assert not rules.is_image_name(b"a.png")
