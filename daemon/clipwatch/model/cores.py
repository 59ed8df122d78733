"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """The smaller of the CPU affinity and the control group's CPU quota, rounded up; at least 1.

    *root* is where `proc` and `sys` are looked for.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([affinity, *quotas]))


def _quotas(root: Path) -> Iterator[float]:
    """CPUs allowed by each group from our own up to the top (a parent's limit binds its children too)."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        path = PurePosixPath(group.lstrip("/"))
        for level in (path, *path.parents):
            folder = root / "sys/fs/cgroup" / controllers / level
            # Within a container the path of the host may not exist; the top one then holds our limit.
            quota, _, period = (
                _read(folder / "cpu.max").strip().partition(" ")
                if not controllers
                else (_read(folder / "cpu.cfs_quota_us").strip(), "", _read(folder / "cpu.cfs_period_us").strip())
            )
            if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
                yield int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
