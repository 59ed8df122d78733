"""`pip install`, with a line every few seconds that says how far it is.

pip is silent while it downloads without a terminal and while it unpacks, which takes minutes on a slow machine.

    python tools/install.py --require-hashes -r requirements.lock

The arguments are pip's own; the packages go into the environment of the Python that runs this. What pip says is shown
only when it fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Iterator
from typing import IO, Final

EVERY_SECONDS: Final = 3.0
_LAST_LINES: Final = 25  # of pip's words, shown when it fails


def main(arguments: list[str], every: float = EVERY_SECONDS) -> int:
    """Run pip with *arguments* and tell every so many seconds how far it is; pip's exit status."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    began = time.monotonic()
    said: deque[str] = deque(maxlen=_LAST_LINES)
    doing, fetched = "asking for the packages", 0
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pip:
        assert pip.stdout is not None  # noqa: S101 - for the type checker
        for line in _lines(pip.stdout, every):
            if line is None:
                size = f"; {megabytes()} MB installed" if doing.startswith("unpacking") else ""
                _tell(f"{time.monotonic() - began:4.0f} s  {doing}{size}")
                continue
            said.append(line)
            fetched += bool(re.match(r"(Collecting|Processing) ", line))
            doing = what(line, fetched) or doing
    if pip.returncode == 0:
        _tell(f"{time.monotonic() - began:4.0f} s  done: {megabytes()} MB installed")
        return 0
    _tell(*said, "The packages could not be installed; pip says why above. Then run the same command again.")
    return pip.returncode if pip.returncode > 0 else 1


def what(line: str, fetched: int) -> str | None:
    """What pip is doing after it said *line*, *fetched* packages into its list; None: the same as before."""
    if found := re.match(r"Collecting ([^ ;=]+)(?:==([^ ;]+))?", line):
        return f"fetching package {fetched}: {' '.join(part for part in found.groups() if part)}"
    if found := re.match(r"Processing (?:\S*/)?([^ /-]+)-([^ -]+)", line):
        return f"fetching package {fetched}: {found[1]} {found[2]}"
    if found := re.match(r"\s+Downloading (\S+/)?([^ /-]+)-([^ -]+)\S* (\(.+\))", line):
        return f"fetching package {fetched}: {found[2]} {found[3]} {found[4]}"
    if found := re.match(r"Installing collected packages: (.*)", line):
        return f"unpacking {found[1].count(',') + 1} packages"
    if "Retrying" in line:
        return "the network does not answer, trying again"
    return None


def megabytes() -> int:
    """What is installed beside this Python, in MB."""
    blocks = 0
    for folder, _, names in os.walk(sysconfig.get_paths()["purelib"]):
        for name in names:
            # pip renames and removes files meanwhile
            with contextlib.suppress(FileNotFoundError):
                blocks += os.lstat(os.path.join(folder, name)).st_blocks
    return blocks * 512 // 1_000_000


def _lines(stream: IO[bytes], every: float) -> Iterator[str | None]:
    """Each line as it comes, and None whenever *every* seconds have passed since the last None."""
    rest, due = b"", time.monotonic() + every
    while True:
        ready, _, _ = select.select([stream], [], [], max(0.0, due - time.monotonic()))
        if ready:
            piece = os.read(stream.fileno(), 65536)
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
            if not piece:
                return
        if time.monotonic() >= due:
            yield None
            due = time.monotonic() + every


def _tell(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)
