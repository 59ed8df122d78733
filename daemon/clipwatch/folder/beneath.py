"""Opening below a directory descriptor without ever crossing a symbolic link."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from typing import Final

ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
"""The only errors that prove that nothing is there."""

_OPENAT2: Final = 437
"""include/uapi/asm-generic/unistd.h; the same on all architectures but alpha."""
_RESOLVE: Final = 0x02 | 0x04 | 0x08
"""RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH: include/uapi/linux/openat2.h."""
_TRANSIENT: Final = (errno.EINTR, errno.EAGAIN)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t]


def open_beneath(root: int, path: bytes, flags: int, *, follow_symlinks: bool = False) -> int:
    """A new close-on-exec descriptor for *path* below the directory *root*; the empty path is *root* itself.

    Without *follow_symlinks* a symbolic link anywhere in *path* is ELOOP or ENOTDIR; with it, links lead wherever
    they lead. Raises OSError.
    """
    if b"\0" in path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if follow_symlinks:
        return os.open(path or b".", flags | os.O_CLOEXEC, dir_fd=root)
    if _has_openat2():
        return _openat2(root, path or b".", flags)
    return _open_by_component(root, path or b".", flags)


def _openat2(root: int, path: bytes, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE)
    for _ in range(1000):
        descriptor = _syscall(_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        if code not in _TRANSIENT:
            break
    raise OSError(code, os.strerror(code), path)


def _open_by_component(root: int, path: bytes, flags: int) -> int:
    *directories, name = path.split(b"/")
    if b".." in directories or name == b".." or not all(directories):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    held = root
    try:
        for directory in directories:
            below = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            if held != root:
                os.close(held)
            held = below
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
    finally:
        if held != root:
            os.close(held)


@functools.cache
def _has_openat2() -> bool:
    """Kernels before 5.6 lack it, and older container filters answer EPERM."""
    try:
        os.close(_openat2(-100, b".", os.O_PATH))  # AT_FDCWD
    except OSError:
        return False
    return True


def is_regular(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode)


def spelled_truly(root: int, path: bytes) -> bool:
    """Whether *path*, which exists, is written as the directories themselves write it.

    False where the file system folds case and the entry now has another spelling. Costs one stat where
    case matters: only a name whose swapped spelling leads to the same inode is looked for in its directory.
    """
    parent, _, name = path.rpartition(b"/")
    if not name:
        return True
    try:
        directory = open_beneath(root, parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return True
    try:
        if not _folds(directory, name):
            return True
        return os.fsdecode(name) in os.listdir(directory) and spelled_truly(root, parent)
    except OSError:
        return True
    finally:
        os.close(directory)


def _folds(directory: int, name: bytes) -> bool:
    swapped = os.fsencode(os.fsdecode(name).swapcase())
    if swapped == name:
        return False
    try:
        return os.path.samestat(
            os.stat(name, dir_fd=directory, follow_symlinks=False),
            os.stat(swapped, dir_fd=directory, follow_symlinks=False),
        )
    except OSError:
        return False
