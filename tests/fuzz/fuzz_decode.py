"""Any bytes are a picture of the right shape, or refused; nothing else, and soon."""

from __future__ import annotations

import time
from collections.abc import Iterator

import atheris

with atheris.instrument_imports(include=["clipwatch.image", "PIL.JpegImagePlugin", "PIL.PngImagePlugin"]):
    from clipwatch.image.preprocess import Recipe, prepare

from PIL import Image

from clipwatch.errors import FileRejected
from clipwatch.records import Preprocessing
from fuzz.driver import MAX_BYTES, fuzz, mutated_png
from support import awkward, pictures

RECIPE = Recipe.of(
    Preprocessing(side=32, resize_side=32), exact=False, background="auto", megapixels=4, memory_bytes=64 << 20
)
LONGEST_SECONDS = 5.0
"""Of processor time, for at most 4 megapixels out of 16 kB, with every Python branch counted."""


def target(data: bytes) -> None:
    started = time.process_time()
    try:
        prepared = prepare(data, RECIPE)
    except FileRejected:
        pass
    else:
        assert prepared.image.size == (32, 32)
        assert prepared.image.mode == "RGB"
        assert prepared.width > 0
        assert prepared.height > 0
        assert prepared.format in ("JPEG", "PNG")
    assert time.process_time() - started < LONGEST_SECONDS


def seeds() -> Iterator[bytes]:
    """A small picture of each kind, and whatever of the hostile corpus is small."""
    photo = pictures.photo().resize((48, 32))
    for mode in ("RGB", "L", "CMYK"):
        for progressive in (False, True):
            yield pictures.jpeg(photo.convert(mode), quality=60, progressive=progressive)
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        picture = photo.convert("L").convert(mode) if mode == "I;16" else photo.convert(mode)
        yield pictures.png(picture)
    yield pictures.png(photo.convert("P"), transparency=3)
    yield pictures.oriented_jpeg(photo, 6)
    yield pictures.jpeg(Image.new("RGB", (33, 17), (128, 128, 128)))
    yield from (file.data for file in awkward.awkward_files(photo) if len(file.data) <= MAX_BYTES // 2)
    refused = (hostile.make() for hostile in pictures.hostile_files() if hostile.reasons)
    yield from (data for data in refused if len(data) <= MAX_BYTES // 2)


if __name__ == "__main__":
    fuzz(target, seeds(), mutated_png)
