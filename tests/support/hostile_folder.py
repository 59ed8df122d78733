"""A folder as an attacker would fill it, and what the kernel and the process table say of how it is dealt with."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from clipwatch.errors import RejectReason
from support import pictures
from support.processes import children

NAMES = (
    b"escape\x1b[2J\x1b]0;title\x07.jpg",
    b'line\n{"event": "daemon.stopped"}.jpg',
    b"return\rforged.jpg",
    b"quote\"'`$(id).jpg",
    b"<script>alert(1)<script>.jpg",
    b"not-utf-8-\xff\xfe\x80.jpg",
    b"\\x1b[2J.jpg",
    b"percent%s%n{0.__class__}.jpg",
    b"--help.jpg",
    "c1\x9b31m.jpg".encode(),
    "line-separator\u2028.jpg".encode(),
    "right-to-left\u202egpj.exe.jpg".encode(),
    "tag\U000e0041.jpg".encode(),
    b"delete\x7f.jpg",
    b"n" * 251 + b".jpg",
)
"""Names of good pictures that would do something to a terminal, a log, a page or a path buffer."""

_NOT_REGULAR = frozenset({RejectReason.NOT_REGULAR})


@dataclass
class HostileFolder:
    """What was made: paths below the folder, each with how it may be refused; none where it must be stored."""

    root: Path
    outside: Path
    """A directory beside the folder, with `secret.jpg`; links in the folder lead there."""
    expected: dict[bytes, frozenset[RejectReason]] = field(default_factory=dict)

    @property
    def secret(self) -> Path:
        """A good picture that was never put into the folder."""
        return self.outside / "secret.jpg"


def make_hostile_folder(root: Path) -> HostileFolder:
    """The whole corpus, odd kinds of files, links out of the folder, harmful names, a long path."""
    root.mkdir(exist_ok=True)
    made = HostileFolder(root, root.parent / "outside")
    made.outside.mkdir()
    made.secret.write_bytes(pictures.small_png() + b"secret")
    for path, hostile in pictures.hostile_corpus(root).items():
        made.expected[os.fsencode(path.name)] = hostile.reasons
    _odd_kinds(made)
    _links(made)
    for number, name in enumerate(NAMES):
        _write(made, name, pictures.small_jpeg() + b"%d" % number)
        _write(made, b"bad-" + name[-240:], pictures.small_jpeg()[:400], RejectReason.TRUNCATED)
    deep = b"/".join([b"d" * 200] * 17)
    os.makedirs(os.fsencode(root) + b"/" + deep)
    _write(made, deep + b"/deep.jpg", pictures.small_jpeg() + b"deep")
    return made


def _odd_kinds(made: HostileFolder) -> None:
    os.mkfifo(made.root / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(made.root, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/socket.jpg")
        os.close(directory)
    kinds = ["fifo.jpg", "socket.jpg"]
    if os.geteuid() == 0:
        os.mknod(made.root / "device.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        kinds.append("device.jpg")
    (made.root / "directory.jpg").mkdir()
    made.expected |= dict.fromkeys(map(os.fsencode, kinds), _NOT_REGULAR)
    _write(made, b"directory.jpg/inside.jpg", pictures.small_jpeg() + b"inside")


def _links(made: HostileFolder) -> None:
    """None of them belongs to the folder unless links are followed."""
    (made.root / "link.jpg").symlink_to(made.secret)
    (made.root / "linked-directory").symlink_to(made.outside)
    (made.root / "relative.jpg").symlink_to("../outside/secret.jpg")
    (made.root / "itself.jpg").symlink_to("itself.jpg")
    (made.root / "endless").symlink_to(".")
    (made.root / "nowhere.jpg").symlink_to("/nonexistent")
    (made.root / "memory.jpg").symlink_to("/proc/self/mem")


def _write(made: HostileFolder, path: bytes, data: bytes, *reasons: RejectReason) -> None:
    with open(os.fsencode(made.root) + b"/" + path, "wb") as file:  # noqa: PTH123 - names that are no text
        file.write(data)
    made.expected[path] = frozenset(reasons)


class OpenWatch:
    """Whether anybody opened or read a file since, as the kernel tells it (inotify(7)). A context manager."""

    _OPEN_OR_ACCESS = 0x20 | 0x01

    def __init__(self, file: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._descriptor, os.fsencode(file), self._OPEN_OR_ACCESS) >= 0

    def opened(self) -> bool:
        """Since the last call."""
        if not select.select([self._descriptor], [], [], 0)[0]:
            return False
        (_, mask) = struct.unpack_from("=iI", os.read(self._descriptor, 65536))
        return bool(mask & self._OPEN_OR_ACCESS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


@dataclass
class Peaks:
    """The most memory that a daemon, each of its decode workers and its engine were ever seen to hold, in bytes."""

    daemon: int
    workers: dict[int, int] = field(default_factory=dict)
    engine: int = 0
    itself: int = 0

    def look(self) -> None:
        """Note what the kernel keeps count of; workers that come and go are seen while they are there."""
        self.itself = max(self.itself, peak_bytes(self.daemon))
        for pid in children(self.daemon):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"clipwatch.image.worker" in command:
                self.workers[pid] = max(self.workers.get(pid, 0), peak_bytes(pid))
            elif b"clipwatch.engine" in command:
                self.engine = max(self.engine, peak_bytes(pid))

    def table(self) -> str:
        """For `docs/security.md`."""
        worst = max(self.workers.values(), default=0)
        return "\n".join(
            f"{name}: {size / 2**20:.0f} MB"
            for name, size in (("daemon", self.itself), ("worst worker", worst), ("engine", self.engine))
        )


def peak_bytes(pid: int) -> int:
    """The most that was ever resident; 0 for a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in status else 0
