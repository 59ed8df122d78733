"""What every format's reader gives: a picture whose decoder sees nothing but what makes the pixels."""

from __future__ import annotations

from typing import Protocol

from PIL import Image, ImageFile

from clipwatch.errors import FileRejected, RejectReason


class Picture(Protocol):
    """A picture read from a file's bytes, not yet decoded."""

    @property
    def format(self) -> str:
        """The format's name, e.g. "JPEG"."""

    @property
    def stream(self) -> bytes:
        """What the decoder is given."""

    @property
    def orientation(self) -> int:
        """How the picture must be turned: EXIF's 1 to 8."""

    @property
    def buffered_bytes(self) -> int:
        """Memory that the decoder needs beside the pixels."""

    def open(self) -> ImageFile.ImageFile:
        """The header read, nothing decoded. May raise what Pillow raises."""

    def shrink(self, image: ImageFile.ImageFile, needed: int) -> tuple[float, float]:
        """Ask for decoding at a smaller scale, both sides at least *needed* pixels, where the format can.

        Returns how much of the decoded picture, in pixels, is picture: its last ones may stand for less than a whole.
        """

    def load(self, image: ImageFile.ImageFile) -> Image.Image:
        """Decode whole; 8 bits a sample, transparency as alpha or in `info`.

        Raises `FileRejected` where a part of the picture is missing; may raise what Pillow raises.
        """


def truncated() -> FileRejected:
    return FileRejected(RejectReason.TRUNCATED, "The file ends before its picture does.")


def corrupt(what: str) -> FileRejected:
    return FileRejected(RejectReason.CORRUPT, what)
