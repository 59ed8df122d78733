from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clipwatch.config import ModelConfig
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.files import demonstration_folder
from clipwatch.model.load import load_encoder
from support import onnx_models as models

skimage_data = pytest.importorskip("skimage.data")
sklearn_datasets = pytest.importorskip("sklearn.datasets")

PHOTOGRAPHS = ("astronaut", "camera", "brick", "grass", "gravel", "moon", "text", "cell", "clock", "coins", "page")


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    """Made by the script, whichever model ships today."""
    folder = models.ROOT / "daemon/clipwatch/model/demonstration"
    config = ModelConfig(path=str(folder / "clip_vision.onnx"), engine="onnxruntime")
    return load_encoder(config, batch_size=8, logger=models.Events(), explicit_path=True)


@pytest.fixture(scope="module")
def photographs() -> dict[str, Image.Image]:
    found = {
        f"sklearn{i}": Image.fromarray(pixels) for i, pixels in enumerate(sklearn_datasets.load_sample_images().images)
    }
    legacy = Path(skimage_data.__file__).parent
    for name in PHOTOGRAPHS:
        file = next(legacy.glob(f"{name}.*"), None)
        if file is not None:
            found[name] = Image.open(file).convert("RGB")
    assert len(found) >= 5
    return found


def pixels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Short side to 224, then the centre."""
    scale = 224 / min(image.size)
    width, height = (max(224, round(side * scale)) for side in image.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + 224, top + 224)))


def crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 10, height // 10, width - width // 10, height - height // 10))


def recompressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=20)
    return Image.open(stream).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": crop,
    "recompressed": recompressed,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "duller": lambda image: ImageEnhance.Color(image).enhance(0.6),
    "shrunk": lambda image: image.resize((80, 80)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photograph_is_nearest_to_itself(
    encoder: VisionEncoder, photographs: dict[str, Image.Image], change: str
) -> None:
    originals = encoder.encode([pixels(image) for image in photographs.values()])
    changed = encoder.encode([pixels(CHANGES[change](image)) for image in photographs.values()])
    nearest = (changed @ originals.T).argmax(axis=1)
    names = list(photographs)
    assert [names[i] for i in nearest] == names


def test_different_photographs_lie_apart(encoder: VisionEncoder, photographs: dict[str, Image.Image]) -> None:
    vectors = encoder.encode([pixels(image) for image in photographs.values()])
    between = (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)]
    assert between.mean() < 0.5
    assert between.max() < 0.9


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_blank_picture_still_has_a_vector(encoder: VisionEncoder, level: int) -> None:
    assert np.isfinite(encoder.encode([np.full((224, 224, 3), level, np.uint8)])).all()


def test_it_is_used_where_no_model_is_and_says_what_it_is() -> None:
    config = ModelConfig(path="no/such/model.onnx", engine="onnxruntime")
    encoder = load_encoder(config, batch_size=2, logger=models.Events(), explicit_path=False)
    assert encoder.demonstration
    assert encoder.describe["demonstration"] is True
    assert "demonstration" in encoder.name
    assert encoder.width == 512


def test_it_is_smaller_than_eight_megabytes() -> None:
    assert sum(file.stat().st_size for file in demonstration_folder().iterdir()) < 8 * 2**20


def test_the_script_makes_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    models.script("models/make_demonstration.py").write(tmp_path)
    committed = models.ROOT / "daemon/clipwatch/model/demonstration"
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert made == {name: (committed / name).read_bytes() for name in made}
    assert "clip_vision.onnx" in made
