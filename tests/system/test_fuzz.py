"""Coverage-guided fuzzing of what reads bytes from elsewhere: minutes in `make test`, hours in `make soak`.

By hand, with a corpus that is kept: `cd tests && ../.venv/bin/python -m fuzz.fuzz_decode CORPUS -max_total_time=3600`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TARGETS = sorted(file.stem for file in (TESTS / "fuzz").glob("fuzz_*.py"))
FEWEST_RUNS = 200
"""A machine that is ten times slower than usual still makes these within the time."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None and not os.environ.get("CI"),
        reason="atheris has wheels for Linux on x86-64 with Python 3.11 only",
    ),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "seconds", [40, pytest.param(3600, marks=[pytest.mark.soak, pytest.mark.timeout(0)])], ids=["seconds", "hour"]
)
def test_nothing_but_refusals_comes_of_any_bytes(target: str, seconds: int, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", f"fuzz.{target}", f"-max_total_time={seconds}", f"-artifact_prefix={tmp_path}/"],
        cwd=TESTS,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-8000:]
    done = re.search(r"Done (\d+) runs", ran.stderr)
    assert done is not None, ran.stderr[-2000:]
    assert int(done[1]) >= FEWEST_RUNS, ran.stderr[-2000:]


def test_every_target_is_run() -> None:
    assert TARGETS == ["fuzz_bundle", "fuzz_decode", "fuzz_preprocessor"]
