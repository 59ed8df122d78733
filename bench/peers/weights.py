"""The bench's tower in the forms that peers load it from: once, apart, so that no peer pays for the conversion."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

RCLIP_INPUT: Final = "input"
RCLIP_FILE: Final = "visual.onnx"
TRANSFORMERS_FOLDER: Final = "tower"
Constants = dict[str, NDArray[Any]]


def constants_of(model: Path) -> Constants:
    """The tower's constants by name, as `make_vit` gave them."""
    return {item.name: numpy_helper.to_array(item) for item in onnx.load(str(model)).graph.initializer}


def torch_tower(model: Path) -> Any:
    """A `CLIPVisionModelWithProjection` with the weights of the ONNX file *model*."""
    tower: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(hidden_act="quick_gelu", projection_dim=512))
    missing, unexpected = tower.load_state_dict(_state(constants_of(model)), strict=False)
    if unexpected or any(not name.endswith("position_ids") for name in missing):
        raise SystemExit(f"The weights do not fit: {missing} {unexpected}")
    return tower


def renamed(model: Path, name: str) -> onnx.ModelProto:
    """The same graph with its input called *name*."""
    graph = onnx.load(str(model))
    (port,) = graph.graph.input
    for node in graph.graph.node:
        for index, source in enumerate(node.input):
            if source == port.name:
                node.input[index] = name
    port.name = name
    return graph


def main() -> None:
    """`python -m bench.peers.weights MODEL DIRECTORY`."""
    model, directory = (Path(argument) for argument in sys.argv[1:3])
    onnx.save(renamed(model, RCLIP_INPUT), str(directory / RCLIP_FILE))
    torch_tower(model).save_pretrained(directory / TRANSFORMERS_FOLDER)


def _state(constants: Constants) -> dict[str, torch.Tensor]:
    return {name: _tensor(value) for name, value in _transformers(constants)}


def _transformers(c: Constants) -> Iterator[tuple[str, NDArray[Any]]]:
    top = "vision_model"
    # The class token's embedding is the table's first row already.
    yield f"{top}.embeddings.class_embedding", np.zeros(c["position"].shape[1], np.float32)
    yield f"{top}.embeddings.patch_embedding.weight", c["patch.weight"]
    yield f"{top}.embeddings.position_embedding.weight", c["position"]
    yield "visual_projection.weight", c["projection.weight"].T
    for ours, theirs in (("pre_norm", "pre_layrnorm"), ("post_norm", "post_layernorm")):
        for part in ("weight", "bias"):
            yield f"{top}.{theirs}.{part}", c[f"{ours}.{part}"]
    for layer in range(layers_of(c)):
        ours, theirs = f"layer{layer}", f"{top}.encoder.layers.{layer}"
        for norm, name in (("norm1", "layer_norm1"), ("norm2", "layer_norm2")):
            for part in ("weight", "bias"):
                yield f"{theirs}.{name}.{part}", c[f"{ours}.{norm}.{part}"]
        linear = {f"attention.{part}": f"self_attn.{part}_proj" for part in "qkv"}
        for source, name in {
            **linear,
            "attention.out": "self_attn.out_proj",
            "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2",
        }.items():
            yield f"{theirs}.{name}.weight", c[f"{ours}.{source}.weight"].T
            yield f"{theirs}.{name}.bias", c[f"{ours}.{source}.bias"]


def layers_of(constants: Constants) -> int:
    """How many blocks there are."""
    return sum(name.endswith(".norm1.weight") for name in constants)


def _tensor(value: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(value, np.float32))


if __name__ == "__main__":
    main()
