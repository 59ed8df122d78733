"""From a candidate to an open descriptor that is certainly a regular file below the folder."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Final

from clipwatch.errors import FileNotReady, FileRejected, RejectReason
from clipwatch.folder.beneath import is_regular, open_beneath
from clipwatch.folder.root import Root
from clipwatch.records import Candidate, FileStat, OpenedFile, file_stat, path_text

_LATER: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ESTALE}
    | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR}
)
"""The file went or became a link (the next look tells), or this process is short of something."""
_NO_FILE: Final = frozenset({errno.ENXIO, errno.ENODEV, errno.EISDIR})


def open_file(root: Root, candidate: Candidate, *, follow_symlinks: bool, max_bytes: int) -> OpenedFile:
    """Open *candidate* read-only below *root*; its stat becomes that of the descriptor.

    No symbolic link is crossed unless *follow_symlinks*; then links may lead out of the folder. Raises
    `FileNotReady` (gone meanwhile: look again) or `FileRejected` (NOT_REGULAR, EMPTY, TOO_LARGE, UNREADABLE).
    """
    text = path_text(candidate.path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = open_beneath(root.descriptor, candidate.path, flags, follow_symlinks=follow_symlinks)
    except OSError as error:
        if error.errno in _LATER:
            raise FileNotReady(f"{text} cannot be opened now: {error.strerror}.") from error
        if error.errno in _NO_FILE:
            raise FileRejected(RejectReason.NOT_REGULAR, f"{text} is not a regular file.") from error
        raise FileRejected(
            RejectReason.UNREADABLE, f"{text} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    try:
        return OpenedFile(replace(candidate, stat=_checked(descriptor, text, max_bytes)), descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def restat(descriptor: int) -> FileStat:
    """What `fstat` says now; compare with what it said before reading. Raises `FileNotReady`."""
    try:
        return file_stat(os.fstat(descriptor))
    except OSError as error:
        raise FileNotReady(f"An open file can no longer be examined: {error.strerror}.") from error


def _checked(descriptor: int, text: str, max_bytes: int) -> FileStat:
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        raise FileNotReady(f"{text} can no longer be examined: {error.strerror}.") from error
    if not is_regular(status):
        raise FileRejected(RejectReason.NOT_REGULAR, f"{text} is not a regular file.")
    if status.st_size == 0:
        raise FileRejected(RejectReason.EMPTY, f"{text} is empty.")
    if status.st_size > max_bytes:
        raise FileRejected(
            RejectReason.TOO_LARGE,
            f"{text} has {status.st_size} bytes, more than the {max_bytes} allowed.",
            hint="Raise `limits.file_megabytes` if it is wanted.",
        )
    return file_stat(status)
