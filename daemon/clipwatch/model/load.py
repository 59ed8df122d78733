"""Settings → a resident encoder."""

from __future__ import annotations

from typing import Any

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.cores import usable_cores
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.engine import Engine
from clipwatch.model.files import ModelFiles, locate
from clipwatch.model.onnx import OnnxEngine, has_accelerator
from clipwatch.model.preprocessor import read_preprocessing
from clipwatch.model.weights import Weights, read_weights


def load_encoder(config: ModelConfig, *, batch_size: int, logger: Any, explicit_path: bool) -> VisionEncoder:
    """The vision model of *config*, ready: loaded once, looked at, and run once.

    *batch_size* is the largest batch that will come. *explicit_path*: a person set `model.path`, so that a missing file
    is an error, not a reason to take the demonstration model. Logs nothing on success: `model.loaded` is the caller's.
    Raises `ModelError`, in one sentence with the cure, for whatever is wrong with the files.
    """
    files = locate(config.path, explicit_path=explicit_path)
    weights = read_weights(files.vision)
    _check_hash(files, weights)
    threads = config.threads or usable_cores()
    engine: Engine = OnnxEngine(weights, device=config.device, threads=threads)
    on_cpu = engine.describe["provider"] == "CPUExecutionProvider"
    if on_cpu and config.device == "auto" and has_accelerator():
        logger.warning("model.accelerator_unusable", provider="CUDAExecutionProvider", using="CPUExecutionProvider")
    return VisionEncoder(
        engine,
        files,
        weights.sha256,
        preprocess=lambda side: read_preprocessing(
            files.preprocessor, resize=config.resize, normalize=config.normalize, model_side=side
        ),
        pooling=config.pooling,
        batch_size=batch_size,
        name=_name(files),
        fallback=None if on_cpu else lambda: OnnxEngine(weights, device="cpu", threads=threads),
    )


def _check_hash(files: ModelFiles, weights: Weights) -> None:
    if files.bundle is not None and files.bundle.vision_sha256 != weights.sha256:
        raise ModelError(
            f"{files.vision} is not the file that bundle.json beside it describes.",
            hint="Fetch or convert the model again; or remove bundle.json, and the text tower with it.",
        )


def _name(files: ModelFiles) -> str:
    if files.bundle is not None:
        return files.bundle.name
    folder = files.folder.resolve().name
    return files.vision.name if folder == "models" else f"{folder}/{files.vision.name}"
