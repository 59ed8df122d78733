"""Commands that are asked often do not pay for a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from clipwatch.cli.parser import run
try:
    run(sys.argv[1:])
except SystemExit as end:
    assert not end.code
heavy = {"starlette", "uvicorn", "prometheus_client", "clipwatch.service.http"} & set(sys.modules)
print(heavy or "light", file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["config", "show"]])
def test_no_server_is_imported_without_one(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "light")


@pytest.mark.slow
def test_status_imports_no_server(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, "status", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "light")
