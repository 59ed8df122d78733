"""What is in a file, for those who need its hash and not its pixels."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from clipwatch.config import WatchConfig
from clipwatch.errors import FileNotReady, FileRejected
from clipwatch.folder.opened import open_file, restat
from clipwatch.folder.root import Root
from clipwatch.mirror.ledger import content_key
from clipwatch.records import Candidate, FileStat, OpenedFile, Reason

_HASH_BYTES: Final = 1 << 20


def open_path(root: Root, watch: WatchConfig, path: bytes, stat: FileStat, *, file_bytes: int) -> OpenedFile:
    """The file at *path* below *root*, opened. Raises as `open_file` does."""
    candidate = Candidate(watch.name, path, stat, Reason.NEW)
    return open_file(root, candidate, follow_symlinks=watch.follow_symlinks, max_bytes=file_bytes)


def content_of(root: Root, watch: WatchConfig, path: bytes, stat: FileStat, *, file_bytes: int) -> bytes | None:
    """The ledger's key for what is in the file; None where it cannot be read now, or changes meanwhile."""
    try:
        opened = open_path(root, watch, path, stat, file_bytes=file_bytes)
    except (FileRejected, FileNotReady):
        return None
    digest = hashlib.sha256()
    try:
        with os.fdopen(opened.descriptor, "rb") as file:
            while piece := file.read(_HASH_BYTES):
                digest.update(piece)
            if restat(file.fileno()) != opened.candidate.stat:
                return None
    except (OSError, FileNotReady):
        return None
    return content_key(f"sha256:{digest.hexdigest()}")
