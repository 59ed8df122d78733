"""What glibc is told around the making of a session (mallopt(3)); nothing where the C library is another one."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LOADING_BYTES: Final = 256 * 1024
"""Smaller than any matrix of weights that counts."""
_RUNNING_BYTES: Final = 32 * 1024 * 1024
"""The largest that glibc takes on its own."""


@contextlib.contextmanager
def weights_apart() -> Iterator[None]:
    """Give each large block back when it is freed within; keep blocks for the next batch afterwards.

    A session copies its weights while it is made. Left alone, glibc keeps what was freed on its heap, and the peak of
    the whole program is twice the model. A batch asks for the same blocks again and again; to have them from
    the kernel each time would cost some per cent.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LOADING_BYTES)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _RUNNING_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _RUNNING_BYTES)
        libc.malloc_trim(0)
