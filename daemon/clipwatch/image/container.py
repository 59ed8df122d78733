"""What a file is by its content, and its picture without anything a decoder does not need.

Metadata is where bombs and parser bugs live: text chunks, colour profiles, EXIF trees. JPEG segments and PNG
chunks that carry no picture are left out of what the decoder sees, so that only the orientation is ever read
from them. Colour profiles go too: CLIP was trained on pixels as they are stored (OpenAI's `_transform` ignores them).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from clipwatch.errors import FileRejected, RejectReason

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC: Final = b"\xff\xd8\xff"

MAX_SEGMENTS: Final = 100_000
"""Of a JPEG before its first scan, chunks of a PNG; a 256 MB file written in 8 kB chunks has 32,000."""

MAX_SCANS: Final = 500
"""Of a JPEG. Encoders write about ten; the figure is the one that libjpeg-turbo's own fuzzing uses."""

_ORIENTATION_TAG: Final = 0x0112
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


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's bare stream, and what must be known before and after decoding it.

    *stream*: bytes that decode to the same picture as the file. *orientation*: EXIF's 1 to 8.
    *buffered_bytes*: coefficients that a JPEG decoder must hold whole (several scans), else 0.
    *scalable*: whether the decoder can shrink while it decodes. *adobe*: the JPEG has Adobe's marker.
    *scan*: where the JPEG's first scan begins in *stream*.
    *transparent*: the PNG's transparent grey or RGB sample, in the depth that the decoder gives, or None.
    """

    format: str
    stream: bytes
    orientation: int = 1
    buffered_bytes: int = 0
    scalable: bool = False
    adobe: bool = False
    scan: int = 0
    transparent: int | tuple[int, int, int] | None = None


def read(data: bytes) -> Picture:
    """The picture in a file's bytes; raises `FileRejected` where there is none that can be had whole."""
    if data.startswith(JPEG_MAGIC):
        return _read_jpeg(data)
    if data.startswith(PNG_MAGIC):
        return _read_png(data)
    if not data:
        raise FileRejected(RejectReason.EMPTY, "The file is empty.")
    name = true_format(data)
    raise FileRejected(
        RejectReason.UNSUPPORTED,
        f"The file is {name}, not JPEG or PNG." if name else "The file is not an image that is known here.",
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


def _truncated() -> FileRejected:
    return FileRejected(RejectReason.TRUNCATED, "The file ends before its picture does.")


def _corrupt(what: str) -> FileRejected:
    return FileRejected(RejectReason.CORRUPT, what)


# JPEG: ITU-T T.81, annex B


def _read_jpeg(data: bytes) -> Picture:
    segments, scan = _jpeg_header(data)
    frame = next((s for s in reversed(segments) if 0xC0 <= s[1] <= 0xCF and s[1] not in (0xC4, 0xC8, 0xCC)), b"")
    if len(frame) < 10 or scan + 5 > len(data):
        raise _corrupt("The JPEG has no frame or scan header.")
    progressive = frame[1] in (0xC2, 0xC6, 0xCA, 0xCE)
    # the first scan holding less than all components means that there will be others
    buffered = progressive or data[scan + 4] < frame[9]
    if buffered and (scans := data.count(b"\xff\xda", scan)) > MAX_SCANS:
        raise _corrupt(f"The JPEG has {scans} scans; {MAX_SCANS} are allowed.")
    # a file that was reserved but not filled ends in zeros, which decode to plausible grey
    end = data.rfind(b"\xff\xd9", scan)
    if end < 0:
        raise _truncated()
    adobe = [s for s in segments if s[1] == 0xEE and s[4:9] == b"Adobe"]
    exif = next((s[10:] for s in segments if s[1] == 0xE1 and s[4:10] == b"Exif\0\0"), b"")
    bare = [s for s in segments if not (0xE1 <= s[1] <= 0xEF or s[1] == 0xFE)]
    coefficients = _coefficients(frame)
    # a Huffman code has one bit at least: each block's DC, and its end of block where that is not shared
    if frame[1] in (0xC0, 0xC1, 0xC2) and 8 * (end - scan) < coefficients // 64 * (1 if progressive else 2):
        raise _truncated()
    head = b"".join((b"\xff\xd8", *adobe, *bare))
    return Picture(
        format="JPEG",
        stream=b"".join((head, memoryview(data)[scan:])),
        orientation=exif_orientation(exif),
        buffered_bytes=2 * coefficients if buffered else 0,
        scalable=frame[1] not in (0xC3, 0xC7, 0xCB, 0xCF),  # lossless frames have no DCT to scale
        adobe=bool(adobe),
        scan=len(head),
    )


def _jpeg_header(data: bytes) -> tuple[list[bytes], int]:
    """The marker segments before the first scan, and where that begins."""
    segments: list[bytes] = []
    at = 2
    while len(segments) < MAX_SEGMENTS:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            raise _truncated()
        marker = data[at + 1]
        if marker == 0xDA:
            return segments, at
        if marker == 0xFF:
            at += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == 0xD9 or length < 2:
                raise _corrupt("The JPEG ends before its first scan.")
            if at + 2 + length > len(data):
                raise _truncated()
            segments.append(data[at : at + 2 + length])
            at += 2 + length
    raise _corrupt("The JPEG has too many segments.")


def _coefficients(frame: bytes) -> int:
    """64 for each block of each component (T.81, A.1.1); a decoder holds them in two bytes each."""
    height, width, count = (int(number) for number in struct.unpack_from(">HHB", frame, 5))
    sampling = [frame[11 + 3 * i] for i in range(count) if 11 + 3 * i < len(frame)]
    widest = max((s >> 4 for s in sampling), default=1) or 1
    tallest = max((s & 15 for s in sampling), default=1) or 1
    blocks = sum((-(-width * (s >> 4) // (widest * 8))) * (-(-height * (s & 15) // (tallest * 8))) for s in sampling)
    return blocks * 64


def exif_orientation(tiff: bytes) -> int:
    """Orientation, 1 to 8, of an EXIF block's first directory (TIFF 6.0, section 2); 1 where it says nothing sane."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _ORIENTATION_TAG:
            value = struct.unpack_from(order + {3: "H", 4: "I"}.get(kind, "B"), tiff, at + 8)[0]
            return value if 1 <= value <= 8 else 1
    return 1


# PNG: W3C PNG specification, third edition


_PNG_PICTURE: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def _read_png(data: bytes) -> Picture:
    chunks = _png_chunks(data)
    kinds = [kind for kind, _ in chunks]
    header = bytes(chunks[0][1][8:-4])
    if kinds[0] != b"IHDR" or len(header) != 13 or b"IDAT" not in kinds:
        raise _corrupt("The PNG has no header or no picture.")
    return Picture(
        format="PNG",
        stream=b"".join((PNG_MAGIC, *(chunk for kind, chunk in chunks if kind in _PNG_PICTURE))),
        orientation=exif_orientation(_png_body(chunks, b"eXIf")),
        transparent=_transparent_sample(header[8], header[9], _png_body(chunks, b"tRNS")),
    )


def _png_body(chunks: list[tuple[bytes, memoryview]], wanted: bytes) -> bytes:
    return next((bytes(chunk[8:-4]) for kind, chunk in chunks if kind == wanted), b"")


def _png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Every chunk up to the end of the picture, whole; those that make the picture are checked against their CRC."""
    view = memoryview(data)
    chunks: list[tuple[bytes, memoryview]] = []
    at = len(PNG_MAGIC)
    while len(chunks) < MAX_SEGMENTS:
        if at + 12 > len(data):
            raise _truncated()
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise _truncated()
        if kind == b"CgBI":
            raise FileRejected(RejectReason.UNSUPPORTED, "The file is an iOS-optimised PNG (CgBI), not JPEG or PNG.")
        if kind in _PNG_PICTURE and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise _corrupt(f"The PNG's {kind.decode()} chunk does not match its checksum.")
        chunks.append((kind, view[at:end]))
        if kind == b"IEND":
            return chunks
        at = end
    raise _corrupt("The PNG has too many chunks.")


def _transparent_sample(depth: int, colour: int, key: bytes) -> int | tuple[int, int, int] | None:
    """tRNS gives the sample as stored; the decoder stretches 2 and 4 bits to 8, and keeps RGB's upper 8 of 16."""
    if colour == 0 and len(key) >= 2:
        sample = int.from_bytes(key[:2], "big")
        return sample if depth == 16 else (sample & ((1 << depth) - 1)) * (255 // ((1 << depth) - 1))
    if colour == 2 and len(key) >= 6:
        shift = 8 if depth == 16 else 0
        red, green, blue = (sample >> shift & 0xFF for sample in struct.unpack_from(">HHH", key))
        return red, green, blue
    return None
