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
        assert stderr.read().startswith(f"{prefix}clipwatch: Unknown command 'snyc'.")


@pytest.mark.parametrize(
    ("command", "closed", "status"),
    [
        ("config show", ">&-", 0),
        ("config show --json", ">&- 2>&-", 0),
        ("snyc", "<&- >&- 2>&-", 2),
        ("snyc", "2>&-", 2),
    ],
)
def test_closed_streams_lead_nowhere_and_change_no_status(
    tmp_path: Path, command: str, closed: str, status: int
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m clipwatch {command} {closed}', sys.executable],
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
