"""Small files and directories that survive a power cut, the lock beside the store, and free space."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clipwatch.engine.replies import Refused
from clipwatch.errors import ConfigError, LockHeld

DEFAULT_RESERVE_BYTES: Final = 160 * 1024 * 1024
"""Never filled by us: the engine maps files in chunks of 33.5 MB (vectors, payload pages, log), and a write to
a mapped page that the disk has no room for kills the process with SIGBUS, which nothing can catch."""
OPEN_RESERVE_BYTES: Final = 72 * 1024 * 1024
"""Opening may preallocate two log segments of 33.5 MB."""
DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_LOCK_POLL_SECONDS: Final = 0.05


def sync_directory(directory: Path) -> None:
    """Make names in *directory* (renames, new files) durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Make every file and name below *directory* durable."""
    for parent, _, names in os.walk(directory):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(parent))


def write_json(path: Path, value: Any) -> None:
    """Replace *path* at once: after a crash it holds the old or the new value, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=True)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def allocated_bytes(directory: Path) -> int:
    """What the files below *directory* really occupy; they are sparse.

    The engine's optimiser removes files meanwhile: what is gone occupies nothing.
    """
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Keeps *reserve_bytes* of the file system below *directory* free."""

    directory: Path
    reserve_bytes: int

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.directory).free

    def require(self, extra_bytes: int) -> None:
        """Raise `Refused` (503: time heals it) where writing *extra_bytes* would touch the reserve.

        Also where the disk takes no writes by now: a shard that tried would have to be opened anew, which fails there,
        and would answer no search either.
        """
        self._require(self.reserve_bytes + extra_bytes)
        try:
            _probe(self.directory)
        except OSError as error:
            words = f"Service internal error: {error.strerror}: the disk that holds {self.directory} takes no writes"
            raise Refused(503, words) from error

    def require_to_open(self) -> None:
        """Raise `Refused` where a collection that is not open yet could not be mapped safely."""
        self._require(min(self.reserve_bytes, OPEN_RESERVE_BYTES))

    def _require(self, needed: int) -> None:
        free = self.free_bytes()
        if free < needed:
            raise Refused(
                503,
                "Service internal error: No space left on device: "
                f"{free // 1_000_000} MB are free, {-(-needed // 1_000_000)} MB are needed. "
                f"Free space on the disk that holds {self.directory}",
            )


def _probe(directory: Path) -> None:
    """Write something there: a kernel that made a disk read-only in an emergency does not tell otherwise."""
    probe = directory / f".probe-{os.getpid()}"
    probe.touch(mode=0o600)
    probe.unlink(missing_ok=True)


def prepare_directory(directory: Path) -> None:
    """Create *directory* and prove that it can be read and written; `ConfigError` where it cannot."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.listdir(directory)
        _probe(directory)
    except OSError as error:
        # Out of space is for the guard of each write to tell: reads go on.
        if error.errno not in DISK_FULL:
            raise ConfigError(
                f"The store directory {directory} cannot be used: {error.strerror}.",
                hint="Check that it is a directory which this user may read and write.",
            ) from error


def is_gone(path: Path) -> bool:
    """Whether nothing is there; any other trouble is for whoever reads or writes there to tell."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True, slots=True)
class Held:
    """A file or directory that stays open for the life of the process, so that no other one gets its inode."""

    path: Path
    descriptor: int

    def is_lost(self) -> bool:
        """Whether its name leads nowhere, or to another one."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            return is_gone(self.path)


def hold_directory(directory: Path) -> Held:
    return Held(directory, os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def take_lock(directory: Path, wait_seconds: float) -> Held:
    """An exclusive lock on `<directory>.lock`; held until the process ends.

    The file lies outside the directory and is taken before anything in there is opened: a second opener,
    even a refused one, would ruin the holder's every later flush. Raises `LockHeld` after *wait_seconds*.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        lock = _open_lock(directory.with_name(directory.name + ".lock"))
        _flock(lock, directory, deadline)
        if not lock.is_lost():
            os.ftruncate(lock.descriptor, 0)
            os.pwrite(lock.descriptor, f"{os.getpid()}\n".encode(), 0)
            return lock
        os.close(lock.descriptor)  # a lock on a deleted file keeps nobody out


def _open_lock(path: Path) -> Held:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Held(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise ConfigError(
            f"The store's lock file {path} cannot be opened: {error.strerror}.",
            hint="Check the permissions of that directory.",
        ) from error


def _flock(lock: Held, directory: Path, deadline: float) -> None:
    never = threading.Event()
    while True:
        try:
            fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                holder = os.pread(lock.descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(lock.descriptor)
                raise LockHeld(
                    f"Another process (pid {holder}) has the embedded store {directory} open.",
                    hint="Stop it, or give this one another directory.",
                ) from error
            never.wait(_LOCK_POLL_SECONDS)
        else:
            return
