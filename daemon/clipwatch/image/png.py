"""PNG (W3C PNG specification, third edition): the chunks that make the picture, and whether their data are whole.

The end of the file says little here too: a picture is whole when its pixels are. Where a checksum does not match, the
other one decides: each chunk has a CRC, and the data that were deflated have an Adler-32.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from clipwatch.errors import FileRejected, RejectReason
from clipwatch.image import orientation
from clipwatch.image.magic import PNG_MAGIC
from clipwatch.image.picture import corrupt, truncated

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CHUNKS: Final = 100_000
"""A 256 MB file written in 8 kB chunks has 32,000."""

_MAKE_PIXELS: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row, then the steps."""

_ADLER_BYTES: Final = 4
_INFLATE_STEP: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class PngPicture:
    """A PNG's bare stream.

    *data*: the bodies of its IDAT chunks. *orientation*: 1 to 8. *transparent*: the grey or RGB sample that is
    transparent, in the depth that the decoder gives, or None. *cut*: the file ends before its end chunk. *doubts*:
    which chunks do not match their checksums.
    """

    stream: bytes
    data: tuple[memoryview, ...]
    orientation: int
    transparent: int | tuple[int, int, int] | None
    cut: bool
    doubts: frozenset[bytes]
    buffered_bytes: int = 0
    format: str = "PNG"

    def open(self) -> PngImageFile:
        return PngImageFile(io.BytesIO(self.stream))

    def shrink(self, image: ImageFile.ImageFile, _needed: int) -> tuple[float, float]:
        return image.size

    def load(self, image: ImageFile.ImageFile) -> Image.Image:
        if self.doubts:
            self._require_vouched()
        try:
            image.load()
        except (OSError, SyntaxError) as error:
            if self.cut:
                raise truncated() from error
            if self.doubts or "broken data stream" not in str(error):
                raise
            # All chunks are as they were written. It may be just the checksum within the data that never was right.
            without = b"".join(self.data)[:-_ADLER_BYTES]
            stream = self.stream[: self.stream.index(b"IDAT") - 4] + _chunk(b"IDAT", without) + _chunk(b"IEND", b"")
            image = dataclasses.replace(self, stream=stream).open()
            image.load()
        if image.mode.startswith("I"):
            return self._from_sixteen_bits(image)
        if self.transparent is not None:
            image.info["transparency"] = self.transparent
        return image

    def _require_vouched(self) -> None:
        """Raises `FileRejected` unless the data match their own checksum, and the header the data."""
        header = self.stream[len(PNG_MAGIC) + 8 : len(PNG_MAGIC) + 21]
        expected = _pixel_bytes(header)
        inflate, inflated = zlib.decompressobj(), 0
        for body in self.data:
            for at in range(0, len(body), _INFLATE_STEP):
                rest: bytes | memoryview = body[at : at + _INFLATE_STEP]
                while rest and inflated <= expected:
                    try:
                        inflated += len(inflate.decompress(rest, 16 * _INFLATE_STEP))
                    except zlib.error as error:
                        raise self._doubt() from error
                    rest = inflate.unconsumed_tail
        whole = inflate.eof and inflated == expected
        if not whole:
            raise truncated() if self.cut else self._doubt()

    def _doubt(self) -> FileRejected:
        return corrupt(f"The PNG's {min(self.doubts).decode()} chunk does not match its checksum.")

    def _from_sixteen_bits(self, image: Image.Image) -> Image.Image:
        samples = image.tobytes()
        grey = Image.frombytes("L", image.size, samples[1 :: len(samples) // (image.width * image.height)])
        if not isinstance(self.transparent, int):
            return grey
        opaque = [255] * 65536
        opaque[self.transparent] = 0
        return Image.merge("LA", (grey, image.convert("I").point(opaque, "L")))


def read(data: bytes) -> PngPicture:
    """Raises `FileRejected` where there is no header or no data."""
    chunks, cut = _chunks(data)
    if not chunks or chunks[0].kind != b"IHDR" or len(chunks[0].body) != 13:
        raise truncated() if cut else corrupt("The PNG has no header.")
    header = chunks[0]
    data_at = next((at for at, chunk in enumerate(chunks) if chunk.kind == b"IDAT"), None)
    if data_at is None:
        raise truncated() if cut else corrupt("The PNG has no picture.")
    bodies = [chunk for chunk in chunks[data_at:] if chunk.kind == b"IDAT"]
    palette = next((chunk for chunk in chunks[:data_at] if chunk.kind == b"PLTE"), None)
    transparency = _transparency(header, palette, chunks[:data_at])
    makes_pixels = [header, *(chunk for chunk in (palette, transparency) if chunk is not None), *bodies]
    return PngPicture(
        stream=b"".join((PNG_MAGIC, *(chunk.bytes for chunk in makes_pixels), _chunk(b"IEND", b""))),
        data=tuple(chunk.body for chunk in bodies),
        orientation=_orientation(chunks),
        transparent=_transparent_sample(header.body[8], header.body[9], transparency),
        cut=cut,
        doubts=frozenset(chunk.kind for chunk in makes_pixels if not chunk.right),
    )


@dataclass(frozen=True, slots=True)
class _Chunk:
    """*bytes*: the whole chunk, as it stands or, where it is cut or its CRC is wrong, made anew."""

    kind: bytes
    body: memoryview
    bytes: bytes | memoryview
    right: bool


def _chunks(data: bytes) -> tuple[list[_Chunk], bool]:
    """Every chunk up to the end of the picture; whether the file ends before that. Of the last, IDAT may be cut."""
    view = memoryview(data)
    chunks: list[_Chunk] = []
    at = len(PNG_MAGIC)
    while len(chunks) < MAX_CHUNKS:
        if at + 8 > len(data):
            return chunks, True
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        body = view[at + 8 : end - 4]
        if kind == b"CgBI":
            raise FileRejected(RejectReason.UNSUPPORTED, "The file is an iOS-optimised PNG (CgBI), not JPEG or PNG.")
        if kind == b"IEND":
            return chunks, False
        if end > len(data):
            if kind == b"IDAT":
                chunks.append(_Chunk(kind, body, _chunk(kind, body), right=True))
            return chunks, True
        right = kind not in _MAKE_PIXELS or zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(
            view[end - 4 : end], "big"
        )
        chunks.append(_Chunk(kind, body, view[at:end] if right else _chunk(kind, body), right))
        at = end
    raise corrupt("The PNG has too many chunks.")


def _chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))))


def _pixel_bytes(header: bytes | memoryview) -> int:
    """How many bytes the data inflate to: each row of each pass has a filter byte before it."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS.get(colour, 0)
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _transparency(header: _Chunk, palette: _Chunk | None, before_data: Sequence[_Chunk]) -> _Chunk | None:
    """tRNS where it counts, as libpng has it: before the data, of the right length, no longer than the palette."""
    chunk = next((chunk for chunk in before_data if chunk.kind == b"tRNS" and chunk.right), None)
    if chunk is None:
        return None
    entries = len(palette.body) // 3 if palette is not None else 0
    fits = {0: len(chunk.body) == 2, 2: len(chunk.body) == 6, 3: 0 < len(chunk.body) <= entries}
    return chunk if fits.get(header.body[9], False) else None


def _transparent_sample(depth: int, colour: int, chunk: _Chunk | None) -> int | tuple[int, int, int] | None:
    """tRNS gives the sample as stored; the decoder stretches 2 and 4 bits to 8, and keeps RGB's upper 8 of 16."""
    if chunk is not None and colour == 0:
        sample = int.from_bytes(chunk.body, "big")
        return sample if depth == 16 else (sample & ((1 << depth) - 1)) * (255 // ((1 << depth) - 1))
    if chunk is not None and colour == 2:
        shift = 8 if depth == 16 else 0
        red, green, blue = (sample >> shift & 0xFF for sample in struct.unpack(">HHH", chunk.body))
        return red, green, blue
    return None


def _orientation(chunks: Sequence[_Chunk]) -> int:
    """EXIF's word, of its own chunk or of a text chunk, else XMP's."""
    exif = next((bytes(chunk.body[: orientation.MAX_METADATA_BYTES]) for chunk in chunks if chunk.kind == b"eXIf"), b"")
    found = orientation.of_exif(exif)
    if found is not None:
        return found
    texts = [orientation.of_png_text(c.kind, c.body) for c in chunks if c.kind in (b"tEXt", b"zTXt", b"iTXt")]
    by_exif = (text[0] for text in texts if text[0] is not None)
    by_xmp = (text[1] for text in texts if text[1] is not None)
    return next(by_exif, None) or next(by_xmp, None) or orientation.UPRIGHT
