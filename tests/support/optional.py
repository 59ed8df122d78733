"""What a test needs and a machine may lack: a reason to skip on a laptop, a failure where everything must run."""

from __future__ import annotations

import importlib.util
import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip, or fail under `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; under CI=true nothing may be left out")
    pytest.skip(reason)


def needs(module: str) -> None:
    """Go on only where *module* is installed."""
    if importlib.util.find_spec(module) is None:
        lacking(f"{module} is not installed")
