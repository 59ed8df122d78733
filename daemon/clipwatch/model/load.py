"""Settings → a resident encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.memory import give_back
from clipwatch.model import openvino
from clipwatch.model.contract import Matrix
from clipwatch.model.cores import usable_cores
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.engine import Engine
from clipwatch.model.fidelity import GATE, cosines_of, sample_pictures
from clipwatch.model.files import ModelFiles, locate
from clipwatch.model.fingerprint import WHITE
from clipwatch.model.known_answer import check_known_answers
from clipwatch.model.onnx import OnnxEngine, has_accelerator
from clipwatch.model.openvino import OpenVinoEngine
from clipwatch.model.preprocessor import read_preprocessing
from clipwatch.model.text import load_text_encoder
from clipwatch.model.variant import INT8, OPENVINO, PRECISIONS, Variant, read_variant
from clipwatch.model.weights import Weights, read_weights
from clipwatch.records import Pixels

_CPU: Final = "CPUExecutionProvider"

OPENVINO_FROM_BYTES: Final = 16 * 2**20
"""A smaller model is done before its pictures are decoded: a second engine would only cost start and memory."""


def load_encoder(
    config: ModelConfig,
    *,
    batch_size: int,
    logger: Any,
    explicit_path: bool,
    background: tuple[int, int, int] = WHITE,
) -> VisionEncoder:
    """The vision model of *config*, ready: loaded once, looked at, and run once.

    *batch_size* is the largest batch that will come. *explicit_path*: a person set `model.path`, so that a missing file
    is an error, not a reason to take the demonstration model.
    *background*: RGB behind transparency, for the fingerprint. Logs only what is odd: `model.loaded` is the caller's.
    Raises `ModelError`, in one sentence with the cure, for whatever is wrong with the files.
    """
    encoder = _load(config, batch_size, logger, explicit_path, background)
    if encoder.files.pair_unproven:
        logger.warning(
            "model.pair_unproven",
            text=str(encoder.files.text),
            hint="Nothing says that it is this model's pair: get both with `clipwatch model fetch` or `convert`.",
        )
    bundle = encoder.files.bundle
    if bundle is not None and bundle.known_answers and encoder.files.text is not None:
        as_written = replace(config, prompt="{}")
        check_known_answers(encoder, load_text_encoder(encoder, as_written), bundle.known_answers)
    give_back()
    return encoder


def build_encoder(
    engine: Engine,
    files: ModelFiles,
    vision_sha256: str,
    config: ModelConfig,
    *,
    batch_size: int,
    precision: str = "",
    background: tuple[int, int, int] = WHITE,
    on_gpu: Weights | None = None,
) -> VisionEncoder:
    """An encoder over *engine* as *config* wants it. *on_gpu*: what a second engine on the CPU is made from."""
    fallback = None
    if on_gpu is not None:
        weights = on_gpu

        def fallback() -> Engine:
            return OnnxEngine(weights, device="cpu", threads=threads_for(config))

    return VisionEncoder(
        engine,
        files,
        vision_sha256,
        preprocess=lambda side: read_preprocessing(
            files.preprocessor, resize=config.resize, normalize=config.normalize, model_side=side
        ),
        pooling=config.pooling,
        batch_size=batch_size,
        name=_name(files),
        precision=precision,
        background=background,
        fallback=fallback,
    )


def threads_for(config: ModelConfig) -> int:
    """`model.threads`, or as many as this process may use."""
    return config.threads or usable_cores()


def read_vision(files: ModelFiles) -> Weights:
    """The vision tower's bytes. Raises `ModelError` where they are not those that the bundle describes."""
    weights = read_weights(files.vision)
    if files.bundle is not None and files.bundle.vision_sha256 != weights.sha256:
        raise ModelError(
            f"{files.vision} is not the file that bundle.json beside it describes.",
            hint="Fetch or convert the model again; or remove bundle.json, and the text tower with it.",
        )
    return weights


def _load(
    config: ModelConfig, batch_size: int, logger: Any, explicit_path: bool, background: tuple[int, int, int]
) -> VisionEncoder:
    files = locate(config.path, explicit_path=explicit_path)
    weights = read_vision(files)
    source = weights.sha256
    build = partial(
        build_encoder, files=files, vision_sha256=source, config=config, batch_size=batch_size, background=background
    )
    variant = _variant(config, files, source, logger)
    if variant is not None and variant.variant == INT8:
        weights = read_weights(files.vision.with_name(variant.file))
        if weights.sha256 != variant.sha256:
            raise ModelError(
                f"{weights.file} is not the file that was measured.", hint="Run `clipwatch model optimize` again."
            )
    precision = variant.precision if variant is not None else ""
    openvino_asked = config.engine == "openvino" or (variant is not None and variant.variant == OPENVINO)
    if openvino_asked and config.device not in ("auto", "cpu"):
        raise ModelError(
            f'OpenVINO runs on the CPU here, but model.device = "{config.device}".',
            hint='Set model.engine = "onnxruntime".',
        )
    if variant is not None and variant.variant == OPENVINO:
        fast = OpenVinoEngine(weights, threads=threads_for(config))
        return build(fast, precision=precision)

    told = PRECISIONS[INT8] if variant is not None else ""

    def plain() -> VisionEncoder:
        engine = OnnxEngine(weights, device=config.device, threads=threads_for(config), precision=told)
        on_gpu = None if engine.describe["provider"] == _CPU else weights
        return build(engine, precision=precision, on_gpu=on_gpu)

    exact = plain()
    on_cpu = exact.describe["provider"] == _CPU
    if on_cpu and config.device == "auto" and has_accelerator():
        logger.warning("model.accelerator_unusable", using=_CPU)
    if not (openvino_asked or (variant is None and on_cpu and _openvino_pays(config, weights, batch_size))):
        return exact
    samples = sample_pictures(exact.preprocessing.side)
    expected = exact.encode(samples)
    # Two engines at once would take the memory of both; one that is refused is rare.
    del exact
    return _faster(build, weights, samples, expected, config, logger) or plain()


def _variant(config: ModelConfig, files: ModelFiles, source: str, logger: Any) -> Variant | None:
    variant = read_variant(files.vision) if config.engine == "auto" else None
    if variant is not None and variant.of != source:
        logger.warning("model.variant_stale", file=str(files.vision), variant=variant.variant)
        return None
    return variant


def _openvino_pays(config: ModelConfig, weights: Weights, batch_size: int) -> bool:
    """Whether it is worth loading the model twice; for the one picture of a question it never is."""
    large = batch_size > 1 and weights.size_bytes >= OPENVINO_FROM_BYTES
    return large and config.engine == "auto" and openvino.cpu_has_bf16() and openvino.installed()


def _faster(
    build: Callable[..., VisionEncoder],
    weights: Weights,
    samples: Sequence[Pixels],
    expected: Matrix,
    config: ModelConfig,
    logger: Any,
) -> VisionEncoder | None:
    """The same model by OpenVINO, where its vectors of *samples* are as good as *expected*."""
    try:
        engine = OpenVinoEngine(weights, threads=threads_for(config))
        fast = build(engine)
        _, least = cosines_of(expected, fast.encode(samples))
    except ModelError as error:
        if config.engine == "openvino":
            raise
        logger.warning("model.engine_refused", engine="openvino", reason=error.message)
        return None
    if least >= GATE:
        return fast
    if config.engine == "openvino":
        return build(engine, precision=engine.precision)
    logger.warning("model.engine_refused", engine="openvino", reason="its vectors differ", cosine=round(least, 6))
    return None


def _name(files: ModelFiles) -> str:
    if files.bundle is not None:
        return files.bundle.name
    folder = files.folder.resolve().name
    return files.vision.name if folder == "models" else f"{folder}/{files.vision.name}"
