"""The demonstration model as it lies in the package: both towers, their pairing, what they know and whom they thank."""

from __future__ import annotations

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.bundle import Bundle, file_sha256, read_bundle
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.files import demonstration_folder
from clipwatch.model.known_answer import check_known_answers
from clipwatch.model.load import load_encoder
from clipwatch.model.text import TextEncoder, load_text_encoder
from support import onnx_models as models

CONFIG = ModelConfig(path=str(demonstration_folder()), engine="onnxruntime", threads=1)
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    return load_encoder(CONFIG, batch_size=8, logger=models.Events(), explicit_path=True)


@pytest.fixture(scope="module")
def text(encoder: VisionEncoder) -> TextEncoder:
    return load_text_encoder(encoder, CONFIG)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    found = read_bundle(demonstration_folder() / "bundle.json")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def drawings(encoder: VisionEncoder, bundle: Bundle) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Vectors of the known answers' pictures, in their order."""
    pictures = []
    for answer in bundle.known_answers:
        with Image.open(io.BytesIO(answer.image)) as image:
            pictures.append(np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)))
    return encoder.encode(pictures)


def test_both_towers_are_512_wide_and_it_says_that_it_is_a_demonstration(
    encoder: VisionEncoder, text: TextEncoder
) -> None:
    assert (encoder.width, text.width) == (512, 512)
    assert encoder.demonstration
    assert "demonstration" in encoder.name


def test_the_bundle_names_the_very_files_beside_it(bundle: Bundle) -> None:
    folder = demonstration_folder()
    assert bundle.text is not None
    assert file_sha256(folder / bundle.vision_file) == bundle.vision_sha256
    assert file_sha256(folder / bundle.text.file) == bundle.text.sha256


def test_it_is_smaller_than_twenty_megabytes() -> None:
    assert sum(file.stat().st_size for file in demonstration_folder().iterdir()) < 20 * MEGABYTE


def test_every_known_answer_wins_by_a_margin(
    text: TextEncoder, bundle: Bundle, drawings: np.ndarray[tuple[int, int], np.dtype[np.float32]]
) -> None:
    scores = drawings @ text.encode([answer.text for answer in bundle.known_answers]).T
    own = scores.diagonal()
    rivals = np.where(np.eye(len(scores), dtype=bool), -1, scores)
    assert len(scores) >= 12
    assert (own - rivals.max(axis=1)).min() > 0.1
    assert (own - rivals.max(axis=0)).min() > 0.1


def test_answers_of_other_pictures_are_refused(encoder: VisionEncoder, text: TextEncoder, bundle: Bundle) -> None:
    answers = bundle.known_answers
    swapped = [type(answers[0])(other.text, answer.image) for answer, other in itertools.pairwise(answers)]
    with pytest.raises(ModelError, match="fails its own test"):
        check_known_answers(encoder, text, swapped)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("a red apple", "red apple"),
        ("A Photo Of A RED APPLE", "red apple"),
        ("fruit", "red apple"),
        ("a drawing of a dog face", "dog face"),
        ("car", "automobile"),
        ("a picture of a football", "soccer ball"),
        ("Pinguin", "penguin"),
        ("a house", "house"),
    ],
)
def test_words_and_phrases_find_their_drawing(
    text: TextEncoder,
    bundle: Bundle,
    drawings: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    asked: str,
    found: str,
) -> None:
    nearest = int((drawings @ text.encode([asked])[0]).argmax())
    assert bundle.known_answers[nearest].text == found


def test_case_and_accents_make_no_difference(text: TextEncoder) -> None:
    plain, loud = text.encode(["cafe creme", "CAFÉ Crème"])
    assert plain @ loud > 0.999


@pytest.mark.parametrize("words", ["猫", "🍎", "%%%", "x" * 3000])
def test_no_text_is_beyond_it(text: TextEncoder, words: str) -> None:
    assert np.isfinite(text.encode([words])).all()


def test_every_work_it_was_made_from_is_named_with_its_licence() -> None:
    attribution = (demonstration_folder() / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for package, licence in (
        ("`@iconify-json/noto`", "Apache-2.0"),
        ("`@iconify-json/twemoji`", "CC-BY-4.0"),
        ("`@iconify-json/fluent-emoji`", "MIT"),
        ("`@iconify-json/fluent-emoji-flat`", "MIT"),
        ("`emojibase-data`", "MIT"),
        ("Unicode CLDR", "Unicode-3.0"),
    ):
        row = next(line for line in attribution.splitlines() if package in line)
        assert licence in row


def test_its_card_says_drawings_not_photographs() -> None:
    card = json.loads((demonstration_folder() / "bundle.json").read_text(encoding="utf-8"))["card"]
    assert "drawings" in card["summary"]
    assert "not photographs" in card["summary"]
