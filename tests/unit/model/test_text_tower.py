from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from tokenizers import Tokenizer

from clipwatch.config import ModelConfig
from clipwatch.errors import ConfigError, ModelError
from clipwatch.model.bundle import TextFacts
from clipwatch.model.load import load_encoder
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.text import TextEncoder, load_text_encoder
from clipwatch.model.weights import read_weights
from support import onnx_models as models

START, END, UNKNOWN = 0, 1, 2


def word(name: str) -> int:
    return models.VOCABULARY.index(name)


def encoder(
    folder: Path,
    model: onnx.ModelProto | None = None,
    *,
    prompt: str = "{}",
    tokenizer_lowers: bool = False,
    **facts: Any,
) -> TextEncoder:
    file = models.save(model or models.text_tower(), folder / "clip_text.onnx")
    tokenizer = Tokenizer.from_file(str(models.tokenizer(folder / "tokenizer.json", lowercase=tokenizer_lowers)))
    known = TextFacts("clip_text.onnx", "", **{"context": 6, "pad_id": 1, **facts})
    engine = OnnxEngine(read_weights(file), device="cpu", threads=1)
    return TextEncoder(engine, tokenizer, str(file), facts=known, prompt=prompt)


def expected(ids: list[int]) -> NDArray[np.float64]:
    table = np.random.default_rng(0).standard_normal((len(models.VOCABULARY), 8)).astype(np.float32)
    total = table[ids].sum(axis=0, dtype=np.float64)
    unit: NDArray[np.float64] = total / np.linalg.norm(total)
    return unit


def check(text: TextEncoder, words: str, ids: list[int]) -> None:
    np.testing.assert_allclose(text.encode([words])[0], expected(ids), atol=1e-6)


def test_words_lie_between_start_and_end_and_are_padded_to_the_context(tmp_path: Path) -> None:
    check(encoder(tmp_path), "a red car", [START, word("a"), word("red"), word("car"), END, 1])


def test_the_padding_is_the_models_own(tmp_path: Path) -> None:
    check(encoder(tmp_path, pad_id=2), "red", [START, word("red"), END, 2, 2, 2])


def test_a_mask_hides_the_padding_where_the_model_takes_one(tmp_path: Path) -> None:
    check(encoder(tmp_path, models.text_tower(mask=True)), "red", [START, word("red"), END])


@pytest.mark.parametrize("tokenizer_lowers", [False, True])
def test_words_are_lower_cased_whether_or_not_the_tokenizer_does(tmp_path: Path, tokenizer_lowers: bool) -> None:
    text = encoder(tmp_path, tokenizer_lowers=tokenizer_lowers)
    check(text, "  A Red\tCAR ", [START, word("a"), word("red"), word("car"), END, 1])


def test_a_model_that_knows_capitals_gets_them(tmp_path: Path) -> None:
    check(encoder(tmp_path, lowercase=False), "Red", [START, UNKNOWN, END, 1, 1, 1])


def test_long_texts_are_cut_at_the_context_and_keep_their_end(tmp_path: Path) -> None:
    check(
        encoder(tmp_path), "a red car of a blue square", [START, word("a"), word("red"), word("car"), word("of"), END]
    )


def test_a_context_of_77_takes_75_words(tmp_path: Path) -> None:
    text = encoder(tmp_path, context=77)
    red = word("red")
    check(text, "red " * 75, [START, *[red] * 75, END])
    check(text, "red " * 500, [START, *[red] * 75, END])
    check(text, "red " * 74, [START, *[red] * 74, END, 1])


def test_words_are_put_into_the_prompt(tmp_path: Path) -> None:
    ids = [START, word("a"), word("photo"), word("of"), word("red"), END]
    check(encoder(tmp_path, prompt="a photo of {}"), "red", ids)


def test_several_texts_keep_their_order_and_are_unit_length(tmp_path: Path) -> None:
    text = encoder(tmp_path)
    vectors = text.encode(["red", "blue", "a car"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for i, words in enumerate(("red", "blue", "a car")):
        np.testing.assert_array_equal(vectors[i], text.encode([words])[0])
    assert text.encode([]).shape == (0, 8)


@pytest.mark.parametrize("words", ["", "  \n"])
def test_an_empty_text_is_a_wrong_question(tmp_path: Path, words: str) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        encoder(tmp_path).encode(["red", words])


def test_int32_ids_and_a_fixed_length_are_served(tmp_path: Path) -> None:
    model = models.text_tower(length=5)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    check(encoder(tmp_path, model, context=5), "red", [START, word("red"), END, 1, 1])


def vision_tower() -> onnx.ModelProto:
    return models.vision_tower()


def whole_clip() -> onnx.ModelProto:
    model = models.text_tower()
    model.graph.input.append(helper.make_tensor_value_info("pixel_values", models.FLOAT, ["n", 3, 224, 224]))
    return model


def floats_in() -> onnx.ModelProto:
    node = helper.make_node("Identity", ["input_ids"], ["text_embeds"])
    return models.model([node], {"input_ids": (models.FLOAT, ["n", 6])}, {"text_embeds": (models.FLOAT, ["n", 6])})


def sequence_out() -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["text_embeds"])]
    table = {"table": np.ones((20, 4), np.float32)}
    return models.model(
        nodes, {"input_ids": (models.INT64, ["n", "m"])}, {"text_embeds": (models.FLOAT, ["n", "m", 4])}, table
    )


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (vision_tower(), "it is no text tower"),
        (whole_clip(), "it is no text tower"),
        (floats_in(), "must be int64"),
        (sequence_out(), r"gives \[1, 6, 4\] for one text"),
    ],
    ids=["vision", "whole", "floats", "sequence"],
)
def test_what_is_no_text_tower_is_refused_with_the_cure(tmp_path: Path, model: onnx.ModelProto, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        encoder(tmp_path, model)
    assert "Export" in caught.value.hint


def folder(path: Path, **files: str) -> Path:
    models.save(models.vision_tower(), path / "vision_model.onnx")
    models.save(models.text_tower(), path / "text_model.onnx")
    models.tokenizer(path / "tokenizer.json")
    for name, content in files.items():
        (path / f"{name}.json").write_text(content)
    return path


def paired(path: Path, prompt: str = "auto") -> TextEncoder:
    config = ModelConfig(path=str(path), engine="onnxruntime", threads=1, prompt=prompt)
    return load_text_encoder(load_encoder(config, batch_size=1, logger=models.Events(), explicit_path=True), config)


def test_without_a_bundle_the_tokenizers_own_configuration_is_read(tmp_path: Path) -> None:
    text = paired(folder(tmp_path, tokenizer_config='{"model_max_length": 5, "pad_token": {"content": "[unk]"}}'))
    assert text.context == 5
    check(text, "red", [START, word("red"), END, UNKNOWN, UNKNOWN])


def test_with_nothing_said_the_context_is_clips_77(tmp_path: Path) -> None:
    assert paired(folder(tmp_path)).context == 77
    assert (
        paired(folder(tmp_path, tokenizer_config='{"model_max_length": 1000000000000000019884624838656}')).context == 77
    )


def test_the_setting_is_the_prompt(tmp_path: Path) -> None:
    path = folder(tmp_path, tokenizer_config='{"model_max_length": 6, "pad_token": "[end]"}')
    check(paired(path, "a photo of {}"), "red", [START, word("a"), word("photo"), word("of"), word("red"), END])


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_broken_configuration_of_the_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read"):
        paired(folder(tmp_path, tokenizer_config=content))


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "9"}'])
def test_a_broken_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer"):
        paired(tmp_path)
