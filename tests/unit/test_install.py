"""What `make` says while packages are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.install import what

CHECKOUT = Path(__file__).parents[2]

SILENT_PIP = """
import sys
print("Collecting onnxruntime==1.32.0 (from -r requirements.lock (line 270))", flush=True)
print("  Downloading onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl (27.8 MB)", flush=True)
sys.stdin.readline()
print("Installing collected packages: numpy, onnxruntime", flush=True)
sys.stdin.readline()
print("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", flush=True)
sys.exit(int(sys.stdin.readline()))
"""


@pytest.fixture
def installing(tmp_path: Path) -> subprocess.Popen[str]:
    """The installer over a pip that goes on when it is told, telling something every 20 ms."""
    (tmp_path / "pip.py").write_text(SILENT_PIP)
    script = f"import sys; sys.path[:0] = {[str(tmp_path), str(CHECKOUT)]}; from tools.install import main; "
    return subprocess.Popen(
        [sys.executable, "-c", script + "raise SystemExit(main(['x'], 0.02))"],
        env={"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _until(installing: subprocess.Popen[str], words: str) -> None:
    assert installing.stdout is not None
    assert any(words in line for line in installing.stdout), f"it ended without {words!r}"


def _go_on(installing: subprocess.Popen[str], word: str = "") -> None:
    assert installing.stdin is not None
    installing.stdin.write(f"{word}\n")
    installing.stdin.flush()


def test_a_pip_that_says_nothing_is_told_of_again_and_again(installing: subprocess.Popen[str]) -> None:
    with installing:
        for _ in range(3):
            _until(installing, "fetching package 1: onnxruntime 1.32.0 (27.8 MB)")
        _go_on(installing)
        for _ in range(3):
            _until(installing, "unpacking 2 packages; ")
        _go_on(installing)
        _go_on(installing, "0")
        _until(installing, "done: ")
    assert installing.returncode == 0


def test_a_pip_that_fails_is_quoted_and_its_status_kept(installing: subprocess.Popen[str]) -> None:
    with installing:
        for word in ("", "", "3"):
            _go_on(installing, word)
        _until(installing, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
        _until(installing, "The packages could not be installed; pip says why above.")
    assert installing.returncode == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Collecting numpy==2.4.6 (from -r requirements.lock (line 1))", "fetching package 7: numpy 2.4.6"),
        ("Collecting torch", "fetching package 7: torch"),
        ("Processing /some/where/numpy-2.4.6-cp311-cp311-linux_x86_64.whl", "fetching package 7: numpy 2.4.6"),
        ("WARNING: Retrying (Retry(total=4, connect=None)) after …", "the network does not answer, trying again"),
        ("Looking in links: /wheels", None),
    ],
)
def test_each_of_its_lines_is_told_in_short(line: str, told: str | None) -> None:
    assert what(line, 7) == told


def test_the_makefile_runs_no_pip_that_is_silent() -> None:
    for name in ("Makefile", "tests/convert.mk"):
        assert not re.search(r"pip install", (CHECKOUT / name).read_text())
