"""What systemd wants to hear, by its own protocol (sd_notify(3)): datagrams to `$NOTIFY_SOCKET`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


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

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is done."""
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self.send("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Starting or stopping goes on for so long."""
        self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self, status: str) -> None:
        """A sign of life, and one line about the state."""
        self.send("WATCHDOG=1", f"STATUS={status}")
