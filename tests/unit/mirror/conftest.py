"""What most tests of the mirror start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mirrors import Bench, bench


@pytest.fixture(name="b")
def _b(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made
