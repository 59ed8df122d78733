"""Files that viewers show are embedded as viewers show them; files of which a part is missing are not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipwatch.errors import FileRejected
from clipwatch.image.preprocess import Recipe, prepare
from clipwatch.records import Preprocessing
from support import awkward, pictures
from support.awkward import Awkward

RECIPE = Recipe.of(Preprocessing(), exact=False, background="auto", megapixels=100, memory_bytes=2**30)
FILES = awkward.awkward_files()


def pixels(data: bytes) -> NDArray[np.float64]:
    return np.asarray(prepare(data, RECIPE).image).astype(float)


def accepted(data: bytes) -> bool:
    try:
        prepare(data, RECIPE)
    except FileRejected:
        return False
    return True


def test_there_is_one_file_of_each_name() -> None:
    names = [file.name for file in FILES]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_seen_as_people_see_it_or_rejected(file: Awkward) -> None:
    if file.looks is None:
        with pytest.raises(FileRejected) as caught:
            prepare(file.data, RECIPE)
        assert caught.value.reason == file.reason
        return
    made = prepare(file.data, RECIPE)
    assert (made.width, made.height) == file.looks.size
    # JPEG's own loss and CMYK's leave the pictures of this size within a few levels
    assert np.abs(np.asarray(made.image).astype(float) - pixels(pictures.png(file.looks))).mean() < 3


def encoded(side: int) -> Iterator[bytes]:
    """Three photographs of at most *side* pixels in every way that Pillow writes JPEGs."""
    for name in ("china.jpg", "coffee.png", "chelsea.png"):
        photo = pictures.photo(name).copy()
        photo.thumbnail((side, side))
        for progressive in (False, True):
            yield pictures.jpeg(photo, quality=90, progressive=progressive)
            yield pictures.jpeg(photo, quality=60, progressive=progressive, optimize=True, subsampling=0)
            yield pictures.jpeg(photo, quality=75, progressive=progressive, restart_marker_blocks=3)
            yield pictures.jpeg(photo.convert("L"), quality=80, progressive=progressive)
        yield pictures.jpeg(photo.convert("CMYK"), quality=80)


@pytest.mark.parametrize("side", [40, 160, 400])
def test_every_whole_jpeg_is_accepted_whatever_its_file_ends_in(side: int) -> None:
    chance = random.Random(side)
    for data in encoded(side):
        body = data[:-2]
        trailers = (b"", b"\xff", bytes(3000), b"\0\0\1\x0aSEFT", b"\0\0\0\x18ftypmp42" + chance.randbytes(9000))
        for whole in (data, data + bytes(3000), data + chance.randbytes(3000), *(body + end for end in trailers)):
            assert accepted(whole)


@pytest.mark.parametrize("side", [40, 160, 400])
def test_no_cut_jpeg_is_accepted_however_it_is_closed(side: int) -> None:
    for data in encoded(side):
        for cut in cuts(data):
            for end in (b"", b"\xff\xd9", bytes(3000)):
                assert not accepted(data[:cut] + end)


def cuts(data: bytes) -> Iterator[int]:
    """Places within a JPEG's scans: at tenths, behind an FF, before and behind a restart marker, before a scan."""
    start = data.index(b"\xff\xda") + 12
    places = range(start, len(data) - 40)
    yield from (start + (len(data) - start) * tenths // 10 for tenths in range(1, 10))
    for wanted, beyond in ((b"\0", 1), (b"\xd0", 0), (b"\xd3", 0), (b"\xd4", 2), (b"\xda", 0)):
        found = [at for at in places if data[at] == 0xFF and data[at + 1 : at + 2] == wanted]
        yield from (at + beyond for at in found[len(found) // 2 :: max(1, len(found))])
        yield from (at + beyond for at in found[-1:])


def test_what_a_cut_of_some_bytes_takes_is_at_most_the_last_block() -> None:
    """Within the last bytes of its data a picture counts as whole, though not all of its last block may be there."""
    for data in (pictures.small_jpeg(), pictures.small_jpeg(progressive=True)):
        whole = pixels(data)
        for missing in range(3, 60):
            cut = data[:-missing] + b"\xff\xd9"
            if accepted(cut):
                assert np.abs(pixels(cut) - whole).mean() < 0.1


def white_on_clear(box: tuple[int, int, int, int], level: int = 255) -> Image.Image:
    drawing = Image.new("RGBA", (288, 192), (0, 0, 0, 0))
    drawing.paste((level, level, level, 255), box)
    return drawing


def test_a_white_drawing_on_transparency_is_seen() -> None:
    first, second = white_on_clear((40, 40, 200, 90)), white_on_clear((150, 20, 260, 180))
    blank = pixels(pictures.png(Image.new("RGB", (288, 192), "white")))
    seen = [pixels(pictures.png(drawing)) for drawing in (first, second)]
    for made, drawing in zip(seen, (first, second), strict=True):
        on_grey = Image.new("RGB", drawing.size, (128, 128, 128))
        on_grey.paste(drawing, mask=drawing)
        assert np.array_equal(made, pixels(pictures.png(on_grey)))
        assert np.abs(made - blank).mean() > 50
    assert np.abs(seen[0] - seen[1]).mean() > 10


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_a_white_drawing_is_seen_whatever_way_its_transparency_is_stored(mode: str) -> None:
    drawing = white_on_clear((40, 40, 200, 90))
    if mode == "P":
        palette = pictures.chunk(b"PLTE", bytes((255,) * 6))
        rows = [
            bytes(drawing.getchannel("A").point([0] * 255 + [1]).crop((0, y, 288, y + 1)).tobytes()) for y in range(192)
        ]
        data = pictures.png_file((288, 192), 8, 3, rows, before=[palette, pictures.chunk(b"tRNS", b"\0")])
    else:
        data = pictures.png(drawing.convert("LA"))
    assert np.array_equal(pixels(data), pixels(pictures.png(drawing)))


@pytest.mark.parametrize("level", [0, 128, 200])
def test_what_can_be_seen_on_white_stays_on_white(level: int) -> None:
    """So that all other vectors are what they were."""
    drawing = white_on_clear((40, 40, 200, 90), level)
    on_white = Image.new("RGB", drawing.size, "white")
    on_white.paste(drawing, mask=drawing)
    assert np.array_equal(pixels(pictures.png(drawing)), pixels(pictures.png(on_white)))


def test_a_white_drawing_with_something_dark_stays_on_white() -> None:
    drawing = white_on_clear((40, 40, 200, 90))
    drawing.paste((20, 20, 60, 255), (60, 50, 80, 80))
    assert tuple(pixels(pictures.png(drawing))[5, 5]) == (255, 255, 255)


def test_where_nothing_is_transparent_a_white_page_is_white() -> None:
    for alpha in (255, 0):
        page = Image.new("RGBA", (60, 60), (255, 255, 255, alpha))
        assert (pixels(pictures.png(page)) == 255).all()


@pytest.mark.parametrize("background", ["white", "#102030"])
def test_a_colour_that_was_chosen_is_the_background_of_white_drawings_too(background: str) -> None:
    recipe = Recipe.of(Preprocessing(), exact=False, background=background, megapixels=100, memory_bytes=2**30)
    made = prepare(pictures.png(white_on_clear((40, 40, 200, 90))), recipe)
    assert made.image.getpixel((2, 2)) == recipe.background
