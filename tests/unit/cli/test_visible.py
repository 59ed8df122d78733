"""Names that would do something to a terminal, as text and as JSON."""

from __future__ import annotations

import json
import unicodedata

import pytest

from clipwatch.visible import visible, visible_json

HARMFUL = (
    *("\x1b[2J", "a\nb", "a\rb", "\x00", "\x7f", "\x9b31m", "\u2028", "\u202egpj", "\u200f"),
    *("\ufeff", "\u200b", "\udcff", "\U000e0041"),
)


@pytest.mark.parametrize("text", HARMFUL)
def test_nothing_harmful_is_left(text: str) -> None:
    for shown in (visible(text), visible_json({"path": text})):
        assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)


@pytest.mark.parametrize("text", HARMFUL)
def test_json_means_the_same(text: str) -> None:
    assert json.loads(visible_json([text])) == [text]


def test_everything_else_is_shown_as_it_is() -> None:
    text = 'Bär "und" 猫 👩\u200d🚀 <b> \\x1b %s {}'
    assert visible(text) == text
    assert visible_json(text) == json.dumps(text, ensure_ascii=False)


def test_json_is_ascii_where_the_terminal_knows_no_more() -> None:
    assert visible_json("Bär", "ascii") == '"B\\u00e4r"'
    assert visible_json("Bär", "latin-1") == '"Bär"'


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_in_json_is_never_written_as_one(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        visible_json({"cosine": number})
