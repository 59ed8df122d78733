from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clipwatch.config import ModelConfig
from clipwatch.model.bundle import file_sha256, read_bundle
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.files import demonstration_folder
from clipwatch.model.load import load_encoder
from support import onnx_models as models

skimage_data = pytest.importorskip("skimage.data")
sklearn_datasets = pytest.importorskip("sklearn.datasets")

PHOTOGRAPHS = ("astronaut", "camera", "brick", "grass", "gravel", "moon", "text", "cell", "clock", "coins", "page")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour-and-layout model as the script makes it, whichever one ships today."""
    folder = tmp_path_factory.mktemp("demonstration")
    models.script("models/make_demonstration.py").write(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(made: Path) -> VisionEncoder:
    config = ModelConfig(path=str(made), engine="onnxruntime")
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


def test_the_shipped_model_is_used_where_no_model_is_and_says_what_it_is() -> None:
    config = ModelConfig(path="no/such/model.onnx", engine="onnxruntime")
    encoder = load_encoder(config, batch_size=2, logger=models.Events(), explicit_path=False)
    assert encoder.files.folder == demonstration_folder()
    assert encoder.demonstration
    assert encoder.describe["demonstration"] is True
    assert encoder.width == 512


def test_it_is_smaller_than_eight_megabytes(made: Path) -> None:
    assert sum(file.stat().st_size for file in made.iterdir()) < 8 * 2**20


def test_the_script_makes_the_same_bytes_on_every_machine(made: Path) -> None:
    assert file_sha256(made / "clip_vision.onnx") == "ce7bddb18b838aa440ad8e2b89a9bea8f0cd510436b732ee73b223400e9b377e"
    shipped = read_bundle(demonstration_folder() / "bundle.json")
    ours = read_bundle(made / "bundle.json")
    assert shipped is not None
    assert ours is not None
    if shipped.name == ours.name:
        assert shipped == ours
