from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipwatch.errors import ModelError
from clipwatch.model.preprocessor import parse_preprocessing, read_preprocessing
from clipwatch.records import Preprocessing

OPENAI: dict[str, Any] = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
"""openai/clip-vit-base-patch32, as published."""

SIGLIP: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "SiglipProcessor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 256, "width": 256},
}
MOBILE: dict[str, Any] = {
    "crop_size": {"height": 256, "width": 256},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": False,
    "do_resize": True,
    "image_mean": [0, 0, 0],
    "image_std": [1, 1, 1],
    "resample": 2,
    "size": {"shortest_edge": 256},
}


def parse(**keys: Any) -> Preprocessing:
    return parse_preprocessing(keys, "preprocessor_config.json")


def test_openais_published_file_gives_clips_own_values() -> None:
    assert parse(**OPENAI) == Preprocessing()


def test_a_file_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text('{"size": ' + "[" * 100_000)
    with pytest.raises(ModelError, match="not valid JSON"):
        read_preprocessing(file)


@pytest.mark.parametrize("share", [5e-324, 1e-300, 0.05])
def test_a_crop_of_next_to_nothing_is_refused(share: float) -> None:
    with pytest.raises(ModelError, match="crop_pct"):
        parse(size=224, crop_pct=share)


def test_no_file_means_clips_own_values() -> None:
    assert read_preprocessing(None) == Preprocessing()


def test_an_empty_file_means_clips_own_values() -> None:
    assert parse() == Preprocessing()


def test_siglip_squashes_and_is_symmetric() -> None:
    assert parse(**SIGLIP) == Preprocessing(
        256, "squash", 256, "bilinear", 0.00392156862745098, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    )


def test_without_normalisation_pixels_are_only_rescaled() -> None:
    found = parse(**MOBILE)
    assert (found.mean, found.std, found.rescale) == ((0, 0, 0), (1, 1, 1), 1 / 255)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"size": 256, "crop_size": 224, "do_center_crop": True}, (224, "crop", 256)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, "crop", 256)),
        ({"size": {"shortest_edge": 224}}, (224, "crop", 224)),
        ({"size": {"height": 224, "width": 224}, "do_center_crop": False}, (224, "squash", 224)),
        ({"size": {"height": 224, "width": 224}, "crop_size": 224, "do_center_crop": True}, (224, "squash", 224)),
        ({"size": 224, "do_center_crop": False}, (224, "squash", 224)),
        ({"size": 224}, (224, "squash", 224)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, "crop", 256)),
    ],
)
def test_every_spelling_of_the_sizes(keys: dict[str, Any], expected: tuple[int, str, int]) -> None:
    found = parse(**keys)
    assert (found.side, found.resize, found.resize_side) == expected


@pytest.mark.parametrize(
    ("value", "name"), [(0, "nearest"), (1, "lanczos"), (2, "bilinear"), (3, "bicubic"), ("BICUBIC", "bicubic")]
)
def test_interpolation_by_number_and_by_name(value: object, name: str) -> None:
    assert parse(resample=value).interpolation == name


def test_rescaling_may_be_off() -> None:
    assert parse(do_rescale=False).rescale == 1.0


def test_the_newer_processor_file_nests_the_image_processor() -> None:
    assert parse(image_processor=OPENAI, tokenizer={}) == Preprocessing()


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"do_pad": True}, "do_pad"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"size": {"height": 224, "width": 336}}, "size"),
        ({"size": {"longest_edge": 224}}, "size"),
        ({"size": {"shortest_edge": 224, "longest_edge": 300}}, "size"),
        ({"size": "224"}, "size"),
        ({"size": 0}, "size"),
        ({"size": True}, "size"),
        ({"size": {"shortest_edge": 224}, "do_center_crop": False}, "do_center_crop"),
        ({"size": {"shortest_edge": 200}, "crop_size": 224}, "crop_size"),
        ({"size": {"height": 256, "width": 256}, "crop_size": 224, "do_center_crop": True}, "crop_size"),
        ({"resample": 9}, "resample"),
        ({"resample": "cubic-ish"}, "resample"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"image_mean": "imagenet"}, "image_mean"),
        ({"image_mean": [0.5, float("nan"), 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"do_normalize": "yes"}, "do_normalize"),
        ({"crop_pct": 1.5, "size": 224}, "crop_pct"),
    ],
)
def test_what_is_not_understood_is_refused_naming_file_and_key(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ModelError, match=rf"^preprocessor_config\.json: {key} must be") as caught:
        parse(**keys)
    assert caught.value.hint


def test_settings_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({**OPENAI, "size": 256}))
    found = read_preprocessing(file, resize="squash", normalize="symmetric")
    assert (found.side, found.resize, found.resize_side) == (224, "squash", 224)
    assert (found.mean, found.std, found.rescale) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1 / 255)
    file.write_text(json.dumps(SIGLIP))
    found = read_preprocessing(file, resize="crop", normalize="clip")
    assert (found.resize, found.resize_side, found.mean) == ("crop", 256, Preprocessing().mean)


def test_asking_for_the_crop_that_the_file_has_keeps_its_resize_side(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({**OPENAI, "size": 256}))
    assert read_preprocessing(file, resize="crop").resize_side == 256


def test_without_a_file_the_graphs_own_size_is_taken() -> None:
    assert read_preprocessing(None, model_side=336).side == 336
    assert read_preprocessing(None, model_side=336).resize_side == 336


def test_a_file_for_another_size_than_the_graphs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(OPENAI))
    with pytest.raises(ModelError, match="224×224, but the model takes 336×336"):
        read_preprocessing(file, model_side=336)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        read_preprocessing(file)
