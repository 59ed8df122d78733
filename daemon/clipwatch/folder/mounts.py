"""File systems on which the kernel can't tell of every change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_SILENT: Final = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse", "gfs2", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wslfs"}
)
"""Others can change their files without this kernel; `fuse.*` too, but not fuseblk, which is a local disk."""


def silent_file_system(descriptor: int, path: bytes, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that holds the open directory *descriptor*, or of one mounted below *path*, if
    changes on it can go unseen; "" where the kernel sees them all, and where there is no mount table to ask.
    """
    try:
        details = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    except OSError:
        return ""
    own = re.search(r"^mnt_id:\s*(\d+)", details, re.MULTILINE)
    below = _below(path)
    for mount in _mounts(mountinfo):
        holds = own is not None and mount.id == own[1].encode()
        if (holds or mount.point.startswith(below)) and (mount.kind in _SILENT or mount.kind.startswith("fuse.")):
            return mount.kind
    return ""


def mounts_within(path: bytes, mountinfo: Path = Path("/proc/self/mountinfo")) -> frozenset[Mount]:
    """What is mounted at *path* and below: a watch lies on the directories that such a mount covers."""
    below = _below(path)
    return frozenset(mount for mount in _mounts(mountinfo) if (mount.point + b"/").startswith(below))


class Mount(NamedTuple):
    """One line of the mount table."""

    id: bytes
    device: bytes
    point: bytes
    kind: str


def _mounts(mountinfo: Path) -> Iterator[Mount]:
    """Nothing where there is no table to ask."""
    try:
        table = mountinfo.read_bytes()
    except OSError:
        return
    for line in table.splitlines():
        # proc_pid_mountinfo(5): id parent device root mount-point options... - type source options
        left, _, right = line.partition(b" - ")
        fields = left.split()
        if len(fields) >= 5 and right:
            yield Mount(fields[0], fields[2], _unescaped(fields[4]), right.split()[0].decode("ascii", "replace"))


def _below(path: bytes) -> bytes:
    return os.path.realpath(path).rstrip(b"/") + b"/"


def _unescaped(field: bytes) -> bytes:
    """Space, tab, newline and backslash are octal in the table."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
