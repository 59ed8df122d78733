"""A control group that limits the memory of what is started in it: the kernel kills there, and nowhere else."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from support.folders import wait_until
from support.optional import lacking

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """Of either version of control groups."""

    def __init__(self, path: Path, limit: str, usage: str, events: str) -> None:
        self.path = path
        self._limit, self._usage, self._events = path / limit, path / usage, path / events

    @property
    def command(self) -> list[str]:
        """What to put before a command for it, and all it starts, to be in here."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.path)]

    @property
    def usage_bytes(self) -> int:
        return int(self._usage.read_text(encoding="ascii"))

    @property
    def kills(self) -> int:
        """How often the kernel has killed in here."""
        words = self._events.read_text(encoding="ascii").split()
        return int(words[words.index("oom_kill") + 1])

    def limit(self, size_bytes: int | None) -> None:
        """No more than this from now on; None: no limit. `OSError` where so much cannot be freed."""
        unlimited = "max" if self._limit.name == "memory.max" else "-1"
        self._limit.write_text(unlimited if size_bytes is None else str(size_bytes), encoding="ascii")


@contextlib.contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A new one, removed at the end; fails under CI, else skips, where there can be none."""
    first = (ROOT / "memory").is_dir()
    path = (ROOT / "memory" if first else ROOT) / f"clipwatch-test-{uuid.uuid4().hex[:8]}"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
    try:
        path.mkdir()
        group = (
            MemoryGroup(path, *names) if first else MemoryGroup(path, "memory.max", "memory.current", "memory.events")
        )
        _ = group.kills
    except (OSError, ValueError) as error:
        lacking(f"only root, where control groups may be made, can limit memory so: {error}")
    try:
        yield group
    finally:
        wait_until(lambda: _removed(path))


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:  # the last of its processes is still ending
        return False
    return True
