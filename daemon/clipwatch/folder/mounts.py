"""What is mounted in a folder: file systems on which the kernel can't tell of every change, and those that went."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_SILENT: Final = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse", "gfs2", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wslfs"}
)
"""Others can change their files without this kernel; `fuse.*` too, but not fuseblk, which is a local disk."""


_TRIGGER: Final = "autofs"
"""Holds nothing; what it mounts when it is entered lies over it, or below."""


def silent_file_system(descriptor: int, path: bytes, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that holds the open directory *descriptor*, or of one mounted below *path*, if
    changes on it can go unseen; "" where the kernel sees them all, and where there is no mount table to ask.
    """
    own = _mount_id(descriptor)
    if own is None:
        return ""
    below = _below(path)
    for mount in _mounts(mountinfo):
        holds = mount.id == own
        if (holds or mount.point.startswith(below)) and (mount.kind in _SILENT or mount.kind.startswith("fuse.")):
            return mount.kind
    return ""


def mounts_within(path: bytes, mountinfo: Path = Path("/proc/self/mountinfo")) -> frozenset[Mount]:
    """What is mounted at *path* and below: a watch lies on the directories that such a mount covers."""
    below = _below(path)
    return frozenset(mount for mount in _mounts(mountinfo) if (mount.point + b"/").startswith(below))


def mount_points(path: bytes, linked: Iterable[bytes], mountinfo: Path = Path("/proc/self/mountinfo")) -> set[bytes]:
    """Where something is mounted now that holds files of the folder *path*, but for the folder's own file system.

    Relative to the folder where it lies below that, whatever the folder's path is: these are what `unmounted` takes.
    *linked*: absolute paths that followed links lead to; what they lie on is given by its absolute path.
    """
    folder = os.path.realpath(path)
    points = {mount.point for mount in _mounts(mountinfo) if mount.kind != _TRIGGER}
    found = {point.removeprefix(_below(folder)) for point in points if point.startswith(_below(folder))} - {b""}
    own = _longest_over(folder, points)
    over = {_longest_over(os.path.realpath(target), points) for target in linked}
    return found | {point for point in over if point not in (b"", own) and not point.startswith(_below(folder))}


def _longest_over(path: bytes, points: Iterable[bytes]) -> bytes:
    return max((point for point in points if _is_within(path, point)), key=len, default=b"")


def is_mounted(path: bytes) -> bool:
    """Whether something is mounted at this very path. What mounts itself when it is entered is entered."""
    here, above = (_mount_id_at(place) for place in (path, os.path.dirname(path)))
    return here is not None and here != above


def _mount_id_at(path: bytes) -> bytes | None:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_DIRECTORY)
    except NotADirectoryError:  # a file may be mounted too
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
    except OSError:
        return None
    try:
        return _mount_id(descriptor)
    finally:
        os.close(descriptor)


def _mount_id(descriptor: int) -> bytes | None:
    try:
        details = Path(f"/proc/self/fdinfo/{descriptor}").read_bytes()
    except OSError:
        return None
    found = re.search(rb"^mnt_id:\s*(\d+)", details, re.MULTILINE)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Unmounted:
    """Mount points of one folder at which nothing is mounted now; what lies below them is neither there nor gone.

    *points*: as `mount_points` gives them. *folder*: its path.
    """

    folder: bytes
    points: frozenset[bytes] = frozenset()
    follow_symlinks: bool = False

    def over(self, path: bytes) -> bytes | None:
        """The mount point that *path*, below the folder, lies below; None where it lies below none of them."""
        if not self.points:
            return None
        found = _longest_over(path, self.points)
        if not found and self.follow_symlinks:
            target = os.path.realpath(os.path.join(self.folder, path))
            found = _longest_over(target.removeprefix(_below(self.folder)), self.points)
        return found or None


def unmounted(folder: bytes, seen: Iterable[bytes], *, follow_symlinks: bool) -> Unmounted:
    """Those of the mount points *seen* in *folder* at which nothing is mounted now."""
    real = os.path.realpath(folder)
    points = frozenset(point for point in seen if not is_mounted(os.path.join(real, point)))
    return Unmounted(folder, points, follow_symlinks)


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


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _below(path: bytes) -> bytes:
    return os.path.realpath(path).rstrip(b"/") + b"/"


def _unescaped(field: bytes) -> bytes:
    """Space, tab, newline and backslash are octal in the table."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
