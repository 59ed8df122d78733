"""A small file system in memory: one that can be filled, made read-only, or mounted over what is watched."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.folders import wait_until
from support.optional import lacking


@contextlib.contextmanager
def small_disk(at: Path, megabytes: int) -> Iterator[Path]:
    """Mounted on the directory *at*; fails under CI, else skips, where that cannot be."""
    at.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(at)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        lacking("only root can mount a small file system")
    try:
        yield at
    finally:
        unmount(at)


def bind(source: Path, at: Path) -> None:
    """Mount the directory *source* on *at* too, as a disk that can go and come back with what is on it."""
    at.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "--bind", str(source), str(at)], capture_output=True, check=False).returncode != 0:
        lacking("only root can mount")


def unmount(at: Path) -> None:
    """Once nobody uses it: of a daemon that was killed, the engine still ends."""
    wait_until(lambda: subprocess.run(["umount", str(at)], capture_output=True, check=False).returncode == 0)
