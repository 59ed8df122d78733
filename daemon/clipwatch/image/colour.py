"""One 8-bit sample a channel, and nothing of what transparency hides."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageChops, ImageColor

from clipwatch.errors import ConfigError

AUTO: Final = "auto"
"""Of `image.background`: white, but mid-grey behind what would vanish on white."""

WHITE: Final = (255, 255, 255)
MID_GREY: Final = (128, 128, 128)

_CONTRAST: Final = 32
"""Levels of 255 by which a pixel must differ from white, in any channel, to be seen on it."""

_LEAST_SEEN: Final = 0.01
"""Of the pixels that are not wholly transparent: where fewer can be seen on white, the picture vanishes on it."""


def colour_of(background: str) -> tuple[int, int, int] | None:
    """RGB of `image.background`; None for "auto". Raises `ConfigError`."""
    if background == AUTO:
        return None
    try:
        red, green, blue, *_ = ImageColor.getrgb(background)
    except ValueError as error:
        raise ConfigError(
            f"image.background {background!r} is no colour.", hint='Write "auto", "white" or "#rrggbb".'
        ) from error
    return red, green, blue


def flattened(image: Image.Image, background: tuple[int, int, int] | None) -> Image.Image:
    """*image*, decoded, in mode L or RGB; *background*: RGB behind transparency, or None to choose (see `AUTO`)."""
    if image.mode == "CMYK":
        # Pillow inverts the samples of every CMYK JPEG, as do viewers, whether Adobe's marker says so or not.
        return image.convert("RGB")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        if background is not None:
            return _on(background, image)
        on_white = _on(WHITE, image)
        return _on(MID_GREY, image) if _vanishes(image, on_white) else on_white
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _on(background: tuple[int, int, int], image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=image)
    return canvas


def _vanishes(image: Image.Image, on_white: Image.Image) -> bool:
    """Whether hardly anything of *image* can be seen *on_white*; not where nothing is transparent, or everything."""
    alpha = image.getchannel("A")
    least, most = alpha.getextrema()
    if least == 255 or most == 0:
        return False
    red, green, blue = on_white.split()
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    levels = darkest.histogram(alpha)
    return sum(levels[: 256 - _CONTRAST]) < _LEAST_SEEN * sum(levels)
