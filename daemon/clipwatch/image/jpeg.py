"""JPEG (ITU-T T.81, annex B): the frame and its scans without anything else, and whether they are all there.

The end of the file says little: phones write whole pictures without an end marker, or put their own data behind it;
and whoever cuts a file may close it with an end marker. So what is judged is the picture. Its scans must cover every
component (and, in a progressive file, every bit of every coefficient), and the last scan's data must be enough for all
its blocks. The decoder tells the latter: it is given a few bytes more, which a whole picture does not use up.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from clipwatch.image import orientation
from clipwatch.image.jpeg_scans import (
    DRI,
    END,
    MAX_SEGMENTS,
    NO_LENGTH,
    PROGRESSIVE,
    SOS,
    TABLES,
    Scans,
    restart_interval,
)
from clipwatch.image.picture import corrupt, truncated

if TYPE_CHECKING:
    from collections.abc import Iterable

_START: Final = b"\xff\xd8"
_ONES: Final = b"\xff\0"
"""A byte of ones, as scan data have it. No Huffman code has ones only (T.81, annex C), so that a block takes four."""

_LOOK_AHEAD: Final = 7
"""Such bytes: libjpeg fills a buffer of 64 bits before it reads the last code of a picture (`jdhuff.c`)."""

_MORE: Final = 25
"""Where there are several scans, one in 300 whole pictures asks for more of them: 23 was the most in 19,000."""

_SMALL_PIXELS: Final = 1_000_000
"""Up to which a few blocks of one component may matter, so that asking for more is looked into."""

_LOSSLESS: Final = (0xC3, 0xC7, 0xCB, 0xCF)
_HUFFMAN_DCT: Final = (0xC0, 0xC1, 0xC2)
_FIRST_ARITHMETIC: Final = 0xC9


@dataclass(frozen=True, slots=True)
class JpegPicture:
    """A JPEG's bare stream.

    *stream*: tables, frame and scans, then what libjpeg looks ahead for. *then*: what is fed to the decoder after it,
    piece by piece; a whole picture leaves nothing of any piece. Empty where the decoder is done when all rows are,
    which is without several scans. *orientation*: 1 to 8. *buffered_bytes*: coefficients
    that the decoder must hold whole (several scans), else 0. *scalable*: whether it can shrink while it decodes.
    """

    stream: bytes
    then: tuple[bytes, ...]
    orientation: int
    buffered_bytes: int
    scalable: bool
    format: str = "JPEG"

    def open(self) -> JpegImageFile:
        return JpegImageFile(io.BytesIO(self.stream))

    def shrink(self, image: ImageFile.ImageFile, needed: int) -> tuple[float, float]:
        drafted = image.draft(None, (needed, needed)) if self.scalable else None
        return image.size if drafted is None else (drafted[1][2], drafted[1][3])

    def load(self, image: ImageFile.ImageFile) -> Image.Image:
        """Pillow's own loop, but for what that leaves out: how much of its input the decoder needs."""
        image.load_prepare()
        (tile,) = image.tile
        decoder = Image._getdecoder(image.mode, tile.codec_name, tile.args, image.decoderconfig)
        try:
            decoder.setimage(image.im, tile.extents)
            consumed, error = decoder.decode(self.stream)
            if self.then and 0 <= consumed < len(self.stream):
                more = self.stream[consumed:] + _ONES * _MORE
                consumed, error = decoder.decode(more)
                if 0 <= consumed < len(more) or self._is_changed_by_more():
                    raise truncated()
            for piece in self.then if consumed >= 0 else ():
                consumed, error = decoder.decode(piece)
                if 0 <= consumed < len(piece):
                    raise truncated()
            if consumed >= 0:
                raise truncated()
        finally:
            decoder.cleanup()
        if error < 0:
            raise corrupt("The picture cannot be decoded: broken data stream.")
        image.tile = []
        return image

    def _is_changed_by_more(self) -> bool:
        """Whether a small picture, at its full size, is another one with other data behind its last scan."""
        scans = self.stream[: -len(_ONES) * _LOOK_AHEAD]
        variants = []
        for tail in (b"", b"\xaa" * _MORE, _ONES * _MORE):
            image = JpegImageFile(io.BytesIO(scans + tail + END))
            if image.width * image.height > _SMALL_PIXELS:
                return False
            image.load()
            variants.append(image)
        return any(ImageChops.difference(variants[0], v).getbbox(alpha_only=False) is not None for v in variants[1:])


def read(data: bytes) -> JpegPicture:
    """Raises `FileRejected` where the picture is not whole as far as its headers tell."""
    segments, start = _header(data)
    frame = next((s for s in reversed(segments) if 0xC0 <= s[1] <= 0xCF and s[1] not in (0xC4, 0xC8, 0xCC)), b"")
    if len(frame) < 10 or not frame[9] or len(frame) < 10 + 3 * frame[9]:
        raise corrupt("The JPEG has no frame header.")
    intervals = [s for s in segments if s[1] == DRI]
    scans = Scans(data, frame, restart_interval(intervals[-1]) if intervals else 0)
    scans.walk(start)
    arithmetic = frame[1] >= _FIRST_ARITHMETIC
    if not scans.complete or (arithmetic and not scans.closed):
        raise truncated()
    progressive = frame[1] in PROGRESSIVE
    coefficients = _coefficients(frame)
    # a Huffman code has one bit at least: each block's DC, and its end of block where that is not shared
    if frame[1] in _HUFFMAN_DCT and 8 * scans.bytes < coefficients // 64 * (1 if progressive else 2):
        raise truncated()
    buffered = progressive or scans.count > 1
    # arithmetic coding leaves out the zeros at its end, so that no data are too few
    tail = END if arithmetic else _ONES * _LOOK_AHEAD
    return JpegPicture(
        stream=b"".join((_START, *_what_makes_pixels(segments), *scans.parts, tail)),
        then=(b"\0", *scans.next_restart(), END) if buffered and not arithmetic else (),
        orientation=_orientation(segments),
        buffered_bytes=2 * coefficients if buffered else 0,
        scalable=frame[1] not in _LOSSLESS,  # these have no DCT to scale
    )


def _header(data: bytes) -> tuple[list[bytes], int]:
    """The marker segments before the first scan, and where that begins."""
    segments: list[bytes] = []
    at = 2
    while len(segments) < MAX_SEGMENTS:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            raise truncated()
        marker = data[at + 1]
        if marker == SOS:
            return segments, at
        if marker == 0xFF:
            at += 1
        elif marker in NO_LENGTH:
            at += 2
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == 0xD9 or length < 2:
                raise corrupt("The JPEG ends before its first scan.")
            if at + 2 + length > len(data):
                raise truncated()
            segments.append(data[at : at + 2 + length])
            at += 2 + length
    raise corrupt("The JPEG has too many segments.")


def _what_makes_pixels(segments: list[bytes]) -> Iterable[bytes]:
    """Tables and frame; JFIF's and Adobe's markers, which name the colours, where they are as long as libjpeg asks."""
    jfif = next((s for s in segments if s[1] == 0xE0 and s[4:9] == b"JFIF\0" and len(s) >= 18), None)
    if jfif is not None:
        yield b"\xff\xe0\0\x10" + jfif[4:16] + b"\0\0"  # without its thumbnail
    adobe = [s for s in segments if s[1] == 0xEE and s[4:9] == b"Adobe" and len(s) >= 16]
    if adobe:
        yield b"\xff\xee\0\x0e" + adobe[-1][4:16]
    yield from (s for s in segments if 0xC0 <= s[1] <= 0xCF or s[1] in TABLES)


def _orientation(segments: list[bytes]) -> int:
    """EXIF's word, else XMP's. An EXIF segment with nothing in it does not hide the one behind it."""
    exif = next((s[10:] for s in segments if s[1] == 0xE1 and s[4:10] == orientation.EXIF_PREFIX and len(s) > 10), b"")
    head = 4 + len(orientation.XMP_PREFIX)
    xmp = next((s[head:] for s in segments if s[1] == 0xE1 and s[4:head] == orientation.XMP_PREFIX), b"")
    return orientation.of_exif(exif) or orientation.of_xmp(xmp) or orientation.UPRIGHT


def _coefficients(frame: bytes) -> int:
    """64 for each block of each component (T.81, A.1.1); a decoder holds them in two bytes each."""
    height, width, count = (int(number) for number in struct.unpack_from(">HHB", frame, 5))
    sampling = [frame[11 + 3 * i] for i in range(count)]
    widest = max(s >> 4 for s in sampling) or 1
    tallest = max(s & 15 for s in sampling) or 1
    blocks = sum((-(-width * (s >> 4) // (widest * 8))) * (-(-height * (s & 15) // (tallest * 8))) for s in sampling)
    return blocks * 64
