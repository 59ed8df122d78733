"""What `clipwatch search` makes of its words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clipwatch.cli.parser import build_parser
from clipwatch.cli.search import _request, why_nothing
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


@pytest.mark.parametrize("word", ["./nope.jpg", "images/nope.JPG", "/nowhere/cat", "../cat"])
def test_a_path_that_leads_to_no_file_is_not_searched_for_as_words(word: str) -> None:
    for words in ((word,), ("sea", f"--plus={word}"), ("sea", f"--minus=0.5:{word}")):
        with pytest.raises(ConfigError, match="There is no file"):
            request(*words)


@pytest.mark.parametrize("word", ["AC/DC", "nope.jpg", "1/2 moon.jpg", "sun/sea"])
def test_words_that_only_look_like_a_path_are_words(word: str) -> None:
    assert request(word)["plus"] == [{"text": word}]


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


def test_words_that_name_pictures_are_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("images/cat.jpg", "scan", "notes"):
        Path(name).write_bytes(b"\xff\xd8\xff" + name.encode() if name != "notes" else b"beach")
    cat, scan = ({"image": Path(name).read_bytes()} for name in ("images/cat.jpg", "scan"))
    assert request("./images/cat.jpg")["plus"] == [cat]
    assert request("red", "images/cat.jpg", "sea", str(tmp_path / "scan"))["plus"] == [{"text": "red sea"}, cat, scan]
    assert request("scan", "--minus", "scan")["minus"] == [scan], "a picture by its content, whatever its name"
    for words in ("notes", "images", "cat.jpg"):
        assert request(words, f"--minus={words}") == {
            **request("x"),
            "plus": [{"text": words}],
            "minus": [{"text": words}],
        }


def test_a_path_to_something_else_is_told_to_be_no_picture_rather_than_taken_for_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    assert request(str(tmp_path / "text"))["plus"] == [{"image": b"x"}], "the decoder will say what it is"


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


def status(**fields: Any) -> dict[str, Any]:
    return {"state": "watching", "pending": 0, **fields}


@pytest.mark.parametrize(
    ("daemon", "filters", "words"),
    [
        (status(pending=12), {}, "indexing is under way, 12 files to go"),
        (status(pending=12), {"format": "png"}, "indexing is under way, 12 files to go"),
        (status(state="scanning"), {}, "indexing is under way. "),
        (status(state="starting"), {}, "indexing is under way. "),
        (status(), {}, "the collection is empty, and no file waits"),
        (status(), {"format": "gif", "folder": "x"}, "no point has format=gif, folder=x"),
        (None, {}, "the collection is empty. `clipwatch sync` fills it"),
        (None, {"a": "b"}, "no point has a=b"),
    ],
)
def test_whoever_finds_nothing_is_told_why(daemon: dict[str, Any] | None, filters: dict[str, str], words: str) -> None:
    assert words in why_nothing(daemon, filters)
