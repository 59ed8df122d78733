from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.bundle import Bundle, KnownAnswer, TextFacts, file_sha256, read_bundle, write_bundle
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.load import load_encoder
from clipwatch.model.text import load_text_encoder
from support import onnx_models as models

CONFIG = ModelConfig(engine="onnxruntime", threads=1)


def make(folder: Path, *, width: int = 8, text_width: int = 8, bundle: bool = True) -> Path:
    vision = models.save(models.vision_tower(width=width), folder / "clip_vision.onnx")
    text = models.save(models.text_tower(width=text_width), folder / "clip_text.onnx")
    models.tokenizer(folder / "tokenizer.json")
    if bundle:
        facts = TextFacts("clip_text.onnx", file_sha256(text), context=6, pad_id=1)
        write_bundle(Bundle("mine", False, "clip_vision.onnx", file_sha256(vision), facts, {}, ()), folder)
    return folder


def load(folder: Path, events: models.Events | None = None) -> VisionEncoder:
    config = ModelConfig(path=str(folder), engine="onnxruntime", threads=1)
    return load_encoder(config, batch_size=2, logger=events or models.Events(), explicit_path=True)


def test_a_bundle_survives_writing_and_reading(tmp_path: Path) -> None:
    bundle = Bundle(
        "name",
        True,
        "clip_vision.onnx",
        "a" * 64,
        TextFacts("clip_text.onnx", "b" * 64, 77, 49407, True, "a photo of {}"),
        {"licence": "MIT", "width": 512},
        (KnownAnswer("a red car", b"\x89PNG"),),
    )
    assert write_bundle(bundle, tmp_path) == tmp_path / "bundle.json"
    assert read_bundle(tmp_path / "bundle.json") == bundle
    assert [file.name for file in tmp_path.iterdir()] == ["bundle.json"]


def test_a_bundle_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bundle.json"
    file.write_text('{"card": ' + "[" * 100_000)
    with pytest.raises(ModelError, match="not valid JSON"):
        read_bundle(file)


def test_no_bundle_is_no_error(tmp_path: Path) -> None:
    assert read_bundle(tmp_path / "bundle.json") is None


GOOD: dict[str, Any] = {"format": 1, "name": "n", "vision": {"file": "clip_vision.onnx", "sha256": "a"}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format that this version does not know"),
        ({"format": True}, "format is missing"),
        ({"name": 3}, "name is missing or is not a str"),
        ({"vision": {"file": "x"}}, "vision: sha256 is missing"),
        ({"vision": []}, "vision is missing or is not a dict"),
        ({"vision": {"file": "/etc/passwd", "sha256": "a"}}, "must lie in the bundle's folder"),
        ({"vision": {"file": "../../x", "sha256": "a"}}, "must lie in the bundle's folder"),
        ({"vision": {"file": "\ud800", "sha256": "a"}}, "must lie in the bundle's folder"),
        ({"vision": {"file": "a\0b", "sha256": "a"}}, "must lie in the bundle's folder"),
        ({"text": {"file": "t", "sha256": "b", "context": "77"}}, "text: context"),
        ({"text": {"file": "t", "sha256": "b", "context": 2}}, "context must lie between 3 and 4096"),
        ({"text": {"file": "t", "sha256": "b", "pad_id": -1}}, "pad_id must lie between 0"),
        ({"text": {"file": "t", "sha256": "b", "template": "no hole"}}, "template must hold {} once"),
        ({"known_answers": [{"text": "a", "image_base64": "###"}]}, "not base64"),
        ({"known_answers": ["a"]}, "known_answers must be a JSON object"),
    ],
)
def test_a_wrong_bundle_is_refused_naming_the_key(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ModelError) as caught:
        read_bundle(file)
    assert says in caught.value.message
    assert str(file) in caught.value.message


def test_a_bundle_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        read_bundle(tmp_path / "bundle.json")


def test_both_towers_of_one_bundle_are_a_pair(tmp_path: Path) -> None:
    encoder = load(make(tmp_path))
    assert encoder.name == "mine"
    assert load_text_encoder(encoder, CONFIG).encode(["a red car"]).shape == (1, 8)


def test_a_vision_tower_that_was_exchanged_is_refused_at_load(tmp_path: Path) -> None:
    make(tmp_path)
    models.save(models.vision_tower(seed=5), tmp_path / "clip_vision.onnx")
    with pytest.raises(ModelError, match=r"not the file that bundle\.json beside it describes"):
        load(tmp_path)


def test_a_text_tower_that_was_exchanged_is_refused_at_query(tmp_path: Path) -> None:
    encoder = load(make(tmp_path))
    models.save(models.text_tower(seed=5), tmp_path / "clip_text.onnx")
    with pytest.raises(ModelError, match="not the pair of the vision model mine that is loaded"):
        load_text_encoder(encoder, CONFIG)


@pytest.mark.parametrize("name", ["clip_text.onnx", "tokenizer.json"])
def test_without_a_bundle_what_was_exchanged_while_running_is_refused_at_query(tmp_path: Path, name: str) -> None:
    encoder = load(make(tmp_path, bundle=False))
    other = tmp_path / "other"
    content = (tmp_path / name).read_bytes()
    other.write_bytes(content)
    os.utime(other, ns=(0, (tmp_path / name).stat().st_mtime_ns))
    other.replace(tmp_path / name)
    with pytest.raises(ModelError, match=f"{name} was changed since its vision model was loaded") as caught:
        load_text_encoder(encoder, CONFIG)
    assert "restart" in caught.value.hint
    load_text_encoder(load(tmp_path), CONFIG)


def test_a_tokenizer_that_is_not_the_recorded_one_is_refused(tmp_path: Path) -> None:
    """Other words of the same number would give vectors, and wrong answers."""
    make(tmp_path)
    recorded = {"files": {"tokenizer.json": file_sha256(tmp_path / "tokenizer.json")}}
    bundle = json.loads((tmp_path / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**bundle, "card": recorded}))
    load_text_encoder(load(tmp_path), CONFIG)
    models.tokenizer(tmp_path / "tokenizer.json", lowercase=True)
    with pytest.raises(ModelError, match=r"tokenizer\.json is not the one that bundle\.json beside it records"):
        load_text_encoder(load(tmp_path), CONFIG)


@pytest.mark.parametrize("bundle", [True, False])
def test_that_nothing_proves_the_pairing_is_said_at_load(tmp_path: Path, bundle: bool) -> None:
    events = models.Events()
    encoder = load(make(tmp_path, bundle=bundle), events)
    assert encoder.files.pair_unproven is not bundle
    assert [event for event, _ in events.seen] == ([] if bundle else ["model.pair_unproven"])


def test_a_bundle_exchanged_while_running_is_not_mixed_with_the_model_that_is_loaded(tmp_path: Path) -> None:
    encoder = load(make(tmp_path))
    models.save(models.vision_tower(seed=5), tmp_path / "clip_vision.onnx")
    text = models.save(models.text_tower(seed=5), tmp_path / "clip_text.onnx")
    facts = TextFacts("clip_text.onnx", file_sha256(text), context=6, pad_id=1)
    sha256 = file_sha256(tmp_path / "clip_vision.onnx")
    write_bundle(Bundle("mine", False, "clip_vision.onnx", sha256, facts, {}, ()), tmp_path)
    with pytest.raises(ModelError, match="not the pair") as caught:
        load_text_encoder(encoder, CONFIG)
    assert "restart" in caught.value.hint


def test_without_a_bundle_living_in_one_folder_with_one_width_is_being_a_pair(tmp_path: Path) -> None:
    encoder = load(make(tmp_path / "same", bundle=False))
    assert load_text_encoder(encoder, CONFIG).width == 8
    encoder = load(make(tmp_path / "other", text_width=9, bundle=False))
    with pytest.raises(ModelError, match="not a pair"):
        load_text_encoder(encoder, CONFIG)


def test_a_model_without_a_text_tower_says_what_to_do(tmp_path: Path) -> None:
    models.save(models.vision_tower(), tmp_path / "clip_vision.onnx")
    with pytest.raises(ModelError, match="has no text tower, so it cannot be searched by words") as caught:
        load_text_encoder(load(tmp_path), CONFIG)
    assert "clipwatch model fetch" in caught.value.hint


@pytest.mark.parametrize("missing", ["clip_text.onnx", "tokenizer.json"])
def test_a_bundle_with_a_part_missing_names_it(tmp_path: Path, missing: str) -> None:
    encoder_folder = make(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ModelError, match=f"has no {missing}"):
        load_text_encoder(load(encoder_folder), CONFIG)


def test_a_bundle_names_its_vision_tower_whatever_else_lies_there(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "clip_vision.onnx").rename(tmp_path / "tower.onnx")
    models.save(models.vision_tower(width=3), tmp_path / "clip_vision.onnx")
    bundle = json.loads((tmp_path / "bundle.json").read_text())
    bundle["vision"]["file"] = "tower.onnx"
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    assert load(tmp_path).width == 8


def test_a_file_that_no_bundle_names_is_not_part_of_the_bundle_beside_it(tmp_path: Path) -> None:
    make(tmp_path)
    path = models.save(models.vision_tower(width=3), tmp_path / "own.onnx")
    assert load(path).width == 3
    assert load(path).files.bundle is None


def test_a_bundle_whose_vision_tower_is_missing_says_so(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "clip_vision.onnx").unlink()
    with pytest.raises(ModelError, match=r"names clip_vision\.onnx, which is not there"):
        load(tmp_path)
