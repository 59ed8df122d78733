"""Which file an id leads to, however the collection came to name it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from clipwatch.config import WatchConfig
from clipwatch.records import point_uuid, uuid_text
from clipwatch.service.http_files import OpenImage, image_opener, wanted_range
from support.pictures import small_jpeg, small_png
from support.processes import open_descriptors


class Collection:
    """Names of points, whoever wrote them."""

    def __init__(self) -> None:
        self.named: dict[str, bytes] = {}

    def name(self, path: bytes, folder: str = "images") -> str:
        point = uuid_text(point_uuid(folder, path))
        self.named[point] = path
        return point

    def paths(self, ids: Sequence[str]) -> dict[str, bytes]:
        return {point: self.named[point] for point in ids if point in self.named}


@pytest.fixture
def collection() -> Collection:
    return Collection()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    return folder


@pytest.fixture
def show(collection: Collection, folder: Path) -> Iterator[Callable[[str], bytes | None]]:
    """What is shown for an id: the file's bytes, or None."""
    opener = image_opener(collection, lambda: [WatchConfig(path=str(folder))], file_bytes=100_000)

    def shown(point: str) -> bytes | None:
        image = opener(point)
        if image is None:
            return None
        try:
            return os.pread(image.descriptor, image.size, 0)
        finally:
            image.close()

    before = open_descriptors()
    yield shown
    assert open_descriptors() == before, "a descriptor was left open"


def test_a_named_picture_is_opened_below_its_folder(
    collection: Collection, folder: Path, show: Callable[[str], bytes | None]
) -> None:
    (folder / "below" / "a.jpg").write_bytes(small_jpeg())
    point = collection.name(b"below/a.jpg")
    assert show(point) == small_jpeg()
    assert show(point.upper()) == small_jpeg()


def test_what_is_in_the_file_decides_its_type(collection: Collection, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(small_png())
    opener = image_opener(collection, lambda: [WatchConfig(path=str(folder))], file_bytes=100_000)
    image = opener(collection.name(b"a.jpg"))
    assert isinstance(image, OpenImage)
    image.close()
    assert (image.media_type, image.size) == ("image/png", len(small_png()))


@pytest.mark.parametrize("text", ["", "..", "../../etc/passwd", "1", "{}", "urn:", "x" * 10_000])
def test_what_is_no_id_shows_nothing(show: Callable[[str], bytes | None], text: str) -> None:
    assert show(text) is None


def test_an_id_that_the_collection_does_not_name_shows_nothing(
    folder: Path, show: Callable[[str], bytes | None]
) -> None:
    (folder / "a.jpg").write_bytes(small_jpeg())
    assert show(uuid_text(point_uuid("images", b"a.jpg"))) is None


@pytest.mark.parametrize(
    "path",
    [b"../secret.jpg", b"below/../../secret.jpg", b"/etc/secret.jpg", b"a.jpg\0.jpg"],
)
def test_a_name_that_leads_out_of_the_folder_shows_nothing(
    collection: Collection, folder: Path, show: Callable[[str], bytes | None], path: bytes
) -> None:
    """Another writer may put any path into a shared collection, with the id that fits it."""
    folder.with_name("secret.jpg").write_bytes(small_jpeg())
    shown = show(collection.name(path))
    assert shown is None


def test_an_id_that_is_not_its_paths_own_shows_nothing(
    collection: Collection, folder: Path, show: Callable[[str], bytes | None]
) -> None:
    (folder / "a.jpg").write_bytes(small_jpeg())
    (folder / "b.jpg").write_bytes(small_jpeg())
    point = collection.name(b"a.jpg")
    collection.named[point] = b"b.jpg"
    assert show(point) is None
    assert show(collection.name(b"a.jpg", folder="another machine's")) is None


@pytest.mark.parametrize("path", [b"notes.txt", b".hidden.jpg", b".git/a.jpg", b"a.part"])
def test_a_name_that_the_rules_pass_over_shows_nothing(
    collection: Collection, folder: Path, show: Callable[[str], bytes | None], path: bytes
) -> None:
    file = folder / os.fsdecode(path)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(small_jpeg())
    assert show(collection.name(path)) is None


def test_neither_links_nor_strangers_nor_large_files_are_shown(
    collection: Collection, folder: Path, show: Callable[[str], bytes | None]
) -> None:
    secret = folder.with_name("secret.jpg")
    secret.write_bytes(small_jpeg())
    (folder / "link.jpg").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "page.jpg").write_bytes(b"<script>alert(1)</script>")
    (folder / "empty.jpg").touch()
    (folder / "large.jpg").write_bytes(small_jpeg() + bytes(100_000))
    (folder / "dir.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    for path in (
        b"link.jpg",
        b"linked/secret.jpg",
        b"page.jpg",
        b"empty.jpg",
        b"large.jpg",
        b"dir.jpg",
        b"pipe.jpg",
        b"gone.jpg",
    ):
        assert show(collection.name(path)) is None, path


def test_a_folder_without_its_marker_shows_nothing(collection: Collection, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(small_jpeg())
    watch = WatchConfig(path=str(folder), marker=".mounted")
    assert image_opener(collection, lambda: [watch], file_bytes=100_000)(collection.name(b"a.jpg")) is None


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=5-", (5, 9)),
        ("bytes=5-100", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-300", (0, 9)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=²-", None),
        ("lines=1-2", None),
    ],
)
def test_a_range_is_understood_or_passed_over(header: str | None, part: tuple[int, int] | None) -> None:
    assert wanted_range(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_with_nothing_in_it_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(ValueError, match="range"):
        wanted_range(header, 10)
