"""What `clipwatch search` makes of its words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clipwatch.cli.parser import build_parser
from clipwatch.cli.search import _request
from clipwatch.errors import ConfigError


def request(*words: str) -> dict[str, Any]:
    return _request(build_parser().parse_args(["search", *words]), 1000)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("beach", {"text": "beach"}),
        ("0.5:beach", {"text": "beach", "weight": 0.5}),
        (".25:a red car", {"text": "a red car", "weight": 0.25}),
        ("2:3:10 to Yuma", {"text": "3:10 to Yuma", "weight": 2.0}),
        ("beach: 5", {"text": "beach: 5"}),
        ("-1:beach", {"text": "-1:beach"}),
        ("nan:beach", {"text": "nan:beach"}),
        ("5:", {"text": "5:"}),
    ],
)
def test_a_weight_stands_before_a_colon(given: str, part: dict[str, Any]) -> None:
    assert request("sea", f"--plus={given}")["plus"] == [{"text": "sea"}, part]
    assert request("sea", f"--minus={given}")["minus"] == [part]


def test_a_file_is_a_picture_with_or_without_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "0.5:dog.jpg"):
        Path(name).write_bytes(name.encode())
    asked = request("--image", "cat.jpg", "--plus", "0.5:cat.jpg", "--plus", "0.5:dog.jpg", "--minus", "dog.jpg")
    assert asked["plus"] == [
        {"image": b"cat.jpg"},
        {"image": b"cat.jpg", "weight": 0.5},
        {"image": b"0.5:dog.jpg"},
    ]
    assert asked["minus"] == [{"text": "dog.jpg"}]


def test_what_leads_away_alone_is_no_question() -> None:
    with pytest.raises(ConfigError, match="nothing to search for"):
        request("--minus", "beach")


def test_a_picture_that_never_ends_or_never_comes_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (str(tmp_path / "pipe"), "/dev/zero", str(tmp_path)):
        with pytest.raises(ConfigError, match=r"cannot be read: (Not a regular file|Is a directory)"):
            request("--image", name)


@pytest.mark.parametrize(
    "words", [["\udcff"], ["sea", "--plus=\udcff"], ["sea", "--minus=0.5:\udcff"], ["sea", "--filter=folder=\udcff"]]
)
def test_what_is_no_text_is_refused_before_anything_is_asked_for_it(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"udcff.* is no text in UTF-8") as refused:
        request(*words)
    assert refused.value.sentence().isascii()
