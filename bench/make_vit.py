"""Makes CLIP's ViT-B/32 vision tower, exact in architecture, random in weights: what speed and memory are measured on.

87.85 million parameters, 4.41 GMAC a picture, float32, dynamic batch: `pixel_values` [n, 3, 224, 224] →
`image_embeds` [n, 512]. Architecture: A. Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision" (2021), table 20; initial deviations as in OpenAI's clip/model.py, `initialize_parameters`.
Run: `python bench/make_vit.py FILE`; needs `onnx`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]


@dataclass(frozen=True)
class Size:
    """A vision transformer's dimensions."""

    side: int = 224
    patch: int = 32
    width: int = 768
    heads: int = 12
    layers: int = 12
    embedding: int = 512

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.side // self.patch) ** 2 + 1

    def macs(self) -> int:
        """Multiply-accumulates of one picture."""
        patches = (self.tokens - 1) * 3 * self.patch**2 * self.width
        layer = self.tokens * 12 * self.width**2 + 2 * self.tokens**2 * self.width
        return patches + self.layers * layer + self.width * self.embedding


VIT_B_32 = Size()


class _Builder:
    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, name: str, shape: tuple[int, ...], deviation: float) -> str:
        return self.constant(name, self.random.standard_normal(shape, np.float32) * np.float32(deviation))

    def ints(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def norm(self, source: str, name: str) -> str:
        width = self.size.width
        scale = self.constant(f"{name}.weight", np.ones(width, np.float32))
        shift = self.constant(f"{name}.bias", np.zeros(width, np.float32))
        return self.add("LayerNormalization", [source, scale, shift], name, axis=-1, epsilon=1e-5)

    def linear(self, source: str, name: str, wide: int, narrow: int, deviation: float) -> str:
        product = self.add(
            "MatMul", [source, self.normal(f"{name}.weight", (wide, narrow), deviation)], f"{name}.product"
        )
        return self.add("Add", [product, self.constant(f"{name}.bias", np.zeros(narrow, np.float32))], name)

    def attention(self, source: str, name: str) -> str:
        size, width = self.size, self.size.width
        deviation = width**-0.5
        heads = {}
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            flat = self.linear(source, f"{name}.{part}", width, width, deviation)
            split = self.add("Reshape", [flat, "split_heads"], f"{name}.{part}.split")
            heads[part] = self.add("Transpose", [split], f"{name}.{part}.heads", perm=order)
        scores = self.add("MatMul", [heads["q"], heads["k"]], f"{name}.scores")
        scaled = self.add("Mul", [scores, "head_scale"], f"{name}.scaled")
        weights = self.add("Softmax", [scaled], f"{name}.weights", axis=-1)
        mixed = self.add("MatMul", [weights, heads["v"]], f"{name}.mixed")
        back = self.add("Transpose", [mixed], f"{name}.back", perm=[0, 2, 1, 3])
        joined = self.add("Reshape", [back, "join_heads"], f"{name}.joined")
        return self.linear(joined, f"{name}.out", width, width, deviation * (2 * size.layers) ** -0.5)

    def mlp(self, source: str, name: str) -> str:
        size, width = self.size, self.size.width
        hidden = self.linear(source, f"{name}.fc1", width, 4 * width, (2 * width) ** -0.5)
        # CLIP's own activation, "quick GELU": x * sigmoid(1.702 x).
        gate = self.add("Sigmoid", [self.add("Mul", [hidden, "quick_gelu"], f"{name}.gate_in")], f"{name}.gate")
        active = self.add("Mul", [hidden, gate], f"{name}.active")
        return self.linear(active, f"{name}.fc2", 4 * width, width, width**-0.5 * (2 * size.layers) ** -0.5)

    def model(self) -> onnx.ModelProto:
        size, width = self.size, self.size.width
        self.ints("split_heads", 0, size.tokens, size.heads, width // size.heads)
        self.ints("join_heads", 0, size.tokens, width)
        self.constant("head_scale", np.array((width // size.heads) ** -0.5, np.float32))
        self.constant("quick_gelu", np.array(1.702, np.float32))
        kernel = self.normal("patch.weight", (width, 3, size.patch, size.patch), 0.02)
        patches = self.add("Conv", ["pixel_values", kernel], "patches", strides=[size.patch] * 2)
        flat = self.add("Reshape", [patches, self.ints("flat", 0, width, size.tokens - 1)], "patches_flat")
        rows = self.add("Transpose", [flat], "patch_rows", perm=[0, 2, 1])
        # An empty first row; the class token's embedding is the first row of the table that is added next.
        padded = self.add("Pad", [rows, self.ints("class_row", 0, 1, 0, 0, 0, 0)], "tokens")
        x = self.add("Add", [padded, self.normal("position", (size.tokens, width), width**-0.5)], "embedded")
        x = self.norm(x, "pre_norm")
        for layer in range(size.layers):
            name = f"layer{layer}"
            x = self.add("Add", [x, self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attention")], f"{name}.mid")
            x = self.add("Add", [x, self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp")], f"{name}.out")
        first = self.add("Gather", [x, self.constant("zero", np.array(0, np.int64))], "class_token", axis=1)
        pooled = self.norm(first, "post_norm")
        projection = self.normal("projection.weight", (width, size.embedding), width**-0.5)
        self.add("MatMul", [pooled, projection], "image_embeds")
        return helper.make_model(
            helper.make_graph(
                self.nodes,
                "clip_vision",
                [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, size.side, size.side])],
                [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", size.embedding])],
                self.constants,
            ),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
            producer_name="clipwatch-bench",
        )


def build(size: Size = VIT_B_32, seed: int = 0) -> onnx.ModelProto:
    """The tower; the same weights for the same *seed*."""
    return _Builder(size, seed).model()


def make(file: Path, size: Size = VIT_B_32, seed: int = 0) -> Path:
    """Write the tower to *file*, which is kept where it already exists."""
    if not file.exists():
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(build(size, seed).SerializeToString())
        part.replace(file)
    return file


if __name__ == "__main__":
    made = make(Path(sys.argv[1]))
    print(f"{made}: {made.stat().st_size / 2**20:.0f} MiB, {VIT_B_32.macs() / 1e9:.4f} GMAC a picture")
