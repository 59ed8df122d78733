"""A thread that permissions bind, root's too."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

_VERSION_3: Final = 0x20080522
_PASSES_PERMISSIONS: Final = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("thread", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """The calling thread, and those that it starts meanwhile, may read only what the modes of files let them.

    capset(2); for who is not root that is so anyway.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()

    def call(function: str) -> None:
        if getattr(libc, function)(ctypes.byref(header), ctypes.byref(sets)) != 0:
            raise OSError(ctypes.get_errno(), function)

    call("capget")
    before = sets[0].effective
    sets[0].effective = before & ~_PASSES_PERMISSIONS
    call("capset")
    try:
        yield
    finally:
        sets[0].effective = before
        call("capset")


def may_read(directory: str | os.PathLike[str]) -> bool:
    """Whether this thread can list *directory*."""
    try:
        os.listdir(directory)
    except PermissionError:
        return False
    return True
