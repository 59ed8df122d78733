"""JPEG (ITU-T T.81, annex B): the frame and its scans without anything else, and whether they are all there.

The end of the file says little: phones write whole pictures without an end marker, or put their own data behind it;
and whoever cuts a file may close it with an end marker. So what is judged is the picture. Its scans must cover every
component (and, in a progressive file, every bit of every coefficient), and the last scan's data must be enough for all
its blocks. The decoder tells the latter: it is given a few bytes more, which a whole picture does not use up.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from clipwatch.image import orientation
from clipwatch.image.picture import corrupt, truncated

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SEGMENTS: Final = 100_000
"""Before the first scan, and between scans."""

MAX_SCANS: Final = 500
"""Encoders write about ten; the figure is the one that libjpeg-turbo's own fuzzing uses."""

_START: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"

_ONES: Final = b"\xff\0"
"""A byte of ones, as scan data have it. No Huffman code has ones only (T.81, annex C), so that a block takes four."""

_LOOK_AHEAD: Final = 7
"""Such bytes: libjpeg fills a buffer of 64 bits before it reads the last code of a picture (`jdhuff.c`)."""

_MORE: Final = 25
"""Where there are several scans, one in 300 whole pictures asks for more of them: 23 was the most in 19,000."""

_SMALL_PIXELS: Final = 1_000_000
"""Up to which a few blocks of one component may matter, so that asking for more is looked into."""

_MOST_ZEROS: Final = 2
"""Bytes of zeros that end a scan's data where no end marker follows: codes of zeros only are possible, but short."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Ends a scan's data: no stuffed byte, no restart marker, no fill byte (T.81, B.1.1)."""

_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")

_PROGRESSIVE: Final = (0xC2, 0xC6, 0xCA, 0xCE)
_LOSSLESS: Final = (0xC3, 0xC7, 0xCB, 0xCF)
_HUFFMAN_DCT: Final = (0xC0, 0xC1, 0xC2)
_FIRST_ARITHMETIC: Final = 0xC9
_TABLES: Final = (0xC4, 0xCC, 0xDB, 0xDD)
_DRI: Final = 0xDD
_SOS: Final = 0xDA
_NO_LENGTH: Final = (0x00, 0x01, *range(0xD0, 0xD9))


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
            image = JpegImageFile(io.BytesIO(scans + tail + _END))
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
    intervals = [s for s in segments if s[1] == _DRI]
    scans = _Scans(data, frame, _interval(intervals[-1]) if intervals else 0)
    scans.walk(start)
    arithmetic = frame[1] >= _FIRST_ARITHMETIC
    if not scans.complete or (arithmetic and not scans.closed):
        raise truncated()
    progressive = frame[1] in _PROGRESSIVE
    coefficients = _coefficients(frame)
    # a Huffman code has one bit at least: each block's DC, and its end of block where that is not shared
    if frame[1] in _HUFFMAN_DCT and 8 * scans.bytes < coefficients // 64 * (1 if progressive else 2):
        raise truncated()
    buffered = progressive or scans.count > 1
    # arithmetic coding leaves out the zeros at its end, so that no data are too few
    tail = _END if arithmetic else _ONES * _LOOK_AHEAD
    return JpegPicture(
        stream=b"".join((_START, *_what_makes_pixels(segments), *scans.parts, tail)),
        then=(b"\0", *scans.next_restart(), _END) if buffered and not arithmetic else (),
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
        if marker == _SOS:
            return segments, at
        if marker == 0xFF:
            at += 1
        elif marker in _NO_LENGTH:
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
    yield from (s for s in segments if 0xC0 <= s[1] <= 0xCF or s[1] in _TABLES)


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


def _interval(segment: bytes) -> int:
    return int.from_bytes(segment[4:6], "big")


class _Scans:
    """The scans of one frame, from the first up to the one that completes the picture; what follows is no part of it.

    *parts*: scans and the tables between them. *closed*: an end marker follows the last. *bytes*: of all scans' data.
    """

    def __init__(self, data: bytes, frame: bytes, interval: int) -> None:
        """*interval*: blocks between two restart markers, as told before the first scan; 0 for none."""
        self._data = data
        self._interval = self._last_interval = interval
        self._progressive = frame[1] in _PROGRESSIVE
        self._names = [frame[10 + 3 * i] for i in range(frame[9])]
        # of each coefficient of each component the bits that have not come yet; sequential scans bring all at once
        self._missing = [[14] * (64 if self._progressive else 1) for _ in self._names]
        self.parts: list[bytes | memoryview] = []
        self.count = 0
        self.bytes = 0
        self.closed = False

    @property
    def complete(self) -> bool:
        return not any(map(any, self._missing))

    def next_restart(self) -> Iterable[bytes]:
        """A restart marker that fits behind the last scan, and a byte too few for any block, where it has them.

        A decoder that still waits for this marker goes on with the byte, and needs more; one that is done skips both.
        """
        if self._last_interval:
            number = len(_RESTART.findall(self.parts[-1])) % 8
            yield bytes((0xFF, 0xD0 + number, 0))

    def walk(self, at: int) -> None:
        """From the marker at *at*. Raises `FileRejected` for too many scans, or none."""
        data, tables = self._data, list[bytes]()
        for _ in range(MAX_SEGMENTS):
            at = data.find(b"\xff", at)
            if at < 0 or at + 4 > len(data):
                break
            marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == 0xFF:
                at += 1
                continue
            if marker == _SOS:
                header = data[at : at + 2 + length]
                if len(header) < 2 + length or not self._takes(header):
                    break
                at = self._scan(at, at + len(header), tables)
                tables = []
                if self.complete:
                    break
            elif marker in _TABLES or 0xE0 <= marker <= 0xEF or marker == 0xFE:
                if marker in _TABLES:
                    tables.append(data[at : at + 2 + length])
                if marker == _DRI:
                    self._interval = _interval(tables[-1])
                at += 2 + max(length, 2)
            elif marker in _NO_LENGTH and marker != 0xD8:
                at += 2
            else:
                break
        if not self.count:
            raise corrupt("The JPEG has no scan header.")

    def _scan(self, start: int, body: int, tables: list[bytes]) -> int:
        """Keep the scan at *start*, whose data begin at *body*; where the next marker is, or the end of the file."""
        self.count += 1
        if self.count > MAX_SCANS:
            raise corrupt(f"The JPEG has more than {MAX_SCANS} scans.")
        found = _MARKER.search(self._data, body)
        end = found.start() if found else len(self._data)
        self.closed = self._data[end : end + 2] == _END
        part = memoryview(self._data)[start:end]
        if not self.closed:
            # a file that was reserved but not filled ends in zeros, which decode to plausible grey
            filled = len(bytes(part).rstrip(b"\0"))
            part = part[: filled + _MOST_ZEROS]
        self.parts += [*tables, part]
        self.bytes += len(part) - (body - start)
        self._last_interval = self._interval
        return end

    def _takes(self, header: bytes) -> bool:
        """Whether this is a scan of the frame (T.81, B.2.3 and G.1.1.1); notes what it brings."""
        count = header[4] if len(header) > 4 else 0
        if not 1 <= count <= 4 or len(header) != 8 + 2 * count:
            return False
        names = header[5 : 5 + 2 * count : 2]
        if any(name not in self._names for name in names):
            return False
        first, last, low = header[-3], header[-2], header[-1] & 15
        if not self._progressive:
            first, last, low = 0, 0, 0
        elif first > last or last > 63 or (first == 0 < last) or (first > 0 and count > 1):
            return False
        for name in names:
            # of two components with one name the one whose turn it is
            same = [self._missing[i] for i, other in enumerate(self._names) if other == name]
            bits = max(same, key=lambda left: sum(left[first : last + 1]))
            bits[first : last + 1] = [low] * (last + 1 - first)
        return True
