"""The gate of the fast decode: what a model makes of a photograph must not depend on how it was decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipwatch.config import ModelConfig
from clipwatch.image.preprocess import Recipe, prepare
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.fidelity import GATE
from clipwatch.model.files import demonstration_folder
from clipwatch.model.load import load_encoder
from clipwatch.records import Pixels
from support import onnx_models as models
from support import pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    """Real ones as they are, as a camera of 12 megapixels would have left them, and as large PNGs."""
    large = [pictures.camera_jpeg(4000, 3000, name=name) for name in ("china.jpg", "coffee.png", "rocket.jpg")]
    large.append(pictures.camera_jpeg(4000, 3000, name="chelsea.png", progressive=True))
    middle = [
        pictures.camera_jpeg(1733, 1155, name=path.name, quality=85, progressive=index % 2 == 1)
        for index, path in enumerate(pictures.photo_paths())
    ]
    lossless = [
        pictures.png(pictures.photo(name).resize((1280, 960), Image.Resampling.BICUBIC), compress_level=1)
        for name in ("flower.jpg", "astronaut.png")
    ]
    return [*(path.read_bytes() for path in pictures.photo_paths()), *large, *middle, *lossless]


def load(path: Path) -> VisionEncoder:
    config = ModelConfig(path=str(path), engine="onnxruntime")
    return load_encoder(config, batch_size=10, logger=models.Events(), explicit_path=True)


def pixels(photographs: list[bytes], encoder: VisionEncoder, *, exact: bool) -> list[Pixels]:
    recipe = Recipe.of(encoder.preprocessing, exact=exact, background="white", megapixels=100, memory_bytes=2**30)
    return [np.asarray(prepare(data, recipe).image) for data in photographs]


def assert_passes(encoder: VisionEncoder, photographs: list[bytes]) -> None:
    fast, exact = (pixels(photographs, encoder, exact=exact) for exact in (False, True))
    moved = [not np.array_equal(a, b) for a, b in zip(fast, exact, strict=True)]
    assert sum(moved) > len(moved) / 3, "the scaled decode was not used, so nothing was compared"
    cosines = np.einsum("nd,nd->n", encoder.encode(fast), encoder.encode(exact))
    assert np.percentile(cosines, 1) >= GATE
    assert cosines.max() > cosines.min(), "a model that sees no difference proves none"


def test_the_fast_decode_passes_on_the_exact_architecture(tmp_path: Path, photographs: list[bytes]) -> None:
    assert_passes(load(models.exact_vit_b32(tmp_path / "vit.onnx")), photographs)


def test_the_fast_decode_passes_on_the_model_that_ships(photographs: list[bytes]) -> None:
    assert_passes(load(demonstration_folder()), photographs)
