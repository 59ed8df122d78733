"""From a file's bytes to what the model sees: pure functions, no file, no process.

The result equals the reference implementations (OpenAI's CLIP `_transform`, Hugging Face's `CLIPImageProcessor`),
and never holds the picture in more than its decoded and its RGB form. No numpy: workers that run this stay small.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image

from clipwatch.errors import ConfigError, FileRejected, RejectReason
from clipwatch.image import container
from clipwatch.image.colour import colour_of, flattened
from clipwatch.image.picture import Picture

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from clipwatch.records import Preprocessing

DRAFT_FACTOR: Final = 2
"""Shrinking by whole numbers stops at this many times what the resize needs: 49 dB and more to the exact way."""

_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_DECODER_ERRORS: Final = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for bytes it cannot make sense of; anything else ends the worker."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the pixels, and the bounds of making them.

    *side*: of the square result. *resize_side*: the short side before the crop; unused when *squash*.
    *interpolation*: a name of Pillow's `Resampling`. *background*: RGB behind transparency, None for
    "auto". *pixels_max*: after scaled decoding. *memory_bytes*: what decoding may take in all.
    """

    side: int
    squash: bool
    resize_side: int
    interpolation: str
    exact: bool
    background: tuple[int, int, int] | None
    pixels_max: int
    memory_bytes: int

    @classmethod
    def of(
        cls, preprocessing: Preprocessing, *, exact: bool, background: str, megapixels: float, memory_bytes: int
    ) -> Recipe:
        """Raises `ConfigError` for a colour or an interpolation that does not exist."""
        if preprocessing.interpolation.upper() not in Image.Resampling.__members__:
            raise ConfigError(f"The model asks for an unknown interpolation, {preprocessing.interpolation!r}.")
        return cls(
            side=preprocessing.side,
            squash=preprocessing.resize == "squash",
            resize_side=preprocessing.resize_side,
            interpolation=preprocessing.interpolation.upper(),
            exact=exact,
            background=colour_of(background),
            pixels_max=int(megapixels * 1_000_000),
            memory_bytes=memory_bytes,
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """*image*: RGB, side × side. *width*, *height*: of the whole picture, upright. *format*: "JPEG" or "PNG"."""

    image: Image.Image
    width: int
    height: int
    format: str


def prepare(data: bytes, recipe: Recipe) -> Prepared:
    """A file's bytes as the model sees them; raises `FileRejected`, and nothing else for any bytes whatever."""
    try:
        picture = container.read(data)
        with picture.open() as image:
            width, height = image.size
            if width < 1 or height < 1:
                raise FileRejected(RejectReason.CORRUPT, "The picture has no pixels.")
            if picture.orientation >= 5:
                width, height = height, width
            extent = _shrink(image, picture, recipe)
            _check_cost(image.size, picture, recipe)
            flat = flattened(picture.load(image), recipe.background)
            prepared = _fit(flat, extent, width, height, picture.orientation, recipe)
    except MemoryError as error:
        raise FileRejected(RejectReason.MEMORY, "The picture needs more memory than a decoder may take.") from error
    except _DECODER_ERRORS as error:
        said = str(error) or type(error).__name__
        truncated = "truncated" in said
        raise FileRejected(
            RejectReason.TRUNCATED if truncated else RejectReason.CORRUPT,
            "The file ends before its picture does." if truncated else f"The picture cannot be decoded: {said}.",
        ) from error
    return Prepared(prepared, width, height, picture.format)


def _shrink(image: ImageFile, picture: Picture, recipe: Recipe) -> tuple[float, float]:
    """How much of what will be decoded is picture, in pixels (see `Picture.shrink`)."""
    if recipe.exact:
        return image.size
    return picture.shrink(image, DRAFT_FACTOR * (recipe.side if recipe.squash else recipe.resize_side))


def _check_cost(size: tuple[int, int], picture: Picture, recipe: Recipe) -> None:
    pixels = size[0] * size[1]
    if pixels > recipe.pixels_max:
        raise FileRejected(
            RejectReason.TOO_MANY_PIXELS,
            f"The picture decodes to {size[0]} x {size[1]} pixels; {recipe.pixels_max} are allowed.",
            hint="Raise limits.image_megapixels.",
        )
    if picture.buffered_bytes + 4 * pixels + 2 * len(picture.stream) > recipe.memory_bytes:
        raise FileRejected(
            RejectReason.MEMORY,
            "The picture needs more memory than a decoder may take.",
            hint="Raise limits.decode_memory_megabytes.",
        )


def _fit(
    image: Image.Image, extent: tuple[float, float], width: int, height: int, orientation: int, recipe: Recipe
) -> Image.Image:
    """Resize, crop and turn upright in one resampling of just the part that stays.

    *image* lies as stored and may have been shrunk to *extent*; *width* × *height* is the whole picture upright.
    Resampling the crop's own box gives the pixels that resizing everything and then cropping gives, and cannot be
    made to build a strip of 224 × 13,000,000 pixels out of one of 1 × 60,000.
    """
    side = recipe.side
    across, down = resized_size(width, height, recipe)
    # torchvision's CenterCrop, as CLIP's own code uses it: halves round to even
    left, top = round((across - side) / 2), round((down - side) / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, across), min(top + side, down)
    box = (x0 / across, y0 / down, x1 / across, y1 / down)
    patch = (x1 - x0, y1 - y0)
    if orientation >= 5:
        box, patch = (box[1], box[0], box[3], box[2]), (patch[1], patch[0])
    if orientation in (2, 3, 7, 8):
        box = (1 - box[2], box[1], 1 - box[0], box[3])
    if orientation in (3, 4, 6, 7):
        box = (box[0], 1 - box[3], box[2], 1 - box[1])
    fitted = image.resize(
        patch,
        Image.Resampling[recipe.interpolation],
        (
            max(box[0] * extent[0], 0.0),
            max(box[1] * extent[1], 0.0),
            min(box[2] * extent[0], image.width),
            min(box[3] * extent[1], image.height),
        ),
        reducing_gap=None if recipe.exact else DRAFT_FACTOR,
    ).convert("RGB")
    if orientation in _TRANSPOSE:
        fitted = fitted.transpose(_TRANSPOSE[orientation])
    if fitted.size != (side, side):
        canvas = Image.new("RGB", (side, side))
        canvas.paste(fitted, (x0 - left, y0 - top))
        fitted = canvas
    return fitted


def resized_size(width: int, height: int, recipe: Recipe) -> tuple[int, int]:
    """The whole picture's size before the crop: the long side truncated, as in torchvision and transformers."""
    if recipe.squash:
        return recipe.side, recipe.side
    if width <= height:
        return recipe.resize_side, int(recipe.resize_side * height / width)
    return int(recipe.resize_side * width / height), recipe.resize_side
