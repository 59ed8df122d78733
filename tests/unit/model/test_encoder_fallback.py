"""An accelerator that runs out of memory, or computes rubbish in half precision, costs time and no vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.engine import Array, Engine
from clipwatch.model.files import locate
from clipwatch.model.graph import Port
from clipwatch.model.load import load_encoder
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.weights import read_weights
from clipwatch.records import Preprocessing
from support import onnx_models as models


class Accelerator:
    """A real session that, once *ill*, fails on batches or spoils the rows whose first pixel is bright."""

    rows = None

    def __init__(self, engine: OnnxEngine, illness: str) -> None:
        self.engine = engine
        self.illness = illness
        self.ill = False

    @property
    def inputs(self) -> Sequence[Port]:
        return self.engine.inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self.engine.outputs

    @property
    def describe(self) -> Mapping[str, object]:
        return self.engine.describe

    def run(self, output: str, feeds: Mapping[str, Array]) -> Array:
        if self.ill and self.illness == "out of memory":
            raise ModelError("Failed to allocate memory.")
        result = self.engine.run(output, feeds).copy()
        if self.ill:
            result[feeds["pixel_values"][:, 0, 0, 0] > 1.9] = np.nan
        return result


@pytest.mark.parametrize("illness", ["out of memory", "nan"])
def test_rows_that_failed_are_computed_again_on_the_cpu(tmp_path: Path, illness: str) -> None:
    path = models.save(models.vision_tower(), tmp_path / "m.onnx")
    weights = read_weights(path)
    accelerator = Accelerator(OnnxEngine(weights, device="cpu", threads=1), illness)
    spare_engines: list[Engine] = []

    def fallback() -> Engine:
        spare_engines.append(OnnxEngine(weights, device="cpu", threads=1))
        return spare_engines[-1]

    encoder = VisionEncoder(
        accelerator,
        locate(str(path), explicit_path=True),
        weights.sha256,
        preprocess=lambda _: Preprocessing(),
        pooling="auto",
        batch_size=4,
        name="m",
        fallback=fallback,
    )
    accelerator.ill = True
    pictures = models.pictures(6)
    pictures[1][0, 0] = pictures[5][0, 0] = 255
    config = replace(ModelConfig(engine="onnxruntime"), path=str(path))
    healthy = load_encoder(config, batch_size=4, logger=models.Events(), explicit_path=True)
    np.testing.assert_allclose(encoder.encode(pictures), healthy.encode(pictures), atol=1e-6)
    encoder.encode(pictures)
    assert len(spare_engines) == 1
