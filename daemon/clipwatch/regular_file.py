"""A file that a person names, read whole: never waited for, and never without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(file: Path, most_bytes: int) -> bytes:
    """What is in *file*; of more than *most_bytes*, one byte more, which shows it.

    Raises `OSError`, also for a device, and for a pipe that nobody may ever write to.
    """
    with open(file, "rb", opener=_open_at_once) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(file))
        return opened.read(most_bytes + 1)


def _open_at_once(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK | os.O_NOCTTY)
