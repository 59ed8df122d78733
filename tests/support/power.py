"""A disk whose power can be cut: an ext4 in a file, of which only what reached the device survives.

The engine writes through memory maps, so that no library between it and the kernel, and no copy of its directory, can
tell what was flushed from what was not. The block device can: what has not been flushed is still in the page cache of
the file system above it. So a cut is a copy of the device, taken while the writer stands still; mounting the copy is
the boot after.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.optional import lacking
from support.small_disk import unmount


def new_disk(tmp_path: Path, megabytes: int) -> Path:
    """The file that holds a new, empty file system; fails under CI, else skips, where that cannot be."""
    device = tmp_path / "device"
    with device.open("wb") as stream:
        stream.truncate(megabytes << 20)
    made = shutil.which("mkfs.ext4") and os.geteuid() == 0
    if not made or subprocess.run(["mkfs.ext4", "-q", "-F", str(device)], capture_output=True, check=False).returncode:
        lacking("only root, with e2fsprogs, can make a file system in a file")
    return device


@contextlib.contextmanager
def mounted(device: Path, at: Path) -> Iterator[Path]:
    """The file system of *device*, where nothing commits by the clock: what is flushed was asked for."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,commit=3600", str(device), str(at)], check=True)
    try:
        yield at
    finally:
        unmount(at)


def cut_power(device: Path, copy: Path, writer: int) -> None:
    """Keep in *copy* what *device* would hold were the power to go now; the process *writer* goes on after."""
    os.kill(writer, signal.SIGSTOP)
    try:
        for _ in range(20):
            shutil.copyfile(device, copy)
            # The kernel's own writing back goes on; a copy that it changed under is no moment's disk.
            if filecmp.cmp(device, copy, shallow=False):
                return
        pytest.fail("the device never stood still")
    finally:
        os.kill(writer, signal.SIGCONT)
