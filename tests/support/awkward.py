"""Files that every viewer shows though they break a rule, and files that look whole and are not."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from clipwatch.errors import RejectReason
from support.pictures import as_oriented, chunk, jpeg, png, png_file, segment

Segment = tuple[int, bytes]
Chunk = tuple[bytes, bytes]

EXIF = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True, slots=True)
class Awkward:
    """*looks*: what is to be seen, as a person would have it upright; None where the file must be rejected.

    *reason*: why it is rejected.
    """

    name: str
    data: bytes
    looks: Image.Image | None
    reason: RejectReason | None = None


@cache
def base(width: int = 288, height: int = 192) -> Image.Image:
    """Soft patches of every colour; do not change it in place."""
    patches = np.random.default_rng(42).integers(0, 255, (9, 12, 3), np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def awkward_files(picture: Image.Image | None = None) -> tuple[Awkward, ...]:
    """About a hundred files, all of *picture* or one made of it."""
    # without what the picture's own file said beside its pixels
    picture = base() if picture is None else Image.fromarray(np.asarray(picture))
    return (
        *_jpeg_structure(picture),
        *_jpeg_ends(picture),
        *_jpeg_colours(picture),
        *_jpeg_orientation(picture),
        *_png_structure(picture),
        *_png_transparency(picture),
        *_png_orientation(picture),
    )


def split(data: bytes) -> tuple[list[Segment], bytes]:
    """A JPEG's segments before its first scan, and all that follows."""
    at, segments = 2, []
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return segments, data[at:]


def joined(segments: Iterable[Segment], rest: bytes, *, gap: bytes = b"") -> bytes:
    return b"\xff\xd8" + b"".join(gap + segment(marker, body) for marker, body in segments) + rest


def tiff(
    orientation: int, *, order: str = "<", kind: int = 3, count: int = 1, first: int = 8, tags_before: int = 0
) -> bytes:
    """An EXIF block with the orientation as TIFF's type *kind*, behind *tags_before* others, at offset *first*."""
    value = {
        1: bytes((orientation, 0, 0, 0)),
        3: struct.pack(order + "HH", orientation, 0),
        4: struct.pack(order + "I", orientation),
        8: struct.pack(order + "hH", orientation, 0),
        9: struct.pack(order + "i", orientation),
    }[kind]
    others = b"".join(struct.pack(order + "HHII", 1 + tag, 4, 1, 7) for tag in range(tags_before))
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, first) + bytes(first - 8)
    return head + struct.pack(order + "H", tags_before + 1) + others + entry + bytes(4)


def xmp(orientation: int, *, element: bool = False) -> bytes:
    """An XMP packet that says the orientation, as an attribute or as an element."""
    said = (
        f"><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
        if element
        else f'tiff:Orientation="{orientation}"/>'
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {said}</rdf:RDF></x:xmpmeta>'
    ).encode()


def raw_profile(profile: bytes, name: bytes = b"exif") -> bytes:
    """What ImageMagick writes into a PNG's text chunk, before it is deflated."""
    digits = profile.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"\n" + name + f"\n{len(profile):8}\n{lines}\n".encode()


def _rejected(name: str, data: bytes, reason: RejectReason = RejectReason.TRUNCATED) -> Awkward:
    return Awkward(name, data, None, reason)


def _jpeg_structure(picture: Image.Image) -> Iterator[Awkward]:
    whole = jpeg(picture, quality=95)
    segments, rest = split(whole)
    bare = [s for s in segments if s[0] != 0xE0]

    def shown(name: str, data: bytes) -> Awkward:
        return Awkward(name, data, picture)

    yield shown("plain.jpg", whole)
    yield shown("empty-jfif.jpg", joined([(0xE0, b"JFIF\0"), *bare], rest))
    yield shown("short-jfif.jpg", joined([(0xE0, b"JFIF\0\1"), *bare], rest))
    yield shown("short-adobe.jpg", joined([(0xEE, b"Adobe\0"), *segments], rest))
    yield shown("long-adobe.jpg", joined([(0xEE, b"Adobe\0\x64\0\0\0\0\1" + bytes(5)), *bare], rest))
    yield shown("adobe-twice.jpg", joined([(0xEE, b"Adobe\0\x64\0\0\0\0\1")] * 2 + bare, rest))
    yield shown("zero-before-each-segment.jpg", joined(segments, rest, gap=b"\0"))
    yield shown("zero-at-the-start.jpg", b"\xff\xd8\0" + whole[2:])
    yield shown("zero-between-segments.jpg", b"\xff\xd8" + segment(*segments[0]) + b"\0" + joined(bare, rest)[2:])
    yield shown("fill-bytes.jpg", joined(segments, b"\xff\xff" + rest, gap=b"\xff\xff\xff"))
    yield shown("application-data-between-scans.jpg", _with_segment_before_last_scan(picture))
    restarts = jpeg(picture, quality=95, restart_marker_blocks=1)
    yield shown("restarts.jpg", restarts)
    yield shown("bytes-before-restarts.jpg", _before_each_restart(restarts, bytes(range(1, 10)), every=9))
    frame = whole.index(b"\xff\xc0")
    height = whole[frame + 5 : frame + 7]
    later = whole[: frame + 5] + b"\0\0" + whole[frame + 7 : -2] + b"\xff\xdc\0\4" + height + b"\xff\xd9"
    yield _rejected("height-behind-the-scan.jpg", later, RejectReason.CORRUPT)
    yield _rejected("newline-first.jpg", b"\r\n" + whole, RejectReason.UNSUPPORTED)
    yield _rejected("byte-order-mark-first.jpg", b"\xef\xbb\xbf" + whole, RejectReason.UNSUPPORTED)


def _with_segment_before_last_scan(picture: Image.Image) -> bytes:
    data = jpeg(picture, quality=95, progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + segment(0xE1, b"between scans") + segment(0xFE, b"") + data[at:]


def _before_each_restart(data: bytes, extra: bytes, *, every: int) -> bytes:
    segments, rest = split(data)
    made, number = bytearray(), 0
    for at, byte in enumerate(rest):
        if byte == 0xFF and at + 1 < len(rest) and 0xD0 <= rest[at + 1] <= 0xD7:
            number += 1
            made += extra if number % every == 0 else b""
        made.append(byte)
    return joined(segments, bytes(made))


def _jpeg_ends(picture: Image.Image) -> Iterator[Awkward]:
    whole, progressive = jpeg(picture, quality=95), jpeg(picture, quality=95, progressive=True)
    film = b"\0\0\0\x18ftypmp42" + np.random.default_rng(3).integers(0, 255, 60000, np.uint8).tobytes()
    samsung = b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1530000000000SEFH" + bytes(40) + b"SEFT"
    ends = (("none", b""), ("half", b"\xff"), ("trailer", samsung), ("film", film), ("zeros", bytes(5000)))
    for name, end in ends:
        yield Awkward(f"end-{name}.jpg", whole[:-2] + end, picture)
        yield Awkward(f"progressive-end-{name}.jpg", progressive[:-2] + end, picture)
    more = (("zeros", bytes(100_000)), ("film", film), ("another", jpeg(as_oriented(picture, 3))))
    for name, end in more:
        yield Awkward(f"then-{name}.jpg", whole + end, picture)
        yield Awkward(f"progressive-then-{name}.jpg", progressive + end, picture)
    for name, end in (("", b""), ("-closed", b"\xff\xd9"), ("-zeros", bytes(5000))):
        yield _rejected(f"cut-90{name}.jpg", whole[: len(whole) * 9 // 10] + end)
        yield _rejected(f"progressive-cut-60{name}.jpg", progressive[: len(progressive) * 6 // 10] + end)
        yield _rejected(f"progressive-cut-95{name}.jpg", progressive[: len(progressive) * 95 // 100] + end)
        last = progressive.rindex(b"\xff\xda")
        yield _rejected(f"progressive-without-last-scan{name}.jpg", progressive[:last] + end)
        stuffed = whole.rindex(b"\xff\0", 0, len(whole) * 7 // 10)
        yield _rejected(f"cut-behind-ff{name}.jpg", whole[: stuffed + 1] + end)
        restarts = jpeg(picture, quality=95, restart_marker_blocks=1)
        middle = restarts.index(b"\xff\xd3", len(restarts) // 2)
        yield _rejected(f"cut-before-restart{name}.jpg", restarts[:middle] + end)
        yield _rejected(f"cut-behind-restart{name}.jpg", restarts[: middle + 2] + end)


_STEPS = np.dstack(np.meshgrid(np.arange(48), np.arange(32)))
_GRADIENTS = Image.fromarray(
    np.dstack(
        [_STEPS[..., 0] * 5, _STEPS[..., 1] * 7, 255 - _STEPS[..., 0] * 3 - _STEPS[..., 1] * 2],
    ).astype(np.uint8)
)
_ARITHMETIC = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0d"
    "Hx8fExciJCIeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
    "Hh4eHh4eHh7/yQARCAAgADADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ANfhG/J0ZOh2umgnASBXz/cPxahu"
    "iZWps/wnu4QP9bJZYbIuH+6qGNWt8elx5Hif2VLpTnTYt0ZVGBVMt19qS3mi+woJj/S5XJfCZgP8Q3NhqZ4y71uztT7c+vTK6yOW"
    "gcdKwQvWzN/z7NNFd44aJjTD+jkSyPuqxYD/2Q=="
)
_ARITHMETIC_PROGRESSIVE = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0d"
    "Hx8fExciJCIeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
    "Hh4eHh4eHh7/ygARCAAgADADASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8AqYRJ0o4YqpPF9iw8liTOsx1tgrZg4ONF"
    "9+3Db5bWtlJg/8wABBAF/9oACAEBAAEFAhL76keCSdUzIJlOKv/MAAQRBf/aAAgBAwEBPwEVmFwLfFIyJttQ/8wABBEF/9oACAEC"
    "AQE/ATh+bHBI0lauOv/MAAQQBf/aAAgBAQAGPwKw/8wABBAF/9oACAEBAAE/IdNAXc8aYMjOgP/aAAwDAQACAAMAAAAQKAUMVP/M"
    "AAQRBf/aAAgBAwEBPxBQG4aRZv/MAAQRBf/aAAgBAgEBPxCnWYjv4P/MAAQQBf/aAAgBAQABPxCmEA6A/9k="
)
"""`_GRADIENTS` by libjpeg-turbo's `cjpeg -quality 85 -arithmetic`; Pillow writes no such files."""


def _jpeg_colours(picture: Image.Image) -> Iterator[Awkward]:
    inks = picture.convert("CMYK")
    segments, rest = split(jpeg(inks, quality=95))
    bare = [s for s in segments if s[0] not in (0xE0, 0xEE)]
    yield Awkward("cmyk.jpg", jpeg(inks, quality=95), picture)
    yield Awkward("cmyk-without-adobe.jpg", joined(bare, rest), picture)
    jfif = (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    yield Awkward("cmyk-without-adobe-with-jfif.jpg", joined([jfif, *bare], rest), picture)
    by_names = jpeg(picture, quality=95, keep_rgb=True)
    yield Awkward("rgb.jpg", by_names, picture)
    segments, rest = split(by_names)
    yield Awkward("rgb-by-names-only.jpg", joined([s for s in segments if s[0] < 0xE0], rest), picture)
    yield Awkward("arithmetic.jpg", _ARITHMETIC, _GRADIENTS)
    yield Awkward("arithmetic-progressive.jpg", _ARITHMETIC_PROGRESSIVE, _GRADIENTS)
    yield _rejected("arithmetic-cut.jpg", _ARITHMETIC[:-60])


def _jpeg_orientation(picture: Image.Image) -> Iterator[Awkward]:
    stored = as_oriented(picture, 6)
    segments, rest = split(jpeg(stored, quality=95))
    jfif, bare = segments[0], segments[1:]
    six, none = tiff(6), tiff(6).replace(b"\x12\x01", b"\x0f\x01")
    app1 = 0xE1

    def turned(name: str, *before: Segment, looks: Image.Image = picture) -> Awkward:
        return Awkward(f"turned-{name}.jpg", joined([*before, *bare], rest), looks)

    yield turned("plain", (app1, EXIF + six))
    yield turned("behind-jfif", jfif, (app1, EXIF + six))
    yield turned("behind-xmp", (app1, XMP_PREFIX + xmp(1)), (app1, EXIF + six))
    yield Awkward("turned-behind-frame.jpg", joined([*segments, (app1, EXIF + six)], rest), picture)
    for order in "<>":
        for kind in (1, 3, 4, 8, 9):
            yield turned(
                f"type-{kind}-{'le' if order == '<' else 'be'}", (app1, EXIF + tiff(6, order=order, kind=kind))
            )
    yield turned("two-values", (app1, EXIF + tiff(6, count=2)))
    yield turned("far-directory", (app1, EXIF + tiff(6, first=64, tags_before=30)))
    yield turned("no-next-directory", (app1, (EXIF + six)[:-4]))
    yield turned("directory-count-lies", (app1, (EXIF + six).replace(b"\1\0\x12\1", b"\xff\xff\x12\1")))
    yield turned("behind-empty-exif", (app1, EXIF), (app1, EXIF + six))
    yield turned("xmp", (app1, XMP_PREFIX + xmp(6)))
    yield turned("xmp-element", (app1, XMP_PREFIX + xmp(6, element=True)))
    yield turned("xmp-where-exif-has-none", (app1, EXIF + none), (app1, XMP_PREFIX + xmp(6)))
    yield turned("6-then-1", (app1, EXIF + six), (app1, EXIF + tiff(1)))
    yield turned("1-then-6", (app1, EXIF + tiff(1)), (app1, EXIF + six), looks=stored)
    yield turned("exif-1-xmp-6", (app1, EXIF + tiff(1)), (app1, XMP_PREFIX + xmp(6)), looks=stored)
    yield turned("thumbnail-only", (app1, EXIF + b"II*\0\x08\0\0\0\0\0\x0e\0\0\0" + six[8:]), looks=stored)
    for value in (0, 9, 255):
        yield turned(f"value-{value}", (app1, EXIF + tiff(value)), looks=stored)
    yield turned("xmp-9", (app1, XMP_PREFIX + xmp(9)), looks=stored)
    yield turned("not-at-6", (app1, EXIF + b"\0\0" + six), looks=stored)
    yield turned("wrong-order", (app1, EXIF + b"MM*\0" + six[4:]), looks=stored)


def chunks_of(data: bytes) -> list[Chunk]:
    at, chunks = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_of(chunks: Iterable[Chunk], *, wrong: bytes = b"") -> bytes:
    """A PNG of *chunks*; the checksum of those of kind *wrong* is."""
    made = (chunk(kind, body) for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(c[:-1] + bytes((c[-1] ^ 1,)) if c[4:8] == wrong else c for c in made)


def _png_structure(picture: Image.Image) -> Iterator[Awkward]:
    whole = png(picture)
    header, *data, end = chunks_of(whole)
    raw = zlib.decompress(b"".join(body for _, body in data))
    deflated = zlib.compress(raw)

    def shown(name: str, made: bytes) -> Awkward:
        return Awkward(f"{name}.png", made, picture)

    def of_data(*bodies: bytes, wrong: bytes = b"") -> bytes:
        return png_of([header, *((b"IDAT", body) for body in bodies), end], wrong=wrong)

    yield shown("plain", whole)
    yield shown("no-end", whole[:-12])
    yield shown("half-an-end", whole[:-6])
    yield shown("no-end-no-checksum", whole[:-16])
    yield shown("no-end-no-checksums", whole[:-20])
    yield shown("bytes-behind", whole + bytes(3))
    yield shown("another-end", whole + chunk(b"IEND", b""))
    yield shown("wrong-data-checksum", of_data(deflated, wrong=b"IDAT"))
    yield shown("wrong-end-checksum", of_data(deflated, wrong=b"IEND"))
    yield shown("wrong-header-checksum", of_data(deflated, wrong=b"IHDR"))
    yield shown("wrong-text-checksum", png_of([header, (b"iTXt", b"a\0\0\0\0\0b"), *data, end], wrong=b"iTXt"))
    yield shown("header-behind", png_of([header, *data, (b"IHDR", b""), end]))
    yield shown("header-twice", png_of([header, header, *data, end]))
    yield shown("wrong-adler", of_data(deflated[:-1] + bytes((deflated[-1] ^ 1,))))
    yield shown("no-adler", of_data(deflated[:-4]))
    yield shown("too-many-rows", of_data(zlib.compress(raw + bytes(5000))))
    yield shown("bytes-in-data", of_data(deflated + bytes(50)))
    yield shown("empty-data-chunks", of_data(b"", deflated, b""))
    yield shown(
        "text-amid-data",
        png_of([header, (b"IDAT", deflated[:100]), (b"tEXt", b"a\0b"), (b"IDAT", deflated[100:]), end]),
    )
    window = bytes((0x08, (31 - (0x0800 % 31)) % 31)) + deflated[2:]
    yield shown("small-window", of_data(window))
    damaged = bytearray(deflated)
    damaged[-1] ^= 1
    yield _rejected("both-checksums-wrong.png", of_data(bytes(damaged), wrong=b"IDAT"), RejectReason.CORRUPT)
    smaller = struct.pack(">II", picture.width, picture.height // 2) + header[1][8:]
    other = png_of([(b"IHDR", smaller), *data, end], wrong=b"IHDR")
    yield _rejected("wrong-header.png", other, RejectReason.CORRUPT)
    yield _rejected("cut-90.png", whole[: len(whole) * 9 // 10])
    yield _rejected("newline-first.png", b"\n" + whole, RejectReason.UNSUPPORTED)


def _png_transparency(picture: Image.Image) -> Iterator[Awkward]:
    palette_picture = picture.quantize(64)
    header, *rest = chunks_of(png(palette_picture))
    palette = [c for c in rest if c[0] == b"PLTE"]
    data = [c for c in rest if c[0] == b"IDAT"]
    end: Chunk = (b"IEND", b"")
    too_long = png_of([header, *palette, (b"tRNS", bytes(300)), *data, end])
    yield Awkward("transparency-longer-than-palette.png", too_long, palette_picture.convert("RGB"))
    late = png_of([header, *palette, *data, (b"tRNS", bytes(64)), end])
    yield Awkward("transparency-behind-palette-picture.png", late, palette_picture.convert("RGB"))
    colours = png_of([c for c in chunks_of(png(picture)) if c[0] != b"IEND"] + [(b"tRNS", bytes(6)), end])
    yield Awkward("transparency-behind-colours.png", colours, picture)
    levels = Image.fromarray(np.where(np.asarray(picture.convert("L")) > 128, 200, 40).astype(np.uint8))
    header, *rest = chunks_of(png(levels))
    late = png_of([header, *(c for c in rest if c[0] == b"IDAT"), (b"tRNS", b"\0\x28"), end])
    yield Awkward("transparency-behind-grey.png", late, levels.convert("RGB"))
    short = png_of([header, (b"tRNS", b"\x28"), *rest])
    yield Awkward("transparency-too-short.png", short, levels.convert("RGB"))
    rows = (bytes(picture.width * 4) for _ in range(picture.height))
    hidden = png_file(picture.size, 8, 6, rows)
    yield Awkward("nothing-to-see.png", hidden, Image.new("RGB", picture.size, "white"))


def _png_orientation(picture: Image.Image) -> Iterator[Awkward]:
    stored = as_oriented(picture, 6)
    header, *data, end = chunks_of(png(stored))
    six = tiff(6)

    def turned(name: str, *before: Chunk, looks: Image.Image = picture) -> Awkward:
        return Awkward(f"turned-{name}.png", png_of([header, *before, *data, end]), looks)

    def profile(keyword: bytes, text: bytes, kind: bytes = b"zTXt") -> Chunk:
        flags = {b"zTXt": b"\0\0", b"tEXt": b"\0", b"iTXt": b"\0\1\0\0\0"}[kind]
        return kind, keyword + flags + (text if kind == b"tEXt" else zlib.compress(text))

    exif, app1, packet = b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp"
    yield turned("plain", (b"eXIf", six))
    yield Awkward("turned-behind-data.png", png_of([header, *data, (b"eXIf", six), end]), picture)
    yield turned("prefix", (b"eXIf", EXIF + six))
    for kind in (b"zTXt", b"tEXt", b"iTXt"):
        yield turned(f"profile-{kind.decode()}", profile(exif, raw_profile(EXIF + six), kind))
    yield turned("profile-app1", profile(app1, raw_profile(EXIF + six, b"generic profile")))
    yield turned("profile-app1-xmp", profile(app1, raw_profile(XMP_PREFIX + xmp(6), b"generic profile")))
    yield turned("profile-xmp", profile(packet, raw_profile(xmp(6), b"xmp")))
    yield turned("xmp", (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)))
    yield turned("xmp-deflated", (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(6))))
    yield turned("xmp-6-exif-1", (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)), (b"eXIf", tiff(1)), looks=stored)
    yield turned("profile-odd", profile(exif, raw_profile(EXIF + six) + b"0"))
    yield turned("profile-nonsense", profile(exif, b"\nexif\n  99\nzz\n"), looks=stored)
    yield turned("profile-not-deflated", (b"zTXt", exif + b"\0\0" + raw_profile(EXIF + six)), looks=stored)
