"""What a file is by its content, and its picture without anything a decoder does not need.

Metadata is where bombs and parser bugs live: text chunks, colour profiles, EXIF trees. JPEG segments and PNG
chunks that carry no picture are left out of what the decoder sees, so that only the orientation is ever read
from them. Colour profiles go too: CLIP was trained on pixels as they are stored (OpenAI's `_transform` ignores them).
"""

from __future__ import annotations

from typing import Final

from clipwatch.errors import FileRejected, RejectReason
from clipwatch.image import jpeg, png
from clipwatch.image.magic import JPEG_MAGICS, MAGICS, PNG_MAGIC
from clipwatch.image.picture import Picture

_BRANDS: Final = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "CR3",
    b"qt  ": "QuickTime",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
_MAGIC: Final = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\0\0\1\0", "ICO"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"FUJIFILM", "RAF"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\x1a\x45\xdf\xa3", "Matroska"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    *((f"P{digit}".encode(), "PNM") for digit in range(1, 8)),
)

HEAD_BYTES: Final = 1024
"""The first bytes of a file are enough for `true_format`."""

OTHER_PICTURES: Final = (
    *("WebP", "HEIC", "AVIF", "GIF", "TIFF", "BigTIFF", "BMP", "JPEG XL", "JPEG 2000", "ICO", "PNM", "QOI", "DDS"),
    *("Photoshop", "OpenEXR", "Radiance HDR", "CR3", "RAF", "MNG", "JNG", "SVG"),
)
"""Pictures that cannot be decoded here. A worker names one by its place in this list."""


def read(data: bytes) -> Picture:
    """The picture in a file's bytes; raises `FileRejected` where there is none that can be had whole."""
    if data.startswith(JPEG_MAGICS):
        return jpeg.read(data)
    if data.startswith(PNG_MAGIC):
        return png.read(data)
    if not data:
        raise FileRejected(RejectReason.EMPTY, "The file is empty.")
    raise _unsupported(true_format(data))


def refuse_other(head: bytes) -> None:
    """Raise `FileRejected` where a file's first bytes tell that it is of another format: the rest need not be read."""
    name = "" if head.startswith(MAGICS) else true_format(head)
    if name:
        raise _unsupported(name)


def _unsupported(name: str) -> FileRejected:
    return FileRejected(
        RejectReason.UNSUPPORTED,
        f"The file is {name}, not JPEG or PNG." if name else "The file is not an image that is known here.",
        other_format=name if name in OTHER_PICTURES else "",
    )


def true_format(data: bytes) -> str:
    """The format that the first bytes tell, or "" where they tell none."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "MP4")
    if data.startswith(b"RIFF"):
        return {b"WEBP": "WebP", b"AVI ": "AVI", b"WAVE": "WAVE"}.get(data[8:12], "RIFF")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "SVG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    return ""
