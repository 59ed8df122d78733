"""ONNX Runtime as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from clipwatch.errors import ModelError
from clipwatch.memory import weights_apart
from clipwatch.model.engine import Array
from clipwatch.model.graph import Port
from clipwatch.model.weights import Weights

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_ROWS: Final = 5
"""On a CPU five pictures a run are as fast as 25, and take 120 megabytes less."""
_REFETCH: Final = "Fetch it again, for example with `clipwatch model fetch`."
_RUNTIME_ERRORS: Final[tuple[type[Exception], ...]] = (
    state.EPFail,
    state.EngineError,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
    MemoryError,
    RuntimeError,
    ValueError,
)


class OnnxEngine:
    """One session; nothing of its model is read from disk again."""

    def __init__(self, weights: Weights, *, device: str, threads: int, precision: str = "") -> None:
        """*device*: "auto", "cpu" or the first word of an execution provider's name ("cuda").

        *precision*: what to call it where the graph's own types do not tell; quantised graphs take and give floats.
        Raises `ModelError` where the bytes are no model or the device is not there.
        """
        provider = _provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning pool keeps a core busy between batches, which decoding could use.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Both grow with every new shape and give nothing back; without them speed is the same.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        providers = [provider] if provider == _CPU else [provider, _CPU]
        try:
            with weights_apart():
                self._session = onnxruntime.InferenceSession(weights.path, options, providers=providers)
        except _RUNTIME_ERRORS as error:
            raise _unloadable(weights, str(error)) from error
        weights.require_unchanged()
        in_force = self._session.get_providers()[0]
        if device not in ("auto", "cpu") and in_force != provider:
            raise ModelError(
                f'model.device = "{device}", but {provider} could not be started on this machine.',
                hint='Install its driver and libraries, or set model.device = "cpu".',
            )
        self._file = weights.file
        self._provider = in_force
        self._threads = threads
        self._precision = precision
        self.inputs: Sequence[Port] = tuple(_port(port) for port in self._session.get_inputs())
        self.outputs: Sequence[Port] = tuple(_port(port) for port in self._session.get_outputs())
        self.rows = _ROWS if in_force == _CPU else None

    @property
    def describe(self) -> Mapping[str, object]:
        half = any(port.type == "tensor(float16)" for port in self.inputs)
        return {
            "engine": "onnxruntime",
            "precision": self._precision or ("float16" if half else "float32"),
            "provider": self._provider,
            "threads": self._threads,
        }

    def run(self, output: str, feeds: Mapping[str, Array]) -> Array:
        try:
            result: Array = self._session.run([output], dict(feeds))[0]
        except _RUNTIME_ERRORS as error:
            raise ModelError(f"{self._file} cannot be run: {_first_line(error)}") from error
        return result


def has_accelerator() -> bool:
    """Whether the ONNX Runtime installed here was built for CUDA; its libraries may still be missing."""
    return _CUDA in onnxruntime.get_available_providers()


def _provider(device: str) -> str:
    available = onnxruntime.get_available_providers()
    if device == "auto":
        return _CUDA if has_accelerator() else _CPU
    for provider in available:
        if str(provider).lower() == f"{device.lower()}executionprovider":
            return str(provider)
    known = sorted(str(provider).removesuffix("ExecutionProvider").lower() for provider in available)
    extra = "Install onnxruntime-gpu in place of onnxruntime, or set" if device.lower() == "cuda" else "Set"
    raise ModelError(
        f'model.device = "{device}", but the ONNX Runtime installed here has only: {", ".join(known)}.',
        hint=f'{extra} model.device = "auto".',
    )


def _unloadable(weights: Weights, text: str) -> ModelError:
    if "rotobuf" in text or "No graph" in text:
        return ModelError(f"{weights.file} is not an ONNX model, or is cut short.", hint=_REFETCH)
    if "IR version" in text or "opset" in text.lower():
        return ModelError(
            f"{weights.file} was made for a newer ONNX Runtime than {onnxruntime.__version__}.",
            hint="Upgrade onnxruntime, or export the model with an older opset.",
        )
    return ModelError(f"{weights.file} cannot be loaded: {_first_line(text)}", hint=_REFETCH)


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[0][:300].rstrip(".") + "."


def _port(port: Any) -> Port:
    shape = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in port.shape)
    # A graph's outputs are often declared without a shape, which reads as rank 0.
    return Port(str(port.name), shape or None, str(port.type))
