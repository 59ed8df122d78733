"""How the program's last run ended, where it did not end by itself: what the kernel and the run itself left behind."""

from __future__ import annotations

import contextlib
import faulthandler
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")

_REPORT_BYTES: Final = 2000

Kills = Mapping[str, int]
"""How often the kernel has ended a process for want of memory, by control group."""


class Cause(StrEnum):
    """Why a run ended without a word; each value is a stable word of the log."""

    REBOOT = "reboot"
    CRASH = "crash"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run notes about itself while it is under way. *boot*: as in `clock.Moment`."""

    boot: str
    kills: Kills


@dataclass(frozen=True, slots=True)
class Death:
    """How a run ended, and a sentence about it."""

    cause: Cause
    message: str


def death_of(run: RunRecord, *, boot: str, kills: Kills, crash_report: str) -> Death:
    """How *run* ended, seen from the next one. *crash_report*: what `faulthandler` wrote during *run*."""
    if run.boot != boot:
        return Death(Cause.REBOOT, "The machine was shut down, or lost power, while the program ran.")
    if crash_report:
        return Death(Cause.CRASH, f"The program crashed: {crash_report.splitlines()[0][:200]}.")
    group = grown(run.kills, kills)
    if group:
        return Death(
            Cause.OUT_OF_MEMORY,
            f"The kernel ended a process for want of memory (oom_kill of the control group {group}).",
        )
    return Death(Cause.KILLED, "The program was killed from outside, or ended by an error that its log tells.")


def grown(before: Kills, now: Kills) -> str:
    """The innermost control group in which the kernel has killed since *before*; "" where it has in none."""
    return next((group for group, kills in now.items() if group in before and kills > before[group]), "")


def oom_kills() -> dict[str, int]:
    """The counts of our own control group and of those around it, innermost first; empty where nothing tells them.

    Of `memory.events` (cgroup v2) or `memory.oom_control` (v1). A group's name ends in its inode: one that was
    removed and made again counts from 0.
    """
    found = {}
    for directory in _own_groups():
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                words = (directory / name).read_text(encoding="ascii").split()
                kills = int(words[words.index("oom_kill") + 1])
                found[f"{directory} ({directory.stat().st_ino})"] = kills
    return found


class CrashReport:
    """A file that the interpreter writes to when this process crashes (`faulthandler`); cannot fail."""

    def __init__(self, file: Path) -> None:
        self.last = ""
        """What the last run left there; "" where it left nothing, or nothing can be read."""
        self._stream: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            self.last = file.read_bytes()[:_REPORT_BYTES].decode("utf-8", "replace").strip()
        with contextlib.suppress(OSError):
            self._stream = file.open("wb", buffering=0)
            faulthandler.enable(self._stream, all_threads=False)

    def close(self) -> None:
        """Write there no more."""
        if self._stream is not None:
            faulthandler.disable()
            self._stream.close()


def _own_groups() -> Iterator[Path]:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = os.fsdecode(_OWN_GROUPS.read_bytes()).splitlines()
    for line in lines:
        _, controllers, below = (*line.split(":", 2), "", "")[:3]
        if controllers not in ("", "memory"):
            continue
        top = _GROUPS / controllers
        group = top / below.strip("/")
        yield from (directory for directory in (group, *group.parents) if directory.is_relative_to(top))
