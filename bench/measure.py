"""What a program took: wall and CPU time and peak memory, as the operating system counts them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SAMPLE_SECONDS: Final = 0.05
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process and everything it started.

    *cpu_seconds*: user and system, from `wait4`. *peak_rss_bytes*: the largest sum of resident sets of all its
    processes, seen 20 times a second (pages that processes share count once for each), and no less than the kernel's
    own mark of the first one. Not `ru_maxrss`: that begins with the memory of whoever started the process.
    """

    status: int
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    timed_out: bool


def tree(pid: int) -> list[int]:
    """*pid* and its living descendants."""
    found = [pid]
    for known in found:
        try:
            threads = list(os.scandir(f"/proc/{known}/task"))
        except OSError:
            continue
        for thread in threads:
            try:
                found += map(int, Path(thread.path, "children").read_text(encoding="ascii").split())
            except OSError:
                continue
    return found


def rss_bytes(pid: int) -> int:
    """A process's resident set; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def anonymous_bytes(pid: int) -> int:
    """The part of a process's resident set that belongs to no file."""
    return _status_bytes(pid, "RssAnon:")


def _status_bytes(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of all threads of living processes so far, from the scheduler's own nanoseconds."""
    total = 0
    for pid in pids:
        try:
            threads = list(os.scandir(f"/proc/{pid}/task"))
        except OSError:
            continue
        for thread in threads:
            try:
                total += int(Path(thread.path, "schedstat").read_text(encoding="ascii").split()[0])
            except (OSError, IndexError):
                continue
    return total / 1e9


class Sampler:
    """Follows the memory of a process tree on a thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self.peak_bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        members: list[int] = []
        turn = 0
        while not self._stop.wait(SAMPLE_SECONDS):
            if turn % 4 == 0:
                members = tree(self._pid)
            turn += 1
            together = sum(rss_bytes(pid) for pid in members)
            # Just after the fork it is still a copy of this process.
            if turn > 1:
                self.peak_bytes = max(self.peak_bytes, together, _status_bytes(self._pid, "VmHWM:"))

    def stop(self) -> int:
        """The peak in bytes."""
        self._stop.set()
        self._thread.join()
        return self.peak_bytes


def run_measured(
    command: Sequence[str],
    *,
    cwd: Path,
    output: Path,
    errors: Path,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Cost:
    """Run *command* to its end, stdout to *output*, stderr to *errors*; its group is killed after *timeout_seconds*."""
    started = time.monotonic()
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=stdout, stderr=stderr, start_new_session=True
        )
    timed_out = threading.Event()

    def kill() -> None:
        timed_out.set()
        kill_group(process.pid)

    limit = threading.Timer(timeout_seconds, kill)
    limit.start()
    sampler = Sampler(process.pid)
    try:
        _, wait_status, usage = os.wait4(process.pid, 0)
    except BaseException:
        kill_group(process.pid)
        raise
    finally:
        limit.cancel()
        peak = sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(wait_status)
    return Cost(
        process.returncode,
        time.monotonic() - started,
        usage.ru_utime + usage.ru_stime,
        peak,
        timed_out.is_set(),
    )


def kill_group(leader: int) -> None:
    """Kill a process that leads a group of its own, and whatever of that group lives."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float, *, every: float = 0.02) -> bool:
    """Whether *condition* came true within *seconds*."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(every)
    return True


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least *share* of *values* do not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one; the lower of two."""
    return percentile(values, 0.5)
