"""What the engine's files occupy, told while its optimiser removes some of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipwatch.engine.files import allocated_bytes


def test_files_that_go_while_they_are_counted_occupy_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = tmp_path / "segment"
    segment.mkdir()
    for name in ("a", "b", "c"):
        (segment / name).write_bytes(os.urandom(8192))
    whole = allocated_bytes(tmp_path)
    look = os.lstat

    def look_once_another_is_gone(path: str) -> os.stat_result:
        if Path(path).parent == segment:
            for other in set(segment.iterdir()) - {Path(path)}:
                other.unlink()
        return look(path)

    monkeypatch.setattr(os, "lstat", look_once_another_is_gone)
    assert 0 < allocated_bytes(tmp_path) < whole
