"""A watched folder's own directory: its identity, its marker, its lock."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from clipwatch.config import WatchConfig
from clipwatch.errors import FolderUnavailable, LockHeld
from clipwatch.folder.beneath import ABSENT

_NO_FLOCK: Final = frozenset({errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF, errno.ENOSYS})
"""What file systems answer that can't flock a read-only directory; NFS turns flock into a write lock (EBADF)."""


class Root:
    """The directory that `path` leads to, held open, so that a folder put in its place is told from it.

    One thread may `open` and `close`; `descriptor` keeps its number when the directory is opened anew, so
    that others can use it meanwhile. A look notes `identity` before it starts and passes it to `check` before
    it acts on what it saw.
    """

    def __init__(self, watch: WatchConfig) -> None:
        self.name = watch.name
        self.path = os.fsencode(Path(watch.path).absolute())
        self._marker = os.fsencode(watch.marker)
        self._descriptor = -1
        self._identity = (0, 0)
        self._lock_file = -1
        self._fallback: Path | None = None
        self._locked = False

    @property
    def descriptor(self) -> int:
        """The open directory; don't list it directly (the offset is shared): open `.` below it."""
        if self._descriptor < 0:
            raise FolderUnavailable(f"The folder {self._text} is not open.")
        return self._descriptor

    @property
    def identity(self) -> tuple[int, int]:
        """(device, inode); to compare within one process only: devices are renumbered at boot."""
        return self._identity

    @property
    def _text(self) -> str:
        return os.fsdecode(self.path)

    def open(self) -> None:
        """Open the directory; again, and locked again if it was, when the path now leads to another one.

        Raises `FolderUnavailable`, and `LockHeld` when the new directory is another process's.
        """
        try:
            opened = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            self._check_marker(opened)
            status = os.fstat(opened)
            identity = (status.st_dev, status.st_ino)
            if self._descriptor >= 0 and identity == self._identity:
                return
            if self._locked:
                self._take_lock(opened, identity)
            if self._descriptor < 0:
                self._descriptor, opened = opened, -1
            else:
                os.dup2(opened, self._descriptor, inheritable=False)
            self._identity = identity
        finally:
            if opened >= 0:
                os.close(opened)

    def check(self, identity: tuple[int, int] | None = None) -> None:
        """Raise `FolderUnavailable` unless the path still leads to the directory that is open, marker and all.

        *identity*: what `identity` was when a look began; raises too if the directory was opened anew since.
        """
        descriptor = self.descriptor
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise self._unavailable(error) from error
        if (status.st_dev, status.st_ino) != self._identity or identity not in (None, self._identity):
            raise FolderUnavailable(
                f"The folder {self._text} was replaced by another directory.",
                hint="Nothing is removed for it until it has been looked at anew.",
            )
        self._check_marker(descriptor)

    def lock(self, fallback: Path | None = None) -> None:
        """Own the folder on this machine, without writing into it; released by `close` or by the process's end.

        *fallback*: a directory for a lock file named after the folder's identity, for file systems that can't
        lock a directory. Idempotent. Raises `LockHeld`.
        """
        if self._locked:
            return
        self._fallback = fallback
        self._take_lock(self.descriptor, self._identity)
        self._locked = True

    def close(self) -> None:
        """Let go of the directory and the lock. Idempotent."""
        for descriptor in (self._descriptor, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock_file = -1
        self._locked = False

    def _take_lock(self, directory: int, identity: tuple[int, int]) -> None:
        try:
            self._flock(directory)
            return
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise self._unavailable(error) from error
            if self._fallback is None:
                raise FolderUnavailable(f"The folder {self._text} is on a file system without locks.") from error
        file = self._fallback / f"folder-{identity[0]:x}-{identity[1]:x}.lock"
        try:
            self._fallback.mkdir(parents=True, exist_ok=True)
            opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderUnavailable(f"The lock file {file} cannot be made: {error.strerror}.") from error
        try:
            self._flock(opened)
        except BaseException:
            os.close(opened)
            raise
        if self._lock_file >= 0:
            os.close(self._lock_file)
        self._lock_file = opened

    def _flock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(
                f"Another process is mirroring the folder {self._text}.",
                hint="Stop it first, or ask it: `clipwatch status`.",
            ) from error

    def _check_marker(self, directory: int) -> None:
        if not self._marker:
            return
        try:
            os.stat(self._marker, dir_fd=directory)
        except OSError as error:
            raise FolderUnavailable(
                f"The folder {self._text} lacks its marker {os.fsdecode(self._marker)}.",
                hint="Mount the disk, or create the marker if the folder is the right one.",
            ) from error

    def _unavailable(self, error: OSError) -> FolderUnavailable:
        if error.errno in ABSENT and not os.path.lexists(self.path):
            return FolderUnavailable(
                f"The folder {self._text} does not exist.", hint="Create it, mount it, or correct `path`."
            )
        if error.errno == errno.ENOTDIR:
            return FolderUnavailable(f"{self._text} is not a folder.", hint="Correct `path` in its [[watch]] table.")
        if error.errno in (errno.EACCES, errno.EPERM):
            return FolderUnavailable(
                f"The folder {self._text} may not be read.", hint="Give this user read and search permission."
            )
        return FolderUnavailable(f"The folder {self._text} cannot be read: {error.strerror}.")
