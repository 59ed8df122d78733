"""The parts of the training that need no PyTorch, and whether the card says what was measured."""

from __future__ import annotations

import importlib
import json
import random
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.onnx_models import ROOT

TRAIN = ROOT / "models" / "train"
NUMBER = r"\d+(?:\.\d+)?"


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TRAIN))
    # It draws, which nothing here asks for; the package is one of the training alone.
    monkeypatch.setitem(sys.modules, "resvg_py", ModuleType("resvg_py"))
    for name in ("drawings", "phrases"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("drawings")


@pytest.fixture
def words(drawings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of words with fifty concepts, of which some are parts of drawings."""
    entries = [
        {"hexcode": f"1F{number:03X}-FE0F", "label": f"thing: {number}", "tags": ["thing"], "group": number % 5}
        for number in range(50, 0, -1)
    ]
    documents = {
        "meta/groups.json": {
            "groups": {str(group): "travel-places" for group in range(5)},
            "subgroups": {"0": "sky-weather"},
        },
        "en/shortcodes/emojibase.json": {"1F001-FE0F": ["thing_one", "first"], "1F003-FE0F": "third"},
        "en/data.json": [{**entry, "subgroup": 0} for entry in entries],
        **{f"{language}/data.json": [] for language in drawings.OTHER_LANGUAGES},
        "de/data.json": [{"hexcode": "1F001-FE0F", "label": "Ding"}],
    }
    for name, document in documents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(document))
    monkeypatch.setattr(drawings, "package", lambda _spec: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("words")
def test_the_same_tenth_of_the_concepts_is_held_out_each_time(drawings: ModuleType) -> None:
    known = drawings.concepts()
    assert len(known) == 40, "skin tones and hair are no concepts"
    assert [concept.key for concept in known] == sorted(concept.key for concept in known)
    held_out = [concept.key for concept in known if concept.held_out]
    assert len(held_out) == 4
    assert held_out == [concept.key for concept in drawings.concepts() if concept.held_out]


@pytest.mark.usefixtures("words")
def test_a_concept_has_its_words_in_english_and_in_other_languages(drawings: ModuleType) -> None:
    first = drawings.concepts()[0]
    assert (first.key, first.names, first.foreign) == ("1f001", ("thing one", "first"), ("Ding",))
    assert first.kinds == ("travel places", "sky weather")


@pytest.mark.usefixtures("words")
def test_a_phrase_is_made_of_the_concepts_own_words_and_follows_from_the_seed(drawings: ModuleType) -> None:
    phrases = importlib.import_module("phrases")
    concept = drawings.concepts()[0]

    def some(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [phrases.any_phrase(concept, "red", rng) for _ in range(200)]

    assert some(1) == some(1) != some(2)
    assert all(re.search("thing|first|Ding", phrase) for phrase in some(1))
    assert phrases.spoken("flag: Cuba") == "flag of Cuba"


def test_no_text_is_unknown_to_the_tokenizer_and_case_and_accents_fall_away(drawings: ModuleType) -> None:
    phrases = importlib.import_module("phrases")
    tokenizer = phrases.train_tokenizer(["red apple", "red car", "apple pie"] * 3)
    assert tokenizer.encode("Réd APPLE").ids == tokenizer.encode("red apple").ids
    assert tokenizer.encode("猫").ids


def measured() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((TRAIN / "results.json").read_text(encoding="utf-8"))
    return document


def told(row: str) -> list[float]:
    """The triples of a line of the card's tables, one number after the other."""
    triples = re.findall(rf"({NUMBER}) · ({NUMBER}) · ({NUMBER})", row)
    return [float(number) for triple in triples for number in triple]


def test_the_cards_tables_are_what_was_measured() -> None:
    card = (ROOT / "models" / "demonstration.md").read_text(encoding="utf-8")
    rows = [told(line) for line in card.splitlines() if line.startswith("|") and told(line)]
    text, image = measured()["text to image, by name"].values(), measured()["image to image"].values()
    expected = [[scores] for scores in text] + [list(both.values()) for both in image]
    assert len(rows) == len(expected)
    for row, sets in zip(rows, expected, strict=True):
        numbers = [scores[f"r@{place}"] for scores in sets for place in (1, 5, 10)]
        assert row[: len(numbers)] == pytest.approx(numbers, abs=0.051)
        # Chance is given with one digit or two.
        assert row[len(numbers) :] == pytest.approx([sets[0][f"chance@{place}"] for place in (1, 5, 10)], abs=0.051)
