"""What a command and every process that it starts do to the network and to files, as the kernel saw it (strace)."""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from support.optional import lacking

_CALLS: Final = "connect,sendto,sendmsg,sendmmsg,open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat"
_CALLS_2: Final = "symlink,symlinkat,rename,renameat,renameat2,truncate,chmod,fchmodat"

_FAMILY: Final = re.compile(r"sa_family=AF_(\w+)")
_ADDRESS: Final = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_UNIX: Final = re.compile(r'sun_path=@?"([^"]*)"')
_OPENED: Final = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT|TRUNC)\b.*= \d+<(.*)>$")
_CREATED: Final = re.compile(
    r'^(?:creat|mkdir|mknod|link|symlink|rename|truncate|chmod|fchmodat)\w*\(.*"([^"]*)".* = 0$'
)
_DIRECTORY: Final = re.compile(r"^\w+\(.*?(?:AT_FDCWD|\d+)<([^>]*)>, \"[^\"]*\"[^\"]*$")


class Trace:
    """One traced command. Put `before` before it; read the rest when it has ended."""

    def __init__(self, directory: Path, cwd: Path) -> None:
        """*directory*: an empty one for the trace itself; *cwd*: where the command runs."""
        strace = shutil.which("strace")
        if strace is None:
            lacking("strace is not installed")
        directory.mkdir()
        self._directory, self._cwd = directory, cwd
        self.before: Sequence[str] = (
            strace, "-f", "-ff", "-qq", "-y", "-s", "4096", "--seccomp-bpf",
            "-e", f"trace={_CALLS},{_CALLS_2}", "-e", "signal=none", "-o", str(directory / "of"),
        )  # fmt: skip

    def lines(self) -> Iterator[str]:
        """Every call of every thread."""
        for file in sorted(self._directory.iterdir()):
            yield from file.read_text(encoding="utf-8", errors="replace").splitlines()

    def foreign_addresses(self) -> set[str]:
        """Every address off this machine that anything was sent to, or was to be; every Unix socket by its path."""
        found = set()
        for line in self.lines():
            for family in _FAMILY.findall(line):
                if family == "UNIX":
                    found |= set(_UNIX.findall(line))
                elif family in ("INET", "INET6"):
                    addresses = ["".join(pair) for pair in _ADDRESS.findall(line)]
                    found |= {address for address in addresses if not ipaddress.ip_address(address).is_loopback}
                elif family not in ("UNSPEC", "NETLINK"):
                    found.add(family)
        return found

    def written(self) -> set[Path]:
        """Every file that was created, or opened to be written."""
        found = set()
        for line in self.lines():
            opened, created = _OPENED.search(line), _CREATED.match(line)
            if opened:
                found.add(Path(opened[1]))
            elif created:
                at = _DIRECTORY.match(line)
                found.add((Path(at[1]) if at else self._cwd) / created[1])
        return found
