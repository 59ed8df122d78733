"""Processes by their ids, as /proc tells of them."""

from __future__ import annotations

import gc
import os
from pathlib import Path


def open_descriptors() -> int:
    """How many this process has, without those that garbage of other tests would give back at any moment."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def is_alive(pid: int) -> bool:
    """A zombie is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Those that any thread of it started; none for a process that is gone."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in listed.read_text(encoding="ascii").split()]
        except OSError:
            continue
    return found


def command_line(pid: int) -> str:
    """With spaces between the words; "" for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


def engine_of(daemon: int) -> int:
    """The embedded engine of a daemon."""
    return next(pid for pid in children(daemon) if "clipwatch.engine" in command_line(pid))
