"""The image behind an id: only ever a file that the collection names, below a configured folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clipwatch.config import WatchConfig
from clipwatch.errors import FileNotReady, FileRejected, FolderUnavailable
from clipwatch.folder.opened import open_file
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.records import Candidate, FileStat, Reason, Signature, point_uuid

MEDIA_TYPES: Final = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))
"""By what a file begins with; nothing else is ever sent."""

_NOTHING: Final = FileStat(Signature(0, 0, 0), 0, 0)


class Paths(Protocol):
    """What is asked of a store here."""

    def paths(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The paths of those *ids* that exist and name one."""
        ...


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An open picture file; whoever has it closes *descriptor*. *tag* changes with the file."""

    descriptor: int
    size: int
    media_type: str
    tag: str

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.descriptor)


def image_opener(
    store: Paths, watches: Callable[[], Sequence[WatchConfig]], *, file_bytes: int
) -> Callable[[str], OpenImage | None]:
    """What opens the image of a point's id, or gives None where there is none to show. Thread-safe.

    A point is believed only so far as it could be ours: its id is that of its folder and path, and the path one that
    the folder's rules admit. It is opened without crossing a link, however the collection came to name it.
    """

    def opened(id_text: str) -> OpenImage | None:
        try:
            point = uuid.UUID(id_text)
        except ValueError:
            return None
        path = store.paths([str(point)]).get(str(point))
        if path is None:
            return None
        for watch in watches():
            if point_uuid(watch.name, path) == point.bytes and FileRules.from_config(watch).admits(path):
                return _open(watch, path, file_bytes)
        return None

    return opened


def _open(watch: WatchConfig, path: bytes, file_bytes: int) -> OpenImage | None:
    root = Root(watch)
    try:
        root.open()
        opened = open_file(
            root,
            Candidate(watch.name, path, _NOTHING, Reason.NEW),
            follow_symlinks=watch.follow_symlinks,
            max_bytes=file_bytes,
        )
    except (FolderUnavailable, FileRejected, FileNotReady):
        return None
    finally:
        root.close()
    try:
        media_type = sniff(os.pread(opened.descriptor, 8, 0))
    except OSError:
        media_type = ""
    if not media_type:
        os.close(opened.descriptor)
        return None
    signature = opened.candidate.stat.signature
    tag = f'"{signature.mtime_ns:x}-{signature.ctime_ns:x}-{signature.size:x}"'
    return OpenImage(opened.descriptor, signature.size, media_type, tag)


def sniff(beginning: bytes) -> str:
    """The media type of a JPEG or a PNG by its first 8 bytes; "" for anything else."""
    return next((media_type for magic, media_type in MEDIA_TYPES if beginning.startswith(magic)), "")


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that a `Range` header asks for; None: send all, as is right for any range not understood.

    Raises ValueError where the range begins behind the end (RFC 9110, section 14).
    """
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    first, dash, last = header.removeprefix("bytes=").strip().partition("-")
    if (
        not dash
        or not (first or last)
        or not all(part.isascii() and part.isdecimal() for part in (first or "0", last or "0"))
    ):
        return None
    if not first:
        if int(last) == 0:
            raise ValueError("a range of no bytes")
        return max(0, size - int(last)), size - 1
    start, end = int(first), int(last) if last else size - 1
    if last and end < start:
        return None
    if start >= size:
        raise ValueError("the range begins behind the end")
    return start, min(end, size - 1)
