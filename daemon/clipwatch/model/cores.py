"""How many cores, and how much memory, this process may really use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_DAEMON_BYTES: Final = 768 << 20
"""What the model and the store's engine want of a limit before decoders share the rest."""


def usable_cores(root: Path = Path("/")) -> int:
    """The smaller of the CPU affinity and the control group's CPU quota, rounded up; at least 1.

    *root* is where `proc` and `sys` are looked for.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([affinity, *quotas]))


def decode_workers(worker_bytes: int, root: Path = Path("/")) -> int:
    """As many as cores, but no more than may take *worker_bytes* each within the control group's memory; at least 1."""
    limits = [limit - _DAEMON_BYTES for limit in _memory_limits(root)]
    return max(1, min([usable_cores(root), *(limit // worker_bytes for limit in limits)]))


def _quotas(root: Path) -> Iterator[float]:
    """CPUs allowed by each group from our own up to the top (a parent's limit binds its children too)."""
    for folder, unified in _groups(root, "cpu"):
        quota, _, period = (
            _read(folder / "cpu.max").strip().partition(" ")
            if unified
            else (_read(folder / "cpu.cfs_quota_us").strip(), "", _read(folder / "cpu.cfs_period_us").strip())
        )
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    """Bytes allowed by each group from our own up to the top."""
    for folder, unified in _groups(root, "memory"):
        limit = _read(folder / ("memory.max" if unified else "memory.limit_in_bytes")).strip()
        if limit.isdecimal():
            yield int(limit)


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """The control group folders that bind us, ours first, and whether each is of the unified hierarchy."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        path = PurePosixPath(group.lstrip("/"))
        # Within a container the path of the host may not exist; the top one then holds our limit.
        for level in (path, *path.parents):
            yield root / "sys/fs/cgroup" / controllers / level, not controllers


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
