"""The results file: parts that were measured on one machine with one code, put together of one run or several."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Results = Mapping[str, Any]
SAME: Final = ("machine", "code", "settings")
"""What two runs share whose parts may stand in one report."""


def continued(old: Results | None, new: Results) -> dict[str, Any]:
    """*new* with those parts of *old* that go with it."""
    parts = old["parts"] if old is not None and all(old[key] == new[key] for key in SAME) else {}
    return {**new, "parts": {**parts, **new["parts"]}}


def why_not_published(results: Results, parts: Sequence[str]) -> str:
    """What is wrong with *results* as the figures of the documentation; "" where nothing is."""
    if results["settings"]["quick"]:
        return "they come from --quick"
    if any(results["settings"][key] is not None for key in ("count", "kinds")):
        return "they come from a choice of pictures"
    missing = [part for part in parts if part not in results["parts"]]
    return f"these parts were not measured: {', '.join(missing)}" if missing else ""


def read(file: Path) -> dict[str, Any] | None:
    """The results in *file*; None where there are none that this bench can read."""
    try:
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return results if all(key in results for key in (*SAME, "parts")) else None


def code_of(root: Path) -> str:
    """Of all that is measured and that measures, whether committed or not."""
    digest = hashlib.sha256()
    for folder in ("daemon/clipwatch", "bench"):
        for file in sorted((root / folder).rglob("*.py")):
            # How figures are written down changes none of them.
            if file.name not in ("report.py", "aims.py", "plot.py"):
                digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def commit_of(root: Path) -> str:
    """As git tells it; "" where there is no git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return told.stdout.strip()
