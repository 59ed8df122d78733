from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import ModelConfig
from clipwatch.model.fingerprint import fingerprint
from clipwatch.model.load import load_encoder
from clipwatch.records import Preprocessing
from support import onnx_models as models

SHA256 = "0123456789abcdef" * 4


def load(path: Path, **settings: Any) -> str:
    config = ModelConfig(path=str(path), **{"engine": "onnxruntime", "threads": 1, **settings})
    return load_encoder(config, batch_size=4, logger=models.Events(), explicit_path=True).fingerprint


def test_its_spelling_never_changes() -> None:
    """Existing collections would be embedded anew."""
    assert fingerprint(SHA256, Preprocessing(), "none", "image_embeds") == "sha256:ac9990559d4bad65185c7b0aa3ce18f5"


def test_another_process_finds_the_same() -> None:
    code = (
        "from clipwatch.model.fingerprint import fingerprint; from clipwatch.records import Preprocessing;"
        f"print(fingerprint('{SHA256}', Preprocessing(), 'none', 'image_embeds'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == fingerprint(SHA256, Preprocessing(), "none", "image_embeds")


def test_everything_that_moves_vectors_moves_it() -> None:
    other: dict[str, Any] = {
        "side": 256,
        "resize": "squash",
        "resize_side": 256,
        "interpolation": "bilinear",
        "rescale": 1.0,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    assert set(other) == {field.name for field in fields(Preprocessing)}
    seen = {fingerprint(SHA256, replace(Preprocessing(), **{key: value}), "none", "y") for key, value in other.items()}
    seen |= {
        fingerprint(SHA256, Preprocessing(), "none", "y"),
        fingerprint(SHA256[::-1], Preprocessing(), "none", "y"),
        fingerprint(SHA256, Preprocessing(), "mean", "y"),
        fingerprint(SHA256, Preprocessing(), "none", "z"),
        fingerprint(SHA256, Preprocessing(), "none", "y", "int8"),
        fingerprint(SHA256, Preprocessing(), "none", "y", background=(0, 0, 0)),
    }
    assert len(seen) == len(other) + 6


def test_the_models_bytes_and_settings_move_it_and_its_place_and_threads_do_not(tmp_path: Path) -> None:
    here = models.save(models.vision_tower(), tmp_path / "a.onnx")
    there = models.save(models.vision_tower(), tmp_path / "elsewhere" / "b.onnx")
    other = models.save(models.vision_tower(seed=1), tmp_path / "c.onnx")
    assert load(here) == load(there) == load(here, threads=2) == load(here, device="cpu") == load(here, pooling="none")
    assert len({load(here), load(other), load(here, resize="squash"), load(here, normalize="symmetric")}) == 4


@pytest.mark.parametrize("batch", [1, 4])
def test_the_batch_size_does_not_move_it(tmp_path: Path, batch: int) -> None:
    path = models.save(models.vision_tower(), tmp_path / "a.onnx")
    config = ModelConfig(path=str(path), engine="onnxruntime")
    encoder = load_encoder(config, batch_size=batch, logger=models.Events(), explicit_path=True)
    assert encoder.fingerprint == load(path)
