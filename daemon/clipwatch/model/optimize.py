"""`model optimize`: faster ways to compute a model, measured on this machine and on its user's own pictures."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from clipwatch.clock import Clock
from clipwatch.config import ModelConfig
from clipwatch.errors import ConfigError, ModelError
from clipwatch.model import openvino
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.engine import Engine
from clipwatch.model.fidelity import GATE, cosines
from clipwatch.model.files import ModelFiles, locate
from clipwatch.model.load import build_encoder, read_vision, threads_for
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.openvino import OpenVinoEngine
from clipwatch.model.variant import INT8, OPENVINO, ORIGINAL, Variant, read_variant, write_variant
from clipwatch.model.weights import Weights, read_weights
from clipwatch.records import Pixels

_REPEATS: Final = 3
"""The best of so many runs: other work on the machine only ever slows one down."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to compute the model. Cosines are against the original, over the pictures given.

    *note* says why there are no figures; then the rates and cosines are NaN.
    """

    variant: str
    images_per_second: float
    cosine_mean: float
    cosine_min: float
    size_bytes: int
    note: str = ""

    def allowed(self, least_cosine: float) -> bool:
        """Whether it may be switched to."""
        return not self.note and self.cosine_mean >= least_cosine


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, the original first; *chosen* is in force from the next start on."""

    model: str
    pictures: int
    rows: tuple[Row, ...]
    chosen: str

    def as_json(self) -> dict[str, Any]:
        """With null for what was not measured."""
        rows = [
            {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(row).items()
            }
            for row in self.rows
        ]
        return {"model": self.model, "pictures": self.pictures, "rows": rows, "chosen": self.chosen}


def optimize(
    config: ModelConfig,
    pictures: Sequence[Pixels],
    *,
    batch_size: int,
    clock: Clock,
    explicit_path: bool,
    switch: str = "",
    allow: float = GATE,
) -> Report:
    """Measure every variant on *pictures* (as the model's preprocessing wants them).

    *switch*: "" changes nothing; "original", "int8", "openvino", or "best" (the fastest that is allowed) is what the
    model is computed by from the next start on, where its mean cosine is at least *allow*. An int8 file is put beside
    the model only when it is switched to. Raises `ModelError`, and `ConfigError` for a variant that does not reach
    *allow*.
    """
    if not pictures:
        raise ConfigError("There are no pictures to measure with.", hint="Name a folder of your own photographs.")
    files = locate(config.path, explicit_path=explicit_path)
    weights = read_vision(files)
    plain = replace(config, engine="onnxruntime", device="cpu")
    bench = _Bench(plain, files, weights, pictures, batch_size, clock)
    with tempfile.TemporaryDirectory(prefix="clipwatch-") as scratch:
        int8_file = Path(scratch) / f"{files.vision.stem}.int8.onnx"
        rows = (bench.original(), _int8(bench, int8_file), _openvino(bench))
        chosen = _choose(rows, switch, allow)
        if chosen:
            _switch(files, weights, next(row for row in rows if row.variant == chosen), int8_file)
    in_force = read_variant(files.vision)
    name = in_force.variant if in_force is not None and in_force.of == weights.sha256 else ORIGINAL
    return Report(bench.exact.name, len(pictures), rows, name)


class _Bench:
    """Measures engines against the original."""

    def __init__(
        self,
        config: ModelConfig,
        files: ModelFiles,
        weights: Weights,
        pictures: Sequence[Pixels],
        batch_size: int,
        clock: Clock,
    ) -> None:
        self._config, self._files, self._pictures = config, files, pictures
        self._batch_size, self._clock = batch_size, clock
        self.weights = weights
        self.threads = threads_for(config)
        self.exact = self._encoder(OnnxEngine(weights, device="cpu", threads=self.threads))

    def original(self) -> Row:
        return Row(ORIGINAL, self._rate(self.exact), 1.0, 1.0, self.weights.size_bytes)

    def row(self, variant: str, engine: Engine, size_bytes: int) -> Row:
        encoder = self._encoder(engine)
        mean, least = cosines(self.exact, encoder, self._pictures)
        return Row(variant, self._rate(encoder), mean, least, size_bytes)

    def _encoder(self, engine: Engine) -> VisionEncoder:
        return build_encoder(engine, self._files, self.weights.sha256, self._config, batch_size=self._batch_size)

    def _rate(self, encoder: VisionEncoder) -> float:
        # Whole batches only: a padded rest would count less than it costs.
        count = max(self._batch_size, len(self._pictures) // self._batch_size * self._batch_size)
        batch = [self._pictures[i % len(self._pictures)] for i in range(count)]
        encoder.encode(batch[: self._batch_size])
        seconds = []
        for _ in range(_REPEATS):
            start = self._clock.monotonic()
            encoder.encode(batch)
            seconds.append(self._clock.monotonic() - start)
        return count / max(min(seconds), 1e-9)


def _without(variant: str, note: str) -> Row:
    nan = float("nan")
    return Row(variant, nan, nan, nan, 0, note)


def _int8(bench: _Bench, target: Path) -> Row:
    if importlib.util.find_spec("onnx") is None:
        return _without(INT8, "needs the package onnx: pip install 'clipwatch[fast]'")
    try:
        quantize_int8(bench.weights, target)
        quantized = read_weights(target)
        return bench.row(INT8, OnnxEngine(quantized, device="cpu", threads=bench.threads), quantized.size_bytes)
    except ModelError as error:
        return _without(INT8, error.message)


def quantize_int8(weights: Weights, target: Path) -> None:
    """Write *target*: MatMul and Gemm weights as signed 8-bit integers, one scale for each output channel.

    Signed, since matrix units take unsigned activations times signed weights: unsigned weights run at a quarter of the
    speed. Raises `ModelError` where the quantiser cannot take the model.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    try:
        model = onnx.load_from_string(weights.content())
        # Says that shapes need no inferring first; else the quantiser warns on the root logger.
        model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError, OSError) as error:
        raise ModelError(f"{weights.file} cannot be quantised: {error}.") from error


def _openvino(bench: _Bench) -> Row:
    if not openvino.installed():
        return _without(OPENVINO, "needs the package openvino: pip install 'clipwatch[fast]'")
    if not openvino.cpu_has_bf16():
        return _without(OPENVINO, "gains nothing here: this CPU does not multiply bfloat16")
    try:
        return bench.row(OPENVINO, OpenVinoEngine(bench.weights, threads=bench.threads), bench.weights.size_bytes)
    except ModelError as error:
        return _without(OPENVINO, error.message)


def _choose(rows: Sequence[Row], switch: str, allow: float) -> str:
    """The name to switch to; "" to leave all as it is."""
    if switch == "best":
        return max((row for row in rows if row.allowed(allow)), key=lambda row: row.images_per_second).variant
    if switch:
        row = next((row for row in rows if row.variant == switch), None)
        if row is None:
            known = ", ".join(row.variant for row in rows)
            raise ConfigError(f"There is no variant {switch!r}.", hint=f"There are: {known}, best.")
        if not row.allowed(allow):
            why = row.note or f"its mean cosine is {row.cosine_mean:.5f}, below {allow:g}"
            raise ConfigError(f"Not switched to {switch}: {why}.", hint="" if row.note else "See --allow.")
    return switch


def _switch(files: ModelFiles, weights: Weights, row: Row, int8_file: Path) -> None:
    installed = files.vision.with_name(int8_file.name)
    if row.variant == INT8:
        content = int8_file.read_bytes()
        _install(content, installed)
        sha256 = hashlib.sha256(content).hexdigest()
        write_variant(files.vision, Variant(INT8, weights.sha256, row.cosine_mean, installed.name, sha256))
        return
    left = _int8_file(files.vision)
    original = row.variant == ORIGINAL
    write_variant(files.vision, None if original else Variant(row.variant, weights.sha256, row.cosine_mean))
    if left is not None:
        left.unlink(missing_ok=True)


def _int8_file(vision: Path) -> Path | None:
    """The one that a former switch put beside the model."""
    try:
        before = read_variant(vision)
    except ModelError:
        return None  # a choice that cannot be read names no file of ours
    return vision.with_name(before.file) if before is not None and before.file else None


def _install(content: bytes, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}.") from error
