"""The scans of a JPEG (ITU-T T.81, annexes B and G): where they lie, and whether they bring the whole picture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from clipwatch.image.picture import corrupt

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SEGMENTS: Final = 100_000
"""Before the first scan, and between scans."""

MAX_SCANS: Final = 500
"""Encoders write about ten; the figure is the one that libjpeg-turbo's own fuzzing uses."""

END: Final = b"\xff\xd9"

_MOST_ZEROS: Final = 2
"""Bytes of zeros that end a scan's data where no end marker follows: codes of zeros only are possible, but short."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Ends a scan's data: no stuffed byte, no restart marker, no fill byte (T.81, B.1.1)."""

_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")

PROGRESSIVE: Final = (0xC2, 0xC6, 0xCA, 0xCE)
TABLES: Final = (0xC4, 0xCC, 0xDB, 0xDD)
DRI: Final = 0xDD
SOS: Final = 0xDA
NO_LENGTH: Final = (0x00, 0x01, *range(0xD0, 0xD9))


def restart_interval(segment: bytes) -> int:
    return int.from_bytes(segment[4:6], "big")


class Scans:
    """The scans of one frame, from the first up to the one that completes the picture; what follows is no part of it.

    *parts*: scans and the tables between them. *closed*: an end marker follows the last. *bytes*: of all scans' data.
    """

    def __init__(self, data: bytes, frame: bytes, interval: int) -> None:
        """*interval*: blocks between two restart markers, as told before the first scan; 0 for none."""
        self._data = data
        self._interval = self._last_interval = interval
        self._progressive = frame[1] in PROGRESSIVE
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
            if marker == SOS:
                header = data[at : at + 2 + length]
                if len(header) < 2 + length or not self._takes(header):
                    break
                at = self._scan(at, at + len(header), tables)
                tables = []
                if self.complete:
                    break
            elif marker in TABLES or 0xE0 <= marker <= 0xEF or marker == 0xFE:
                if marker in TABLES:
                    tables.append(data[at : at + 2 + length])
                if marker == DRI:
                    self._interval = restart_interval(tables[-1])
                at += 2 + max(length, 2)
            elif marker in NO_LENGTH and marker != 0xD8:
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
        self.closed = self._data[end : end + 2] == END
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
