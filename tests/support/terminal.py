"""A command as a person sees it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import termios
from collections.abc import Iterator

from support.commands import COMMAND, Home
from support.folders import wait_until

CTRL_C = b"\x03"


def on_a_terminal(home: Home, *arguments: str) -> str:
    """What a command shows a person, without colours."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=home.path, env=home.full_environment(), stdout=theirs, stderr=theirs, stdin=theirs
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux tells that the other end was closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) in (0, 1), shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))


class Terminal:
    """What a command wrote so far, and its keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self.written = b""

    def expect(self, text: str, seconds: float = 30) -> None:
        """Read until *text* has come."""
        wait_until(lambda: text.encode() in self._read(), seconds)

    def end(self, seconds: float = 20) -> int:
        """Press Ctrl-C; the exit status."""
        os.write(self._descriptor, CTRL_C)
        wait_until(lambda: (self._read(), self.process.poll())[1] is not None, seconds)
        return self.process.returncode

    def _read(self) -> bytes:
        while select.select([self._descriptor], [], [], 0)[0]:
            try:
                self.written += os.read(self._descriptor, 65536)
            except OSError:  # the other side is closed
                break
        return self.written


@contextlib.contextmanager
def watched_on_a_terminal(home: Home, *arguments: str) -> Iterator[Terminal]:
    """A command that does not end by itself, on a terminal that is its own; hung up on at the end."""
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", COMMAND, *arguments],
            cwd=home.path,
            env=home.full_environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        os.close(ours)
        process.wait(20)
