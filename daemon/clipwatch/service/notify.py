"""What systemd wants to hear, by its own protocol (sd_notify(3)): datagrams to `$NOTIFY_SOCKET`."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final, TextIO

EXTENSION_SECONDS: Final = 30.0
LONGEST_START_SECONDS: Final = 900.0
"""A model that is compiled on a slow machine takes minutes; after this long, loading it is a hang."""


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether *stream* is the journal itself: `JOURNAL_STREAM` names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Notifier:
    """Tells the service manager how we are; without one, says nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(watchdog) / 1e6 if watchdog.isdecimal() and mine else None
        """How long the manager waits for a sign of life; None where it does not."""

    def send(self, *assignments: str) -> None:
        """Send `KEY=value` lines; a manager that does not listen is no trouble of ours."""
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.sendto("\n".join(assignments).encode(), self._address)

    def ready(self) -> None:
        """Start-up, or a reload, is done."""
        self.send("READY=1")

    def reloading(self) -> None:
        """A reload begins."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self.send("STOPPING=1")

    @contextlib.contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """While this lasts, ask the manager for more time to start, again and again."""
        done = threading.Event()

        def extend() -> None:
            deadline = time.monotonic() + LONGEST_START_SECONDS
            while time.monotonic() < deadline:
                self.send(f"EXTEND_TIMEOUT_USEC={int(EXTENSION_SECONDS * 1e6)}", f"STATUS=starting: {what}")
                if done.wait(EXTENSION_SECONDS / 3):
                    return

        thread = threading.Thread(target=extend, name="start-extension", daemon=True)
        if self._address:
            thread.start()
        try:
            yield
        finally:
            done.set()
            if thread.is_alive():
                thread.join()

    def alive(self) -> None:
        """A sign of life."""
        self.send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line about the state."""
        self.send(f"STATUS={text}")
