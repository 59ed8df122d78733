from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.bundle import Bundle, KnownAnswer, TextFacts, file_sha256, write_bundle
from clipwatch.model.convert import known_to
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.load import load_encoder
from clipwatch.model.photographs import photographs
from support import onnx_models as models

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def mean_colour() -> onnx.ModelProto:
    return models.model(
        [helper.make_node("ReduceMean", ["pixel_values"], ["image_embeds"], axes=[2, 3], keepdims=0)],
        {"pixel_values": (models.FLOAT, ["n", 3, 224, 224])},
        {"image_embeds": (models.FLOAT, ["n", 3])},
    )


def colour_words(order: tuple[str, ...]) -> onnx.ModelProto:
    """A text tower whose word for the i-th of *order* is the i-th axis."""
    table = np.zeros((len(models.VOCABULARY), 3), np.float32)
    for axis, name in enumerate(order):
        table[models.VOCABULARY.index(name), axis] = 1
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sum"], keepdims=0),
        # Never zero: a word without a colour must still have a vector.
        helper.make_node("Add", ["sum", "little"], ["text_embeds"]),
    ]
    return models.model(
        nodes,
        {"input_ids": (models.INT64, ["n", "m"])},
        {"text_embeds": (models.FLOAT, ["n", 3])},
        {"table": table, "axis": np.array([1], np.int64), "little": np.array(0.01, np.float32)},
    )


def png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


ANSWERS = tuple(KnownAnswer(name, png(colour)) for name, colour in COLOURS.items())


def make(folder: Path, order: tuple[str, ...], answers: tuple[KnownAnswer, ...] = ANSWERS) -> Path:
    vision = models.save(mean_colour(), folder / "clip_vision.onnx")
    text = models.save(colour_words(order), folder / "clip_text.onnx")
    models.tokenizer(folder / "tokenizer.json")
    facts = TextFacts("clip_text.onnx", file_sha256(text), context=4, pad_id=1)
    write_bundle(Bundle("colours", False, "clip_vision.onnx", file_sha256(vision), facts, {}, answers), folder)
    return folder


def load(folder: Path, **settings: str) -> VisionEncoder:
    config = ModelConfig(path=str(folder), engine="onnxruntime", threads=1, **settings)
    return load_encoder(config, batch_size=2, logger=models.Events(), explicit_path=True)


def test_a_bundle_that_knows_its_answers_loads(tmp_path: Path) -> None:
    assert load(make(tmp_path, ("red", "green", "blue"))).name == "colours"


def test_a_bundle_that_ranks_them_wrong_is_refused_saying_which(tmp_path: Path) -> None:
    make(tmp_path, ("green", "red", "blue"))
    with pytest.raises(ModelError, match="fails its own test: its picture of 'red' is as near to 'green'") as caught:
        load(tmp_path)
    assert caught.value.exit_status == 2
    assert "fetch or convert it again" in caught.value.hint


def test_a_text_tower_that_says_the_same_to_everything_is_refused(tmp_path: Path) -> None:
    make(tmp_path, ())
    with pytest.raises(ModelError, match="fails its own test"):
        load(tmp_path)


def test_words_that_win_by_a_hair_are_no_known_answer(tmp_path: Path) -> None:
    """Towers that say nearly the same to everything rank right by luck."""
    pale = {"red": (255, 253, 253), "green": (253, 255, 253), "blue": (253, 253, 255)}
    answers = tuple(KnownAnswer(name, png(colour)) for name, colour in pale.items())
    with pytest.raises(ModelError, match="fails its own test"):
        load(make(tmp_path, ("red", "green", "blue"), answers), normalize="symmetric")


def test_whoever_knows_better_empties_the_known_answers(tmp_path: Path) -> None:
    make(tmp_path, ("green", "red", "blue"))
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    assert "empty known_answers in its bundle.json" in caught.value.hint
    document = json.loads((tmp_path / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**document, "known_answers": []}))
    load(tmp_path)


def test_the_photographs_that_ship_are_small_square_and_of_different_things() -> None:
    known = photographs()
    assert len({answer.text for answer in known}) == len(known) == 4
    assert sum(len(answer.image) for answer in known) < 64_000
    for answer in known:
        with Image.open(io.BytesIO(answer.image)) as image:
            assert image.size == (256, 256)


@pytest.mark.parametrize("sequence", [False, True])
def test_a_conversion_keeps_the_pairs_that_the_original_knows(sequence: bool) -> None:
    def rows(*vectors: tuple[float, ...]) -> NDArray[np.float32]:
        array = np.array(vectors, np.float32)
        return np.stack([array * 2, array], axis=1) if sequence else array

    pictures = rows((1, 0, 0), (0, 1, 0), (0, 0, 3), (0, 0, 1))
    words = rows((1, 0, 0), (0, 2, 0), (0, 0, 1), (0.1, 0, 1))
    known = photographs()
    assert known_to(known, pictures, words) == known[:2]
    assert known_to(known, pictures[::-1], words) == ()
    assert known_to(known, pictures * 0, words) == ()


def test_a_model_that_knows_nothing_is_given_no_known_answers() -> None:
    """Random weights put everything in one direction, more or less."""
    random = np.random.default_rng(0)
    rows = np.ones((2, 4, 512), np.float32) + random.normal(0, 0.05, (2, 4, 512)).astype(np.float32)
    assert known_to(photographs(), rows[0], rows[1]) == ()


def test_two_pictures_may_have_the_same_words(tmp_path: Path) -> None:
    load(make(tmp_path, ("red", "green", "blue"), (*ANSWERS, KnownAnswer("red", png((200, 0, 0))))))


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    make(tmp_path, ("red", "green", "blue"), (KnownAnswer("red", b"no picture"),))
    with pytest.raises(ModelError, match="the picture of 'red' is broken"):
        load(tmp_path)


def test_without_known_answers_the_text_tower_is_not_even_loaded(tmp_path: Path) -> None:
    make(tmp_path, ("red", "green", "blue"), ())
    (tmp_path / "clip_text.onnx").write_bytes(b"broken")
    load(tmp_path)


def test_a_prompt_of_the_users_own_does_not_fail_the_test(tmp_path: Path) -> None:
    """The tower reads four tokens: in a long prompt the colour itself would be cut off."""
    load(make(tmp_path, ("red", "green", "blue")), prompt="a photo of a square {}")
