import re
from pathlib import Path

import pytest

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.cards import CARDS, DEFAULT_CARD, ModelCard, card_named


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_pins_commit_and_content_of_every_file(card: ModelCard) -> None:
    assert re.fullmatch("[0-9a-f]{40}", card.revision)
    for remote, file in card.files.items():
        assert not remote.startswith("/")
        assert file.sha256
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size_bytes > 0
        assert "/" not in file.name


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_brings_both_towers_a_tokenizer_and_the_preprocessing(card: ModelCard) -> None:
    names = {file.name for file in card.files.values()}
    assert names == {card.vision, card.text, "tokenizer.json", "preprocessor_config.json"}
    assert card.licence
    assert 224 <= card.side <= 256


def test_no_card_promises_a_licence_that_nobody_gave() -> None:
    licences = {card.name: card.licence for card in CARDS}
    assert licences["clip-vit-base-patch32"].startswith("none stated")
    assert "out of scope" in licences["clip-vit-base-patch32"]
    assert "research only" in licences["mobileclip-s0"]
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    assert "openai/CLIP/issues/203" in page
    assert "for research only" in page


def test_the_default_card_ends_where_the_default_configuration_looks() -> None:
    assert ModelConfig().path == f"models/{DEFAULT_CARD.vision}"
    assert DEFAULT_CARD.folder == ""


def test_names_and_folders_of_cards_are_distinct() -> None:
    assert len({card.name for card in CARDS}) == len({card.folder for card in CARDS}) == len(CARDS)


def test_an_unknown_name_is_answered_with_the_nearest_known_one() -> None:
    assert card_named("siglip2-base").width == 768
    with pytest.raises(ModelError, match="'siglip2'") as caught:
        card_named("siglip2")
    assert "siglip2-base" in caught.value.hint
    with pytest.raises(ModelError) as caught:
        card_named("zzz")
    assert "clip-vit-base-patch32" in caught.value.hint


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("clip", "clip-vit-base-patch32"),
        ("CLIP", "clip-vit-base-patch32"),
        ("clip-base", "clip-vit-base-patch32"),
        ("siglip", "siglip2-base"),
        ("mobileclip", "mobileclip-s0"),
        ("moblieclip", "mobileclip-s0"),
    ],
)
def test_part_of_a_name_suggests_the_default_before_one_for_research_only(typed: str, meant: str) -> None:
    with pytest.raises(ModelError) as caught:
        card_named(typed)
    assert caught.value.hint == f"Did you mean {meant!r}?"
