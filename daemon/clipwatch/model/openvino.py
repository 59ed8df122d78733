"""OpenVINO as an engine (the extra `fast`): bfloat16 on CPUs that multiply it natively."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from clipwatch.errors import ModelError
from clipwatch.model.engine import Array
from clipwatch.model.graph import Port
from clipwatch.model.weights import Weights

_TYPES: Final = {"f32": "tensor(float)", "f16": "tensor(float16)"}
_BF16_FLAGS: Final = ("amx_bf16", "avx512_bf16")
"""Matrix units and dot products of vectors: 4.5 and 2.1 times ONNX Runtime's float32 rate, measured on ViT-B/32."""


def installed() -> bool:
    """Whether the package `openvino` can be imported."""
    return importlib.util.find_spec("openvino") is not None


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 natively; elsewhere OpenVINO gains nothing over ONNX Runtime."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return any(flag in flags for flag in _BF16_FLAGS)


class OpenVinoEngine:
    """One compiled model; nothing of it is read from disk again. bfloat16 where the CPU has it, else float32."""

    rows = None

    def __init__(self, weights: Weights, *, threads: int) -> None:
        """Raises `ModelError` where OpenVINO is not installed or cannot take the model."""
        if not installed():
            raise ModelError(
                'model.engine = "openvino", but the package openvino is not installed.',
                hint="Run `pip install 'clipwatch[fast]'`, or set model.engine = \"auto\".",
            )
        import openvino  # an extra, and 200 ms to import

        self._file = weights.file
        self._threads = threads
        self.precision = "bf16" if cpu_has_bf16() else "f32"
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            core = openvino.Core()
            model = core.read_model(weights.path)
            self.inputs: Sequence[Port] = tuple(_port(port) for port in model.inputs)
            self.outputs: Sequence[Port] = tuple(_port(port) for port in model.outputs)
            self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot load {weights.file}: {_last_line(error)}", hint='Set model.engine = "onnxruntime".'
            ) from error
        weights.require_unchanged()

    @property
    def describe(self) -> Mapping[str, object]:
        return {
            "engine": "openvino",
            "precision": self.precision.replace("f32", "float32"),
            "provider": "CPU",
            "threads": self._threads,
        }

    def run(self, output: str, feeds: Mapping[str, Array]) -> Array:
        try:
            # The tensor behind the result belongs to the request and is overwritten by the next run.
            return np.array(self._request.infer(dict(feeds))[output])
        except RuntimeError as error:
            raise ModelError(f"{self._file} cannot be run by OpenVINO: {_last_line(error)}") from error


def _port(port: Any) -> Port:
    name = str(port.get_any_name()) if port.get_names() else ""
    partial = port.get_partial_shape()
    kind = str(port.get_element_type().get_type_name())
    if partial.rank.is_dynamic:
        return Port(name, None, _TYPES.get(kind, kind))
    shape = tuple(None if axis.is_dynamic else int(axis.get_length()) for axis in partial)
    return Port(name, shape or None, _TYPES.get(kind, kind))


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[-1][:300].rstrip(".") + "."
