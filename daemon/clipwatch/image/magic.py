"""The first bytes of the formats that are read; without Pillow, for commands that only look at a file's head."""

from __future__ import annotations

from typing import Final

JPEG_MAGICS: Final = (b"\xff\xd8\xff", b"\xff\xd8\0")
"""The second: some writers put a zero before each segment."""

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"

MAGICS: Final = (*JPEG_MAGICS, PNG_MAGIC)
MAGIC_BYTES: Final = max(map(len, MAGICS))
