"""PyTorch weights → ONNX, with the exact architecture of CLIP ViT-B/32 and weights made up here.

What is marked `convert` needs PyTorch and transformers: `make test-convert` sets them up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from PIL import Image
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.bundle import read_bundle
from clipwatch.model.convert import agreement, convert, lowest_cosine
from clipwatch.model.load import load_encoder
from clipwatch.model.text import load_text_encoder

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "models" / "convert_to_onnx.py"
PHOTOGRAPHS = [ROOT / "docs" / "samples" / name for name in ("moon.png", "photographer.jpg")]
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = ("a photo of a cat", "red", "A red car, far away!", "beach " * 100)
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def cosine_to(rows: Any, reference: Any) -> float:
    return lowest_cosine(np.asarray(rows), np.asarray(reference))


def test_rows_are_compared_by_direction_after_averaging_a_sequence() -> None:
    flat = np.array([[3.0, 4.0], [0.0, 1.0]])
    assert cosine_to(flat * 7, flat) == pytest.approx(1)
    assert cosine_to(np.array([[4.0, 3.0], [0.0, 1.0]]), flat) == pytest.approx(0.96)
    sequence = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    assert cosine_to(sequence, sequence[:, ::-1]) == pytest.approx(1)


@pytest.mark.parametrize("rows", [[[0.0, 0.0]], [[np.nan, 1.0]], [[1.0, 0.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]])
def test_zero_nan_and_other_shapes_never_pass_for_agreement(rows: list[list[float]]) -> None:
    assert np.isnan(cosine_to(rows, [[1.0, 0.0]]))


def test_without_pytorch_the_pip_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="torch") as caught:
        convert("nowhere", tmp_path)
    assert "pip install 'clipwatch[convert]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "clip_vision.onnx").write_bytes(b"mine")
    with pytest.raises(ModelError, match="already there"):
        convert("nowhere", tmp_path)
    assert (tmp_path / "clip_vision.onnx").read_bytes() == b"mine"


def test_the_script_of_the_classic_recipe_only_calls_the_command(tmp_path: Path) -> None:
    (tmp_path / "clip_vision.onnx").write_bytes(b"mine")
    command = [sys.executable, str(SCRIPT), "nowhere", "--directory", str(tmp_path), "--output", "image_embeds"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"clipwatch: {tmp_path / 'clip_vision.onnx'} is already there.")


def test_an_unknown_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'logits'"):
        convert("nowhere", tmp_path, output="logits")


@pytest.fixture(scope="module")
def extra() -> Any:
    """PyTorch and transformers, or a skip; in CI a failure."""
    try:
        import torch
        import transformers
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("the extra `convert` is not installed")
        pytest.skip("the extra `convert` is not installed: make test-convert")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    return torch, transformers


def write_tokenizer(folder: Path) -> None:
    """CLIP's byte-level BPE with its marks at their true ids, and a handful of merges."""

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("a", "t</w>"), ("c", "at</w>"), ("r", "e"), ("re", "d</w>")]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    numbered = {word: number for number, word in enumerate(dict.fromkeys(vocabulary))}
    numbered |= {START: 49406, END: 49407}
    tokenizer = Tokenizer(
        models.BPE(numbered, pairs, unk_token=END, end_of_word_suffix="</w>", continuing_subword_prefix="")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"'s|'t|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, 49407), (START, 49406), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def write_source(folder: Path, transformers: Any, **sizes: Any) -> Any:
    """A CLIP model in Hugging Face layout with random weights; the model."""
    towers = {"vision_config": sizes, "text_config": sizes, "projection_dim": 16} if sizes else {}
    model = transformers.CLIPModel(transformers.CLIPConfig(**towers)).eval()
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor().save_pretrained(folder)
    write_tokenizer(folder)
    return model


@pytest.fixture(scope="module")
def vit_b32(extra: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("vit-b32")
    yield folder, write_source(folder, extra[1])
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tiny(extra: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("tiny")
    return folder, write_source(folder, extra[1], **TINY)


def reference(torch: Any, model: Any, pixels: Any) -> Any:
    """What PyTorch itself says, `[n, d]`."""
    with torch.no_grad():
        seen = model.vision_model(pixel_values=torch.from_numpy(pixels))
        return model.visual_projection(seen.pooler_output).numpy()


@pytest.mark.convert
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_vit_b32_is_converted_by_the_script_and_gives_the_vectors_of_pytorch(
    extra: Any, vit_b32: tuple[Path, Any], tmp_path: Path
) -> None:
    torch, transformers = extra
    source, model = vit_b32
    command = [sys.executable, str(SCRIPT), str(source), "--directory", str(tmp_path), "--json", "--pictures"]
    done = subprocess.run([*command, *PHOTOGRAPHS], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["path"] == str(tmp_path / "clip_vision.onnx")
    assert (told["width"], told["pictures"]) == (512, len(PHOTOGRAPHS) + 4)
    assert told["cosine"] > 0.9999
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle.json",
        "clip_text.onnx",
        "clip_vision.onnx",
        "preprocessor_config.json",
        "tokenizer.json",
    ]
    assert (tmp_path / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()

    encoder = load_encoder(
        ModelConfig(path=str(tmp_path / "clip_vision.onnx")), batch_size=4, logger=None, explicit_path=True
    )
    assert (encoder.width, encoder.pooling, encoder.preprocessing.side) == (512, "none", 224)
    pictures = [np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in PHOTOGRAPHS]
    pixels = transformers.CLIPImageProcessor()(pictures, return_tensors="np")["pixel_values"]
    assert cosine_to(encoder.encode(pictures), reference(torch, model, pixels)) > 0.9999
    shutil.rmtree(tmp_path)


@pytest.mark.convert
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_vit_b32_as_tokens_is_a_projected_sequence(extra: Any, vit_b32: tuple[Path, Any], tmp_path: Path) -> None:
    torch, _ = extra
    source, model = vit_b32
    done = convert(str(source), tmp_path, output="tokens")
    assert done.cosine > 0.9999
    session = ort.InferenceSession(str(done.vision))
    pixels = np.random.default_rng(2).standard_normal((3, 3, 224, 224), np.float32)
    tokens = session.run(None, {"pixel_values": pixels})[0]
    assert tokens.shape == (3, 50, 512)
    # The first token is the class token: projected, it is what image_embeds would have been.
    assert cosine_to(tokens[:, 0], reference(torch, model, pixels)) > 0.9999
    shutil.rmtree(tmp_path)


@pytest.mark.convert
def test_the_text_tower_gives_the_vectors_of_pytorch_for_any_batch_and_length(
    extra: Any, tiny: tuple[Path, Any], tmp_path: Path
) -> None:
    torch, _ = extra
    source, model = tiny
    convert(str(source), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(77)
    tokenizer.enable_padding(length=77, pad_id=49407)
    ids = np.array([tokenizer.encode(words).ids for words in WORDS], np.int64)
    session = ort.InferenceSession(str(tmp_path / "clip_text.onnx"))
    with torch.no_grad():
        expected = model.text_projection(model.text_model(input_ids=torch.from_numpy(ids)).pooler_output).numpy()
    assert cosine_to(session.run(None, {"input_ids": ids})[0], expected) > 0.9999
    assert cosine_to(session.run(None, {"input_ids": ids[1:2]})[0], expected[1:2]) > 0.9999
    config = ModelConfig(path=str(tmp_path))
    encoder = load_encoder(config, batch_size=2, logger=None, explicit_path=True)
    assert cosine_to(load_text_encoder(encoder, config).encode(WORDS), expected) > 0.9999


@pytest.mark.convert
def test_the_bundle_pairs_both_towers_and_tells_what_the_text_needs(tiny: tuple[Path, Any], tmp_path: Path) -> None:
    convert(str(tiny[0]), tmp_path)
    bundle = read_bundle(tmp_path / "bundle.json")
    assert bundle
    assert bundle.text
    assert (bundle.text.file, bundle.text.context, bundle.text.pad_id) == ("clip_text.onnx", 77, 49407)
    assert bundle.card["output"] == "image_embeds"
    assert bundle.card["cosine"] > 0.9999
    assert bundle.name == tiny[0].name
    # Weights that were made up know no picture by its words.
    assert bundle.known_answers == ()


@pytest.mark.convert
def test_an_export_that_differs_is_refused(extra: Any, tiny: tuple[Path, Any], tmp_path: Path) -> None:
    torch, _ = extra
    source, model = tiny
    vision = convert(str(source), tmp_path).vision
    pixels = np.random.default_rng(3).standard_normal((2, 3, 224, 224), np.float32)
    expected = reference(torch, model, pixels)
    assert agreement(vision, pixels, expected) > 0.9999

    graph = onnx.load(str(vision))
    weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[..., ::-1].copy(), weight.name))
    onnx.save(graph, str(vision))
    with pytest.raises(ModelError, match="other vectors than PyTorch"):
        agreement(vision, pixels, expected)
    vision.write_bytes(b"no graph")
    with pytest.raises(ModelError, match="does not run"):
        agreement(vision, pixels, expected)


@pytest.mark.convert
def test_a_refused_conversion_leaves_what_was_there(
    tiny: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip_vision.onnx").write_bytes(b"mine")
    (tmp_path / ".convert").mkdir()
    (tmp_path / ".convert" / "leftover.onnx").write_bytes(b"of a killed conversion")
    monkeypatch.setattr("clipwatch.model.convert.MIN_COSINE", 1.5)
    with pytest.raises(ModelError, match="other vectors"):
        convert(str(tiny[0]), tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["clip_vision.onnx"]
    monkeypatch.undo()
    convert(str(tiny[0]), tmp_path, force=True)
    assert (tmp_path / "clip_vision.onnx").stat().st_size > 4
    assert not (tmp_path / ".convert").exists()


@pytest.mark.convert
def test_a_tokenizer_of_older_kind_is_turned_into_one_file(tiny: tuple[Path, Any], tmp_path: Path) -> None:
    """vocab.json and merges.txt, as the first CLIP repositories have them."""
    source = tmp_path / "source"
    shutil.copytree(tiny[0], source)
    document = json.loads((source / "tokenizer.json").read_text())
    (source / "tokenizer.json").unlink()
    (source / "vocab.json").write_text(json.dumps(document["model"]["vocab"]))
    merges = [" ".join(pair) for pair in document["model"]["merges"]]
    (source / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    convert(str(source), tmp_path / "models")

    old = Tokenizer.from_file(str(tiny[0] / "tokenizer.json"))
    new = Tokenizer.from_file(str(tmp_path / "models" / "tokenizer.json"))
    assert [new.encode(words).ids for words in WORDS] == [old.encode(words).ids for words in WORDS]


@pytest.mark.convert
@pytest.mark.usefixtures("extra")
def test_what_is_no_clip_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        convert(str(tmp_path), tmp_path / "models")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="is a bert model"):
        convert(str(tmp_path), tmp_path / "models")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        convert(str(tmp_path), tmp_path / "models")
    assert "\n" not in caught.value.sentence()
    assert not (tmp_path / "models").exists()


@pytest.mark.convert
def test_a_picture_that_is_none_is_said(tiny: tuple[Path, Any], tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(ModelError, match="cannot be read as a picture"):
        convert(str(tiny[0]), tmp_path / "models", pictures=[tmp_path / "x.jpg"])
