"""Pictures to measure with, always the same: cuts of real photographs, enlarged, with a sensor's noise."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import skimage
import sklearn
from PIL import Image

_PHOTOS: Final = (
    *(Path(sklearn.__file__).parent / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")),
    *(
        Path(skimage.__file__).parent / "data" / name
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "retina.jpg")
    ),
)
_NOISE: Final = 3.0
"""Standard deviation, of 255: with it a 12-megapixel JPEG has 3 MB or so, as a phone's has."""


@dataclass(frozen=True, slots=True)
class Kind:
    """*count* pictures of one size and format; *quality*: of a JPEG, 0 for PNG."""

    name: str
    title: str
    width: int
    height: int
    quality: int
    count: int

    @property
    def suffix(self) -> str:
        return ".jpg" if self.quality else ".png"

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


KINDS: Final = (
    Kind("12mp", "JPEG 4000×3000, quality 90", 4000, 3000, 90, 200),
    Kind("2mp", "JPEG 1733×1155, quality 85", 1733, 1155, 85, 400),
    Kind("png", "PNG 1280×960", 1280, 960, 0, 300),
)
OTHER_SIZES: Final = (
    Kind("0.3mp", "JPEG 640×480, quality 90", 640, 480, 90, 200),
    Kind("1mp", "JPEG 1152×864, quality 90", 1152, 864, 90, 200),
    Kind("6mp", "JPEG 2828×2121, quality 90", 2828, 2121, 90, 100),
    Kind("24mp", "JPEG 6000×4000, quality 90", 6000, 4000, 90, 50),
)
"""For the plot only."""


def make(cache: Path, kind: Kind, count: int, *, processes: int) -> Path:
    """A folder with the first *count* pictures of *kind*; those that a former run made are used again."""
    store = cache / "pictures" / kind.name
    store.mkdir(parents=True, exist_ok=True)
    wanted = [store / f"{number:05d}{kind.suffix}" for number in range(count)]
    missing = [number for number, file in enumerate(wanted) if not file.exists()]
    if missing:
        print(f"making {len(missing)} pictures: {kind.title}", flush=True)
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.map(partial(_make_one, store, kind), missing, chunksize=4)
    folder = cache / "pictures" / f"{kind.name}-{count}"
    folder.mkdir(exist_ok=True)
    for file in wanted:
        link = folder / file.name
        if not link.exists():
            os.link(file, link)
    return folder


def _make_one(store: Path, kind: Kind, number: int) -> None:
    """Each picture depends on its kind and number only."""
    random = np.random.default_rng([kind.width, kind.height, number])
    with Image.open(_PHOTOS[int(random.integers(len(_PHOTOS)))]) as photo:
        source = photo.convert("RGB")
    # A cut of the wanted shape, of at least half of what the photograph has.
    across, down = source.size
    shape = kind.width / kind.height
    largest = min(across, down * shape)
    width = largest * float(random.uniform(0.5, 1.0))
    height = width / shape
    left = float(random.uniform(0, across - width))
    top = float(random.uniform(0, down - height))
    size, box = (kind.width, kind.height), (left, top, left + width, top + height)
    large = np.asarray(source.resize(size, Image.Resampling.BICUBIC, box), np.float32)
    noise = random.standard_normal((kind.height, kind.width, 1), np.float32) * np.float32(_NOISE)
    picture = Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8))
    part = store / f".{number}.part"
    if kind.quality:
        picture.save(part, "JPEG", quality=kind.quality)
    else:
        picture.save(part, "PNG")
    part.replace(store / f"{number:05d}{kind.suffix}")
