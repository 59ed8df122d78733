"""What glibc is told about memory (mallopt(3), malloc_trim(3)); nothing where the C library is another one."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LOADING_BYTES: Final = 256 * 1024
"""Smaller than any matrix of weights that counts."""
_RUNNING_BYTES: Final = 16 * 1024 * 1024
"""Larger than what a batch's layers ask for."""


@contextlib.contextmanager
def weights_apart() -> Iterator[None]:
    """Give each large block back when it is freed within; keep blocks for the next batch afterwards.

    A session copies its weights while it is made. Left alone, glibc keeps what was freed on its heap, and the peak of
    the whole program is twice the model. A batch asks for the same blocks again and again; to have them from
    the kernel each time would cost some per cent.
    """
    _tell("mallopt", _M_MMAP_THRESHOLD, _LOADING_BYTES)
    try:
        yield
    finally:
        _tell("mallopt", _M_MMAP_THRESHOLD, _RUNNING_BYTES)
        _tell("mallopt", _M_TRIM_THRESHOLD, 2 * _RUNNING_BYTES)
        give_back()


def give_back() -> None:
    """Return what was freed. After work that is done once in a while glibc would keep it while the process lives."""
    _tell("malloc_trim", 0)


def _tell(function: str, *values: int) -> None:
    told = getattr(ctypes.CDLL(None), function, None)
    if told is not None:
        told(*values)
