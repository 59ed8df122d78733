"""Which way up a picture is: from EXIF, else from XMP. Both are searched, never parsed: a few bytes of each count."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

UPRIGHT: Final = 1

EXIF_PREFIX: Final = b"Exif\0\0"
"""Stands before EXIF's TIFF block in a JPEG segment; some writers put it into PNG chunks too."""

XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\0"

MAX_METADATA_BYTES: Final = 1 << 18
"""Of a text chunk, inflated or not. A JPEG segment, from which such texts are made, has 64 kB at most."""

_ORIENTATION_TAG: Final = 0x0112
_VALUES: Final = {3: "H", 4: "I", 8: "h", 9: "i"}
"""Of TIFF's types (TIFF 6.0, section 2), those wider than a byte."""

# attribute or element, as XMP (ISO 16684-1, 7.4) allows; no XML parser, so no entities and nothing nested
_XMP_ORIENTATION: Final = re.compile(rb"tiff:Orientation(?:\s{0,8}=\s{0,8}[\"']|>)\s{0,8}([1-8])\s{0,8}[\"'<]")

_RAW_PROFILE: Final = re.compile(rb"\s{0,8}[ -~]{1,80}\n\s{0,16}[0-9]{1,9}\s{0,8}\n")
"""ImageMagick's head of a profile in hexadecimal digits: a name, then its length in bytes, each on a line."""


def of_exif(block: bytes) -> int | None:
    """Orientation, 1 to 8, in the first directory of a TIFF block; None where it says nothing of sense."""
    tiff = block.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return None
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _ORIENTATION_TAG:
            return _sane(struct.unpack_from(order + _VALUES.get(kind, "B"), tiff, at + 8)[0])
    return None


def of_xmp(packet: bytes | memoryview) -> int | None:
    """`tiff:Orientation` of an XMP packet; None where there is none."""
    found = _XMP_ORIENTATION.search(packet[:MAX_METADATA_BYTES])
    return int(found[1]) if found else None


def of_png_text(kind: bytes, body: memoryview) -> tuple[int | None, int | None]:
    """What a PNG's text chunk says as EXIF and as XMP, where it holds either.

    XMP has a keyword of its own. ImageMagick and exiftool write EXIF and XMP as "Raw profile type …".
    """
    keyword, _, rest = bytes(body[: MAX_METADATA_BYTES + 80]).partition(b"\0")
    if keyword == b"XML:com.adobe.xmp" and kind == b"iTXt":
        return None, of_xmp(_international(rest))
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp"):
        return None, None
    text = _inflated(rest[1:]) if kind == b"zTXt" else _international(rest) if kind == b"iTXt" else rest
    head = _RAW_PROFILE.match(text)
    if head is None:
        return None, None
    digits = b"".join(text[head.end() :].split())
    try:
        profile = bytes.fromhex(digits[: len(digits) & ~1].decode("ascii"))
    except ValueError:
        return None, None
    if profile.startswith(XMP_PREFIX) or keyword.endswith(b"xmp"):
        return None, of_xmp(profile)
    return of_exif(profile), None


def _sane(value: int) -> int | None:
    return value if 1 <= value <= 8 else None


def _international(rest: bytes) -> bytes:
    """The text of an iTXt chunk behind its keyword: compression flag and method, language, translation, text."""
    parts = rest[2:].split(b"\0", 2)
    text = parts[2] if len(parts) == 3 else b""
    return _inflated(text) if rest[:1] == b"\1" else text


def _inflated(data: bytes) -> bytes:
    """The first `MAX_METADATA_BYTES` of what was deflated, or b""."""
    try:
        return zlib.decompressobj().decompress(data, MAX_METADATA_BYTES)
    except zlib.error:
        return b""
