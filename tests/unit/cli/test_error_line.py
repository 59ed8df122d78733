"""The sentence on stderr, as a person and as the journal get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("journal", "prefix"), [(True, "<3>"), (False, "")])
def test_the_journal_is_told_that_it_is_an_error(tmp_path: Path, journal: bool, prefix: str) -> None:
    with (tmp_path / "stderr").open("w+") as stderr:
        status = os.fstat(stderr.fileno())
        stream = f"{status.st_dev}:{status.st_ino}" if journal else "1:2"
        done = subprocess.run(
            [sys.executable, "-m", "clipwatch", "snyc"],
            stderr=stderr,
            env={**os.environ, "JOURNAL_STREAM": stream},
            check=False,
        )
        assert done.returncode == 2
        stderr.seek(0)
        assert stderr.read().startswith(f"{prefix}clipwatch: Argument COMMAND: invalid choice")
