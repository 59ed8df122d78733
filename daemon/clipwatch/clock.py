"""Time as a seam: nothing in the package calls `time.sleep`."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds since one boot: what other processes of that boot can compare, and nobody can set."""

    boot: str
    seconds: float

    def after(self, earlier: Moment) -> float:
        """Seconds that passed for certain since *earlier*: none across boots."""
        return max(0.0, self.seconds - earlier.seconds) if self.boot == earlier.boot else 0.0


class Clock(Protocol):
    """Monotonic seconds for durations, the wall clock for people only, and an interruptible wait."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def now(self) -> datetime:
        """The wall clock, UTC, aware."""
        ...

    def moment(self) -> Moment:
        """For durations that outlive the process; time asleep counts."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set or *seconds* passed; True if it was set."""
        ...


class SystemClock:
    """The real one."""

    def __init__(self) -> None:
        self._boot = ""
        with contextlib.suppress(OSError):
            self._boot = _BOOT_ID.read_text().strip()

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def moment(self) -> Moment:
        return Moment(self._boot, time.clock_gettime(time.CLOCK_BOOTTIME))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T12:00:00.123456Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
