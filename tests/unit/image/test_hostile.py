"""Files made to do harm, and files that came to harm: refused for what they are, or decoded right; never half."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from clipwatch.errors import FileRejected, RejectReason
from clipwatch.image.preprocess import Recipe, prepare
from clipwatch.records import Preprocessing
from support import pictures

RECIPE = Recipe.of(Preprocessing(), exact=False, background="white", megapixels=100, memory_bytes=2**30)
BROKEN = {RejectReason.TRUNCATED, RejectReason.CORRUPT}


def outcome(data: bytes) -> RejectReason | NDArray[np.uint8]:
    """Pixels, or why there are none."""
    try:
        return np.asarray(prepare(data, RECIPE).image)
    except FileRejected as rejected:
        return rejected.reason


def test_a_jpeg_that_was_closed_too_early_is_refused_rather_than_grey() -> None:
    for data in (pictures.small_jpeg(), pictures.camera_jpeg(1733, 1155)):
        for cut in pictures.truncations(data, 8):
            if b"\xff\xda" in cut:
                assert outcome(cut + b"\xff\xd9") in BROKEN


def test_a_whole_picture_that_is_mid_grey_is_a_picture() -> None:
    for mode, colour in (("RGB", (128, 128, 128)), ("L", 128), ("CMYK", (127, 127, 127, 127))):
        for progressive in (False, True):
            grey = pictures.jpeg(Image.new(mode, (1000, 900), colour), progressive=progressive)
            assert not isinstance(outcome(grey), RejectReason)


@pytest.mark.parametrize("hostile", pictures.hostile_files(), ids=lambda hostile: hostile.name)
def test_the_corpus_is_refused_for_what_it_is_or_decoded(hostile: pictures.Hostile) -> None:
    data = hostile.make()
    started = time.process_time()
    if hostile.reasons:
        with pytest.raises(FileRejected) as caught:
            prepare(data, RECIPE)
        assert caught.value.reason in hostile.reasons
        assert hostile.format in caught.value.message
    else:
        assert prepare(data, RECIPE).image.size == (224, 224)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "make", [pictures.small_jpeg, lambda: pictures.small_jpeg(progressive=True), pictures.small_png]
)
def test_a_file_cut_off_anywhere_is_refused_or_whole(make: Callable[[], bytes]) -> None:
    data = make()
    whole = np.asarray(prepare(data, RECIPE).image)
    refused = 0
    for cut in (*pictures.truncations(data), data[:-1], data[:-2], data[:-12]):
        made = outcome(cut)
        assert made in BROKEN if isinstance(made, RejectReason) else np.array_equal(made, whole)
        refused += isinstance(made, RejectReason)
    assert refused >= 63


def test_pillow_is_never_told_to_fill_in_what_is_missing() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    "make", [pictures.small_jpeg, lambda: pictures.small_jpeg(progressive=True), pictures.small_png]
)
def test_flipped_bits_are_refused_or_decoded_and_nothing_else(make: Callable[[], bytes]) -> None:
    data = make()
    chance = random.Random(11)
    for _ in range(150):
        flipped = bytearray(data)
        for _ in range(chance.choice((1, 3, 30))):
            flipped[chance.randrange(2, len(data))] ^= 1 << chance.randrange(8)
        made = outcome(bytes(flipped))
        allowed = {*BROKEN, RejectReason.UNSUPPORTED, RejectReason.TOO_MANY_PIXELS, RejectReason.MEMORY}
        assert made in allowed if isinstance(made, RejectReason) else made.shape == (224, 224, 3)


def test_a_flipped_bit_in_png_data_is_always_noticed() -> None:
    data = pictures.small_png()
    at = data.index(b"IDAT") + 4
    for offset in range(at, len(data) - 20, max(1, len(data) // 100)):
        flipped = bytearray(data)
        flipped[offset] ^= 4
        with pytest.raises(FileRejected):
            prepare(bytes(flipped), RECIPE)


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    bomb = next(hostile for hostile in pictures.hostile_files() if hostile.name == "pixels.png").make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileRejected):
        prepare(bomb, RECIPE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
