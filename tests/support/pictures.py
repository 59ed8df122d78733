"""Pictures for every room's tests: real photographs, odd but good files, and files made to do harm."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import sklearn
from numpy.typing import NDArray
from PIL import Image

from clipwatch.errors import RejectReason
from clipwatch.records import Candidate, OpenedFile, Reason, file_stat

_SKIMAGE = Path(skimage.__file__).parent / "data"
_SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"


def photo_path(name: str) -> Path:
    """A photograph by name, e.g. "china.jpg" (scikit-learn) or "coffee.png" (scikit-image)."""
    return next(folder / name for folder in (_SKLEARN, _SKIMAGE) if (folder / name).exists())


def photo_paths() -> tuple[Path, ...]:
    """Twelve real photographs, JPEG and PNG, from 0.1 to 2 megapixels."""
    names = ("china.jpg", "flower.jpg", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg", "astronaut.png")
    more = ("brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "motorcycle_left.png")
    return tuple(photo_path(name) for name in names + more)


@cache
def photo(name: str = "china.jpg") -> Image.Image:
    """A photograph as RGB; do not change it in place."""
    with Image.open(photo_path(name)) as image:
        return image.convert("RGB")


@cache
def camera_jpeg(
    width: int, height: int, *, name: str = "china.jpg", quality: int = 90, progressive: bool = False
) -> bytes:
    """A photograph enlarged to a camera's size, with a sensor's noise so that it compresses like one."""
    large = np.asarray(photo(name).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = np.random.default_rng(7).integers(-6, 7, (height, width, 1), np.int16)
    return jpeg(
        Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8)), quality=quality, progressive=progressive
    )


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def opened_file(path: Path, *, folder: str = "images", reason: Reason = Reason.NEW) -> OpenedFile:
    """*path* opened as the folder room would; whoever receives it closes it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return OpenedFile(Candidate(folder, os.fsencode(path.name), file_stat(os.fstat(descriptor)), reason), descriptor)


def exif_block(orientation: int, *, order: str = "<") -> bytes:
    """A TIFF block that says nothing but the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG marker segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, segments: Iterable[bytes]) -> bytes:
    """A JPEG with segments put in at its start."""
    return data[:2] + b"".join(segments) + data[2:]


def as_oriented(image: Image.Image, orientation: int) -> Image.Image:
    """*image* as a camera held that way stores it: turning it by EXIF's rule gives *image* again."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    return image if inverse is None else image.transpose(inverse)


def oriented_jpeg(image: Image.Image, orientation: int, *, order: str = "<", **options: Any) -> bytes:
    exif = segment(0xE1, b"Exif\0\0" + exif_block(orientation, order=order))
    return with_segments(jpeg(as_oriented(image, orientation), **options), [exif])


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(
    size: tuple[int, int],
    depth: int,
    colour: int,
    packed_rows: Iterable[bytes],
    *,
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
) -> bytes:
    """A PNG by hand: rows of packed samples, chunks before and after the picture data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    body = zlib.compress(b"".join(b"\0" + row for row in packed_rows), 6)
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", body) + b"".join(after) + chunk(b"IEND", b"")
    )


def png_of_samples(samples: NDArray[np.uint16], colour: int, *, before: Iterable[bytes] = ()) -> bytes:
    """A 16-bit PNG of `[height, width]` or `[height, width, channels]` samples."""
    height, width = samples.shape[:2]
    return png_file((width, height), 16, colour, (row.astype(">u2").tobytes() for row in samples), before=before)


def with_png_chunks(data: bytes, chunks: Iterable[bytes]) -> bytes:
    """A PNG with chunks put in behind its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def truncations(data: bytes, parts: int = 64) -> Iterable[bytes]:
    """*data* cut off at every 1/*parts* of its length."""
    return (data[: len(data) * part // parts] for part in range(1, parts))


def with_frame_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header lies about its size."""
    for marker in (b"\xff\xc0\x00\x11", b"\xff\xc2\x00\x11", b"\xff\xc0\x00\x0b"):
        at = data.find(marker)
        if at >= 0:
            return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
    raise ValueError("no frame header")


def with_scans_repeated(data: bytes, times: int) -> bytes:
    """A progressive JPEG whose first scan comes *times* times."""
    at = data.find(b"\xff\xda")
    end = data.find(b"\xff\xc4", at)
    return data[:at] + data[at:end] * times + data[end:]


def with_last_scan_repeated(data: bytes, times: int) -> bytes:
    """A progressive JPEG that is whole, then has its last scan *times* times."""
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * times + data[-2:]


@dataclass(frozen=True, slots=True)
class Hostile:
    """A file that must cost only itself. *reasons*: how it may be refused; none: it is odd, and must be decoded."""

    name: str
    make: Callable[[], bytes]
    reasons: frozenset[RejectReason]
    format: str = ""
    """What the refusal must name."""


def hostile_files() -> tuple[Hostile, ...]:
    """The corpus, each file small until it is made (the largest is 30 MB)."""
    return (*_bombs(), *_lies(), *_strangers(), *_polyglots())


def hostile_corpus(directory: Path) -> dict[Path, Hostile]:
    """Write the whole corpus, and a sparse file of 5 GB, below *directory*."""
    written: dict[Path, Hostile] = {}
    for hostile in hostile_files():
        path = directory / hostile.name
        path.write_bytes(hostile.make())
        written[path] = hostile
    sparse = directory / "sparse-5-gb.jpg"
    with sparse.open("wb") as file:
        file.write(small_jpeg()[:64])
        file.truncate(5 * 2**30)
    written[sparse] = Hostile(sparse.name, lambda: b"", frozenset({RejectReason.TOO_LARGE}))
    return written


@cache
def small_jpeg(*, progressive: bool = False) -> bytes:
    return jpeg(photo().resize((160, 120)), quality=80, progressive=progressive)


@cache
def small_png() -> bytes:
    return png(photo().resize((160, 120)))


_BROKEN = frozenset({RejectReason.TRUNCATED, RejectReason.CORRUPT})
_GOOD: frozenset[RejectReason] = frozenset()


def _only(reason: RejectReason) -> frozenset[RejectReason]:
    return frozenset({reason})


def _doubted_bomb() -> bytes:
    """A PNG of 8 x 8 pixels whose data inflate to 100 MB, and whose checksum is wrong, so that all are looked at."""
    data = png_file((8, 8), 8, 0, [bytes(100 << 20)])
    at = data.index(b"IEND") - 5
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def _bombs() -> tuple[Hostile, ...]:
    def deflated(megabytes: int) -> bytes:
        return zlib.compress(bytes(megabytes << 20), 9)

    def text(kind: bytes, head: bytes) -> Callable[[], bytes]:
        return lambda: with_png_chunks(small_png(), [chunk(kind, head + deflated(100))])

    def metadata(marker: int, head: bytes, times: int) -> Callable[[], bytes]:
        return lambda: with_segments(small_jpeg(), [segment(marker, head + bytes(65533 - len(head)))] * times)

    def endless_exif() -> bytes:
        block = b"II*\0" + struct.pack("<IH", 8, 65535) + struct.pack("<HHII", 0x8769, 4, 1, 8) * 5000
        return with_segments(small_jpeg(), [segment(0xE1, b"Exif\0\0" + block)])

    return (
        Hostile(
            "pixels.png",
            lambda: png_file((30000, 30000), 1, 0, (bytes(3750) for _ in range(30000))),
            _only(RejectReason.TOO_MANY_PIXELS),
        ),
        Hostile("strip.png", lambda: png_file((1, 60000), 8, 0, [b"\x80"] * 60000), _GOOD),
        Hostile("strip.jpg", lambda: jpeg(Image.new("RGB", (65000, 1), "red")), _GOOD),
        Hostile("text-ztxt.png", text(b"zTXt", b"a\0\0"), _GOOD),
        Hostile("text-itxt.png", text(b"iTXt", b"a\0\1\0\0\0"), _GOOD),
        Hostile("profile.png", text(b"iCCP", b"a\0\0"), _GOOD),
        Hostile("exif.png", lambda: with_png_chunks(small_png(), [chunk(b"eXIf", bytes(20 << 20))]), _GOOD),
        Hostile("chunks.png", lambda: with_png_chunks(small_png(), [chunk(b"tEXt", b"a\0b")] * 200_000), _BROKEN),
        Hostile("exif.jpg", metadata(0xE1, b"Exif\0\0II*\0", 300), _GOOD),
        Hostile("xmp.jpg", metadata(0xE1, b"http://ns.adobe.com/xap/1.0/\0", 300), _GOOD),
        Hostile("profile.jpg", metadata(0xE2, b"ICC_PROFILE\0\1\xff", 255), _GOOD),
        Hostile("photoshop.jpg", metadata(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9, 50), _GOOD),
        Hostile("exif-loop.jpg", endless_exif, _GOOD),
        Hostile(
            "segments.jpg",
            lambda: with_segments(small_jpeg(), [segment(0xFE, b"")] * 200_000),
            _only(RejectReason.CORRUPT),
        ),
        Hostile(
            "scans.jpg", lambda: with_scans_repeated(small_jpeg(progressive=True), 5000), _only(RejectReason.CORRUPT)
        ),
        Hostile("scans-too-many.jpg", lambda: with_last_scan_repeated(small_jpeg(progressive=True), 5000), _GOOD),
        Hostile("markers-behind.jpg", lambda: small_jpeg()[:-2] + b"\xff\xc4\0\2" * 5_000_000, _GOOD),
        Hostile(
            "markers-behind-a-scan.jpg",
            lambda: small_jpeg(progressive=True)[:-40] + b"\xff\xc4\0\2" * 5_000_000,
            _BROKEN,
        ),
        Hostile("profile-text.png", text(b"zTXt", b"Raw profile type exif\0\0"), _GOOD),
        Hostile("xmp-text.png", text(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"), _GOOD),
        Hostile(
            "xmp-spaces.png",
            lambda: with_png_chunks(
                small_png(),
                [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + (b"tiff:Orientation" + b" " * 9) * 400_000)],
            ),
            _GOOD,
        ),
        Hostile(
            "xmp-entities.jpg",
            lambda: with_segments(
                small_jpeg(),
                [
                    segment(
                        0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>&b;"
                    )
                ],
            ),
            _GOOD,
        ),
        Hostile("doubted.png", _doubted_bomb, _BROKEN),
        Hostile(
            "coefficients.jpg",
            lambda: with_frame_size(small_jpeg(progressive=True), 65500, 65500),
            _BROKEN,
        ),
    )


def _lies() -> tuple[Hostile, ...]:
    def bad_crc() -> bytes:
        data = bytearray(small_png())
        data[-20] ^= 1
        return bytes(data)

    def png_claiming(width: int, height: int) -> Callable[[], bytes]:
        return lambda: png_file((width, height), 8, 2, [bytes(30)] * 10)

    good_pixels = small_jpeg()
    return (
        Hostile("wide.jpg", lambda: with_frame_size(good_pixels, 65500, 65500), _BROKEN),
        Hostile("tall.jpg", lambda: with_frame_size(good_pixels, 160, 4000), _BROKEN),
        Hostile("zero.jpg", lambda: with_frame_size(good_pixels, 0, 0), _BROKEN),
        Hostile("huge.png", png_claiming(2**31 - 1, 2**31 - 1), _only(RejectReason.TOO_MANY_PIXELS)),
        Hostile("short.png", png_claiming(5000, 5000), _BROKEN),
        Hostile("zero.png", png_claiming(0, 0), _BROKEN),
        Hostile("no-palette.png", lambda: png_file((8, 8), 8, 3, [bytes(8)] * 8), _BROKEN),
        Hostile("no-data.png", lambda: small_png()[:33] + chunk(b"IEND", b""), _BROKEN),
        Hostile("no-deflate.png", lambda: small_png()[:33] + chunk(b"IDAT", b"x" * 999) + chunk(b"IEND", b""), _BROKEN),
        Hostile("bad-crc.png", bad_crc, _only(RejectReason.CORRUPT)),
        Hostile(
            "long-chunk.png",
            lambda: small_png()[:33] + b"\x7f\xff\xff\xffIDAT" + bytes(99),
            _only(RejectReason.TRUNCATED),
        ),
        Hostile("half.jpg", lambda: good_pixels[: len(good_pixels) // 2], _only(RejectReason.TRUNCATED)),
        Hostile(
            "reserved.jpg",
            lambda: good_pixels[: len(good_pixels) // 2] + bytes(len(good_pixels) // 2),
            _only(RejectReason.TRUNCATED),
        ),
        Hostile("half.png", lambda: small_png()[: len(small_png()) // 2], _only(RejectReason.TRUNCATED)),
        Hostile("marker-only.jpg", lambda: b"\xff\xd8\xff", _BROKEN),
        Hostile("zero-segment.jpg", lambda: b"\xff\xd8\xff\xe0\0\0" + good_pixels[2:], _only(RejectReason.CORRUPT)),
        Hostile("empty.jpg", lambda: b"", _only(RejectReason.EMPTY)),
    )


def _strangers() -> tuple[Hostile, ...]:
    def saved(kind: str) -> Callable[[], bytes]:
        def make() -> bytes:
            buffer = io.BytesIO()
            photo().resize((64, 48)).save(buffer, kind)
            return buffer.getvalue()

        return make

    def stranger(name: str, true_format: str, make: Callable[[], bytes]) -> Hostile:
        return Hostile(name, make, _only(RejectReason.UNSUPPORTED), true_format)

    return (
        stranger("gif.jpg", "GIF", saved("GIF")),
        stranger("tiff.png", "TIFF", saved("TIFF")),
        stranger("webp.jpg", "WebP", saved("WEBP")),
        stranger("bmp.jpeg", "BMP", saved("BMP")),
        stranger("avif.jpg", "AVIF", saved("AVIF")),
        stranger("jpeg2000.jpg", "JPEG 2000", saved("JPEG2000")),
        stranger("heic.jpg", "HEIC", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)),
        stranger("jxl.jpg", "JPEG XL", lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(500)),
        stranger("svg.png", "SVG", lambda: b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>"),
        stranger("html.jpg", "HTML", lambda: b"<!DOCTYPE html><title>404</title>"),
        stranger("pdf.jpg", "PDF", lambda: b"%PDF-1.7\n" + small_jpeg()),
        stranger("movie.jpg", "MP4", lambda: b"\0\0\0\x18ftypisom" + bytes(500)),
        stranger("iphone.png", "CgBI", lambda: small_png()[:8] + chunk(b"CgBI", bytes(4)) + small_png()[8:]),
        stranger("zeros.jpg", "", lambda: bytes(5000)),
        stranger("words.jpg", "", lambda: b"not a picture at all\n"),
    )


def _polyglots() -> tuple[Hostile, ...]:
    return (
        Hostile("jpeg-then-zip.jpg", lambda: small_jpeg() + b"PK\3\4" + bytes(4000), _GOOD),
        Hostile("png-then-jpeg.png", lambda: small_png() + small_jpeg(), _GOOD),
        Hostile("png-as.jpg", small_png, _GOOD),
        Hostile("jpeg-as.png", small_jpeg, _GOOD),
        Hostile("gif-then-jpeg.jpg", lambda: b"GIF89a" + small_jpeg(), _only(RejectReason.UNSUPPORTED), "GIF"),
        Hostile(
            "script.jpg", lambda: with_segments(small_jpeg(), [segment(0xFE, b"<script>alert(1)</script>")]), _GOOD
        ),
    )
