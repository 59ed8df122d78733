"""What every test of the installed command starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commands import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty directory to run commands in."""
    return Home(tmp_path)
