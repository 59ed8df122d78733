"""Runs inside the container under the service's own restrictions, and tries what must not work."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipwatch.config import ImageConfig, LimitsConfig
from clipwatch.image.pool import DecodePool, DecodeSettings
from clipwatch.records import Preprocessing


def refused(attempt: Callable[[], object]) -> str:
    """The name of the error, or "" where it worked."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def setuid_file() -> None:
    file = Path("setuid")
    file.touch()
    file.chmod(0o4755)


def executable_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def walls() -> dict[str, Any]:
    """Of a decode worker, as the daemon starts it."""

    class Silent:
        def info(self, *_: object, **__: object) -> None: ...

        warning = error = info

    settings = DecodeSettings.from_config(Preprocessing(), ImageConfig(), LimitsConfig())
    pool = DecodePool(settings, workers=1, known=lambda _: False, logger=Silent())
    try:
        return dict(pool.probe())
    finally:
        pool.close()


attempts: dict[str, Callable[[], object]] = {
    "write an image": lambda: Path("/srv/images/new.jpg").write_bytes(b"x"),
    "change an image": lambda: Path("/srv/images/first.jpg").open("ab").close(),
    "delete an image": lambda: Path("/srv/images/first.jpg").unlink(),
    "write the configuration": lambda: Path("/etc/clipwatch/config.toml").open("ab").close(),
    "write below /usr": lambda: Path("/usr/new").touch(),
    "write the program": lambda: Path("/opt/clipwatch/new").touch(),
    "read a home": lambda: Path("/home/someone/secret").read_text(),
    "read root's home": lambda: Path("/root/secret").read_text(),
    "become root": lambda: os.setuid(0),
    "make a set-uid file": setuid_file,
    "enter a namespace": unshare,
    "make executable memory": executable_memory,
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "read kernel messages": lambda: Path("/dev/kmsg").open("rb").close(),
    "change the kernel": lambda: Path("/proc/sys/kernel/core_pattern").open("w").close(),
}
result: dict[str, Any] = {name: refused(attempt) for name, attempt in attempts.items()}
result["homes"] = os.listdir("/home")
result["reads images"] = len(Path("/srv/images/first.jpg").read_bytes()) > 0
result["walls"] = walls()
Path("report.json").write_text(json.dumps(result))
