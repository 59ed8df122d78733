"""The page on security names tests, settings and limits that exist."""

from __future__ import annotations

import re
from pathlib import Path

from clipwatch.config import LimitsConfig
from clipwatch.image.jpeg_scans import MAX_SCANS, MAX_SEGMENTS
from clipwatch.image.png import MAX_CHUNKS
from clipwatch.service.logs import FIRST_REPEATS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    assert PAGE.count("`tests/") == len(named)
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_limits_are_those_in_force() -> None:
    limits = LimitsConfig()
    for key, unit in (
        ("file_megabytes", "{:g} MB"),
        ("image_megapixels", "{:g} million"),
        ("decode_seconds", "{:g} s"),
        ("decode_memory_megabytes", "{:g} MB"),
    ):
        row = next(line for line in PAGE.splitlines() if line.endswith(f"`limits.{key}` |"))
        assert f"| {unit.format(getattr(limits, key))} |" in row
    assert MAX_CHUNKS == MAX_SEGMENTS
    assert f"{MAX_SEGMENTS:,} and {MAX_SCANS}" in PAGE
    assert f"| {FIRST_REPEATS} a minute, then a count |" in PAGE
