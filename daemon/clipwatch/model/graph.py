"""What a vision tower takes and gives: decided from its declared inputs and outputs, purely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clipwatch.errors import ModelError

EXPORT_HINT: Final = (
    "Export the vision tower: pixel_values [n, 3, 224, 224] → image_embeds [n, 512], as `clipwatch model convert` does."
)
FLOATS: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}

_PREFERRED: Final = ("image_embeds", "image_embeddings", "image_features", "embeddings", "embedding", "pooler_output")
"""Output names of Hugging Face's, open_clip's and fastembed's exports; `last_hidden_state` beside one is not it."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as the graph declares it. *shape*: an int where fixed, else None; None: unknown rank."""

    name: str
    shape: tuple[int | None, ...] | None
    type: str

    def spelled(self) -> str:
        """`pixel_values [?, 3, 224, 224] float32`, for people."""
        axes = "of unknown shape" if self.shape is None else [axis if axis is not None else "?" for axis in self.shape]
        return f"{self.name} {axes} {FLOATS.get(self.type, self.type)}".replace("'", "")


@dataclass(frozen=True, slots=True)
class VisionPorts:
    """The chosen input and output. *batch*, *side*: None where dynamic. *dtype*: numpy's name of the input's type."""

    input: str
    output: str
    batch: int | None
    side: int | None
    dtype: str


def choose_ports(inputs: Sequence[Port], outputs: Sequence[Port], source: str) -> VisionPorts:
    """The input and output of a vision tower. Raises `ModelError` (*source* names the file) where it is none."""
    names = [port.name for port in inputs]
    if "input_ids" in names:
        what = "the whole CLIP model" if len(inputs) > 1 else "a text tower"
        raise ModelError(f"{source} is {what} (it takes {', '.join(names)}), not a vision tower.", hint=EXPORT_HINT)
    if len(inputs) != 1:
        raise ModelError(f"{source} takes {len(inputs)} inputs ({', '.join(names)}), not one.", hint=EXPORT_HINT)
    batch, side = _input_axes(inputs[0], source)
    return VisionPorts(inputs[0].name, _output(outputs, source).name, batch, side, FLOATS[inputs[0].type])


def choose_pooling(setting: str, shape: tuple[int, ...], output: str, source: str) -> str:
    """`mean` over a sequence `[n, seq, d]` or `none` for `[n, d]`, from what really came out of the model."""
    if len(shape) not in (2, 3) or 0 in shape:
        raise ModelError(
            f"{source} gives {output} of shape {list(shape)}, which is neither [n, d] nor [n, seq, d].",
            hint=EXPORT_HINT,
        )
    found = "mean" if len(shape) == 3 else "none"
    if setting not in ("auto", found):
        needs = "[n, seq, d]" if setting == "mean" else "[n, d]"
        raise ModelError(
            f'model.pooling = "{setting}" needs an output {needs}, but {source} gives {output} {list(shape)}.',
            hint='Set model.pooling = "auto".',
        )
    return found


def _input_axes(port: Port, source: str) -> tuple[int | None, int | None]:
    def wrong(why: str) -> ModelError:
        return ModelError(f"{source} takes {port.spelled()}: {why}.", hint=EXPORT_HINT)

    if port.type not in FLOATS:
        raise wrong("its type must be float32 or float16")
    if port.shape is None:
        return None, None
    if len(port.shape) != 4:
        raise wrong("it must be [n, 3, height, width]")
    batch, channels, height, width = port.shape
    if channels not in (3, None):
        raise wrong("channels come last, they must come second" if width == 3 else "it must have three channels")
    if height is not None and width is not None and height != width:
        raise wrong("its pictures must be square")
    if batch is not None and batch < 1:
        batch = None
    return batch, height if height is not None else width


def _output(outputs: Sequence[Port], source: str) -> Port:
    floats = [port for port in outputs if port.type in FLOATS]
    if not floats:
        raise ModelError(
            f"{source} gives {', '.join(port.spelled() for port in outputs)}: no vector of floats.", hint=EXPORT_HINT
        )
    by_name = {port.name: port for port in floats}
    for name in _PREFERRED:
        if name in by_name:
            return by_name[name]
    if len(floats) == 1:
        return floats[0]
    flat = [port for port in floats if port.shape is not None and len(port.shape) == 2]
    if len(flat) == 1:
        return flat[0]
    raise ModelError(
        f"{source} has several outputs and none is named image_embeds: {', '.join(by_name)}.", hint=EXPORT_HINT
    )
