from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipwatch.config import ModelConfig
from clipwatch.model.cores import decode_workers, usable_cores
from clipwatch.model.load import threads_for


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def group(root: Path, group: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, content in files.items():
        (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / name).write_text(content)
    return root


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/app\n", {"app/cpu.max": "200000 100000\n"}, 2),
        ("0::/app\n", {"app/cpu.max": "150000 100000\n"}, 2),
        ("0::/app\n", {"app/cpu.max": "10000 100000\n"}, 1),
        ("0::/app\n", {"app/cpu.max": "max 100000\n"}, 16),
        ("0::/app\n", {"app/cpu.max": "garbage"}, 16),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/not/here\n", {"cpu.max": "400000 100000"}, 4),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "200000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            2,
        ),
        (
            "3:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            16,
        ),
        ("", {}, 16),
    ],
)
def test_the_tightest_quota_of_the_control_groups_counts(
    tmp_path: Path, line: str, files: dict[str, str], expected: int
) -> None:
    assert usable_cores(group(tmp_path, line, files)) == expected


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/app\n", {"app/memory.max": str(4864 << 20)}, 4),
        ("0::/app\n", {"app/memory.max": str(512 << 20)}, 1),
        ("0::/app\n", {"app/memory.max": "max\n"}, 16),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(2816 << 20)}, 2),
        ("0::/app\n", {"app/memory.max": str(9 << 30), "app/cpu.max": "300000 100000"}, 3),
        ("4:memory:/x\n3:cpu,cpuacct:/x\n", {"memory/x/memory.limit_in_bytes": str(2816 << 20)}, 2),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, 16),
    ],
)
def test_decoders_fit_into_the_memory_of_the_control_group(
    tmp_path: Path, line: str, files: dict[str, str], expected: int
) -> None:
    assert decode_workers(1 << 30, group(tmp_path, line, files)) == expected


def test_affinity_counts_where_it_is_tighter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert usable_cores(group(tmp_path, "0::/app\n", {"app/cpu.max": "800000 100000"})) == 1


@pytest.mark.usefixtures("many_cores")
def test_a_system_without_control_groups_uses_the_affinity(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 16


def test_the_setting_wins() -> None:
    assert threads_for(ModelConfig(threads=7)) == 7
    assert threads_for(ModelConfig()) == usable_cores()
