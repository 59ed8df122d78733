"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
PACKAGES: Final = ("clipwatch", "numpy", "onnxruntime", "openvino", "pillow", "qdrant-client", "qdrant-edge-py")


def describe(cores: int) -> dict[str, str]:
    """What does not change between two runs; *cores*: as many as this process may use."""
    facts = _cpu_facts()
    have = set(facts.get("flags", facts.get("Features", "")).split())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "CPU": facts.get("model name", platform.machine()),
        "cores": str(cores),
        "flags": " ".join(flag for flag in FLAGS if flag in have) or "none of interest",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
    }


def now() -> dict[str, str]:
    """What does: the time, and what else the machine was doing."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _cpu_facts() -> dict[str, str]:
    """Of the first CPU."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            facts.setdefault(key.strip(), value.strip())
    return facts


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
