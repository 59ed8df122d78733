"""Which machine this is, and which directory: what tells one owner of a folder name from another."""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_APPLICATION: Final = bytes.fromhex("5d6d9a3a4c0f4a1f9a5e0a3c8c7f21b4")
"""Hashed together with the machine's id, which machine-id(5) asks not to give away as it is."""

_MACHINE_ID_FILES: Final = ("etc/machine-id", "var/lib/dbus/machine-id")
_CONTAINER_FILES: Final = (".dockerenv", "run/.containerenv")
_CONTAINER_VARIABLES: Final = ("container", "KUBERNETES_SERVICE_HOST")

_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
_STATX_LAYOUT: Final = struct.Struct("=I28xQ40xqI")
"""`struct statx` of the kernel's stat.h: the mask of what is filled in, the inode, seconds and nanoseconds of birth."""


def is_container(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the machine-id may be an image's, the same wherever that runs, or made anew at each start."""
    return any((root / file).exists() for file in _CONTAINER_FILES) or any(
        environment.get(variable) for variable in _CONTAINER_VARIABLES
    )


def machine_id(root: Path = Path("/")) -> str:
    """32 hex digits for this installation of the system, the same for ever; "" where there is no machine-id."""
    for file in _MACHINE_ID_FILES:
        try:
            text = (root / file).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if re.fullmatch("[0-9a-f]{32}", text):
            return hmac.new(bytes.fromhex(text), _APPLICATION, hashlib.sha256).hexdigest()[:32]
    return ""


def directory_id(path: str) -> str:
    """The directory's inode and when it was made, which outlive containers; "" where the file system tells no birth."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    try:
        statx = ctypes.CDLL(None).statx
    except AttributeError:
        return ""
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer) != 0:
        return ""
    mask, inode, seconds, nanoseconds = _STATX_LAYOUT.unpack_from(buffer)
    return f"{inode}-{seconds}.{nanoseconds:09}" if mask & _STATX_BTIME and (seconds or nanoseconds) else ""
