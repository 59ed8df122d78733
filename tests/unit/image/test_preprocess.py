"""What the model sees, against the reference implementations and against what a person would see."""

from __future__ import annotations

import dataclasses
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from clipwatch.errors import ConfigError, FileRejected, RejectReason
from clipwatch.image.preprocess import Recipe, prepare, resized_size
from clipwatch.records import Preprocessing
from support import pictures

REFERENCE = Path(__file__).parent / "reference"
RECIPE = Recipe.of(Preprocessing(), exact=False, background="white", megapixels=100, memory_bytes=2**30)
EXACT = dataclasses.replace(RECIPE, exact=True)
SQUASH = dataclasses.replace(RECIPE, squash=True)
ORIENTATIONS = range(1, 9)

Array = NDArray[np.uint8]


def pixels(data: bytes, recipe: Recipe = RECIPE) -> Array:
    return np.asarray(prepare(data, recipe).image)


def openai_transform(image: Image.Image, side: int = 224) -> Array:
    """clip/clip.py `_transform` with torchvision's Resize(int) and CenterCrop spelled out, for PIL images."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new_long = int(side * long / short)
    new = (side, new_long) if width <= height else (new_long, side)
    image = image.resize(new, Image.Resampling.BICUBIC)
    top, left = round((new[1] - side) / 2.0), round((new[0] - side) / 2.0)
    return np.asarray(image.crop((left, top, left + side, top + side)).convert("RGB"))


def cosine(a: Array, b: Array) -> float:
    """Of what the encoder is given: the difference from CLIP's mean, so that brightness alone does not agree."""
    mean = np.array((0.48145466, 0.4578275, 0.40821073)) * 255
    x, y = (a - mean).ravel(), (b - mean).ravel()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def psnr(a: Array, b: Array) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def assert_same_picture(a: Array, b: Array, *, decibels: float = 45) -> None:
    assert cosine(a, b) >= 0.9999
    assert psnr(a, b) >= decibels


@pytest.mark.parametrize("stem", ["retina", "coffee", "hubble_deep_field", "cell"])
def test_pixels_equal_those_of_transformers_own_processor(stem: str) -> None:
    source = next(pictures.photo_path(stem + end) for end in (".jpg", ".png") if _exists(stem + end))
    with Image.open(REFERENCE / f"{stem}.png") as image:
        expected = np.asarray(image)
    assert_same_picture(pixels(source.read_bytes()), expected)
    assert_same_picture(pixels(source.read_bytes(), EXACT), expected, decibels=55)


def _exists(name: str) -> bool:
    try:
        return pictures.photo_path(name).exists()
    except StopIteration:
        return False


def test_where_the_centre_is_between_two_pixels_the_crop_is_openais() -> None:
    """transformers rounds 55.5 down, CLIP's own code to even: 56."""
    with Image.open(REFERENCE / "china.png") as image:
        assert image.size == resized_size(640, 427, RECIPE) == (335, 224)
        expected = np.asarray(image)[:, 56 : 56 + 224]
    assert_same_picture(pixels(pictures.photo_path("china.jpg").read_bytes()), expected, decibels=55)


@pytest.mark.parametrize("path", pictures.photo_paths(), ids=lambda path: path.name)
def test_pixels_equal_openais_transform_on_photographs(path: Path) -> None:
    with Image.open(path) as image:
        expected = openai_transform(image.convert("RGB"))
    assert_same_picture(pixels(path.read_bytes()), expected)


@pytest.mark.parametrize("size", [(4000, 3000), (1733, 1155), (1155, 1733), (3001, 1799), (911, 907), (5003, 900)])
def test_scaled_decoding_keeps_the_pixels_of_full_decoding(size: tuple[int, int]) -> None:
    data = pictures.camera_jpeg(*size)
    full = openai_transform(_decoded(data))
    assert_same_picture(pixels(data), full)
    assert_same_picture(pixels(data, EXACT), full, decibels=55)
    squashed = np.asarray(_decoded(data).resize((224, 224), Image.Resampling.BICUBIC))
    assert_same_picture(pixels(data, SQUASH), squashed)


@pytest.mark.parametrize("size", [(1280, 960), (1803, 2407)])
def test_large_pngs_keep_the_pixels_of_the_exact_way(size: tuple[int, int]) -> None:
    image = _decoded(pictures.camera_jpeg(*size))
    data = pictures.png(image, compress_level=1)
    assert_same_picture(pixels(data), openai_transform(image))
    assert_same_picture(pixels(data, EXACT), openai_transform(image), decibels=55)


def _decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(1801, 1203), (640, 427)])
@pytest.mark.parametrize("recipe", [RECIPE, SQUASH], ids=["crop", "squash"])
def test_all_eight_orientations_look_upright(orientation: int, size: tuple[int, int], recipe: Recipe) -> None:
    upright = pictures.photo().resize(size)
    made = prepare(pictures.oriented_jpeg(upright, orientation, quality=98, subsampling=0), recipe)
    assert (made.width, made.height) == size
    reference = (
        np.asarray(upright.resize((224, 224), Image.Resampling.BICUBIC)) if recipe.squash else openai_transform(upright)
    )
    assert cosine(np.asarray(made.image), reference) >= 0.9995  # the picture went through JPEG


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=image.getexif())
    with Image.open(buffer) as again:
        return ImageOps.exif_transpose(again)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_equals_turning_first_and_resizing_then(orientation: int) -> None:
    stored = pictures.photo().resize((603, 401))
    data = pictures.png(stored)
    oriented = pictures.with_png_chunks(data, [pictures.chunk(b"eXIf", pictures.exif_block(orientation, order=">"))])
    assert_same_picture(pixels(oriented), openai_transform(_upright(stored.copy(), orientation)), decibels=50)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    assert np.array_equal(
        pixels(pictures.oriented_jpeg(pictures.photo(), value)), pixels(pictures.jpeg(pictures.photo()))
    )


def ramp16() -> NDArray[np.uint16]:
    row = np.linspace(0, 65535, 448, dtype=np.uint16)
    return np.tile(row, (448, 1))


def test_sixteen_bit_grey_keeps_its_levels() -> None:
    grey = pixels(pictures.png_of_samples(ramp16(), 0))
    assert len(np.unique(grey)) >= 190
    assert_same_picture(grey, pixels(pictures.png(Image.fromarray((ramp16() >> 8).astype(np.uint8)))), decibels=55)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_and_alpha_keep_their_levels(colour: int, channels: int) -> None:
    samples = np.repeat(ramp16()[:, :, None], channels, axis=2)
    if channels % 2 == 0:
        samples[:, :, -1] = 65535
    made = pixels(pictures.png_of_samples(samples, colour))
    assert_same_picture(made, pixels(pictures.png_of_samples(ramp16(), 0)), decibels=55)


def test_every_level_of_a_sixteen_bit_ramp_survives_without_resizing() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (256, 1))
    recipe = dataclasses.replace(RECIPE, side=256, resize_side=256)
    assert len(np.unique(pixels(pictures.png_of_samples(ramp, 0), recipe))) == 256


def rgba_pair() -> tuple[bytes, bytes]:
    """Two PNGs that differ only where nothing can be seen."""
    first = np.dstack([np.asarray(pictures.photo().resize((300, 300))), np.full((300, 300), 255, np.uint8)])
    first[100:200, 100:200, 3] = 0
    second = first.copy()
    first[100:200, 100:200, :3] = (255, 0, 0)
    second[100:200, 100:200, :3] = (0, 0, 255)
    return pictures.png(Image.fromarray(first)), pictures.png(Image.fromarray(second))


@pytest.mark.parametrize("background", ["white", "#102030"])
def test_what_transparency_hides_is_never_seen(background: str) -> None:
    recipe = Recipe.of(Preprocessing(), exact=False, background=background, megapixels=100, memory_bytes=2**30)
    first, second = (pixels(data, recipe) for data in rgba_pair())
    assert np.array_equal(first, second)
    assert tuple(first[112, 112]) == recipe.background


def test_half_transparent_pixels_mix_with_the_background() -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    assert np.abs(pixels(pictures.png(image)).astype(int) - (255, 127, 127)).max() <= 1


@pytest.mark.parametrize("alphas", [b"\0", b"\0\xff", b"\0\x80\xff"])
def test_transparent_palette_entries_show_the_background(alphas: bytes) -> None:
    palette = pictures.chunk(b"PLTE", bytes((255, 0, 0, 0, 255, 0, 0, 0, 255)))
    rows = [bytes(64)] * 64
    data = pictures.png_file((64, 64), 8, 3, rows, before=[palette, pictures.chunk(b"tRNS", alphas)])
    assert (pixels(data) == 255).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_shows_the_background_at_every_depth(depth: int) -> None:
    """The left half has the transparent sample, the right half is another grey."""
    key, other = 1, 0
    samples = [key] * 32 + [other] * 32
    bits = "".join(format(sample, f"0{depth}b") for sample in samples)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    transparent = pictures.chunk(b"tRNS", struct.pack(">H", key))
    recipe = Recipe.of(Preprocessing(), exact=False, background="lime", megapixels=100, memory_bytes=2**30)
    made = pixels(pictures.png_file((64, 64), depth, 0, [row] * 64, before=[transparent]), recipe)
    assert tuple(made[112, 20]) == (0, 255, 0)
    assert tuple(made[112, 200]) == (0, 0, 0)


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_shows_the_background(depth: int) -> None:
    colour = (10 << depth - 8, 20 << depth - 8, 30 << depth - 8)
    kind = "H" if depth == 16 else "B"
    row = struct.pack(f">{64 * 3}{kind}", *(colour * 64))
    data = pictures.png_file(
        (64, 64), depth, 2, [row] * 64, before=[pictures.chunk(b"tRNS", struct.pack(">HHH", *colour))]
    )
    assert (pixels(data) == 255).all()


def test_grey_with_alpha_is_composed() -> None:
    assert (pixels(pictures.png(Image.new("LA", (64, 64), (0, 0)))) == 255).all()


def test_two_colour_and_grey_pictures_are_grey() -> None:
    checks = np.indices((64, 64)).sum(axis=0) // 8 % 2 * 255
    grey = Image.fromarray(checks.astype(np.uint8))
    assert np.array_equal(pixels(pictures.png(grey.convert("1"))), pixels(pictures.png(grey)))
    photo = pictures.photo().convert("L")
    made = pixels(pictures.jpeg(photo, quality=95))
    assert np.array_equal(made[:, :, 0], made[:, :, 2])
    assert cosine(made, openai_transform(photo)) >= 0.9995


def cmyk_red() -> Image.Image:
    return Image.new("CMYK", (64, 64), (0, 255, 255, 0))


def test_red_in_adobes_cmyk_is_red() -> None:
    assert np.abs(pixels(pictures.jpeg(cmyk_red(), quality=95)).astype(int) - (255, 0, 0)).max() <= 10


def test_red_in_cmyk_without_adobes_marker_is_red() -> None:
    """Viewers take the samples as inverted with the marker and without it."""
    data = pictures.jpeg(cmyk_red(), quality=95)
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    plain = data[:at] + data[at + 2 + length :]
    assert np.abs(pixels(plain).astype(int) - (255, 0, 0)).max() <= 10


def test_red_in_ycck_is_red() -> None:
    """Adobe's transform 2: what is stored inverted is inverted once more on the way to YCbCr."""
    ycc = Image.new("RGB", (64, 64), (0, 255, 255)).convert("YCbCr")
    planes = [*ycc.split(), Image.new("L", (64, 64), 255)]
    # Pillow's writer inverts what it is given, and marks it as transform 0
    data = pictures.jpeg(Image.merge("CMYK", [Image.eval(plane, lambda level: 255 - level) for plane in planes]))
    at = data.index(b"\xff\xee")
    ycck = data[: at + 15] + b"\x02" + data[at + 16 :]
    assert np.abs(pixels(ycck).astype(int) - (255, 0, 0)).max() <= 10


def test_of_an_animation_the_first_frame_is_seen() -> None:
    first, second = pictures.photo().resize((64, 64)), Image.new("RGB", (64, 64), "red")
    data = pictures.png(first, save_all=True, append_images=[second], duration=100)
    assert np.array_equal(pixels(data), pixels(pictures.png(first)))


def test_of_a_multi_picture_jpeg_the_first_picture_is_seen() -> None:
    buffer = io.BytesIO()
    first = pictures.photo().resize((320, 240))
    first.save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (320, 240), "red")], quality=95)
    made = prepare(buffer.getvalue(), RECIPE)
    assert made.format == "JPEG"
    assert cosine(np.asarray(made.image), openai_transform(first)) >= 0.999


def test_a_colour_profile_changes_nothing() -> None:
    """CLIP's own code ignores profiles, and the model was trained that way."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    photo = pictures.photo()
    assert np.array_equal(pixels(pictures.png(photo, icc_profile=profile)), pixels(pictures.png(photo)))
    assert np.array_equal(pixels(pictures.jpeg(photo, icc_profile=profile)), pixels(pictures.jpeg(photo)))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (224, 225), (225, 224), (7, 3)])
def test_tiny_and_narrow_pictures_equal_the_reference(size: tuple[int, int]) -> None:
    image = pictures.photo().resize(size)
    assert np.abs(pixels(pictures.png(image)).astype(int) - openai_transform(image)).max() <= 1


def test_a_crop_larger_than_the_resized_picture_is_padded_with_black() -> None:
    recipe = dataclasses.replace(RECIPE, resize_side=112)
    made = pixels(pictures.png(Image.new("RGB", (300, 300), "white")), recipe)
    assert made.shape == (224, 224, 3)
    assert (made[56:168, 56:168] == 255).all()
    assert made.sum() == 112 * 112 * 3 * 255


def test_megapixels_count_after_scaled_decoding() -> None:
    data = pictures.camera_jpeg(4000, 3000)
    small = dataclasses.replace(RECIPE, pixels_max=1_000_000)
    assert prepare(data, small).width == 4000
    for recipe in (dataclasses.replace(small, exact=True), dataclasses.replace(small, pixels_max=700_000)):
        with pytest.raises(FileRejected) as caught:
            prepare(data, recipe)
        assert caught.value.reason == RejectReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("wrong", ["", "not-a-colour", "#12"])
def test_a_background_that_is_no_colour_is_a_configuration_error(wrong: str) -> None:
    with pytest.raises(ConfigError):
        Recipe.of(Preprocessing(), exact=False, background=wrong, megapixels=100, memory_bytes=2**30)


def test_a_progressive_picture_that_needs_too_much_memory_is_refused_before_decoding() -> None:
    data = pictures.camera_jpeg(1733, 1155, progressive=True)
    with pytest.raises(FileRejected) as caught:
        prepare(data, dataclasses.replace(RECIPE, memory_bytes=5_000_000))
    assert caught.value.reason == RejectReason.MEMORY
