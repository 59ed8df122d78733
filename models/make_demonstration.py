"""Makes the colour-and-layout model: a vision tower without training, [n, 3, 224, 224] → [n, 512].

Nothing is trained and nothing is random. It knows no things and no words, only where which colours lie and
how edges run, so that near-duplicates and look-alikes come first.
It was the first demonstration model; what ships now (`models/train`) is measured against it.
Run: `python models/make_demonstration.py FOLDER`; needs `onnx`.
The output is the same, byte for byte, on every machine.

512 numbers in four blocks, each centred and of a fixed length:

    147   layout: opponent colours (light, red-green, yellow-blue), mean of each cell of a 7×7 grid
    205   colours: soft histogram over 41 named colours, of the whole picture and of its quarters
    128   coarse edges: energy in 8 directions in a 4×4 grid, at 1/8 of the size
     32   fine edges: the same in a 2×2 grid, at 1/2 of the size
"""

from __future__ import annotations

import colorsys
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 224
HUES = 12
DIRECTIONS = 8
SOFTNESS = 0.02
"""Squared distance between colours at which they count as fairly alike."""
WEIGHTS = {"layout": 0.7, "colours": 1.0, "coarse": 0.5, "fine": 0.4}
"""Lengths of the blocks, chosen on photographs: crops, recompression and brightness against other photographs."""

OPPONENT = [[1 / 3, 1 / 3, 1 / 3], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]]


class Graph:
    """Nodes and constants, in order, under short names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: object, dtype: type = np.float32) -> str:
        # Rounded, so that the last bit of a machine's cosine does not change the file.
        array: NDArray[Any] = np.round(np.asarray(value, np.float64), 6).astype(dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def pool(self, source: str, cell: int, output: str) -> str:
        return self.add("AveragePool", [source], output, kernel_shape=[cell, cell], strides=[cell, cell])

    def block(self, source: str, name: str) -> str:
        """Flat, of length `WEIGHTS[name]`."""
        flat = self.add("Flatten", [source], f"{name}_flat", axis=1)
        length = self.add("ReduceL2", [flat], f"{name}_length", axes=[1], keepdims=1)
        # Nothing to see (a blank picture) stays near zero instead of becoming loud noise.
        floor = self.add("Add", [length, self.constant(f"{name}_floor", [0.02])], f"{name}_divisor")
        unit = self.add("Div", [flat, floor], f"{name}_unit")
        return self.add("Mul", [unit, self.constant(f"{name}_weight", [WEIGHTS[name]])], name)


def palette() -> list[tuple[float, float, float]]:
    """5 greys, and 12 hues in a dark, a strong and a pale variant."""
    greys = [(level, level, level) for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    hues = [
        colorsys.hsv_to_rgb(hue / HUES, saturation, value)
        for saturation, value in ((0.8, 0.35), (0.9, 0.85), (0.35, 0.9))
        for hue in range(HUES)
    ]
    return greys + hues


def edge_filters() -> NDArray[np.float64]:
    """`[8, 1, 5, 5]`: derivatives of a Gaussian (sigma 1) in 8 directions over half a turn."""
    rows, columns = np.mgrid[-2:3, -2:3].astype(np.float64)
    bell = np.exp(-(rows**2 + columns**2) / 2)
    bank = [
        (columns * math.cos(math.pi * k / DIRECTIONS) + rows * math.sin(math.pi * k / DIRECTIONS)) * bell
        for k in range(DIRECTIONS)
    ]
    return np.stack([kernel / np.abs(kernel).sum() for kernel in bank])[:, None]


def layout(graph: Graph) -> str:
    cells = graph.pool("opponent", 32, "layout_cells")
    mean = graph.add("ReduceMean", ["opponent"], "picture_mean", axes=[2, 3], keepdims=1)
    # Light is taken relative to the picture's own mean, colour mostly absolute: a brightness shift moves little.
    share = graph.constant("layout_share", np.reshape([1.0, 0.3, 0.3], (1, 3, 1, 1)))
    removed = graph.add("Mul", [mean, share], "layout_removed")
    return graph.block(graph.add("Sub", [cells, removed], "layout_centred"), "layout")


def colours(graph: Graph) -> str:
    """softmax(-|c - p|² / softness) over the palette, as a 1×1 convolution; |c|² is the same for all and falls out."""
    points = np.array(palette()) @ np.array(OPPONENT).T
    weight = graph.constant("palette_weight", (2 * points / SOFTNESS)[:, :, None, None])
    bias = graph.constant("palette_bias", -(points**2).sum(axis=1) / SOFTNESS)
    small = graph.pool("opponent", 4, "colours_small")
    alike = graph.add("Conv", [small, weight, bias], "colours_alike")
    shares = graph.add("Softmax", [alike], "colours_shares", axis=1)
    quarters = graph.pool(shares, 28, "colours_quarters")
    whole = graph.add("GlobalAveragePool", [shares], "colours_whole")
    roots = [graph.add("Sqrt", [name], f"{name}_root") for name in (quarters, whole)]
    # Greys and dull colours are in every photograph: what all have in common tells nothing.
    chroma = np.hypot(points[:, 1], points[:, 2])
    usual = np.exp(-chroma / 0.35)
    usual = np.sqrt(usual / usual.sum()).reshape(1, -1, 1, 1)
    centred = [graph.add("Sub", [name, graph.constant(f"{name}_usual", usual)], f"{name}_centred") for name in roots]
    # The whole counts as much as the four quarters together: it survives a crop.
    louder = graph.add("Mul", [centred[1], graph.constant("colours_louder", [2.0])], "colours_whole_louder")
    flat = [graph.add("Flatten", [name], f"{name}_row", axis=1) for name in (centred[0], louder)]
    return graph.block(graph.add("Concat", flat, "colours_rows", axis=1), "colours")


def edges(graph: Graph, name: str, shrink: int, cell: int) -> str:
    small = graph.pool("light", shrink, f"{name}_small")
    padded = graph.add("Pad", [small, "edge_pads"], f"{name}_padded", mode="edge")
    responses = graph.add("Conv", [padded, "edge_filters"], f"{name}_responses")
    energy = graph.pool(graph.add("Abs", [responses], f"{name}_abs"), cell, f"{name}_energy")
    root = graph.add("Sqrt", [energy], f"{name}_root")
    mean = graph.add("ReduceMean", [root], f"{name}_mean", axes=[1, 2, 3], keepdims=1)
    return graph.block(graph.add("Sub", [root, mean], f"{name}_centred"), name)


def build() -> onnx.ModelProto:
    """The whole model; opset 17."""
    graph = Graph()
    graph.add(
        "Conv", ["pixel_values", graph.constant("opponent_weight", np.array(OPPONENT)[:, :, None, None])], "opponent"
    )
    graph.add("Slice", ["opponent", *_ints(graph, first=0, last=1, axis=1)], "light")
    graph.constant("edge_pads", [0, 0, 2, 2, 0, 0, 2, 2], np.int64)
    graph.constant("edge_filters", edge_filters())
    blocks = [layout(graph), colours(graph), edges(graph, "coarse", 8, 7), edges(graph, "fine", 2, 56)]
    joined = graph.add("Concat", blocks, "joined", axis=1)
    graph.add("LpNormalization", [joined], "image_embeds", axis=1, p=2)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "colour_and_layout",
            [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", 512])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="clipwatch",
        doc_string="A demonstration: colour and layout only. It knows no things and no words.",
    )
    onnx.checker.check_model(model)
    return model


def _ints(graph: Graph, **values: int) -> list[str]:
    return [graph.constant(f"slice_{name}", [value], np.int64) for name, value in values.items()]


def write(folder: Path) -> None:
    """`clip_vision.onnx`, `preprocessor_config.json` and `bundle.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = build().SerializeToString(deterministic=True)
    (folder / "clip_vision.onnx").write_bytes(content)
    preprocessor = {
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
    }
    bundle = {
        "format": 1,
        "name": "demonstration (colour and layout)",
        "demonstration": True,
        "vision": {"file": "clip_vision.onnx", "sha256": hashlib.sha256(content).hexdigest()},
        "card": {
            "licence": "Apache-2.0",
            "source": "models/make_demonstration.py",
            "width": 512,
            "summary": "Sees colours, their layout and the run of edges; knows no things and no words.",
        },
    }
    for name, document in (("preprocessor_config.json", preprocessor), ("bundle.json", bundle)):
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python models/make_demonstration.py FOLDER")
    target = Path(sys.argv[1])
    write(target)
    print(f"wrote {target / 'clip_vision.onnx'} ({(target / 'clip_vision.onnx').stat().st_size} bytes)")
